"""Potential and charge density at points, on grids and along lines, for plots; on the host.

The potential is that of the Gaussian multipoles at a point, not averaged over anything, in the
gauge of the engine: zero at infinity (open), zero on average over the cell (periodic), the mean
vacuum level (slab), the counter charge's own potential (slab with one).
"""

import dataclasses
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from electrojax.electrostatics.arguments import GivenDensity, checked_density, finite
from electrojax.electrostatics.contract import CoulombEngine
from electrojax.electrostatics.density import ChargeDensity, l_max_of, summed_channels
from electrojax.electrostatics.energy import bare_system
from electrojax.electrostatics.engines.open import OpenCoulomb
from electrojax.electrostatics.engines.periodic import PeriodicCoulomb
from electrojax.electrostatics.kernels.gaussian import smeared_coulomb
from electrojax.electrostatics.kernels.pairs import pair_potential
from electrojax.errors import ConfigError, DataError
from electrojax.system.geometry import harmonic_order
from electrojax.system.types import System
from electrojax.typing import Array
from electrojax.units import COULOMB

FARTHEST = 8.6
"""Widths beyond which a Gaussian is nothing: e^{−37} = 9e-17."""

BLOCK = 1 << 21
"""Pairs of a point and an atom that are held in memory at once."""


def grid_points(cell: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Returns points [n1, n2, n3, 3] Å that divide a cell [3, 3] Å evenly, its origin first."""
    axes = [np.arange(n) / n for n in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) @ np.asarray(cell, np.float64)


def potential_at(
    points: Any, density: ChargeDensity, system: System, engine: CoulombEngine, structure: int = 0
) -> np.ndarray:
    """Returns the electrostatic potential of a density at points.

    Args:
        points: [..., 3] Å.
        density: of the batch.
        system: the batch, padded or not.
        engine: of the system's boundary; it says the gauge, the corrections and the accuracy.
        structure: index of the structure in the batch.

    Returns:
        [...] V, in float64.

    Raises:
        DataError: for points that are not numbers [..., 3], or a structure that is not there.
        ConfigError: for point charges, whose potential has no finite values to draw.
        CapacityError: if narrow Gaussians need more k-vectors than there is room for.
    """
    targets, given = _targets(points), given_density(density, system, structure)
    flat = targets.reshape(-1, 3)
    with jax.enable_x64(True):
        if isinstance(engine, OpenCoulomb):
            values = _pair_sum(flat, given.positions, given, kind="potential")
        else:
            parts = [
                _periodic_potential(flat, part, system.boundary, system.normal, engine)
                for part in _by_width(given)
            ]
            values = np.sum(parts, axis=0)
    return values.reshape(targets.shape[:-1])


def density_at(
    points: Any, density: ChargeDensity, system: System, structure: int = 0
) -> np.ndarray:
    """Returns the charge density, Σ_i Σ_lm p_lm φ_lm(r − r_i) with periodic images, at points.

    The arguments are those of :func:`potential_at`; a counter charge is not in it.

    Returns:
        [...] e/Å³, in float64.
    """
    targets, given = _targets(points), given_density(density, system, structure)
    flat = targets.reshape(-1, 3)
    # Gaussians decay, so that the few images that reach a point are all of the lattice sum.
    sites, atoms = _images(flat, given, _repeating(system))
    images = given._replace(
        multipoles=given.multipoles[atoms],
        width=np.broadcast_to(given.width, len(given.positions))[atoms],
    )
    with jax.enable_x64(True):
        values = _pair_sum(flat, sites, images, kind="density")
    return values.reshape(targets.shape[:-1])


def given_density(density: ChargeDensity, system: System, structure: int) -> GivenDensity:
    """Returns the multipoles of one structure of a batch as float64 arrays on the host.

    Raises:
        DataError: if the structure is not in the batch.
        ConfigError: if an atom is a point.
    """
    found = np.asarray(system.node_mask) & (np.asarray(system.node_graph) == structure)
    if not np.any(found):
        count = int(np.sum(np.asarray(system.graph_mask)))
        raise DataError(f"structure {structure}: needed an index from 0 to {count - 1}")
    widths = np.broadcast_to(np.asarray(density.width, np.float64), found.shape)[found]
    if np.any(widths == 0):
        raise ConfigError("a point charge (width 0) in a plot; needed a positive width in Å")
    multipoles = np.asarray(summed_channels(jnp.asarray(density.multipoles)), np.float64)[found]
    cell = np.asarray(system.cell, np.float64)[structure]
    positions = np.asarray(system.positions, np.float64)[found]
    positions = positions + np.asarray(system.origin, np.float64)[structure]
    if system.boundary != "open":
        positions = positions + np.asarray(system.images)[found] @ cell
    return checked_density(
        positions, multipoles, widths, cell, system.boundary, system.normal, True
    )


def _targets(points: Any) -> np.ndarray:
    array = finite("points", points)
    if not array.ndim or array.shape[-1] != 3:
        raise DataError(f"points: needed shape [..., 3] in Å, got {array.shape}")
    return array


def _repeating(system: System) -> list[int]:
    """The lattice vectors that repeat."""
    axes = {"open": [], "periodic": [0, 1, 2], "slab": [0, 1, 2]}[system.boundary]
    return [axis for axis in axes if system.boundary != "slab" or axis != system.normal]


def _by_width(given: GivenDensity) -> list[GivenDensity]:
    """The density as a sum of densities of one width each."""
    widths = np.broadcast_to(given.width, len(given.positions))
    parts = []
    for width in np.unique(widths):
        atoms = widths == width
        chosen = {"positions": given.positions[atoms], "multipoles": given.multipoles[atoms]}
        parts.append(given._replace(**chosen, width=width))
    return parts


def _periodic_potential(
    points: np.ndarray, given: GivenDensity, boundary: str, normal: int, engine: Any
) -> np.ndarray:
    """The potential as what receivers without width feel, at atoms without multipoles."""
    # A receiver without width is the potential at a point.
    bulk = PeriodicCoulomb(
        accuracy=getattr(engine, "bulk", engine).accuracy, narrowest_receiver=0.0
    )
    exact = dataclasses.replace(engine, bulk=bulk) if hasattr(engine, "bulk") else bulk
    atoms = len(given.positions)
    probed = given._replace(
        positions=np.concatenate([given.positions, points]),
        multipoles=np.pad(given.multipoles, ((0, len(points)), (0, 0))),
    )
    system = bare_system(exact, probed, boundary, normal, np.zeros(3))
    received = _received(exact, given.l_max, float(given.width), system, probed.multipoles)
    return np.asarray(received)[atoms:, 0, 0]


@partial(jax.jit, static_argnums=(0, 1, 2))
def _received(engine: Any, l_max: int, width: float, system: System, multipoles: Array) -> Array:
    return engine.prepare(system, l_max, width).receive(multipoles, (0.0,), 0)


def _images(
    points: np.ndarray, given: GivenDensity, axes: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Places [M, 3] of all atoms and images that reach a point, and which atoms they are [M]."""
    reach = FARTHEST * float(np.max(given.width))
    ranges = [np.zeros(1)] * 3
    # A sphere of radius R spans R |b_i| in the fractional coordinate i.
    planes = np.linalg.inv(given.cell).T  # rows b_i: r · b_i is a fractional coordinate
    for axis in axes:
        wide = reach * np.linalg.norm(planes[axis])
        fractional = points @ planes[axis], given.positions @ planes[axis]
        low = math.floor(fractional[0].min() - fractional[1].max() - wide)
        high = math.ceil(fractional[0].max() - fractional[1].min() + wide)
        ranges[axis] = np.arange(low, high + 1)
    shifts = np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, 3) @ given.cell
    sites = (given.positions[None] + shifts[:, None]).reshape(-1, 3)
    atoms = np.tile(np.arange(len(given.positions)), len(shifts))
    inside = np.all(
        (sites > points.min(axis=0) - reach) & (sites < points.max(axis=0) + reach), axis=1
    )
    return sites[inside], atoms[inside]


def _pair_sum(points: np.ndarray, sites: np.ndarray, given: GivenDensity, kind: str) -> np.ndarray:
    """Σ over sites at points [P], block by block."""
    if not len(sites):
        return np.zeros(len(points))
    widths = np.broadcast_to(given.width, len(sites)).astype(np.float64)
    rows = max(1, min(len(points), BLOCK // len(sites)))
    blocks = -(-len(points) // rows)
    filled = np.resize(points, (blocks * rows, 3)).reshape(blocks, rows, 3)
    values = _blocks(kind, filled, sites, given.multipoles, widths)
    return np.asarray(values).ravel()[: len(points)]


@partial(jax.jit, static_argnums=0)
def _blocks(kind: str, points: Array, sites: Array, multipoles: Array, width: Array) -> Array:
    order = l_max_of(multipoles.shape[1])
    moments = [multipoles[None, :, m] for m in range(multipoles.shape[1])]

    def block(some: Array) -> Array:
        vectors = harmonic_order(some[:, None] - sites[None])
        squared = jnp.sum(vectors**2, axis=-1)
        kernels = _KERNELS[kind](squared, width, order)
        differences = [vectors[..., x] for x in range(3)]
        return jnp.sum(pair_potential(kernels, differences, moments, 0)[0], axis=1)

    return jax.lax.map(block, points)


def _potential_kernels(squared: Array, width: Array, order: int) -> tuple[Array, ...]:
    """k_e erf(r/√2σ)/r and its radial derivatives: a receiver without width."""
    kernels = smeared_coulomb(squared, width / math.sqrt(2.0), order)
    return tuple(COULOMB * k for k in kernels)


def _density_kernels(squared: Array, width: Array, order: int) -> tuple[Array, ...]:
    """The normalised Gaussian and its radial derivatives, (−(1/r) d/dr)^n G = G/σ^{2n}."""
    value = jnp.exp(-0.5 * squared / width**2) / (math.sqrt(2.0 * math.pi) * width) ** 3
    return tuple(value / width ** (2 * n) for n in range(order + 1))


_KERNELS = {"potential": _potential_kernels, "density": _density_kernels}
