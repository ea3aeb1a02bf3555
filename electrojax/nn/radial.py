"""Radial functions of edges and the angular harmonics that go with them."""

import e3nn_jax as e3nn
import jax.numpy as jnp

from electrojax.typing import Array


def lengths_and_directions(vectors: Array) -> tuple[Array, Array]:
    """Returns the lengths [E] and unit vectors [E, 3] of edge vectors [E, 3], in their unit.

    A zero vector gives the length zero and the direction zero, with finite derivatives.
    """
    squared = jnp.sum(vectors**2, axis=-1)
    nonzero = squared > 0
    lengths = jnp.sqrt(jnp.where(nonzero, squared, 1.0))
    return jnp.where(nonzero, lengths, 0.0), vectors / lengths[:, None]


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
    p = float(power)
    inside = lengths < cutoff
    u = jnp.where(inside, lengths, 0.0) / cutoff
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
