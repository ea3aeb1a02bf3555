"""Plans of k-vectors: which ones belong to a cell, and when a changed cell needs a new plan.

A plan is a set of integers chosen for ``System.plan_cell``; while the cell changes, the integers
stay and their k-vectors k = 2π n A^{−T} move with it, so that the energy is an analytic function of
the cell and the stress its exact derivative. The set reaches a little farther than the accuracy
needs, and its edge is a taper: the energy steps by less than the accuracy where a plan is renewed.
"""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from electrojax.electrostatics.kernels.gaussian import tail_exponent
from electrojax.errors import DataError
from electrojax.typing import Array

STRAIN_MARGIN = 0.015
"""By how much a cell may be stretched in any direction before its k-vectors, which become shorter,
no longer reach as far as the accuracy needs. The set grows by 9 % for it and for the taper."""

COMPRESSION_MARGIN = 0.05
"""By how much a cell may be compressed before its plan is renewed: there are then more k-vectors
than needed, which costs time but no accuracy."""


def squared_reach(shortest: Any, width: Any, accuracy: float, l_max: int) -> tuple[Any, Any]:
    """Returns the k² up to which the vectors of a plan count fully, and the k² of its last ones.

    Args:
        shortest: k² of the shortest vectors, 1/Å².
        width: σ in Å of the narrowest Gaussians.
        accuracy: requested RMS error of the forces over the RMS force.
        l_max: highest multipole order.

    Returns:
        two values of k² in 1/Å².
    """
    needed = shortest + tail_exponent(accuracy, l_max) / (width * width)
    return (1.0 + STRAIN_MARGIN) ** 2 * needed, (1.0 + 2.0 * STRAIN_MARGIN) ** 2 * needed


def taper(squared: Array, inner: Array, outer: Array) -> Array:
    """Returns the factor of a k-vector: 1 up to inner, 0 from outer, with two derivatives between.

    1 − u³ (10 − 15 u + 6 u²) of u = (k² − inner)/(outer − inner).

    Args:
        squared: k² in the cell of the plan, 1/Å².
        inner, outer: what :func:`squared_reach` returns.
    """
    u = jnp.clip((squared - inner) / (outer - inner), 0.0, 1.0)
    return 1.0 - u**3 * (10.0 - 15.0 * u + 6.0 * u**2)


def k_box_of(cell: np.ndarray, width: float, accuracy: float, l_max: int) -> np.ndarray:
    """Returns the largest index of a plan along each reciprocal axis, [3], on the host.

    |k| <= k_c means |n_i| <= k_c |a_i| / 2π, because k·a_i = 2π n_i.
    """
    rows = np.asarray(cell, dtype=np.float64)
    shortest = 2 * math.pi * np.linalg.norm(np.linalg.inv(rows), axis=0).min()
    outer = np.sqrt(squared_reach(shortest**2, width, accuracy, l_max)[1])
    return np.floor(outer * np.linalg.norm(rows, axis=-1) / (2 * math.pi) + 1e-9).astype(int)


def replan_needed(plan_cell: np.ndarray, cell: np.ndarray) -> bool:
    """Returns whether a cell has left the strains for which its plan of k-vectors was made.

    The stretches are the singular values of F = A_plan^{−1} A, so that rotations do not count.
    k-vectors transform with F^{−T}: none is shortened by more than the largest stretch, and the
    accuracy is met while that is below 1 + STRAIN_MARGIN. After a new plan, made for the cell as it
    is, nothing happens until the cell has changed by a margin again: a cell that goes to and fro
    across the threshold is planned once.

    Args:
        plan_cell: [3, 3] or [G, 3, 3] Å, the cell of the plan.
        cell: the cell now, of the same shape.

    Raises:
        DataError: if a cell is not finite or spans no volume.
    """
    pair = [np.asarray(c, dtype=np.float64).reshape(-1, 3, 3) for c in (plan_cell, cell)]
    for rows in pair:
        scale = np.prod(np.linalg.norm(rows, axis=-1), axis=-1)
        finite = np.all(np.isfinite(rows))
        if not finite or np.any(np.abs(np.linalg.det(rows)) <= 1e-12 * scale):
            raise DataError(
                f"cell: needed three finite lattice vectors that span a volume, got {rows.tolist()}"
            )
    # F = A_plan^{−1} A maps the plan's rows to those of now.
    stretches = np.linalg.svd(np.linalg.solve(*pair), compute_uv=False)
    low, high = 1.0 - COMPRESSION_MARGIN, 1.0 + STRAIN_MARGIN
    return bool(np.any(stretches > high) or np.any(stretches < low))
