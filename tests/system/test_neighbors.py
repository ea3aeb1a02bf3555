"""Neighbour lists against a brute-force sum over images."""

import itertools

import numpy as np
import pytest

from electrojax.errors import DataError
from electrojax.system import neighbors
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


WATER = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
OPEN, SLAB, PERIODIC = (False,) * 3, (True, True, False), (True,) * 3


def pairs(positions, cell, pbc, cutoff):
    found = neighbor_list(np.asarray(positions, dtype=float), cell, pbc, cutoff, "x.xyz frame 4")
    return {(int(s), int(r), *map(int, x)) for s, r, x in zip(*found)}


@pytest.mark.parametrize("offset", [1e4, 1e6, 1e8])
@pytest.mark.parametrize("pbc", [OPEN, SLAB, PERIODIC])
def test_a_molecule_far_from_the_origin(pbc, offset):
    cell, far = np.eye(3) * 8.0, np.array([offset, 0, -offset])
    assert pairs(WATER + far, cell, pbc, 3.0) == pairs(WATER, cell, pbc, 3.0)


@pytest.mark.parametrize("place", [[1e8, 0, 0], [0, -3e5, 0], [1e300, 0, 0]])
@pytest.mark.parametrize("pbc", [OPEN, SLAB, PERIODIC])
def test_an_atom_far_from_the_others_is_named(pbc, place):
    positions = np.concatenate([WATER, [place]])
    with pytest.raises(DataError, match=r"^x\.xyz frame 4: atom 3 is .* away from the others"):
        neighbor_list(positions, np.eye(3) * 8.0, pbc, 3.0, "x.xyz frame 4")


@pytest.mark.parametrize(
    ("extent", "cell", "pbc", "cutoff"),
    [
        ([1e4, 500, 0], np.zeros((3, 3)), OPEN, 5.0),
        ([9e4, 9e4, 0], np.zeros((3, 3)), OPEN, 0.8),
        ([300, 300, 0], np.zeros((3, 3)), OPEN, 0.8),
        ([0, 0, 9e4], np.eye(3) * 8, SLAB, 0.8),
        ([0, 0, 300], np.eye(3) * 8, SLAB, 0.8),
        ([0, 0, 0], np.diag([1e6, 8, 8]), PERIODIC, 5.0),
        ([0, 0, 0], np.diag([4e4, 4e4, 8]), PERIODIC, 5.0),
    ],
)
def test_sparse_structures_that_end_native_code(extent, cell, pbc, cutoff):
    """Each of them made vesin 0.6.2 divide by zero (SIGFPE), or take minutes (the slab)."""
    apart = np.concatenate([WATER / 2, WATER / 2 + extent]) if any(extent) else WATER / 2
    alone = pairs(WATER / 2, np.eye(3) * 20 if any(pbc) else cell, OPEN, cutoff)
    expected = set(alone)
    if any(extent):
        expected |= {(s + 3, r + 3, *shift) for s, r, *shift in alone}
    assert pairs(apart, cell, pbc, cutoff) == expected


def test_gaps_of_a_high_slab_are_closed_exactly(rng):
    """Layers far apart along a tilted normal, against a sum over images."""
    cell = np.array([[3.0, 1.0, 0.5], [-0.4, 3.2, 0.3], [0.0, 0.0, 0.0]])
    normal = np.cross(cell[0], cell[1]) / np.linalg.norm(np.cross(cell[0], cell[1]))
    heights = np.array([0.0, 1.0, 2.9, 400.0, 401.2, 900.0, 902.9])
    positions = rng.uniform(size=(7, 2)) @ cell[:2] + heights[:, None] * normal
    assert pairs(positions, cell, SLAB, 3.0) == brute_force(positions, cell, SLAB, 3.0)


@pytest.mark.parametrize("cutoff", [1e-300, 1e-9, 1e300])
def test_any_cutoff_of_an_open_structure(cutoff):
    assert len(pairs(WATER, np.zeros((3, 3)), OPEN, cutoff)) == (6 if cutoff > 1 else 0)


@pytest.mark.parametrize(
    ("positions", "cell", "pbc", "cutoff"),
    [
        (WATER, np.eye(3) * 8, PERIODIC, 1e9),
        (WATER, np.eye(3) * 8, PERIODIC, 1e300),
        (WATER, np.eye(3) * 8, SLAB, 1e7),
        (np.zeros((300_000, 3)), np.zeros((3, 3)), OPEN, 3.0),
        (np.zeros((300_000, 3)), np.eye(3) * 100, PERIODIC, 3.0),
    ],
)
def test_more_neighbours_than_memory_holds(positions, cell, pbc, cutoff, monkeypatch):
    monkeypatch.setattr(neighbors, "_memory", lambda: 2.0**34)
    with pytest.raises(DataError, match="frame 4: has about .* pairs of neighbours within"):
        neighbor_list(positions, cell, pbc, cutoff, "x.xyz frame 4")


def test_lattice_vectors_shorter_than_any_bond():
    with pytest.raises(DataError, match=r"frame 4: a periodic lattice vector is 0.02 Å long"):
        neighbor_list(WATER, np.diag([8, 8, 0.02]), PERIODIC, 5.0, "x.xyz frame 4")
