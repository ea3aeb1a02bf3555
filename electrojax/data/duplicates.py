"""Structures that occur more than once in a set, whatever their position, rotation or order."""

import itertools
from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist

from electrojax.system.neighbors import complete_cell
from electrojax.system.types import Frame

TOLERANCE = 1e-3
"""Å; distances of duplicates differ by less."""

COPIED = 1e-4
"""Å; coordinates of a copied structure are the same after rounding to it."""

RANKS = 16
"""Distances by which candidates are found, evenly spaced among the sorted ones."""

IMAGES = np.array(list(itertools.product((-1, 0, 1), repeat=3)))


def duplicate_groups(frames: Sequence[Frame], tolerance: float = TOLERANCE) -> list[list[int]]:
    """Returns groups of structures that are the same to within a tolerance, as frame numbers.

    Two structures are the same if they have the same composition, inputs (charge, multiplicity,
    field) and periodic directions, if the dot products of their lattice vectors agree, and if their
    sorted interatomic distances (to the nearest image), taken by pair of elements, differ nowhere
    by the tolerance. Mirror images are the same in this sense. Groups are closed: where A equals B
    and B equals C, all three are in one.

    Args:
        frames: the structures.
        tolerance: Å.
    """
    candidates: dict[Hashable, list[int]] = defaultdict(list)
    for index, frame in enumerate(frames):
        candidates[_inputs(frame)].append(index)
    parent = list(range(len(frames)))
    for members in candidates.values():
        if len(members) > 1:
            for one, other in _equal_pairs(frames, members, tolerance):
                parent[_root(parent, other)] = _root(parent, one)
    groups: dict[int, list[int]] = defaultdict(list)
    for index in range(len(frames)):
        groups[_root(parent, index)].append(index)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def shared_frames(first: Sequence[Frame], second: Sequence[Frame]) -> list[tuple[int, int]]:
    """Returns which structures of a set stand in another one with the same coordinates and inputs.

    Coordinates are compared to 1e-4 Å, atom by atom: cheaper than :func:`duplicate_groups`, and
    enough for frames that were copied from file to file.

    Returns:
        Numbers of a structure in the second set and of an equal one in the first, in the order of
        the second.
    """
    known: dict[Hashable, int] = {}
    for index, frame in enumerate(first):
        known.setdefault(_coordinates(frame), index)
    found = [(index, known.get(_coordinates(frame))) for index, frame in enumerate(second)]
    return [(index, other) for index, other in found if other is not None]


def _coordinates(frame: Frame) -> Hashable:
    """Elements, coordinates and inputs of a structure; of the cell, what repeats."""
    lengths = (frame.positions, frame.cell[np.asarray(frame.pbc, dtype=bool)])
    rounded = [np.rint(values / COPIED).astype(np.int64).tobytes() for values in lengths]
    return (frame.numbers.tobytes(), *rounded, *_states(frame))


def fingerprint(frame: Frame) -> np.ndarray:
    """Returns the sorted interatomic distances, pair of elements by pair of elements, in Å.

    The lengths and angles of the cell lead, as square roots of the absolute dot products of its
    periodic vectors.
    """
    distances, pairs = _distances(frame), _pair_kinds(frame.numbers)
    order = np.lexsort((distances, pairs))
    periodic = frame.cell[np.asarray(frame.pbc, dtype=bool)]
    metric = np.sqrt(np.abs(periodic @ periodic.T))[np.triu_indices(len(periodic))]
    return np.concatenate([metric, distances[order]])


def _inputs(frame: Frame) -> Hashable:
    """What must be equal exactly; the order of the atoms does not matter."""
    return (tuple(sorted(frame.numbers.tolist())), *_states(frame))


def _states(frame: Frame) -> tuple[Hashable, ...]:
    field = tuple(np.round(frame.external_field, 6) + 0.0)
    return (frame.pbc, frame.total_charge, frame.multiplicity, field)


def _equal_pairs(
    frames: Sequence[Frame], members: Sequence[int], tolerance: float
) -> list[tuple[int, int]]:
    """Pairs among structures of one composition whose fingerprints agree."""
    prints = [fingerprint(frames[i]) for i in members]
    if prints[0].size == 0:  # single atoms without a cell
        return list(itertools.pairwise(members))
    # Every sorted distance moves by no more than the largest change, so a few find the candidates.
    ranks = np.unique(np.linspace(0, prints[0].size - 1, RANKS).astype(int))
    tree = cKDTree(np.array([p[ranks] for p in prints]))
    pairs = tree.query_pairs(tolerance, p=np.inf)
    return [
        (members[a], members[b])
        for a, b in sorted(pairs)
        if np.max(np.abs(prints[a] - prints[b])) < tolerance
    ]


def _distances(frame: Frame) -> np.ndarray:
    """Distances of all pairs of atoms, each to the nearest image."""
    if not any(frame.pbc):
        return pdist(frame.positions)
    cell = complete_cell(frame.cell, frame.pbc, frame.source)
    pbc = np.asarray(frame.pbc, dtype=bool)
    first, second = np.triu_indices(len(frame.numbers), 1)
    fractional = (frame.positions[second] - frame.positions[first]) @ np.linalg.inv(cell)
    wrapped = fractional - np.where(pbc, np.round(fractional), 0.0)
    square_cell = np.allclose(cell @ cell.T, np.diag(np.sum(cell**2, axis=1)))
    images = IMAGES[~np.any(IMAGES[:, ~pbc], axis=1)]
    images = np.zeros((1, 3)) if square_cell else images
    shortest = np.full(len(first), np.inf)
    for image in images:
        shortest = np.minimum(shortest, np.sum(((wrapped + image) @ cell) ** 2, axis=1))
    return np.sqrt(shortest)


def _pair_kinds(numbers: np.ndarray) -> np.ndarray:
    first, second = np.triu_indices(len(numbers), 1)
    low, high = (
        np.minimum(numbers[first], numbers[second]),
        np.maximum(numbers[first], numbers[second]),
    )
    return low * 200 + high


def _root(parent: list[int], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index
