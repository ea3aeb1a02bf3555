"""The k-vectors of a half space as integer triples, and the weight of every wave in the energy."""

import math

import jax.numpy as jnp
import numpy as np

from electrojax.electrostatics.kernels.gaussian import fourier_factor
from electrojax.electrostatics.kernels.plan import squared_reach, taper
from electrojax.system.geometry import volume
from electrojax.typing import Array, ArrayLike
from electrojax.units import COULOMB


def half_space(k_box: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns integer triples [2, n, n3 + 1, 3] and how many of ±k each term stands for.

    n1 >= 0 is the half space (2 where n1 > 0; the plane n1 = 0 is complete, so 1). The first axis
    is the sign of n3, and n3 = 0 counts once, as does nothing at k = 0.
    """
    first, second, third = (np.arange(n + 1) for n in k_box)
    second = np.concatenate([second, -second[:0:-1]])
    grid = np.meshgrid([1, -1], first, second, third, indexing="ij")
    triples = np.stack([grid[1], grid[2], grid[0] * grid[3]], axis=-1)
    count = np.where(grid[1] > 0, 2, 1)
    count[(grid[3] == 0) & (grid[0] < 0)] = 0
    count[(triples == 0).all(axis=-1)] = 0
    shape = (2, len(first) * len(second), len(third))
    return triples.reshape(*shape, 3), count.reshape(shape)


def planned_share(
    count: ArrayLike,
    planned: Array,
    plan: Array,
    width: Array,
    receiver: float,
    accuracy: float,
    l_max: int,
) -> Array:
    """Returns how much each wave counts: its number of ±k times the taper at the plan's edge.

    It is a function of the plan alone, so that it does not move with the cell.

    Args:
        count: [n1, n2, n3] number of ±k, zero (or false) for waves that are left out.
        planned: [G, n1, n2, n3] k² in 1/Å² in the cells of the plan.
        plan: [G, 3, 3] 1/Å, the rows of A^{−T} of those cells.
        width: [] σ in Å of the density.
        receiver: Å, of the narrowest receivers.
        accuracy: requested RMS error of the forces over the RMS force.
        l_max: highest multipole order.
    """
    shortest = (2.0 * math.pi) ** 2 * jnp.min(jnp.sum(plan * plan, axis=-1), axis=-1)
    # A density of width σ at receivers of width τ decays as e^{−k²w²}, w² = (σ² + τ²)/2.
    mixed = jnp.sqrt(0.5 * (width * width + receiver**2))
    reach = squared_reach(shortest, jnp.minimum(width, mixed), accuracy, l_max)
    inner, outer = (jnp.asarray(k2)[:, None, None, None] for k2 in reach)
    return jnp.asarray(count) * taper(planned, inner, outer)


def wave_weight(squared: Array, share: Array, cell: Array, width: Array) -> Array:
    """Returns (4π k_e/V) e^{−k²σ²}/k² of every wave times its share, zero where that is none.

    Args:
        squared: [G, n1, n2, n3] k² in 1/Å².
        share: of the same shape.
        cell: [G, 3, 3] Å.
        width: [] σ in Å.

    Returns:
        [G, n1, n2, n3] eV/e².
    """
    used = share > 0
    safe = jnp.where(used, squared, 1.0)
    factor = 4.0 * math.pi * COULOMB / volume(cell)[:, None, None, None]
    # Two Gaussians, of the source and of what feels it: e^{−(2k²)σ²/2}.
    value = factor * fourier_factor(2.0 * safe, width) / safe
    return jnp.where(used, share * value, 0.0)
