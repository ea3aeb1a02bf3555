"""Structures of programs: what no model can evaluate is refused with its name and atom."""

import dataclasses

import ase
import numpy as np
import pytest

from electrojax.errors import DataError, listed, shown
from electrojax.system.atoms import frame_from_atoms
from electrojax.system.validation import check_frame
from electrojax.testing import cluster, crystal


def water(**info):
    atoms = ase.Atoms("OHH", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    atoms.info.update(info)
    return atoms


def refused(atoms):
    with pytest.raises(DataError) as caught:
        frame_from_atoms(atoms, "frame 7")
    message = str(caught.value)
    assert message.startswith("frame 7: ") and "\n" not in message and len(message) < 300
    return message


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"total_charge": "abc"}, "total_charge is 'abc'; needed a number"),
        ({"total_charge": None}, "total_charge is None; needed a number"),
        ({"total_charge": [1, 2]}, "needed a number"),
        ({"total_charge": True}, "needed a number"),
        ({"total_charge": 1e308}, "total_charge is 1e+308; needed a number of at most 1e+15"),
        ({"total_charge": "x" * 9000}, "xxx..."),
        ({"multiplicity": 0}, "multiplicity is 0; needed 2S + 1, which is at least 1"),
        ({"multiplicity": np.inf}, "multiplicity is inf; needed a finite number"),
        ({"external_field": 0.1}, "external_field needs 3 components"),
        ({"external_field": "x"}, "external_field needs 3 components"),
        ({"external_field": [0, 0, 1e300]}, "external_field is 1e+300"),
        ({"fermi_level": "low"}, "fermi_level is 'low'"),
        ({"fermi_level": np.nan}, "fermi_level is nan"),
        ({"charge_control": 5}, "charge_control is 5"),
        ({"charge_control": np.zeros(3)}, "charge_control is array"),
        ({"Total_Charge": 1}, '"Total_Charge" is not read'),
        ({"MULTIPLICITY": 3}, '"multiplicity" is not there'),
    ],
)
def test_inputs(info, words):
    assert words in refused(water(**info))


def test_inputs_as_numpy_and_defaults():
    frame = frame_from_atoms(water(total_charge=np.array([1]), multiplicity=np.int64(2)))
    assert (frame.total_charge, frame.multiplicity, frame.fermi_level) == (1.0, 2.0, None)
    assert frame_from_atoms(water(fermi_level=None)).fermi_level is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"numbers": [8, 500, 1]}, "atom 1 has the atomic number 500, which is no element"),
        ({"numbers": [8, 1, -1]}, "atom 2 has the atomic number -1"),
        ({"numbers": [0, 1, 1]}, "atom 0 has the atomic number 0"),
        ({"positions": np.full((3, 3), np.nan)}, "the position of atom 0 is nan"),
        ({"positions": np.eye(3) * 1e300}, "the position of atom 0 is 1e+300"),
        ({"cell": np.full((3, 3), np.nan), "pbc": True}, "the cell is nan"),
        ({"cell": np.full((3, 3), np.nan)}, "the cell is nan"),
        ({"pbc": True}, "span no volume"),
        ({"cell": np.eye(3) * 5, "pbc": (True, False, False)}, "repeats along one axis"),
    ],
)
def test_atoms_and_cells(change, words):
    atoms = water()
    atoms.cell = change.get("cell", atoms.cell)
    atoms.pbc = change.get("pbc", False)
    atoms.positions = change.get("positions", atoms.positions)
    atoms.numbers = np.array(change.get("numbers", atoms.numbers))
    assert words in refused(atoms)


@pytest.mark.parametrize("name", ["formal_charges", "fragment"])
def test_arrays(name):
    atoms = water()
    atoms.arrays[name] = np.array([0.0, np.inf, 0.0])
    assert f"{name} of atom 1 is inf" in refused(atoms)
    atoms.arrays[name] = np.array(["a", "b", "c"])
    assert f"{name} has shape (3,)" in refused(atoms)
    atoms.arrays[name] = np.zeros((3, 2))
    assert f"{name} has shape (3, 2)" in refused(atoms)
    del atoms.arrays[name]
    atoms.arrays[name.title()] = np.zeros(3)
    assert f'"{name}" is not there' in refused(atoms)


def test_what_is_no_structure():
    assert "is a NoneType; needed ase.Atoms" in refused(None)
    assert "has no atoms" in refused(ase.Atoms())


def test_frames_are_accepted_as_they_are(rng):
    check_frame(cluster(rng))
    check_frame(crystal(rng))
    with pytest.raises(DataError, match="has the atomic number 8.0"):
        check_frame(dataclasses.replace(cluster(rng, n=1), numbers=np.array([8.0])))


def test_foreign_texts_are_short_and_visible():
    assert shown("a\x1b[31mb\u202e") == r"a\x1b[31mb\u202e"
    assert len(shown("n" * 100_000)) == 43
    assert listed(f"key{i}" for i in range(50_000)).endswith("key19 and 49980 more")
    assert listed([]) == "none" and listed(["a", "b"]) == "a, b"
