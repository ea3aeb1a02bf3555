"""The built-in sets that locality cannot pass: charged_dimers and field_clusters."""

import functools
import gzip
import hashlib
import itertools
import json
from collections import Counter, defaultdict
from importlib.resources import files

import ase.io
import numpy as np
import pytest
import yaml

from electrojax.data.datasets import BUILTIN, atom_energies, builtin_path, split_sizes
from electrojax.data.making.calculators import label_with_tblite
from electrojax.data.making.recipe import load_recipe
from electrojax.data.reader import read_frames
from electrojax.units import COULOMB

NAMES = ("charged_dimers", "field_clusters")


def metadata(name):
    return json.loads(builtin_path(name).with_name(f"{name}.json").read_text())


@functools.cache
def structures(name):
    return ase.io.read(str(builtin_path(name)), index=":")


@pytest.fixture
def dimers():
    return structures("charged_dimers")


@pytest.fixture
def clusters():
    return structures("field_clusters")


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_small_and_is_the_one_described(name):
    content = builtin_path(name).read_bytes()
    assert len(content) < 2_000_000
    assert hashlib.sha256(content).hexdigest() == metadata(name)["sha256"]
    assert b"pickle" not in gzip.decompress(content)


@pytest.mark.parametrize("name", NAMES)
def test_every_frame_has_every_label_and_they_agree(name):
    assert len(structures(name)) == metadata(name)["frames"]
    for atoms in structures(name):
        charges, multipoles = atoms.arrays["REF_charges"], atoms.arrays["REF_multipoles"]
        assert charges.sum() == pytest.approx(atoms.info["total_charge"], abs=1e-6)
        np.testing.assert_array_equal(multipoles[:, 0], charges)
        dipole = (charges[:, None] * atoms.positions + multipoles[:, [3, 1, 2]]).sum(axis=0)
        np.testing.assert_allclose(dipole, atoms.info["REF_dipole"], atol=1e-6)
        field = atoms.info.get("external_field", np.zeros(3))
        net = atoms.arrays["REF_forces"].sum(axis=0)
        np.testing.assert_allclose(net, atoms.info["total_charge"] * field, atol=2e-6)
        torque = np.cross(atoms.positions, atoms.arrays["REF_forces"]).sum(axis=0)
        np.testing.assert_allclose(torque, np.cross(dipole, field), atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_frames_differ_and_their_splits_are_counted(name):
    assert len({atoms.positions.tobytes() for atoms in structures(name)}) == len(structures(name))
    counted = Counter(atoms.info["split"] for atoms in structures(name))
    assert counted == split_sizes(name)
    assert f"{len(structures(name))} " in BUILTIN[name].description


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("share", [0.02, 0.4, 0.77])
def test_labels_are_those_of_the_labeller(name, share):
    atoms = structures(name)[int(share * len(structures(name)))]
    again = label_with_tblite(atoms)
    for key in ("REF_energy", "REF_dipole", "REF_fermi_level"):
        np.testing.assert_allclose(again.info[key], atoms.info[key], atol=5e-5)
    for key in ("REF_forces", "REF_multipoles"):
        np.testing.assert_allclose(again.arrays[key], atoms.arrays[key], atol=5e-5)


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_the_configuration_gives_the_isolated_atoms_of_the_set(name):
    text = (files("electrojax") / "configs" / "data" / f"{name}.yaml").read_text()
    data = yaml.safe_load(text)["data"]
    assert data["atom_energies"]["given"] == atom_energies(name)
    assert data["train"] == {"path": f"builtin:{name}", "split": "train"}
    assert data["test"] == {"path": f"builtin:{name}", "split": "test"}


# --- charged_dimers ---------------------------------------------------------------------------


def parts_of(atoms, values):
    return np.bincount(atoms.arrays["fragment"], weights=values, minlength=2)


def test_test_frames_are_farther_apart_than_any_of_training(dimers):
    for atoms in dimers:
        first, second = (atoms[atoms.arrays["fragment"] == i] for i in (0, 1))
        apart = np.linalg.norm(second.get_center_of_mass() - first.get_center_of_mass())
        assert apart == pytest.approx(atoms.info["distance"], abs=1e-6)
        if atoms.info["split"] == "test":
            assert 7 <= atoms.info["distance"] <= 15
        else:
            assert atoms.info["distance"] < 7
    far = [atoms for atoms in dimers if atoms.info["distance"] == 15]
    assert {atoms.info["system"] for atoms in far} == {atoms.info["system"] for atoms in dimers}


def test_far_apart_every_part_has_the_charge_of_its_name(dimers):
    for atoms in dimers:
        formal = parts_of(atoms, atoms.arrays["formal_charges"])
        signs = [part[-1:] for part in atoms.info["system"].replace(")4", "").split("|")]
        charges = parts_of(atoms, atoms.arrays["REF_charges"])
        assert formal.sum() == atoms.info["total_charge"]
        if atoms.info["distance"] > 7:
            np.testing.assert_allclose(charges, formal, atol=0.05)
        if signs == ["+", "+"]:
            assert formal.tolist() == [1, 1]


def test_total_charges_and_compositions_that_occur_with_two(dimers):
    for split in ("train", "valid", "test"):
        charges = defaultdict(set)
        for atoms in dimers:
            if atoms.info["split"] == split:
                charges[atoms.get_chemical_formula()].add(atoms.info["total_charge"])
        assert set.union(*charges.values()) == {-1, 0, 1, 2}
        assert sum(len(found) >= 2 for found in charges.values()) >= 6


def test_what_is_left_out_is_listed_and_nothing_else_is_missing(dimers):
    recipe, left_out = load_recipe("charged_dimers").dimers, metadata("charged_dimers")["left_out"]
    without = {entry["system"] for entry in left_out if "distance" not in entry}
    kept = Counter(atoms.info["system"] for atoms in dimers)
    assert without == set(recipe.systems) - set(kept)
    assert {"Na+|Cl-", "NH4+|Cl-"} <= without
    lost = Counter(entry["system"] for entry in left_out if "distance" in entry)
    counts = {split: vars(recipe.scans)[split] * n for split, n in vars(recipe.distances).items()}
    for system in kept:
        assert kept[system] + lost[system] == sum(counts.values())
    assert all(entry["reason"] for entry in left_out)


def scans_of(dimers):
    scans = defaultdict(list)
    for atoms in dimers:
        scans[atoms.info["system"], atoms.info["scan"]].append(atoms)
    return scans


def test_the_parts_of_a_scan_are_rigid(dimers):
    for frames in scans_of(dimers).values():
        for part in (0, 1):
            shapes = [a[a.arrays["fragment"] == part].get_all_distances() for a in frames]
            for one, other in itertools.pairwise(shapes):
                np.testing.assert_allclose(one, other, atol=1e-6)


def test_charged_parts_separate_along_the_coulomb_law(dimers):
    """Beyond 10 Å the energy of a scan is k q_A q_B / r and dipoles of some 10 meV."""
    checked = 0
    for frames in scans_of(dimers).values():
        *others, end = frames
        first, second = parts_of(end, end.arrays["formal_charges"])
        for atoms in others:
            if end.info["distance"] == 15 and first * second and atoms.info["distance"] > 10:
                fallen = atoms.info["REF_energy"] - end.info["REF_energy"]
                coulomb = COULOMB * first * second * (1 / atoms.info["distance"] - 1 / 15)
                assert fallen == pytest.approx(coulomb, abs=0.05)
                checked += 1
    assert checked > 20


def test_what_the_package_reads_of_a_dimer():
    frame = read_frames(builtin_path("charged_dimers"), require=["energy", "forces", "charges"])[-1]
    assert frame.fragment.tolist() == [0] * 13 + [1] * 4
    assert frame.formal_charges.sum() == frame.total_charge
    assert set(frame.labels) >= {"energy", "forces", "dipole", "charges", "multipoles"}


# --- field_clusters ---------------------------------------------------------------------------


def test_fields_reach_half_a_volt_in_all_directions(clusters):
    fields = np.array([atoms.info["external_field"] for atoms in clusters])
    strengths = np.linalg.norm(fields, axis=1)
    assert 0.0 < strengths.min() < 0.02 and 0.48 < strengths.max() <= 0.5 + 1e-6
    directions = fields / strengths[:, None]
    # Of directions drawn at random the mean of each component has a spread of 1/sqrt(3 n) = 0.03.
    np.testing.assert_allclose(directions.mean(axis=0), 0.0, atol=0.12)


def test_clusters_of_one_to_six_waters_are_in_every_split(clusters):
    for split in ("train", "valid", "test"):
        found = {a.info["composition"] for a in clusters if a.info["split"] == split}
        wanted = {f"{ion}(H2O){n}" for ion in ("", "Na", "Cl") for n in range(1, 7)}
        assert found == wanted


@pytest.mark.parametrize("composition", ["(H2O)2", "Na(H2O)3", "Cl(H2O)3"])
def test_dipole_and_forces_are_slopes_of_the_energy_in_the_field(composition, clusters):
    chosen = [a for a in clusters if a.info["composition"] == composition]
    atoms = max(chosen, key=lambda a: np.linalg.norm(a.info["external_field"]))
    step = 2e-3  # V/Å, and Å

    def slope(moved):
        ahead, behind = (
            label_with_tblite(moved(sign * step)).info["REF_energy"] for sign in (1, -1)
        )
        return (ahead - behind) / (2 * step)

    for axis in range(3):

        def in_field(change, axis=axis):
            copy = atoms.copy()
            copy.info["external_field"] = atoms.info["external_field"] + change * np.eye(3)[axis]
            return copy

        def displaced(change, axis=axis):
            copy = atoms.copy()
            copy.positions[1, axis] += change
            return copy

        # Energies are rounded to 1e-8 eV; third derivatives of the energy add some 1e-4 eV/Å.
        assert -slope(in_field) == pytest.approx(atoms.info["REF_dipole"][axis], abs=5e-5)
        assert -slope(displaced) == pytest.approx(atoms.arrays["REF_forces"][1, axis], abs=1e-3)


def test_what_the_package_reads_of_a_cluster_in_a_field(clusters):
    frames = read_frames(builtin_path("field_clusters"), require=["energy", "forces", "dipole"])
    fields = np.array([frame.external_field for frame in frames])
    np.testing.assert_array_equal(fields, [atoms.info["external_field"] for atoms in clusters])
    assert {frame.total_charge for frame in frames} == {-1, 0, 1}
