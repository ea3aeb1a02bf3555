"""Closed forms of Gaussian charges: the smeared Coulomb kernel, Fourier factors, self terms.

A unit multipole is a derivative of a normalised Gaussian, φ_lm = R_lm(−∇) G_σ / (2l − 1)!!, so
every interaction is a derivative of one kernel, and all its derivatives are Boys functions. Its
Fourier transform is φ̃_lm(k) = (−i)^l R_lm(k) e^{−k²σ²/2} / (2l − 1)!!.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp

from electrojax.typing import Array
from electrojax.units import COULOMB

_SERIES_BELOW = 2.0
"""Boys arguments below this use the power series, above it the upward recursion: both then lose
less than one digit in the orders that occur here."""


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def boys(x: Array, order: int) -> tuple[Array, ...]:
    """Returns the Boys functions F_n(x) = ∫₀¹ t^{2n} exp(−x t²) dt for n = 0 ... order.

    They are smooth at x = 0, and F_n' = −F_{n+1} is the rule by which they are differentiated, in
    any mode and to any order (Helgaker, Jørgensen, Olsen, *Molecular Electronic-Structure Theory*,
    2000, eqs. 9.8.1-9.8.14).

    Args:
        x: any shape, >= 0.
        order: the highest n.

    Returns:
        order + 1 arrays of the shape of x.
    """
    # Each branch gets arguments where it is finite, so that derivatives of the unused one are.
    near = x < _SERIES_BELOW
    low = _boys_series(jnp.where(near, x, 0.0), order)
    high = _boys_upward(jnp.where(near, _SERIES_BELOW, x), order)
    return tuple(jnp.where(near, a, b) for a, b in zip(low, high))


@boys.defjvp
def _boys_derivative(
    order: int, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    values = boys(primals[0], order + 1)
    return values[:-1], tuple(-v * tangents[0] for v in values[1:])


def _boys_series(x: Array, order: int) -> list[Array]:
    """F_n = e^{−x} Σ_i (2x)^i / ((2n+1)(2n+3)...(2n+2i+1)) for the highest n, then downwards."""
    terms = 15 if x.dtype == jnp.float32 else 25
    total = jnp.ones_like(x)
    for i in range(terms, 0, -1):
        total = 1.0 + total * x * (1.0 / (order + 0.5 + i))
    # Downward recursion, F_n = (2x F_{n+1} + e^{−x})/(2n + 1), which only adds positive terms.
    decay = jnp.exp(-x)
    values = [decay * total / (2 * order + 1)]
    for n in range(order - 1, -1, -1):
        values.append((2.0 * x * values[-1] + decay) * (1.0 / (2 * n + 1)))
    return values[::-1]


def _boys_upward(x: Array, order: int) -> list[Array]:
    """F_0 = ½ √(π/x) erf √x and F_{n+1} = ((2n + 1) F_n − e^{−x}) / 2x."""
    root = jnp.sqrt(x)
    values = [0.5 * math.sqrt(math.pi) * jax.scipy.special.erf(root) / root]
    decay, half = jnp.exp(-x), 0.5 / x
    for n in range(order):
        values.append(((2 * n + 1) * values[-1] - decay) * half)
    return values


def smeared_coulomb(squared_distance: Array, width: Array | float, order: int) -> tuple[Array, ...]:
    """Returns the smeared Coulomb kernel T = erf(r/2w)/r and its radial derivatives.

    B_n = (−(1/r) d/dr)^n T = F_n(r²/4w²) / (√π w (2w²)^n): finite and smooth at r = 0, where
    B_n(0) = 1 / (√π w (2w²)^n (2n + 1)). Then ∇T = −r B_1 and ∇∇T = r r B_2 − 1 B_1.

    Args:
        squared_distance: r² in Å², any shape.
        width: w in Å, w² = (σ_i² + σ_j²)/2 for two Gaussians; broadcasts against r².
        order: the highest n.

    Returns:
        order + 1 arrays, 1/Å^{2n+1}.
    """
    # d(r²/4w²)/dr = r/2w², so that every −(1/r) d/dr brings 1/2w².
    inverse = 0.5 / (width * width)
    values = boys(squared_distance * (0.5 * inverse), order)
    scale = 1.0 / (math.sqrt(math.pi) * width)
    return tuple(v * (scale * inverse**n) for n, v in enumerate(values))


def point_coulomb(squared_distance: Array, order: int) -> tuple[Array, ...]:
    """Returns B_n = (2n − 1)!!/r^{2n+1} of 1/r for n = 0 ... order, 1/Å^{2n+1}, at r > 0."""
    inverse = 1.0 / squared_distance
    values = [jnp.sqrt(inverse)]
    for n in range(order):
        values.append((2 * n + 1) * values[-1] * inverse)
    return tuple(values)


def self_potential(width: Array | float, l_max: int) -> Array:
    """Returns the potential of a unit multipole on itself, ∂E_self/∂p / p.

    E_self = ½ k_e [q²/(√π σ) + |μ|²/(6 √π σ³) + |p_2|²/(60 √π σ⁵)], the kernel above at r = 0.

    Args:
        width: σ in Å, any shape.
        l_max: 0, 1 or 2.

    Returns:
        [..., M] eV/(e·Å^l)².
    """
    width = jnp.asarray(width)[..., None]
    scale = COULOMB / math.sqrt(math.pi)
    orders = [1.0 / width, 1.0 / (6.0 * width**3), 1.0 / (60.0 * width**5)]
    diagonal = [value for l in range(l_max + 1) for value in [orders[l]] * (2 * l + 1)]
    return scale * jnp.concatenate(diagonal, axis=-1)


def on_site_response(
    multipoles: Array, source_width: Array | float, receiver_width: Array | float, l_max: int
) -> Array:
    """Returns what receivers up to l_max feel of the multipole at their own place.

    Args:
        multipoles: [..., M] e·Å^l.
        source_width: σ in Å, without the last axis of multipoles, or one number.
        receiver_width: τ in Å, likewise.
        l_max: highest order of the receivers.

    Returns:
        [..., (l_max + 1)²] eV/(e·Å^l).
    """
    width = jnp.sqrt(0.5 * (source_width**2 + receiver_width**2))
    common = min((l_max + 1) ** 2, multipoles.shape[-1])
    values = self_potential(width, math.isqrt(common) - 1) * multipoles[..., :common]
    rest = [(0, 0)] * (values.ndim - 1) + [(0, (l_max + 1) ** 2 - common)]
    return jnp.pad(values, rest)


def fourier_factor(squared_k: Array, width: Array | float) -> Array:
    """Returns exp(−k²σ²/2), the Fourier transform of a normalised Gaussian of width σ."""
    return jnp.exp(-0.5 * squared_k * width**2)


def tail_exponent(accuracy: float, l_max: int) -> float:
    """Returns the (k_c² − k_1²) σ² beyond which the reciprocal sum may be cut off.

    k_1 is the shortest k-vector, where the forces are. Those left out decay as t^{l/2} e^{−t}, with
    t = (k² − k_1²) σ²; the rule is t^{l/2} e^{−t} <= accuracy / 30, where 30 allows for densities
    whose long waves are screened. In the tests the errors stay below the requested ones, by 2-50.

    Args:
        accuracy: requested RMS error of the forces over the RMS force.
        l_max: highest multipole order.
    """
    target = math.log(30.0 / accuracy)
    # Fixed point of t = ln(30/accuracy) + (l/2) ln t.
    exponent = target
    for _ in range(50):
        exponent = target + 0.5 * l_max * math.log(exponent)
    return exponent
