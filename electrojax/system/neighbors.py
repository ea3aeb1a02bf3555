"""Neighbour lists on the host: full lists with cell shifts, by vesin."""

import os

import numpy as np
from scipy.spatial import cKDTree
from vesin import NeighborList

from electrojax.errors import DataError

CLOSEST = 0.1
"""Å; no bond is this short, so atoms closer than this are an error of the file."""

WIDEST = 1e5
"""Å; atoms farther apart than this along an axis are an error of the file."""

PAIR_BYTES = 64
"""Of memory that a pair takes while a list is made: as vesin returns it, sorted and as integers."""

FEW_ATOMS = 3000
"""Atoms whose pairs fit any memory, wherever they are."""

MOST_CELLS = 1e5
"""Cells that vesin sorts atoms into. For more it makes all axes coarser by one factor and divides
by zero if an axis ends with none (its ``CellList``), so that never reaches it."""

SHORTEST = 1e-3
"""Å; radius by which native code searches at least."""

MOST_LAYERS = 100
"""Cells along the open axis of a slab, where vesin looks at every pair of cells; in a higher slab
we close the gaps between its layers first."""


def neighbor_list(
    positions: np.ndarray,
    cell: np.ndarray,
    pbc: tuple[bool, bool, bool],
    cutoff: float,
    source: str = "structure",
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns every directed pair of atoms closer than the cutoff, images included.

    An edge from sender j to receiver i has the vector r_i − r_j + shift · cell; an atom is its own
    neighbour in cells shorter than the cutoff, never with a zero shift.

    Args:
        positions: [N, 3] Å, anywhere (not necessarily inside the cell).
        cell: [3, 3] Å, rows are lattice vectors; rows of open axes are not read.
        pbc: which lattice vectors repeat.
        cutoff: Å.
        source: name of the structure in error messages.

    Returns:
        senders [E], receivers [E] (int32, receivers ascending) and shifts [E, 3] (int32).

    Raises:
        DataError: if the periodic lattice vectors span no volume, positions are not finite or atoms
            too far apart, or the structure would have too many neighbours.
    """
    positions = _moved_near(np.ascontiguousarray(positions, dtype=np.float64), source)
    box = complete_cell(cell, pbc, source)
    _check_pairs(positions, box, pbc, cutoff, source)
    positions = _without_gaps(positions, box, pbc, float(cutoff))
    reach = _search_radius(positions, box, pbc, float(cutoff))
    if reach > cutoff and not any(pbc):
        return _tree_pairs(positions, cutoff)
    senders, receivers, shifts = NeighborList(cutoff=reach, full_list=True).compute(
        points=positions, box=box, periodic=np.asarray(pbc, dtype=bool), quantities="ijS"
    )
    if reach > cutoff:
        vectors = positions[receivers] - positions[senders] + shifts @ box
        near = np.linalg.norm(vectors, axis=1) < cutoff
        senders, receivers, shifts = senders[near], receivers[near], shifts[near]
    return _sorted(senders, receivers, shifts)


def _sorted(
    senders: np.ndarray, receivers: np.ndarray, shifts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    order = np.lexsort((shifts[:, 2], shifts[:, 1], shifts[:, 0], senders, receivers))
    as_int = [np.asarray(a, dtype=np.int32)[order] for a in (senders, receivers, shifts)]
    return as_int[0], as_int[1], as_int[2]


def _moved_near(positions: np.ndarray, source: str) -> np.ndarray:
    """Returns positions near the origin, where native code can count cells with 32-bit integers."""
    if not np.all(np.isfinite(positions)):
        atom = int(np.argwhere(~np.isfinite(positions))[0, 0])
        raise DataError(f"{source}: the position of atom {atom} is not finite; correct the file")
    if np.max(np.abs(positions), initial=0.0) <= WIDEST / 2:
        return positions
    middle = np.median(positions, axis=0)
    if np.max(np.ptp(positions, axis=0)) > WIDEST:
        distances = np.max(np.abs(positions - middle), axis=1)
        atom = int(np.argmax(distances))
        raise DataError(
            f"{source}: atom {atom} is {distances[atom]:.4g} Å away from the others; needed atoms "
            f"within {WIDEST:g} Å: correct the file"
        )
    return positions - middle


def _check_pairs(
    positions: np.ndarray,
    box: np.ndarray,
    pbc: tuple[bool, bool, bool],
    cutoff: float,
    source: str,
) -> None:
    """Refuses a structure so dense, or a cutoff so large, that no memory holds the neighbours."""
    atoms, reach, periodic = len(positions), min(float(cutoff), 1e6), np.asarray(pbc, dtype=bool)
    pairs = 0.0
    if np.any(periodic):
        # A slab is taken to be as thick as the cutoff.
        volume = abs(np.linalg.det(np.where(periodic[:, None], box, box * reach)))
        pairs = atoms**2 / volume * 4 / 3 * np.pi * reach**3
    if atoms > FEW_ATOMS:
        cells = np.unique(np.floor(positions / max(reach, CLOSEST)), axis=0, return_counts=True)[1]
        pairs = max(pairs, 4 / 3 * np.pi * np.sum(cells.astype(np.float64) ** 2))
    if pairs > _memory() / PAIR_BYTES:
        raise DataError(
            f"{source}: has about {pairs:.2g} pairs of neighbours within {cutoff:g} Å, which do "
            "not fit in memory: correct positions and cell, or choose a smaller cutoff"
        )


def _memory() -> float:
    """Returns the memory of this machine in bytes, or 16 GiB where the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float(16 * 2**30)


def _search_radius(
    positions: np.ndarray, box: np.ndarray, pbc: tuple[bool, bool, bool], cutoff: float
) -> float:
    """Returns the cutoff, or a larger one where that would make more cells than vesin can use."""
    open_axes = ~np.asarray(pbc, dtype=bool)
    inverse = np.linalg.inv(box)
    heights = 1 / np.linalg.norm(inverse, axis=0)
    extents = np.where(open_axes, np.ptp(positions @ inverse, axis=0) * heights, heights)
    reach = max(cutoff, SHORTEST)
    while True:
        cells = np.maximum(np.floor(extents / reach), 1.0)
        # Rounding takes less than a whole cell from each axis, three times over: 4 leave one.
        coarser = np.min(cells) * np.cbrt(MOST_CELLS / np.prod(cells))
        if np.prod(cells) <= MOST_CELLS or coarser >= 4:
            return reach
        reach *= 1.25


def _without_gaps(
    positions: np.ndarray, box: np.ndarray, pbc: tuple[bool, bool, bool], cutoff: float
) -> np.ndarray:
    """Returns a high slab with gaps wider than the cutoff made as narrow as it, for vesin alone."""
    if sum(pbc) != 2:
        return positions
    normal = box[pbc.index(False)]
    heights = positions @ normal
    if np.ptp(heights) <= MOST_LAYERS * cutoff:
        return positions
    order = np.argsort(heights)
    excess = np.maximum(np.diff(heights[order]) - 1.01 * cutoff, 0.0)
    lowered = np.zeros(len(positions))
    lowered[order[1:]] = np.cumsum(excess)
    return positions - lowered[:, None] * normal


def _tree_pairs(positions: np.ndarray, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the pairs of an open structure that is too sparse for a grid of cells."""
    once = cKDTree(positions).query_pairs(cutoff, output_type="ndarray")
    both = np.concatenate([once, once[:, ::-1]])
    return _sorted(both[:, 0], both[:, 1], np.zeros((len(both), 3), dtype=np.int32))


def check_distances(
    positions: np.ndarray,
    cell: np.ndarray,
    edges: tuple[np.ndarray, np.ndarray, np.ndarray],
    source: str,
) -> None:
    """Refuses atoms on top of each other.

    Args:
        positions: [N, 3] Å.
        cell: [3, 3] Å.
        edges: senders, receivers and shifts, as of :func:`neighbor_list`.
        source: name of the structure in error messages.

    Raises:
        DataError: naming the closest two atoms, if they are less than 0.1 Å apart.
    """
    senders, receivers, shifts = edges
    distances = np.linalg.norm(positions[receivers] - positions[senders] + shifts @ cell, axis=1)
    if len(distances) and distances.min() < CLOSEST:
        edge = int(distances.argmin())
        pair = sorted((int(senders[edge]), int(receivers[edge])))
        raise DataError(
            f"{source}: atoms {pair[0]} and {pair[1]} are {distances[edge]:.3g} Å apart; needed at "
            f"least {CLOSEST} Å: correct the file, or its cell and pbc"
        )


def coulomb_pairs(
    positions: np.ndarray,
    cell: np.ndarray,
    boundary: str,
    cutoff: float,
    source: str = "structure",
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the pairs of a real-space Coulomb sum, like :func:`neighbor_list`.

    A slab repeats along all three vectors here: its Coulomb sum starts from one in a cell of its
    own. There are no pairs for an open boundary or a cutoff of 0.
    """
    if boundary == "open" or not cutoff:
        none = np.zeros(0, dtype=np.int32)
        return none, none, np.zeros((0, 3), dtype=np.int32)
    return neighbor_list(positions, cell, (True, True, True), cutoff, source)


def complete_cell(
    cell: np.ndarray, pbc: tuple[bool, bool, bool], source: str = "structure"
) -> np.ndarray:
    """Returns the cell with unit vectors, normal to the periodic ones, on its open axes.

    Args:
        cell: [3, 3] Å, rows are lattice vectors.
        pbc: which lattice vectors repeat.
        source: name of the structure in error messages.

    Returns:
        [3, 3] Å, never singular.

    Raises:
        DataError: if the periodic lattice vectors are not finite, shorter than 0.1 Å or span no
            volume.
    """
    box = np.array(cell, dtype=np.float64).reshape(3, 3)
    periodic = np.flatnonzero(pbc)
    vectors = box[periodic]
    if len(periodic) and not np.all(np.isfinite(vectors)):
        raise DataError(f"{source}: the cell is not finite; correct the file")
    lengths = np.linalg.norm(vectors, axis=1)
    if np.any((lengths >= 1e-6) & (lengths < CLOSEST)):
        raise DataError(
            f"{source}: a periodic lattice vector is {lengths.min():.3g} Å long; needed at least "
            f"{CLOSEST} Å: correct the cell or switch pbc off"
        )
    spanned = np.linalg.svd(vectors / np.where(lengths > 0, lengths, 1.0)[:, None])
    if len(periodic) and (np.any(lengths < 1e-6) or spanned.S[-1] < 1e-6):
        raise DataError(
            f"{source}: pbc is set along axes {periodic.tolist()} but their lattice vectors "
            f"{vectors.round(4).tolist()} span no volume; give the cell or switch pbc off"
        )
    box[np.flatnonzero(~np.asarray(pbc, dtype=bool))] = spanned.Vh[len(periodic) :]
    return box
