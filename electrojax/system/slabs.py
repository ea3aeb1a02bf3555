"""Cells of slabs, whose third vector says on which side of the plane it is, and no more.

The functions take arrays of NumPy and of JAX: plans are made on the host, sums on the device.
"""

from typing import Any

import numpy as np


def open_axis(cell: Any, normal: int) -> tuple[Any, Any]:
    """Returns the unit normal of a slab on the side of its open vector, and the height along it.

    Args:
        cell: [..., 3, 3] Å, of NumPy or JAX.
        normal: index of the open lattice vector.

    Returns:
        n [..., 3], and the height [...] in Å of the cell.
    """
    first, second, third = (cell[..., (normal + i) % 3, :] for i in (1, 2, 3))
    next_, last = [1, 2, 0], [2, 0, 1]
    product = first[..., next_] * second[..., last] - first[..., last] * second[..., next_]
    unit = product / (product**2).sum(-1)[..., None] ** 0.5
    along = (unit * third).sum(-1)
    side = 1.0 - 2.0 * (along < 0).astype(along.dtype)
    return unit * side[..., None], along * side


def with_height(cell: Any, height: Any, normal: int) -> Any:
    """Returns cells [..., 3, 3] whose open vector is a height [...] in Å along the normal."""
    row = np.eye(3, dtype=cell.dtype)[normal][:, None]
    vector = open_axis(cell, normal)[0] * height[..., None]
    return cell * (1 - row) + row * vector[..., None, :]


def sum_cells(cell: Any, plan_cell: Any, normal: int) -> tuple[Any, Any]:
    """Returns cells [..., 3, 3] and those of their plan with the plan's height along the normal."""
    height = open_axis(plan_cell, normal)[1]
    return with_height(cell, height, normal), with_height(plan_cell, height, normal)
