"""Real solid harmonics of order 2 as Cartesian tensors: how quadrupoles act on vectors.

The moment Q_m = ∫ρ R_m of a unit-moment quadrupole has R_xy = √3 xy, R_yz = √3 yz,
R_20 = (3z² − r²)/2, R_xz = √3 xz and R_x²−y² = (√3/2)(x² − y²) (A. J. Stone, *The Theory of
Intermolecular Forces*, 2nd ed. 2013, table E.1), in this order. With symmetric traceless tensors,
R_m(v) = v·C_m·v and C_m : C_n = (3/2) δ_mn.
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from electrojax.typing import Array

_HALF_ROOT = 0.5 * math.sqrt(3.0)


def _tensors() -> np.ndarray:
    x, y, z = np.eye(3)

    def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return 0.5 * (np.outer(a, b) + np.outer(b, a))

    # R_20 = z² − ½ (x² + y²)
    squares = product(z, z) - 0.5 * (product(x, x) + product(y, y))
    difference = _HALF_ROOT * (product(x, x) - product(y, y))
    mixed = [2 * _HALF_ROOT * product(*pair) for pair in ((x, y), (y, z), (x, z))]
    return np.stack([mixed[0], mixed[1], squares, mixed[2], difference])


QUADRUPOLE = _tensors()
"""C_m [5, 3, 3], m in the order (xy, yz, 3z² − r², xz, x² − y²), axes in the order (x, y, z)."""


def quadrupole_tensor(components: Array) -> Array:
    """Returns Θ = (1/3) Σ_m p_m C_m, so that a quadrupole's density is Θ : ∇∇ of a Gaussian.

    Args:
        components: [..., 5] e·Å² in the order of multipoles.

    Returns:
        [..., 3, 3] e·Å², symmetric and traceless, Cartesian (x, y, z).
    """
    return jnp.einsum("...m,mij->...ij", components, jnp.asarray(QUADRUPOLE / 3, components.dtype))


def quadrupole_times(components: Sequence[Array], vector: Sequence[Array]) -> list[Array]:
    """Returns Θ·v for components [5] arrays and vectors [3] arrays, both in harmonic order.

    Args:
        components: p_m, arrays of any one shape (a list, so that no small axis is the innermost).
        vector: the (y, z, x) components of v.

    Returns:
        the (y, z, x) components of Θ·v.
    """
    xy, yz, zz, xz, difference = components
    y, z, x = vector
    mixed, half = _HALF_ROOT / 3, zz / 6
    planar = mixed * difference
    return [
        mixed * (xy * x + yz * z) - (half + planar) * y,
        mixed * (yz * y + xz * x) + 2 * half * z,
        mixed * (xy * y + xz * z) + (planar - half) * x,
    ]


def quadrupole_product(a: Sequence[Array], b: Sequence[Array]) -> list[Array]:
    """Returns a·C_m·b for every m, of two vectors in harmonic order (y, z, x).

    Args:
        a, b: three arrays each.

    Returns:
        five arrays; R_m(a) for a = b.
    """
    (ay, az, ax), (by, bz, bx) = a, b
    return [
        _HALF_ROOT * (ax * by + ay * bx),
        _HALF_ROOT * (ay * bz + az * by),
        az * bz - 0.5 * (ax * bx + ay * by),
        _HALF_ROOT * (ax * bz + az * bx),
        _HALF_ROOT * (ax * bx - ay * by),
    ]
