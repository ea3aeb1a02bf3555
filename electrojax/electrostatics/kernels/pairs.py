"""What one Gaussian multipole does to another, as a sum of radial kernels times tensors."""

import jax.numpy as jnp

from electrojax.electrostatics.kernels.harmonics import quadrupole_product, quadrupole_times
from electrojax.typing import Array


def pair_potential(
    kernels: tuple[Array, ...], differences: list[Array], sources: list[Array], l_max: int
) -> list[Array]:
    """Returns the potential of every source multipole and its derivatives at its target.

    A source is (q − μ·∇ + Θ:∇∇) T. With d = r_target − r_source and
    u_n = q B_n + (μ·d) B_{n+1} + (d·Θ·d) B_{n+2}, y_n = μ B_n + 2 (Θ·d) B_{n+1}:

    φ = u_0,  ∇φ = y_1 − d u_1,  ∇∇φ = d d u_2 − y_2 d − d y_2 + 2 Θ B_2 (without its trace).

    Args:
        kernels: B_0 ... B_{l + l_max}, arrays of any shape.
        differences: the components (y, z, x) of d in Å, of the same shape.
        sources: the M components of the sources' multipoles, broadcast against it.
        l_max: highest order at the targets.

    Returns:
        (l_max + 1)² arrays, e/Å^{1+l}.
    """
    values = [_radial(kernels, differences, sources, 0)]
    if l_max >= 1:
        radial, vector = (f(kernels, differences, sources, 1) for f in (_radial, _vector))
        values += [v - d * radial for v, d in zip(vector, differences)]
    if l_max == 2:
        radial, vector = (f(kernels, differences, sources, 2) for f in (_radial, _vector))
        # d d u_2 − y_2 d − d y_2 = −2 sym(d (y_2 − ½ d u_2)), times C_m/3.
        half = [v - 0.5 * d * radial for v, d in zip(vector, differences)]
        tensor = [-(2 / 3) * t for t in quadrupole_product(differences, half)]
        # 2 Θ B_2 in harmonics: 2 (C_m/3) : Θ = ⅓ p_m, since C_m : C_n = (3/2) δ_mn.
        own = [p * kernels[2] / 3 for p in sources[4:9]]
        values += [t + o for t, o in zip(tensor, own)] if own else tensor
    return values


def _radial(
    kernels: tuple[Array, ...], differences: list[Array], sources: list[Array], n: int
) -> Array:
    """u_n above."""
    total = sources[0] * kernels[n]
    if len(sources) > 1:
        total = total + _dot(sources[1:4], differences) * kernels[n + 1]
    if len(sources) > 4:
        along = quadrupole_times(sources[4:9], differences)
        total = total + _dot(along, differences) * kernels[n + 2]
    return total


def _vector(
    kernels: tuple[Array, ...], differences: list[Array], sources: list[Array], n: int
) -> list[Array]:
    """y_n above."""
    if len(sources) == 1:
        return [jnp.zeros((), kernels[0].dtype)] * 3
    dipoles = [m * kernels[n] for m in sources[1:4]]
    if len(sources) == 4:
        return dipoles
    along = quadrupole_times(sources[4:9], differences)
    return [m + 2.0 * t * kernels[n + 1] for m, t in zip(dipoles, along)]


def _dot(a: list[Array], b: list[Array]) -> Array:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
