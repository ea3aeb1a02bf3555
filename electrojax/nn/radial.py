"""Radial functions of edges and the angular harmonics that go with them."""

import e3nn_jax as e3nn
import jax.numpy as jnp

from electrojax.errors import ConfigError
from electrojax.typing import Array

BASES = ("bessel", "gaussian", "chebyshev")


def lengths_and_directions(vectors: Array) -> tuple[Array, Array]:
    """Returns the lengths [E] and unit vectors [E, 3] of edge vectors [E, 3], in their unit.

    A zero vector gives the length zero and the direction zero, with finite derivatives.
    """
    squared = jnp.sum(vectors**2, axis=-1)
    nonzero = squared > 0
    lengths = jnp.sqrt(jnp.where(nonzero, squared, 1.0))
    return jnp.where(nonzero, lengths, 0.0), vectors / lengths[:, None]


def radial_basis(name: str, lengths: Array, cutoff: float, size: int) -> Array:
    """Returns the functions [E, size] of edge lengths [E] in Å that a radial network is fed.

    Raises:
        ConfigError: for a basis that does not exist, or that has too few functions.
    """
    if name not in BASES:
        raise ConfigError(f'radial_basis "{name}" does not exist; choose from {BASES}')
    if name == "gaussian" and size < 2:
        raise ConfigError("radial_basis gaussian: needed at least 2 functions (bessel), got 1")
    functions = {"bessel": bessel_basis, "gaussian": gaussian_basis, "chebyshev": chebyshev_basis}
    return functions[name](lengths, cutoff, size)


def gaussian_basis(lengths: Array, cutoff: float, size: int) -> Array:
    """Returns exp(−(r − c_n)²/(2 w²)) [E, size], with n = 1 ... size centres c_n from 0 to r_c.

    Their width w is their distance. Schütt et al. 2017, arXiv 1706.08566, sec. 3.

    Args:
        lengths: [E] Å.
        cutoff: r_c in Å.
        size: number of functions, at least 2.
    """
    width = cutoff / (size - 1)
    centres = jnp.arange(size, dtype=lengths.dtype) * width
    # Beyond the cutoff the envelope is zero; clipped, long padding edges cannot overflow.
    inside = jnp.minimum(lengths, 2.0 * cutoff)
    return jnp.exp(-0.5 * ((inside[:, None] - centres) / width) ** 2)


def chebyshev_basis(lengths: Array, cutoff: float, size: int) -> Array:
    """Returns the Chebyshev polynomials T_n(r) [E, size], n = 1 ... size.

    As in MACE, the argument is the length itself in Å, not scaled to [−1, 1]: meant for lengths
    that a transform has mapped to [0, 1].

    Args:
        lengths: [E].
        cutoff: r_c in Å; lengths beyond are taken as r_c, where the envelope is zero.
        size: number of functions.
    """
    x = jnp.minimum(lengths, cutoff)
    before, last = jnp.ones_like(x), x
    columns = [last]
    for _ in range(size - 1):
        before, last = last, 2.0 * x * last - before
        columns.append(last)
    return jnp.stack(columns, axis=-1)


def bessel_basis(lengths: Array, cutoff: float, size: int) -> Array:
    """Returns √(2/r_c) sin(nπ r/r_c)/r for n = 1 ... size.

    Gasteiger et al. 2020, arXiv 2003.03123, eq. 7.

    Args:
        lengths: [E] Å.
        cutoff: r_c in Å.
        size: number of functions.

    Returns:
        [E, size] Å^(−3/2).
    """
    order = jnp.arange(1, size + 1, dtype=lengths.dtype)
    safe = jnp.where(lengths > 0, lengths, cutoff)[:, None]
    waves = jnp.sin(order * (jnp.pi / cutoff) * safe) / safe
    at_zero = order * (jnp.pi / cutoff)
    return (2.0 / cutoff) ** 0.5 * jnp.where((lengths > 0)[:, None], waves, at_zero)


def polynomial_cutoff(lengths: Array, cutoff: float, power: int) -> Array:
    """Returns the envelope that falls from 1 at r = 0 to 0 at the cutoff.

    1 − (p+1)(p+2)/2 u^p + p(p+2) u^(p+1) − p(p+1)/2 u^(p+2), u = r/r_c: Gasteiger et al. 2020,
    arXiv 2003.03123, eq. 8. Its first two derivatives vanish at the cutoff.

    Args:
        lengths: [E] Å.
        cutoff: r_c in Å.
        power: p.

    Returns:
        [E], exactly zero from the cutoff on.
    """
    return polynomial_envelope(lengths, jnp.asarray(cutoff, lengths.dtype), power)


def polynomial_envelope(lengths: Array, cutoffs: Array, power: int) -> Array:
    """Returns :func:`polynomial_cutoff` [E] with a cutoff of every edge's own.

    Args:
        lengths: [E] Å.
        cutoffs: [E] or scalar, Å.
        power: p.
    """
    p = float(power)
    inside = lengths < cutoffs
    u = jnp.where(inside, lengths, 0.0) / cutoffs
    outer = u**power * ((p + 1) * (p + 2) / 2 - u * (p * (p + 2) - u * (p * (p + 1) / 2)))
    return jnp.where(inside, 1.0 - outer, 0.0)


def harmonics(directions: Array, l_max: int) -> Array:
    """Returns real spherical harmonics with Σ_m Y_lm² = 2l + 1 (e3nn's component normalisation).

    Args:
        directions: [E, 3] unit vectors in the order (y, z, x).
        l_max: largest degree.

    Returns:
        [E, (l_max + 1)²], l-major, m = −l ... l.
    """
    return e3nn.spherical_harmonics(
        e3nn.s2_irreps(l_max), directions, normalize=False, normalization="component"
    ).array
