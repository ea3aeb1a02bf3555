"""Connected parts of a periodic structure that meet their own images, on the host."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components


def closed_paths(
    atoms: int, senders: np.ndarray, receivers: np.ndarray, shifts: np.ndarray
) -> np.ndarray:
    """Returns the lattice vectors along which paths of edges lead from atoms to their own images.

    Every atom gets an offset in lattice vectors along a spanning tree; an edge between atoms whose
    offsets do not differ by its shift closes a path with that winding (M. E. J. Newman and R. M.
    Ziff, Phys. Rev. E 64, 016706 (2001), section II.D; J. Machta et al., Phys. Rev. E 54, 1332
    (1996)). A connected part percolates if it has such a path.

    Args:
        atoms: how many there are.
        senders, receivers: [E] of the edges, each in both directions.
        shifts: [E, 3] of the edges, whose vectors are r[receiver] − r[sender] + shift · cell.

    Returns:
        [K, 3] distinct windings, empty where nothing percolates.
    """
    offsets = _offsets(atoms, senders, receivers, shifts)
    winding = np.asarray(shifts) + offsets[senders] - offsets[receivers]
    return np.unique(winding[np.any(winding != 0, axis=1)], axis=0)


def _offsets(
    atoms: int, senders: np.ndarray, receivers: np.ndarray, shifts: np.ndarray
) -> np.ndarray:
    """Lattice vectors [N, 3] by which atoms are moved so that a spanning tree has no shifts."""
    # One of the edges between two atoms, numbered from 1, is enough for the tree.
    kept = np.unique(np.stack([senders, receivers]), axis=1, return_index=True)[1]
    ends, size = (np.asarray(senders)[kept], np.asarray(receivers)[kept]), atoms + 1
    graph = coo_array((kept + 1.0, ends), shape=(size, size)).tocsr()
    labels = connected_components(graph, directed=False)[1][:atoms]
    roots = np.unique(labels, return_index=True)[1]
    # A further node, beside the atoms, reaches one atom of every part.
    reached = (np.full(len(roots), atoms), roots)
    beside = coo_array((np.full(len(roots), 0.5), reached), shape=(size, size))
    tree = (graph + beside).tocsr()
    order, before = breadth_first_order(tree, atoms, directed=True)
    offsets = np.zeros((size, 3), dtype=np.int64)
    taken = dict(zip(zip(*(end.tolist() for end in ends)), kept.tolist()))
    for atom in order[1:].tolist():
        if (parent := int(before[atom])) != atoms:
            offsets[atom] = offsets[parent] + shifts[taken[parent, atom]]
    return offsets[:atoms]
