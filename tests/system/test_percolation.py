"""Closed paths against structures whose windings are known."""

import numpy as np
import pytest

from electrojax.system.neighbors import neighbor_list
from electrojax.system.percolation import closed_paths


def paths(positions, cell, cutoff, pbc=(True, True, True)):
    edges = neighbor_list(np.asarray(positions, float), np.asarray(cell, float), pbc, cutoff)
    return closed_paths(len(positions), *edges)


def chain(n, gap=0.0, spacing=1.5):
    positions = np.outer(np.arange(n), [0, 0, spacing])
    return positions, np.diag([20.0, 20.0, n * spacing + gap])


def rank(found):
    return np.linalg.matrix_rank(found) if len(found) else 0


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_chain_goes_around_along_its_axis_alone(n):
    found = paths(*chain(n), 2.0)
    assert {tuple(map(abs, row)) for row in found.tolist()} == {(0, 0, 1)}


def test_a_chain_cut_by_vacuum_has_ends():
    assert len(paths(*chain(5, gap=3.0), 2.0)) == 0


def test_wrapping_atoms_opens_and_closes_nothing(rng):
    positions, cell = chain(6, gap=3.0)
    for given in (positions, chain(6)[0]):
        moved = given + rng.integers(-2, 3, (6, 3)) @ cell
        assert len(paths(moved, cell, 2.0)) == 0
    closed, cell = chain(6)
    assert rank(paths(closed + rng.integers(-2, 3, (6, 3)) @ cell, cell, 2.0)) == 1


def test_a_path_that_closes_after_two_cells_has_winding_two():
    """A helix: from atom 0 to atom 1 and on to atom 0 two cells further."""
    senders, receivers = np.array([0, 1, 1, 0]), np.array([1, 0, 0, 1])
    shifts = np.array([[0, 0, 0], [0, 0, 0], [0, 0, 2], [0, 0, -2]])
    found = closed_paths(2, senders, receivers, shifts)
    assert {tuple(map(abs, row)) for row in found.tolist()} == {(0, 0, 2)}


def test_molecules_layers_and_crystals(rng):
    molecules = np.array([[0, 0, 0], [1.0, 0, 0], [5.0, 5.0, 5.0], [5.0, 6.0, 5.0]])
    assert rank(paths(molecules, 10 * np.eye(3), 2.0)) == 0
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 2, [0], indexing="ij"), -1).reshape(-1, 3) * 2.0
    tilted = np.array([[6.0, 0, 0], [2.0, 6.0, 0], [1.0, 0.5, 30.0]])
    assert rank(paths(grid, tilted, 2.9)) == 2
    assert not np.any(paths(grid, tilted, 2.9)[:, 2])
    crystal = rng.uniform(0, 6, (30, 3))
    assert rank(paths(crystal, 6 * np.eye(3), 4.0)) == 3


def test_no_edges_and_no_atoms_without():
    none = np.zeros(0, dtype=np.int32)
    assert closed_paths(3, none, none, np.zeros((0, 3), dtype=np.int32)).shape == (0, 3)
