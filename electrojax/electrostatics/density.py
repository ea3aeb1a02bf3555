"""The one charge object of electrojax: atom-centred Gaussian multipoles."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from electrojax.errors import ConfigError
from electrojax.system.geometry import cartesian_order, places
from electrojax.system.types import System, graph_sum
from electrojax.typing import Array, replace, struct

MAX_L = 2
"""Highest multipole order that the Coulomb engines know."""


@struct
class ChargeDensity:
    """Gaussian multipoles on the atoms, ρ(r) = Σ_i Σ_lm p_{i,lm} φ_lm(r − r_i).

    φ_lm = C_lσ r^l Y_lm(r̂) exp(−r²/2σ²) carries exactly one unit of its own moment ∫φ R_lm with
    R_lm = √(4π/(2l + 1)) r^l Y_lm: 1/C_lσ = √(4π/(2l + 1)) 2^{l + 1/2} Γ(l + 3/2) σ^{2l + 3}
    (Baldwin et al., arXiv 2603.14700, "multipoles" normalisation). Charges are positive where
    electrons are missing.

    Attributes:
        multipoles: [N, C, M] e·Å^l in the order [q, y, z, x, xy, yz, 3z² − r², xz, x² − y²],
            M = (l_max + 1)²; C is 1, or 2 for spin up and down, whose sum is the charge.
        width: [N] σ in Å.
    """

    multipoles: Array
    width: Array


def l_max_of(components: int) -> int:
    """Returns l_max of a row of M = (l_max + 1)² multipole components.

    Raises:
        ConfigError: if M is not a square.
    """
    root = math.isqrt(max(components, 0))
    if root < 1 or root * root != components:
        raise ConfigError(
            f"{components} multipole components per atom; needed (l_max + 1)² = 1, 4 or 9 "
            "in the order [q, y, z, x, ...]"
        )
    return root - 1


def check_order(l_max: int) -> None:
    """Checks that the Coulomb engines know multipoles of this order.

    Raises:
        ConfigError: if they do not.
    """
    if not 0 <= l_max <= MAX_L:
        raise ConfigError(
            f"density l_max = {l_max}; needed 0 (charges), 1 (with dipoles) or 2 (with quadrupoles)"
        )


def check_components(multipoles: Array, l_max: int) -> None:
    """Checks the trailing axis of multipoles against the order an operator was prepared for.

    Raises:
        ConfigError: if they differ.
    """
    needed = (l_max + 1) ** 2
    if multipoles.ndim not in (2, 3) or multipoles.shape[-1] != needed:
        raise ConfigError(
            f"multipoles of shape {multipoles.shape}; needed [N, {needed}] or [N, C, {needed}] "
            f"for an operator prepared with l_max = {l_max}"
        )


def summed_channels(multipoles: Array) -> Array:
    """Returns [N, M] multipoles of the charge: the sum over channels of [N, C, M] (or p itself)."""
    return multipoles if multipoles.ndim == 2 else multipoles.sum(axis=1)


def each_channel(function: Callable[[Array], Array], multipoles: Array) -> Array:
    """Returns a function of [N, M] multipoles for every channel of [N, C, M]: [N, C, ...]."""
    if multipoles.ndim == 2:
        return function(multipoles)
    return jax.vmap(function, in_axes=1, out_axes=1)(multipoles)


def felt_by_channels(values: Array, multipoles: Array) -> Array:
    """Returns potentials [N, M] in the shape of multipoles: every channel feels the same."""
    return values if multipoles.ndim == 2 else jnp.broadcast_to(values[:, None], multipoles.shape)


def of_one_width(multipoles: Array, width: float) -> ChargeDensity:
    """Returns the density of multipoles [N, M] or [N, C, M] e·Å^l, with one width in Å."""
    channels = multipoles if multipoles.ndim == 3 else multipoles[:, None, :]
    return ChargeDensity(channels, jnp.full(len(channels), width, channels.dtype))


def total_charge(density: ChargeDensity, system: System) -> Array:
    """Returns the charge of every structure, Q = Σ_i q_i.

    Returns:
        [G] e.
    """
    return graph_sum(summed_channels(density.multipoles)[:, 0], system)


def dipole(density: ChargeDensity, system: System, charge: Array | None = None) -> Array:
    """Returns the dipole of every structure, D = Σ_i (q_i r_i + μ_i).

    It depends on the origin when the structure is charged, and on which image of an atom is given
    when it is periodic.

    Args:
        density: the charges.
        system: a batch.
        charge: [G] e of each structure, where it is known better than Σ_i q_i, whose rounding
            would grow with the distance from the origin.

    Returns:
        [G, 3] e·Å, Cartesian (x, y, z).
    """
    multipoles = summed_channels(density.multipoles)
    charge = total_charge(density, system) if charge is None else charge
    origin = system.origin
    about_origin = places(replace(system, origin=jnp.zeros_like(origin)))
    moments = multipoles[:, :1] * about_origin
    if multipoles.shape[1] > 1:
        moments = moments + cartesian_order(multipoles[:, 1:4])
    return graph_sum(moments, system) + charge[:, None] * origin


def degrees(multipoles: Array) -> Array:
    """Returns the order l of each component [M] of multipoles [..., M]."""
    l_max = l_max_of(multipoles.shape[-1])
    orders = [l for l in range(l_max + 1) for _ in range(2 * l + 1)]
    return jnp.asarray(orders, multipoles.dtype)
