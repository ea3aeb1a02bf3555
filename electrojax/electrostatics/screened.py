"""The short-range rest of a Coulomb interaction when its long-range part is a wider Gaussian's.

A kernel T_w = erf(r/2w)/r is T_s plus a rest that decays as erfc(r/2s)/r for any s > w (P. P.
Ewald, Ann. Phys. 369, 253 (1921)). All radial derivatives are B_n = (−(1/r) d/dr)^n.
"""

import math

import jax
import jax.numpy as jnp

from electrojax.electrostatics.gaussian import smeared_coulomb
from electrojax.typing import Array

_POINT_BEYOND = 60.0
"""Where x = r²/4w² is larger, erf is 1 and the kernel a point charge's: x⁵ e^{−x} < 1e-17."""


def screened_coulomb(
    squared_distance: Array, width: Array | float, split: Array | float, order: int
) -> tuple[Array, ...]:
    """Returns B_n of erf(r/2w)/r − erf(r/2s)/r for n = 0 ... order.

    Near, it is the difference of the two kernels; far, where both tend to 1/r, that of their
    complements erfc/r, which keeps all digits.

    Args:
        squared_distance: r² in Å², any shape; positive where the width is zero.
        width: w in Å, 0 for point charges; broadcasts against r².
        split: s in Å.
        order: the highest n.

    Returns:
        order + 1 arrays, 1/Å^{2n+1}.
    """
    width = jnp.broadcast_to(jnp.asarray(width, squared_distance.dtype), squared_distance.shape)
    point = squared_distance > 4 * _POINT_BEYOND * width * width
    safe = jnp.where(point, 1.0, width)
    near = squared_distance < 4.0 * split * split
    close = jnp.where(near, squared_distance, 1.0)
    distant = jnp.where(near, 4.0 * split * split, squared_distance)
    sharp = zip(_point(jnp.where(point, close, 1.0), order), smeared_coulomb(close, safe, order))
    rest = zip(_complement(distant, split, order), _complement(distant, safe, order))
    inner = [jnp.where(point, *s) - b for s, b in zip(sharp, smeared_coulomb(close, split, order))]
    outer = [a - jnp.where(point, 0.0, b) for a, b in rest]
    return tuple(jnp.where(near, i, o) for i, o in zip(inner, outer))


def _point(squared: Array, order: int) -> list[Array]:
    """B_n of 1/r: (2n − 1)!!/r^{2n+1}."""
    inverse = 1.0 / squared
    values = [jnp.sqrt(inverse)]
    for n in range(order):
        values.append((2 * n + 1) * values[-1] * inverse)
    return values


def _complement(squared: Array, width: Array | float, order: int) -> list[Array]:
    """B_n of erfc(r/2w)/r, by a recursion whose terms are all positive."""
    inverse = 1.0 / squared
    half = 0.5 / (jnp.asarray(width) ** 2)
    decay = jnp.exp(-0.5 * half * squared) / (math.sqrt(math.pi) * jnp.asarray(width))
    values = [jax.scipy.special.erfc(jnp.sqrt(0.5 * half * squared)) * jnp.sqrt(inverse)]
    for n in range(order):
        values.append(((2 * n + 1) * values[-1] + decay * half**n) * inverse)
    return values
