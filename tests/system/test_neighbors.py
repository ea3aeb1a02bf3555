"""Neighbour lists against a brute-force sum over images."""

import itertools

import numpy as np
import pytest

from electrojax.errors import DataError
from electrojax.system.neighbors import complete_cell, neighbor_list

CELLS = {
    "cubic": np.eye(3) * 7.0,
    "small": np.eye(3) * 2.1,
    "triclinic": np.array([[4.0, 0.0, 0.0], [2.9, 3.1, 0.0], [-1.7, 1.2, 3.6]]),
    "left-handed": np.array([[0.0, 5.0, 0.3], [4.0, 0.2, 0.0], [0.0, 0.1, 6.0]]),
}
FLAGS = [(False,) * 3, (True,) * 3, (True, True, False), (False, True, True)]


def brute_force(positions, cell, pbc, cutoff, images=5):
    ranges = [range(-images, images + 1) if p else (0,) for p in pbc]
    found = set()
    for shift in itertools.product(*ranges):
        offset = np.array(shift) @ cell
        for j, i in itertools.product(range(len(positions)), repeat=2):
            if (i == j and not any(shift)) or np.linalg.norm(
                positions[i] - positions[j] + offset
            ) > cutoff:
                continue
            found.add((j, i, *shift))
    return found


@pytest.mark.parametrize("pbc", FLAGS, ids=lambda f: "".join("FT"[p] for p in f))
@pytest.mark.parametrize("name", CELLS)
def test_every_edge_and_no_other(rng, name, pbc):
    cell = CELLS[name].copy()
    positions = rng.uniform(-1.5, 1.5, size=(4, 3)) @ cell  # also outside of the cell
    cell[[i for i in range(3) if not pbc[i]]] = 0.0
    senders, receivers, shifts = neighbor_list(positions, cell, pbc, 3.3)
    listed = [(int(s), int(r), *map(int, x)) for s, r, x in zip(senders, receivers, shifts)]
    assert len(listed) == len(set(listed))
    assert set(listed) == brute_force(positions, cell, pbc, 3.3)
    assert np.all(np.diff(receivers) >= 0)


def test_a_single_atom_sees_only_its_images():
    alone = neighbor_list(np.zeros((1, 3)), np.zeros((3, 3)), (False,) * 3, 5.0)
    assert len(alone[0]) == 0
    senders, _, shifts = neighbor_list(np.zeros((1, 3)), np.eye(3) * 4.0, (True,) * 3, 5.0)
    assert len(senders) == 6 and np.abs(shifts).sum() == 6


@pytest.mark.parametrize(
    ("cell", "pbc", "word"),
    [
        (np.zeros((3, 3)), (True, True, True), "span no volume"),
        (np.array([[1.0, 0, 0], [2.0, 0, 0], [0, 0, 1.0]]), (True, True, False), "span no volume"),
        (np.full((3, 3), np.nan), (True, True, True), "not finite"),
    ],
)
def test_bad_cells(cell, pbc, word):
    with pytest.raises(DataError, match=word):
        neighbor_list(np.zeros((1, 3)), cell, pbc, 3.0, "x.xyz frame 4")


def test_positions_must_be_finite():
    with pytest.raises(DataError, match="frame 4.*atom 1"):
        neighbor_list(np.array([[0, 0, 0], [np.inf, 0, 0]]), np.eye(3), (False,) * 3, 3, "frame 4")


def test_completed_cells_are_orthonormal_to_the_periodic_axes(rng):
    cell = rng.normal(size=(3, 3))
    full = complete_cell(cell, (True, False, True))
    np.testing.assert_array_equal(full[[0, 2]], cell[[0, 2]])
    np.testing.assert_allclose(full[[0, 2]] @ full[1], 0.0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(full[1]), 1.0)
