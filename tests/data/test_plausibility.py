"""Labels and inputs that contradict each other or physics are named; sound ones are not."""

import itertools

import numpy as np
import pytest

from electrojax.data.datasets import resolve_source
from electrojax.data.duplicates import shared_frames
from electrojax.data.inspection import inspect
from electrojax.data.plausibility import PLAUSIBILITY, implausible
from electrojax.data.reader import read_frames
from electrojax.system.types import Frame
from electrojax.typing import replace

WATER = np.array([[0.0, 0.0, 0.12], [0.0, 0.76, -0.47], [0.0, -0.76, -0.47]])


def molecule(numbers=(8, 1, 1), positions=WATER, **options):
    return Frame(np.array(numbers), np.array(positions, float), np.zeros((3, 3)), (False,) * 3,
                 **options)  # fmt: skip


def crystal(stress, pbc=(True,) * 3):
    positions = 2.8 * np.array(list(itertools.product(range(2), repeat=3)), dtype=float)
    labels = {"stress": np.asarray(stress, dtype=float)}
    return Frame(np.array([11, 17] * 4), positions, 5.6 * np.eye(3), pbc, labels)


def found(frame):
    """What is found in a structure, by kind."""
    looks = {kind: list(look(frame)) for kind, look in PLAUSIBILITY.items()}
    return {kind: details for kind, details in looks.items() if details}


TURN = np.array([[0.1, 0.05, 0.02], [-0.05, 0.1, 0.0], [0.03, 0.0, 0.1]])


@pytest.mark.parametrize(
    ("stress", "words"),
    [
        (np.diag([-251.1, -229.3, 55.7]), ["251.1 eV/Å³", "4.02e+04 GPa"]),  # kbar
        (-4.17 * np.eye(3), ["4.17"]),  # a virial of 175.6 Å³
        (TURN, ["not symmetric by 0.1 eV/Å³"]),
        (0.024 * np.eye(3) + 1e-6 * TURN, []),
        (np.diag([0.6, 0.6, 0.5]), []),  # 96 GPa
        (np.zeros((3, 3)), []),
    ],
)
def test_a_stress_is_symmetric_and_below_160_gpa(stress, words):
    text = " ".join(found(crystal(stress)).get("stress labels", []))
    assert all(word in text for word in words) and bool(text) == bool(words)


def test_the_stress_of_an_open_frame_says_nothing():
    assert found(crystal(1e3 * TURN, pbc=(False,) * 3)) == {}


@pytest.mark.parametrize("name", ["charges", "multipoles"])
def test_charge_labels_sum_to_the_total_charge(name):
    labels = {"charges": np.full(3, 0.3), "multipoles": np.tile([0.3, 1, 2, 3], (3, 1))}
    wrong = molecule(labels={name: labels[name]})
    assert found(wrong) == {"charge sums": [f"{name} sum to 0.9 e, total_charge is 0"]}
    assert found(replace(wrong, total_charge=0.905)) == {}
    assert found(replace(wrong, fermi_level=-4.0)) == {}  # there the charge is an output


def ion(shift, about, charge=1.0, known=("multipoles",)):
    """Hydronium-like charges and dipoles at a place, with its dipole about a point."""
    rng = np.random.default_rng(3)
    positions = WATER + shift
    charges = np.array([-0.5, 0.75, 0.75]) * charge
    dipoles = 0.2 * rng.normal(size=(3, 3))
    multipoles = np.concatenate([charges[:, None], dipoles[:, [1, 2, 0]]], axis=1)
    dipole = charges @ (positions - about) + dipoles.sum(axis=0)
    labels = {"dipole": dipole, "charges": charges, "multipoles": multipoles}
    kept = {name: labels[name] for name in ("dipole", *known)}
    return molecule(positions=positions, total_charge=charge, labels=kept)


@pytest.mark.parametrize("known", [("multipoles",), ("charges",)])
def test_the_dipole_of_an_ion_is_about_the_origin(known):
    from ase.data import atomic_masses

    shift = np.array([4.0, -3.0, 2.0])
    mass = np.average(WATER + shift, axis=0, weights=atomic_masses[[8, 1, 1]])
    assert found(ion(shift, np.zeros(3), known=known)) == {}
    (detail,) = found(ion(shift, mass, known=known))["dipole origin"]
    assert "about its centre of mass" in detail
    (unsure,) = found(ion(shift, np.zeros(3), known=()))["dipole origin"]
    assert "about (0, 0, 0)?" in unsure


def test_where_the_origin_does_not_matter_nothing_is_said():
    assert found(ion(np.zeros(3), np.ones(3), known=())) == {}  # at the origin by itself
    assert found(ion(np.ones(3), np.ones(3), charge=0.0, known=())) == {}
    assert "dipole origin" not in found(replace(ion(np.ones(3), 0), pbc=(True,) * 3))


@pytest.mark.parametrize(
    ("charge", "multiplicity", "sound"),
    [(0, 1, True), (0, 3, True), (1, 2, True), (-1, 2, True), (0.25, 2, True), (0, 2, False),
     (1, 1, False), (0, 1.5, False), (0, 13, False), (0, 11, True), (9, 2, True), (11, 1, False),
     (-13, 2, False), (1e14, 1, False)],
)  # fmt: skip
def test_electrons_decide_charges_and_multiplicities(charge, multiplicity, sound):
    given = frozenset({"total_charge", "multiplicity"})
    water = molecule(total_charge=float(charge), multiplicity=float(multiplicity), given=given)
    assert ("electrons" not in found(water)) == sound


def test_a_multiplicity_that_was_not_given_is_not_judged():
    assert found(molecule(total_charge=1.0, given=frozenset({"total_charge"}))) == {}


@pytest.mark.parametrize(
    ("energy", "sound"),
    [(-76.4 * 27.2114, True), (-76.4 * 627.5, False), (-9.5, True), (1e14, False), (1e4, False)],
)
def test_energies_are_at_most_those_of_all_electrons(energy, sound):
    """Water has −76.4 Hartree; in kcal/mol it is no energy in eV."""
    water = molecule(labels={"energy": np.float64(energy)})
    assert ("magnitudes" not in found(water)) == sound


def test_the_heaviest_atom_has_a_sound_energy():
    """Relativistic total energy of uranium, about −28 000 Hartree."""
    uranium = molecule((92,), np.zeros((1, 3)), labels={"energy": np.float64(-28_000 * 27.2114)})
    assert found(uranium) == {}


def test_fields_that_ionise_are_named():
    assert "magnitudes" in found(molecule(external_field=np.array([0, 0, 51.4])))
    assert found(molecule(external_field=np.array([0, 0, 0.5]))) == {}


@pytest.mark.parametrize("name", ["ion_water", "charged_dimers", "field_clusters"])
def test_the_built_in_sets_are_plausible(name):
    assert implausible(read_frames(resolve_source(f"builtin:{name}"))) == ""


def test_findings_are_told_by_inspect_and_in_one_line():
    frames = [molecule(source=f"a.xyz frame {i}") for i in range(4)]
    frames[2] = replace(frames[2], labels={"charges": np.ones(3), "energy": np.float64(1e9)})
    frames[3] = replace(frames[3], labels={"charges": np.ones(3)})
    named = [(f.kind, f.frame) for f in inspect(frames).findings]
    assert named == [("charge sums", 2), ("magnitudes", 2), ("charge sums", 3)]
    assert implausible(frames).startswith(
        "charge sums of 2 frames (a.xyz frame 2: charges sum to 3 e, total_charge is 0); magnitudes"
    )
    assert implausible(frames[:2]) == ""


def test_copied_frames_are_found_in_another_set(rng):
    frames = [molecule(positions=WATER + 0.3 * rng.normal(size=(3, 3))) for _ in range(6)]
    rounded = replace(frames[4], positions=np.round(frames[4].positions, 8), source="copy")
    other = replace(frames[1], total_charge=1.0)
    moved = replace(frames[2], positions=frames[2].positions + 0.01)
    assert shared_frames(frames, [other, rounded, moved, frames[0]]) == [(1, 4), (3, 0)]
    boxes = [replace(f, cell=np.eye(3) * s, pbc=(True,) * 3) for f, s in zip(frames, (9.0, 9.1))]
    assert shared_frames(boxes, [boxes[1], replace(boxes[0], cell=np.eye(3) * 9.2)]) == [(0, 1)]
