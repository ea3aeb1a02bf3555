"""Parts, contacts and rigid scans of pairs; recipes that pull them apart, or set a field."""

import json
from collections import Counter

import ase.io
import numpy as np
import pytest
from ase.build import molecule
from ase.data import vdw_radii

from electrojax.data.making.dimers import (
    far_distances,
    near_distances,
    parse_pair,
    random_part,
    random_scan,
)
from electrojax.data.making.labelling import run_recipe
from electrojax.data.making.recipe import Molecule, load_recipe
from electrojax.errors import ConfigError, DataError

AMMONIUM = Molecule(
    "NH4", ("N 0 0 0", "H .6 .6 .6", "H -.6 -.6 .6", "H -.6 .6 -.6", "H .6 -.6 -.6")
)


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("NH4+|H2O", [("NH4", 1, 0), ("H2O", 0, 0)]),
        ("Na+(H2O)4|Cl-(H2O)1", [("Na", 1, 4), ("Cl", -1, 1)]),
        ("NO2-|Na", [("NO2", -1, 0), ("Na", 0, 0)]),
    ],
)
def test_a_pair_says_its_molecules_charges_and_waters(system, expected):
    assert parse_pair(system) == expected


@pytest.mark.parametrize("system", ["H2O", "H2O|", "H2O|Na|Cl", "+|Na", "(H2O)2|Na+", "Na++|H2O"])
def test_other_texts_are_no_pair(system):
    with pytest.raises(ConfigError, match="needs two parts such as"):
        parse_pair(system)


def test_parts_have_the_charge_of_their_name_and_the_lowest_multiplicity():
    rng = np.random.default_rng(0)
    hydrated = random_part("NH4+(H2O)2", [AMMONIUM], rng)
    assert str(hydrated.symbols) == "NH4OH2OH2"
    assert hydrated.info["total_charge"] == 1 and hydrated.info["multiplicity"] == 1
    assert random_part("Na", [], rng).info["multiplicity"] == 2
    assert random_part("NO2", [], rng).info["multiplicity"] == 2
    assert random_part("NO2-", [], rng).info["multiplicity"] == 1


@pytest.mark.parametrize("atoms", [None, (), ("N 0 0",), ("Xy 0 0 0",), ("N zero 0 0",)])
def test_a_molecule_without_a_geometry_is_one_line(atoms):
    molecules = [] if atoms is None else [Molecule("NH4", atoms)]
    with pytest.raises(ConfigError, match='molecule "NH4": has no geometry') as caught:
        random_part("NH4+", molecules, np.random.default_rng(0))
    assert "\n" not in str(caught.value)


def scan_of(first, second, seed=1):
    rng = np.random.default_rng(seed)
    parts = (random_part(name, [AMMONIUM], rng) for name in (first, second))
    return random_scan(*parts, 0.75, 7.0, rng)


@pytest.mark.parametrize("seed", range(5))
def test_parts_in_contact_touch_and_do_not_overlap(seed):
    scan = scan_of("CH3CN", "Na+(H2O)4", seed)
    size = len(scan.first)
    radii = vdw_radii[scan.at(0.0).numbers]
    wanted = 0.75 * (radii[:size, None] + radii[None, size:])

    def nearest(distance):
        return (scan.at(distance).get_all_distances()[:size, size:] / wanted).min()

    contact = scan.contact(0.75)
    assert nearest(contact) == pytest.approx(1.0, abs=1e-9)
    assert nearest(contact - 0.05) < 1
    assert min(nearest(contact + step) for step in np.arange(0.01, 10, 0.1)) > 1


def test_a_scan_moves_rigid_parts_along_one_line():
    scan = scan_of("NH4+", "NO2")
    near, far = scan.at(5.0), scan.at(15.0)
    for part in (slice(0, 5), slice(5, 8)):
        np.testing.assert_allclose(
            near[part].get_all_distances(), far[part].get_all_distances(), atol=1e-10
        )
    for pair, distance in ((near, 5.0), (far, 15.0)):
        centres = [pair[part].get_center_of_mass() for part in (slice(0, 5), slice(5, 8))]
        np.testing.assert_allclose(centres[1] - centres[0], distance * scan.axis, atol=1e-10)
    assert near.info == {
        "total_charge": 1,
        "multiplicity": 2,
        "system": "NH4+|NO2",
        "distance": 5.0,
    }
    assert near.arrays["fragment"].tolist() == [0] * 5 + [1] * 3
    assert near.arrays["formal_charges"].tolist() == [1.0] + [0.0] * 7


def test_parts_too_large_for_the_distances_are_refused():
    benzene = molecule("C6H6")
    benzene.info.update(total_charge=0, multiplicity=1, composition="C6H6")
    with pytest.raises(DataError, match="never in contact below 1 Å"):
        random_scan(benzene, benzene, 0.75, 1.0, np.random.default_rng(0))


def test_distances_lie_one_in_each_stratum():
    rng = np.random.default_rng(3)
    near = np.array([near_distances(3.0, 7.0, 4, rng) for _ in range(50)])
    bounds = 3.0 + 4.0 * np.array([0, 1, 4, 9, 16]) / 16
    assert np.all(near >= bounds[:-1] - 1e-4) and np.all(near <= bounds[1:] + 1e-4)
    far = np.array([far_distances(7.0, 15.0, 3, rng) for _ in range(50)])
    assert np.all(far[:, 2] == 15.0)
    assert np.all((far[:, 0] > 7) & (far[:, 0] < 11) & (far[:, 1] > 11) & (far[:, 1] < 15))
    assert far_distances(7.0, 15.0, 0, rng) == [] and far_distances(7.0, 15.0, 1, rng) == [15.0]


# --- recipes ----------------------------------------------------------------------------------

COMMON = """
method: GFN1-xTB
seed: 5
labels: {accuracy: 0.01}
limits: {max_force: 15, fragment_gap: 4.0, fragment_charge: 0.05, attempts: 3}
dynamics: {timestep: 1.0, hydrogen_mass: 4, friction: 0.02, equilibration: 10, interval: 5,
           accuracy: 1.0}
temperatures: [150, 300]
"""

DIMERS = """
molecules: [{name: NH4, atoms: [N 0 0 0, H .6 .6 .6, H -.6 -.6 .6, H -.6 .6 -.6, H .6 -.6 -.6]}]
dimers:
  boundary: 7
  farthest: 15
  contact: 0.75
  scans: {train: 2, valid: 1, test: 1}
  distances: {train: 3, valid: 2, test: 2}
  systems: [NH4+|H2O, Na+|Cl-]
"""


def made(folder, text, name):
    recipe = folder / "recipe.yaml"
    recipe.write_text(COMMON + text)
    return run_recipe(recipe, folder / name)


def test_a_recipe_of_dimers_repeats_and_lists_what_it_leaves_out(tmp_path):
    first = made(tmp_path, DIMERS, "first.xyz.gz")
    second = made(tmp_path, DIMERS, "second.xyz.gz")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.kept == {"NH4+|H2O": 10}
    assert first.splits == {"train": 6, "valid": 2, "test": 2}
    assert list(first.atom_energies) == ["H", "N", "O"]
    written = json.loads(first.metadata_path.read_text())
    assert written["left_out"] == [{"system": "Na+|Cl-", "reason": "not_converged"}]
    assert written["atom_multiplicities"] == {"H": 2, "N": 4, "O": 3}
    frames = ase.io.read(first.path, index=":")
    scans = Counter((frame.info["scan"], frame.info["split"]) for frame in frames)
    assert scans == {
        ("train0", "train"): 3,
        ("train0", "test"): 2,
        ("train1", "train"): 3,
        ("valid0", "valid"): 2,
    }
    assert frames[4].info["distance"] == 15.0
    # The order of systems does not matter: each has randomness of its own.
    other = made(tmp_path, DIMERS.replace("NH4+|H2O, Na+|Cl-", "Na+|H2O, NH4+|H2O"), "other.xyz")
    again = ase.io.read(other.path, index="10:")
    np.testing.assert_array_equal(again[0].positions, frames[0].positions)


def test_frames_that_fail_on_the_way_are_listed_by_scan_and_distance(tmp_path):
    # In contact a chloride gives more than 0.001 e to water; 15 Å away it does not.
    text = DIMERS.replace("NH4+|H2O, Na+|Cl-", "Cl-|H2O") + "\n"
    text = (COMMON + text).replace("fragment_charge: 0.05", "fragment_charge: 0.0005")
    (tmp_path / "strict.yaml").write_text(text.replace("fragment_gap: 4.0", "fragment_gap: 1.5"))
    result = run_recipe(tmp_path / "strict.yaml", tmp_path / "strict.xyz")
    left_out = json.loads(result.metadata_path.read_text())["left_out"]
    assert len(left_out) == result.dropped["fragment_charge"] > 0
    assert len(left_out) + result.kept["Cl-|H2O"] == 10
    for entry in left_out:
        assert entry["system"] == "Cl-|H2O" and entry["reason"] == "fragment_charge"
        assert entry["distance"] < 7 and entry["split"] in entry["scan"]


def test_a_recipe_that_keeps_nothing_is_an_error(tmp_path):
    with pytest.raises(DataError, match="kept no frames; left out: .*Na"):
        made(tmp_path, DIMERS.replace("NH4+|H2O, Na+|Cl-", "Na+|Cl-"), "none.xyz")
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("farthest: 15", "farthest: 7", "needs boundary < farthest"),
        ("test: 1}", "test: 3}", "needs no more test than train scans"),
        ("boundary: 7", "border: 7", 'unknown key "border"'),
    ],
)
def test_a_mistake_in_a_recipe_of_dimers_is_named(tmp_path, old, new, message):
    path = tmp_path / "recipe.yaml"
    assert old in DIMERS
    path.write_text(COMMON + DIMERS.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        load_recipe(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("NH4+|H2O", "NH5+|H2O", 'molecule "NH5": has no geometry'),
        ("NH4+|H2O", "NH4+/H2O", "needs two parts"),
        ("NH4+|H2O", "LiF|H2O", "isolated atoms of F, Li"),
    ],
)
def test_a_system_nobody_knows_is_refused_before_the_work(tmp_path, old, new, message):
    with pytest.raises(ConfigError, match=message):
        made(tmp_path, DIMERS.replace(old, new), "out.xyz")


FIELD = """
field: [0.2, 0.4]
evaluation: [test]
clusters: {frames: {train: 2, evaluation: 1}, compositions: [(H2O)1, Cl(H2O)1]}
"""


def test_a_recipe_with_a_field_repeats_and_labels_in_the_field(tmp_path):
    first = made(tmp_path, FIELD, "first.xyz")
    assert first.path.read_bytes() == made(tmp_path, FIELD, "second.xyz").path.read_bytes()
    assert first.splits == {"train": 8, "test": 4}
    frames = ase.io.read(first.path, index=":")
    fields = np.array([frame.info["external_field"] for frame in frames])
    strengths = np.linalg.norm(fields, axis=1)
    assert np.all((strengths > 0.2 - 1e-5) & (strengths < 0.4 + 1e-5))
    assert len({field.tobytes() for field in fields}) == 12
    for frame, field in zip(frames, fields):
        net = frame.arrays["REF_forces"].sum(axis=0)
        np.testing.assert_allclose(net, frame.info["total_charge"] * field, atol=1e-6)
