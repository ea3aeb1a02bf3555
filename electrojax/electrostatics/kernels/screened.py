"""The short-range rest of a Coulomb interaction when its long-range part is a wider Gaussian's.

A kernel T_w = erf(r/2w)/r is T_s plus a rest that decays as erfc(r/2s)/r for any s > w (P. P.
Ewald, Ann. Phys. 369, 253 (1921)). All radial derivatives are B_n = (−(1/r) d/dr)^n. Derivatives
are rules: B_n' = −½ B_{n+1} of r², so that energy and forces make one pass over the pairs.
"""

import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from electrojax.electrostatics.kernels.gaussian import smeared_coulomb
from electrojax.typing import Array

_POINT_BEYOND = 60.0
"""Where x = r²/4w² is larger, erf is 1 and the kernel a point charge's: x⁵ e^{−x} < 1e-17."""

_SWITCHED = 0.85
"""Of the squared cutoff, from where the rest is switched off: it is e^{−0.85 t} there."""

_BLOCK = 1 << 15
"""Pairs whose kernels are made at once. Besides saving memory, a loop keeps XLA from copying the
kernels into every one of their uses, which costs three times as much (measured on CPU)."""


def screened_coulomb(
    squared_distance: Array, width: Array | float, split: float, order: int
) -> tuple[Array, ...]:
    """Returns B_n of erf(r/2w)/r − erf(r/2s)/r for n = 0 ... order.

    Args:
        squared_distance: r² in Å², any shape; positive where the width is zero.
        width: w in Å, 0 for point charges; broadcasts against r².
        split: s in Å.
        order: the highest n.

    Returns:
        order + 1 arrays, 1/Å^{2n+1}.
    """
    return switched_coulomb(squared_distance, width, split, math.inf, order)


def switched_coulomb(
    squared_distance: Array, width: Array | float, split: float, cutoff: float, order: int
) -> tuple[Array, ...]:
    """Returns those kernels times a factor S that takes them smoothly to zero at a cutoff.

    S = 1 − 10 x³ + 15 x⁴ − 6 x⁵ has two continuous derivatives, where x grows with r² from 0 at
    0.92 cutoffs to 1 at the cutoff. Point charges (:func:`are_points`) take few operations.

    Args:
        squared_distance: [P] r² in Å²; positive where the width is zero.
        width: w in Å, 0 for point charges; one number or [P].
        split: s in Å.
        cutoff: Å, or infinity.
        order: the highest n.

    Returns:
        order + 1 arrays, 1/Å^{2n+1}.
    """
    spread = None if are_points(width) else jnp.asarray(width, squared_distance.dtype)
    each = partial(_kernels, split=split, cutoff=cutoff, order=order)
    blocks = -(-squared_distance.size // _BLOCK)
    if squared_distance.ndim != 1 or blocks == 1:
        return each(squared_distance, spread)
    if spread is None or spread.ndim == 0:
        part = _blocked(squared_distance, blocks)
        values = jax.lax.map(lambda squared: each(squared, spread), part)
    else:
        parts = _blocked(squared_distance, blocks), _blocked(spread, blocks)
        values = jax.lax.map(lambda part: each(*part), parts)
    return tuple(value.reshape(-1)[: squared_distance.size] for value in values)


def _kernels(
    squared: Array, width: Array | None, split: float, cutoff: float, order: int
) -> tuple[Array, ...]:
    return _family(squared, width, split, cutoff, order, 0)[0]


def are_points(width: Array | float) -> bool:
    """Returns whether all widths are known to be zero when the program is made."""
    return isinstance(width, int | float | np.ndarray) and not np.any(width)


_Family = tuple[tuple[Array, ...], ...]
"""S^{(m)} B_n by m and n, where S^{(m)} is the derivative by r². It is closed under derivatives."""


@partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4, 5))
def _family(
    squared: Array, width: Array | None, split: float, cutoff: float, order: int, slopes: int
) -> _Family:
    """(S^{(m)} B_n)' = S^{(m+1)} B_n − ½ S^{(m)} B_{n+1}: energy and forces are one pass."""

    kernels = _differences(squared, width, split, order)
    switches = _switches(squared, cutoff, slopes)
    return tuple(tuple(factor * kernel for kernel in kernels) for factor in switches)


def _family_derivative(
    split: float, cutoff: float, order: int, slopes: int, primals: tuple, tangents: tuple
) -> tuple[_Family, _Family]:
    squared, width = primals
    values = _family(squared, width, split, cutoff, order + 1, slopes + 1)
    change: list[list[Array]] = [[] for _ in range(slopes + 1)]
    for m, n in itertools.product(range(slopes + 1), range(order + 1)):
        parts = []
        if not isinstance(tangents[0], SymbolicZero):
            # d/d(r²) of S^{(m)} B_n, since B_n' = −½ B_{n+1}.
            parts.append((values[m + 1][n] - 0.5 * values[m][n + 1]) * tangents[0])
        if width is not None and not isinstance(tangents[1], SymbolicZero):
            slope = _switches(squared, cutoff, m)[m] * _width_slope(squared, width, n)
            parts.append(slope * tangents[1])
        change[m].append(sum(parts[1:], start=parts[0]))
    primal_values = tuple(tuple(row[:-1]) for row in values[:-1])
    return primal_values, tuple(tuple(row) for row in change)


_family.defjvp(_family_derivative, symbolic_zeros=True)


def _blocked(values: Array, blocks: int) -> Array:
    """[P] to [blocks, ...], filled up with ones."""
    size = -(-values.size // blocks)
    return jnp.pad(values, (0, blocks * size - values.size), constant_values=1).reshape(blocks, -1)


def _switches(squared: Array, cutoff: float, slopes: int) -> list[Array]:
    """The switch and its derivatives by r²."""
    if math.isinf(cutoff):
        return [jnp.ones_like(squared)] + [jnp.zeros_like(squared)] * slopes
    start = _SWITCHED * cutoff**2
    scale = 1.0 / (cutoff**2 - start)
    x = jnp.clip((squared - start) * scale, 0.0, 1.0)
    polynomial = np.polynomial.Polynomial([1.0, 0.0, 0.0, -10.0, 15.0, -6.0])
    values = [_horner(polynomial, x)]
    for m in range(1, slopes + 1):
        slope = _horner(polynomial.deriv(m), x) * scale**m
        values.append(jnp.where((x > 0) & (x < 1), slope, 0.0))
    return values


def _horner(polynomial: np.polynomial.Polynomial, x: Array) -> Array:
    # Python's floats take the precision of x; NumPy's would bring their own.
    *lower, highest = (float(c) for c in polynomial.coef)
    total = jnp.full_like(x, highest)
    for coefficient in reversed(lower):
        total = total * x + coefficient
    return total


def _differences(squared: Array, width: Array | None, split: float, order: int) -> list[Array]:
    """B_n of the difference.

    Near, it is that of the two kernels; far, where both tend to 1/r, that of their complements
    erfc/r, which keeps all digits.
    """
    if width is None:
        return _complement(squared, split, order)
    # Each branch gets arguments that are harmless where it is not used.
    point = squared > 4 * _POINT_BEYOND * width * width
    safe = jnp.where(point, 1.0, width)
    # Far out both kernels are 1/r, and their complements are subtracted instead.
    near = squared < 4.0 * split * split
    close = jnp.where(near, squared, 1.0)
    distant = jnp.where(near, 4.0 * split * split, squared)
    sharp = zip(_point(jnp.where(point, close, 1.0), order), smeared_coulomb(close, safe, order))
    rest = zip(_complement(distant, split, order), _complement(distant, safe, order))
    inner = [jnp.where(point, *s) - b for s, b in zip(sharp, smeared_coulomb(close, split, order))]
    outer = [a - jnp.where(point, 0.0, b) for a, b in rest]
    return [jnp.where(near, i, o) for i, o in zip(inner, outer)]


def _point(squared: Array, order: int) -> list[Array]:
    """B_n of 1/r: (2n − 1)!!/r^{2n+1}."""
    inverse = 1.0 / squared
    values = [jnp.sqrt(inverse)]
    for n in range(order):
        values.append((2 * n + 1) * values[-1] * inverse)
    return values


def _complement(squared: Array, width: Array | float, order: int) -> list[Array]:
    """B_n of erfc(r/2w)/r, by a recursion whose terms are all positive."""
    root, inverse, half = jnp.sqrt(squared), 1.0 / squared, 0.5 / (width * width)
    # B_{n+1} = [(2n + 1) B_n + (1/2w²)^n e^{−r²/4w²}/(√π w)]/r²
    decay = jnp.exp(-0.5 * half * squared) / (math.sqrt(math.pi) * width)
    values = [jax.scipy.special.erfc(root * (0.5 / width)) * root * inverse]
    for n in range(order):
        values.append(((2 * n + 1) * values[-1] + decay * half**n) * inverse)
    return values


def _width_slope(squared: Array, width: Array, n: int) -> Array:
    """d/dw of B_n of erf(r/2w)/r: −e^{−r²/4w²}/(√π w² (2w²)^n)."""
    point = squared > 4 * _POINT_BEYOND * width * width
    inverse = 1.0 / jnp.where(point, 1.0, width * width)
    slope = jnp.exp(-0.25 * squared * inverse) * inverse * (0.5 * inverse) ** n
    return jnp.where(point, 0.0, -slope / math.sqrt(math.pi))
