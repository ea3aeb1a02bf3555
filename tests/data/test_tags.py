"""Structures on a curve keep its name and their place on it."""

import ase
import ase.io
import numpy as np
import pytest

from electrojax.data.extxyz import read_frames
from electrojax.data.tags import read_tags


def test_tags_are_read_from_a_file(tmp_path):
    atoms = ase.Atoms("NaCl", [[0, 0, 0], [0, 0, 8.0]])
    atoms.info = {"system": "Na+|Cl-", "distance": 8.0, "fragment_charges": [1.0, -1.0]}
    ase.io.write(tmp_path / "a.xyz", [atoms, ase.Atoms("Na")], format="extxyz")
    first, second = read_frames(tmp_path / "a.xyz")
    assert first.tags["system"] == "Na+|Cl-" and first.tags["distance"] == 8.0
    np.testing.assert_array_equal(first.tags["fragment_charges"], [1.0, -1.0])
    assert second.tags == {}


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
