"""Neighbour lists on the host: full lists with cell shifts, by vesin."""

import numpy as np
from vesin import NeighborList

from electrojax.errors import DataError


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
        DataError: if the periodic lattice vectors span no volume, or positions are not finite.
    """
    positions = np.ascontiguousarray(positions, dtype=np.float64)
    if not np.all(np.isfinite(positions)):
        atom = int(np.argwhere(~np.isfinite(positions))[0, 0])
        raise DataError(f"{source}: the position of atom {atom} is not finite; correct the file")
    box = complete_cell(cell, pbc, source)
    senders, receivers, shifts = NeighborList(cutoff=float(cutoff), full_list=True).compute(
        points=positions, box=box, periodic=np.asarray(pbc, dtype=bool), quantities="ijS"
    )
    order = np.lexsort((shifts[:, 2], shifts[:, 1], shifts[:, 0], senders, receivers))
    as_int = [np.asarray(a, dtype=np.int32)[order] for a in (senders, receivers, shifts)]
    return as_int[0], as_int[1], as_int[2]


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
        DataError: if the periodic lattice vectors are not finite or span no volume.
    """
    box = np.array(cell, dtype=np.float64).reshape(3, 3)
    periodic = np.flatnonzero(pbc)
    vectors = box[periodic]
    if len(periodic) and not np.all(np.isfinite(vectors)):
        raise DataError(f"{source}: the cell is not finite; correct the file")
    lengths = np.linalg.norm(vectors, axis=1)
    spanned = np.linalg.svd(vectors / np.where(lengths > 0, lengths, 1.0)[:, None])
    if len(periodic) and (np.any(lengths < 1e-6) or spanned.S[-1] < 1e-6):
        raise DataError(
            f"{source}: pbc is set along axes {periodic.tolist()} but their lattice vectors "
            f"{vectors.round(4).tolist()} span no volume; give the cell or switch pbc off"
        )
    box[np.flatnonzero(~np.asarray(pbc, dtype=bool))] = spanned.Vh[len(periodic) :]
    return box
