"""Structures on a curve keep its name and their place on it."""

import ase
import ase.io
import numpy as np
import pytest

from electrojax.data.conversion import convert
from electrojax.data.extxyz import read_frames, write_frames
from electrojax.data.reader import read_frames as read
from electrojax.data.tags import read_tags


def test_tags_are_read_from_a_file(tmp_path):
    atoms = ase.Atoms("NaCl", [[0, 0, 0], [0, 0, 8.0]])
    atoms.info = {"system": "Na+|Cl-", "distance": 8.0, "fragment_charges": [1.0, -1.0]}
    ase.io.write(tmp_path / "a.xyz", [atoms, ase.Atoms("Na")], format="extxyz")
    first, second = read_frames(tmp_path / "a.xyz")
    assert first.tags["system"] == "Na+|Cl-" and first.tags["distance"] == 8.0
    np.testing.assert_array_equal(first.tags["fragment_charges"], [1.0, -1.0])
    assert second.tags == {}


@pytest.mark.parametrize("suffix", [".xyz", ".h5"])
def test_tags_survive_conversion(tmp_path, suffix):
    atoms = ase.Atoms("NaCl", [[0, 0, 0], [0, 0, 8.0]])
    atoms.info = {"system": 'Na+ "a"|Cl- b', "distance": 8.125, "fragment_charges": [1.0, -1.0]}
    write_frames(tmp_path / "a.xyz", [atoms, ase.Atoms("Na"), atoms])
    _, left = convert(tmp_path / "a.xyz", tmp_path / f"b{suffix}", {}, False)
    assert left == []
    first, second, third = read(tmp_path / f"b{suffix}")
    assert first.tags["system"] == third.tags["system"] == atoms.info["system"]
    assert first.tags["distance"] == 8.125 and second.tags == {}
    np.testing.assert_array_equal(third.tags["fragment_charges"], [1.0, -1.0])


@pytest.mark.parametrize(
    "info",
    [
        {"distance": 3.0},
        {"system": "A|B"},
        {"system": 7, "distance": 3.0},
        {"system": "A|B", "distance": "far"},
        {"system": "A|B", "distance": [1.0, 2.0]},
        {"system": "A|B", "distance": float("nan")},
    ],
)
def test_names_that_mean_something_else_are_left_alone(info):
    assert read_tags(info) == {}


def test_a_wrong_extra_tag_is_dropped():
    info = {"system": "A|B", "distance": 3, "fragment_charges": [1.0], "image_charge": 1}
    assert read_tags(info) == {"system": "A|B", "distance": 3.0, "image_charge": 1.0}
