"""Labels: signs and units against independent identities, what is dropped, the shipped set."""

import gzip
import hashlib
import json
import os
import sys
import types
from collections import Counter
from importlib.resources import files

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes

from electrojax.data.making.calculators import (
    atom_energies,
    label_with_calculator,
    label_with_tblite,
)
from electrojax.data.making.labelling import label_file, run_recipe
from electrojax.data.making.production import rejection
from electrojax.data.making.recipe import Limits
from electrojax.data.reader import read_frames
from electrojax.errors import ConfigError, ConvergenceError, DataError

LIMITS = Limits(max_force=15, fragment_gap=4.0, fragment_charge=0.03, attempts=8)
BUILTIN = files("electrojax.data") / "builtin"
IONS = {11: 1, 17: -1}


@pytest.fixture(scope="module")
def shipped():
    return ase.io.read(str(BUILTIN / "ion_water.xyz.gz"), index=":")


@pytest.fixture(scope="module")
def metadata():
    return json.loads((BUILTIN / "ion_water.json").read_text())


def cluster(**info):
    """Na+ and two waters, of no symmetry, away from the origin."""
    waters = [molecule("H2O"), molecule("H2O")]
    waters[0].positions += [2.2, 1.3, 0.4]
    waters[1].positions = waters[1].positions[:, [1, 2, 0]] + [0.2, -2.1, 1.9]
    return Atoms("Na", positions=[[0.1, 0.2, 0.7]], info=info) + waters[0] + waters[1]


# --- GFN1-xTB ---------------------------------------------------------------------------------


def test_forces_are_the_gradient_of_the_energy():
    atoms = cluster(total_charge=1)
    forces = label_with_tblite(atoms).arrays["REF_forces"]
    steps = 2.0e-3 * np.array([1, -1, 2, -2])
    for atom, axis in [(0, 2), (1, 0), (2, 1), (4, 2), (6, 0)]:
        energies = []
        for step in steps:
            moved = atoms.copy()
            moved.positions[atom, axis] += step
            energies.append(label_with_tblite(moved).info["REF_energy"])
        slope = (8 * (energies[0] - energies[1]) - (energies[2] - energies[3])) / (6 * 2 * steps[0])
        # Energies are rounded to 1e-8 eV, which the formula turns into 4e-6 eV/Å.
        assert -slope == pytest.approx(forces[atom, axis], abs=1e-5)


def test_charges_and_atomic_dipoles_make_up_the_molecular_dipole():
    labelled = label_with_tblite(cluster(total_charge=1))
    np.testing.assert_allclose(dipole_of(labelled), labelled.info["REF_dipole"], atol=1e-6)
    assert labelled.arrays["REF_charges"].sum() == pytest.approx(1.0, abs=1e-6)


def dipole_of(atoms):
    multipoles = atoms.arrays["REF_multipoles"]
    assert multipoles.shape == (len(atoms), 4)
    cartesian = multipoles[:, [3, 1, 2]]  # stored [q, y, z, x]
    return (multipoles[:, :1] * atoms.positions + cartesian).sum(axis=0)


def test_the_dipole_is_minus_the_slope_of_the_energy_in_a_field():
    from ase.units import Bohr, Hartree
    from tblite.interface import Calculator as TightBinding

    atoms = molecule("H2O")
    atoms.rotate(40, "x", rotate_cell=False)
    step = 1e-3  # V/Å
    slopes = []
    for axis in range(3):
        energies = []
        for sign in (1, -1):
            calculator = TightBinding("GFN1-xTB", atoms.numbers, atoms.positions / Bohr)
            calculator.set("verbosity", 0)
            calculator.set("accuracy", 0.01)
            field = [sign * step * Bohr / Hartree if i == axis else 0.0 for i in range(3)]
            calculator.add("electric-field", field)
            energies.append(calculator.singlepoint().get("energy") * Hartree)
        slopes.append(-(energies[0] - energies[1]) / (2 * step))
    np.testing.assert_allclose(label_with_tblite(atoms).info["REF_dipole"], slopes, atol=2e-5)


def test_the_fermi_level_is_minus_the_slope_of_the_energy_with_charge():
    # Removing and adding a whole electron: the middle of IP and EA, which the middle of the
    # orbitals meets to second order in the charge: within 1 eV, where the gap is 13 eV.
    hydroxide = molecule("OH")
    hydroxide.info["total_charge"] = -1
    for atoms in (molecule("H2O"), molecule("NaCl"), hydroxide):
        charge = atoms.info.get("total_charge", 0)
        energies = []
        for step in (1, -1):
            ion = atoms.copy()
            ion.info.update(total_charge=charge + step, multiplicity=2)
            energies.append(label_with_tblite(ion).info["REF_energy"])
        level = label_with_tblite(atoms).info["REF_fermi_level"]
        assert level == pytest.approx(-(energies[0] - energies[1]) / 2, abs=1.0)


def test_isolated_atoms(metadata):
    energies = atom_energies(["H", "O", "Na", "Cl"])
    # The 1s level of H in the GFN1-xTB parameters (Grimme et al., JCTC 13, 1989 (2017)), eV.
    assert energies["H"] == pytest.approx(-10.923452, abs=1e-6)
    assert energies == pytest.approx(metadata["atom_energies"], abs=1e-6)
    assert metadata["atom_multiplicities"] == {"H": 2, "O": 3, "Na": 2, "Cl": 2}


def test_bare_ions_have_a_fermi_level():
    for ion, charge in (("Na", 1), ("Cl", -1)):
        labelled = label_with_tblite(Atoms(ion, info={"total_charge": charge}))
        assert np.isfinite(labelled.info["REF_fermi_level"])


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"total_charge": 1, "multiplicity": 2}, "do not go with"),
        ({"total_charge": 0.5}, "total_charge 0.5"),
        ({"total_charge": 1, "multiplicity": 0}, "multiplicity 0"),
    ],
)
def test_charge_and_multiplicity_must_go_together(info, message):
    with pytest.raises(DataError, match=message):
        label_with_tblite(cluster(**info))


def test_a_periodic_frame_is_refused_by_the_tblite_labels():
    atoms = cluster(total_charge=1)
    atoms.cell, atoms.pbc = np.eye(3) * 12, True
    with pytest.raises(DataError, match=r"frame 0: .*labels open structures"):
        label_with_calculator([atoms])


def test_without_tblite_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tblite.interface", None)
    with pytest.raises(ConfigError, match=r"pip install electrojax\[label\]"):
        label_with_tblite(molecule("H2O"))


def test_an_unknown_method_or_option_is_refused():
    with pytest.raises(ConfigError, match="use GFN1-xTB"):
        label_with_calculator([molecule("H2O")], "tblite", {"method": "PM6"})
    with pytest.raises(ConfigError, match='unknown option "charge"'):
        label_with_calculator([molecule("H2O")], "tblite", {"charge": 1})


def test_separated_bare_sodium_does_not_converge_and_is_counted():
    # The reason why separated sodium carries four waters.
    far = Atoms("NaCl", positions=[[10, 0, 0], [0, 0, 0]])
    with pytest.raises(ConvergenceError, match="not converged"):
        label_with_tblite(far)
    kept, dropped = label_with_calculator([far, molecule("H2O")])
    assert (len(kept), dropped) == (1, {"not_converged": 1})


# --- any ASE calculator -----------------------------------------------------------------------


class Moody(Calculator):
    """Fails, or returns NaN, when the frame says so."""

    implemented_properties = ["energy", "forces", "dipole"]  # noqa: RUF012 - ASE's own form

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        mood = atoms.info.get("mood")
        if mood == "fails":
            raise CalculationFailed("SCF not converged")
        if mood == "breaks":
            raise KeyError("no basis")
        self.results = {
            "energy": np.nan if mood == "undefined" else 1.5,
            "forces": np.full((len(atoms), 3), 0.25),
            "dipole": np.array([0.0, 1.0, 2.0]),
        }


@pytest.fixture
def moody(monkeypatch):
    module = types.ModuleType("moody_calculators")
    module.Moody = Moody
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return "moody_calculators.Moody"


def frames_of(*moods):
    return [Atoms("H", positions=[[i, 0, 0]], info={"mood": m}) for i, m in enumerate(moods)]


def test_frames_that_do_not_converge_are_dropped_and_counted(moody, tmp_path):
    source, output = tmp_path / "in.xyz", tmp_path / "out.xyz.gz"
    ase.io.write(source, frames_of("fine", "fails", "undefined", "fine", "fails"))
    result = label_file(source, output, moody)
    assert (result.kept, result.dropped) == (2, {"not_converged": 2, "not_finite": 1})
    kept = ase.io.read(output, index=":")
    assert [atoms.positions[0, 0] for atoms in kept] == [0.0, 3.0]
    assert kept[0].info["REF_energy"] == 1.5
    np.testing.assert_array_equal(kept[0].arrays["REF_forces"], [[0.25, 0.25, 0.25]])
    np.testing.assert_array_equal(kept[0].info["REF_dipole"], [0.0, 1.0, 2.0])


def test_labels_are_the_same_in_hdf5_and_in_extxyz(moody, tmp_path):
    frames = frames_of("fine", "fails", "fine")
    frames[2].info["total_charge"] = -1
    ase.io.write(tmp_path / "in.xyz", frames)
    for name in ("out.xyz", "out.h5"):
        done = label_file(tmp_path / "in.xyz", tmp_path / name, moody, {"charge": -1})
        assert done.kept == 2
    text, packed = (read_frames(tmp_path / name) for name in ("out.xyz", "out.h5"))
    assert set(text[0].labels) >= {"energy", "forces", "dipole"}
    assert [f.total_charge for f in packed] == [-1.0, -1.0]
    for one, other in zip(text, packed, strict=True):
        assert set(one.labels) == set(other.labels)
        for label, value in one.labels.items():
            np.testing.assert_array_equal(other.labels[label], value)
        np.testing.assert_array_equal(other.positions, one.positions)


def test_a_calculator_that_breaks_is_an_error_with_the_frame(moody):
    with pytest.raises(DataError, match=r"frame 1 \(H\): .*Moody failed with KeyError"):
        label_with_calculator(frames_of("fine", "breaks"), moody)


def test_a_periodic_lennard_jones_pair_meets_the_closed_form():
    # One pair at distance r in a wide cell: U = 4 (r^-12 - r^-6), virial stress r U'(r) / V.
    distance, side = 1.3, 30.0
    pair = Atoms("Ar2", positions=[[0, 0, 0], [distance, 0, 0]], cell=[side] * 3, pbc=True)
    options = {"sigma": 1.0, "epsilon": 1.0, "rc": 12.0}
    (labelled,), dropped = label_with_calculator([pair], "ase.calculators.lj.LennardJones", options)
    slope = -4 * (12 * distance**-13 - 6 * distance**-7)
    shift = 4 * (12.0**-12 - 12.0**-6)
    assert dropped == {}
    assert labelled.info["REF_energy"] == pytest.approx(
        4 * (distance**-12 - distance**-6) - shift, abs=1e-8
    )
    assert labelled.arrays["REF_forces"][1] == pytest.approx([-slope, 0, 0], abs=1e-8)
    expected = np.diag([distance * slope / side**3, 0, 0])
    np.testing.assert_allclose(labelled.info["REF_stress"], expected, atol=1e-8)


@pytest.mark.parametrize("path", ["nowhere.Calculator", "ase.calculators.lj.Nobody", "lj", ""])
def test_a_calculator_that_cannot_be_imported_is_one_line(path):
    with pytest.raises(ConfigError, match="give tblite, or the dotted path") as caught:
        label_with_calculator([molecule("H2O")], path)
    assert "\n" not in str(caught.value)


def test_a_class_that_gives_no_forces_is_refused():
    with pytest.raises(ConfigError, match="gives no energy and no forces"):
        label_with_calculator([molecule("H2O")], "ase.atoms.Atoms")


# --- files ------------------------------------------------------------------------------------


def test_bad_files_are_one_line_errors(tmp_path, moody):
    source = tmp_path / "in.xyz"
    with pytest.raises(DataError, match=r"in\.xyz: cannot be read"):
        label_file(source, tmp_path / "out.xyz", moody)
    source.write_text("this is not a structure\n")
    with pytest.raises(DataError, match="is this an extxyz file"):
        label_file(source, tmp_path / "out.xyz", moody)
    with pytest.raises(DataError, match="does not exist; create it first"):
        label_file(source, tmp_path / "absent" / "out.xyz", moody)
    ase.io.write(source, frames_of("fails"))
    with pytest.raises(DataError, match="labelled none of the frames"):
        label_file(source, tmp_path / "out.xyz", moody)
    assert [path.name for path in tmp_path.iterdir()] == ["in.xyz"]


def test_periodicity_of_a_file_is_read_as_for_training(tmp_path, moody):
    """ASE reads "f f f" as T T T."""
    lattice = 'Lattice="9 0 0 0 9 0 0 0 9"'
    (tmp_path / "in.xyz").write_text(f'1\n{lattice} pbc="f f f" mood=fine name=a_b\nH 0 0 0\n')
    label_file(tmp_path / "in.xyz", tmp_path / "out.xyz", moody)
    atoms = ase.io.read(tmp_path / "out.xyz")
    assert not np.any(atoms.pbc) and atoms.info["name"] == "a_b"
    (tmp_path / "in.xyz").write_text(f'1\n{lattice} pbc="no"\nH 0 0 0\n')
    with pytest.raises(DataError, match=r'in\.xyz frame 0 \(line 1\): pbc is "no"'):
        label_file(tmp_path / "in.xyz", tmp_path / "again.xyz", moody)
    (tmp_path / "in.xyz").write_text('1\nvirial="1 2"\nH 0 0 0\n')
    with pytest.raises(DataError, match=r"in\.xyz frame 0: not readable as extxyz by ASE"):
        label_file(tmp_path / "in.xyz", tmp_path / "again.xyz", moody)


def test_output_is_written_whole_or_not_at_all(tmp_path, moody, monkeypatch):
    source, output = tmp_path / "in.xyz", tmp_path / "out.xyz"
    ase.io.write(source, frames_of("fine"))
    output.write_text("before")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="cannot be written: No space left"):
        label_file(source, output, moody, force=True)
    assert output.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.xyz", "out.xyz"]


# --- recipes ----------------------------------------------------------------------------------

RECIPE = """
method: GFN1-xTB
seed: 3
labels: {{accuracy: 0.01}}
limits: {{max_force: 15, fragment_gap: 4.0, fragment_charge: {fragment_charge}, attempts: 3}}
dynamics: {{timestep: 1.5, hydrogen_mass: 4, friction: 0.02, equilibration: 20, interval: 10,
            accuracy: 1.0}}
temperatures: [150]
clusters: {{frames: {{train: 2, evaluation: 1}}, compositions: [(H2O)2, Na(H2O)2]}}
separated:
  - {{parts: [Cl, (H2O)2], distance: [6, 9], frames: {{train: 1, evaluation: 2}}}}
"""


def test_a_recipe_makes_the_same_file_twice(tmp_path):
    recipe = tmp_path / "small.yaml"
    recipe.write_text(RECIPE.format(fragment_charge=0.03))
    lines = []
    first = run_recipe(recipe, tmp_path / "first.xyz.gz", report=lines.append)
    second = run_recipe(recipe, tmp_path / "second.xyz.gz")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.kept == {"(H2O)2": 3, "Na(H2O)2": 3, "Cl|(H2O)2": 3}
    assert first.splits == {"train": 5, "valid": 2, "test": 2}
    written = json.loads(first.metadata_path.read_text())
    assert first.metadata_path.name == "first.json"
    assert written["counts"] == first.kept
    assert written["dropped"]["not_converged"] == written["dropped"]["fragment_charge"] == 0
    assert written["atom_energies"] == first.atom_energies
    assert any("isolated atoms" in line for line in lines)
    frames = ase.io.read(first.path, index=":")
    assert [rejection(frame, LIMITS) for frame in frames] == [""] * 9


def test_a_recipe_that_loses_its_frames_says_why_and_writes_nothing(tmp_path):
    recipe = tmp_path / "strict.yaml"
    recipe.write_text(RECIPE.format(fragment_charge=0.0))
    with pytest.raises(DataError, match=r"3 frames in a row were dropped.*fragment_charge"):
        run_recipe(recipe, tmp_path / "out.xyz")
    assert [path.name for path in tmp_path.iterdir()] == ["strict.yaml"]


def test_frames_are_rejected_for_the_reason_that_holds():
    apart = Atoms("NaCl", positions=[[0, 0, 0], [0, 0, 8]], info={"REF_energy": 0.0})
    apart.set_array("REF_forces", np.zeros((2, 3)))
    apart.set_array("REF_charges", np.array([0.96, -0.96]))
    assert rejection(apart, LIMITS) == "fragment_charge"
    apart.positions[1, 2] = 2.5  # in contact: one fragment, and 0.04 e is real charge transfer
    assert rejection(apart, LIMITS) == ""
    apart.arrays["REF_forces"][0, 0] = 20.0
    assert rejection(apart, LIMITS) == "large_force"
    apart.info["REF_energy"] = np.nan
    assert rejection(apart, LIMITS) == "not_finite"


# --- the data set that ships ------------------------------------------------------------------


def test_the_shipped_file_is_small_and_is_the_one_described(metadata):
    content = (BUILTIN / "ion_water.xyz.gz").read_bytes()
    assert len(content) < 1_000_000
    assert hashlib.sha256(content).hexdigest() == metadata["sha256"]
    assert b"pickle" not in gzip.decompress(content)


def test_shipped_frames_have_every_label(shipped, metadata):
    assert len(shipped) == metadata["frames"] == 400
    for atoms in shipped:
        shapes = {key: array.shape for key, array in atoms.arrays.items() if "REF" in key}
        count = len(atoms)
        assert shapes == {
            "REF_forces": (count, 3),
            "REF_charges": (count,),
            "REF_multipoles": (count, 4),
        }
        assert np.shape(atoms.info["REF_dipole"]) == (3,)
        assert isinstance(atoms.info["REF_energy"], float)
        assert -20 < atoms.info["REF_fermi_level"] < 0
        assert atoms.info["multiplicity"] == 1
        assert not atoms.pbc.any()
        assert 6 <= count <= 20
        assert rejection(atoms, LIMITS) == ""


def test_shipped_charges_and_dipoles_agree_with_each_other(shipped):
    for atoms in shipped:
        charges = atoms.arrays["REF_charges"]
        expected = sum(IONS.get(number, 0) for number in atoms.numbers)
        assert atoms.info["total_charge"] == expected
        assert charges.sum() == pytest.approx(expected, abs=1e-6)
        np.testing.assert_array_equal(atoms.arrays["REF_multipoles"][:, 0], charges)
        np.testing.assert_allclose(dipole_of(atoms), atoms.info["REF_dipole"], atol=1e-6)


def test_shipped_forces_have_no_net_force_or_torque(shipped):
    for atoms in shipped:
        forces = atoms.arrays["REF_forces"]
        np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=1e-6)
        np.testing.assert_allclose(np.cross(atoms.positions, forces).sum(axis=0), 0.0, atol=1e-5)


def test_shipped_molecules_are_whole_and_reach_twelve_angstrom(shipped):
    distances = []
    for atoms in shipped:
        oxygen, hydrogen = atoms.numbers == 8, atoms.numbers == 1
        bonds = atoms.get_all_distances()[np.ix_(oxygen, hydrogen)] < 1.4
        assert (bonds.sum(axis=1) == 2).all() and (bonds.sum(axis=0) == 1).all()
        if atoms.info["origin"] == "separated":
            distances.append(atoms.info["distance"])
            assert 11 not in atoms.numbers or atoms.info["composition"].startswith(
                ("Na(H2O)4|", "Na(H2O)5|")
            )
    assert len(distances) == 100
    assert min(distances) < 6.5 and 11.5 < max(distances) <= 12.0


def test_shipped_splits_cover_every_composition_and_do_not_repeat(shipped):
    splits = Counter(atoms.info["split"] for atoms in shipped)
    assert splits == {"train": 320, "valid": 40, "test": 40}
    for split in ("train", "valid", "test"):
        chosen = [atoms for atoms in shipped if atoms.info["split"] == split]
        assert {atoms.info["total_charge"] for atoms in chosen} == {-1, 0, 1}
        assert {atoms.info["temperature"] for atoms in chosen} == {150, 300, 400}
        assert len({atoms.info["composition"] for atoms in chosen}) == 30
    assert len({atoms.positions.tobytes() for atoms in shipped}) == 400


@pytest.mark.parametrize("index", [0, 123, 250, 399])
def test_shipped_labels_are_those_of_the_labeller(shipped, index):
    atoms = shipped[index]
    again = label_with_tblite(atoms)
    for key in ("REF_energy", "REF_dipole", "REF_fermi_level"):
        np.testing.assert_allclose(again.info[key], atoms.info[key], atol=2e-5)
    for key in ("REF_forces", "REF_multipoles"):
        np.testing.assert_allclose(again.arrays[key], atoms.arrays[key], atol=2e-5)


def test_an_option_that_an_ase_calculator_would_not_read_is_refused():
    pair = Atoms("Ar2", [[0, 0, 0], [0, 0, 4.0]])
    path = "ase.calculators.lj.LennardJones"
    with pytest.raises(ConfigError, match=r'unknown option "sigmaa"; did you mean "sigma"\?'):
        label_with_calculator([pair], path, {"sigmaa": 3.4})
    with pytest.raises(ConfigError, match=r'unknown option "depth"; known: .*epsilon'):
        label_with_calculator([pair], path, {"depth": 0.01})
