"""Potential and charge density averaged over the plane of two lattice vectors, in closed form.

Only the moments of the atoms along the normal n count: a multipole is (q − μ·n ∂ + ⅓ R(n)·p ∂²) of
a Gaussian sheet, in one dimension. On the host, in float64.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import erf

from electrojax.electrostatics.arguments import GivenDensity, finite
from electrojax.electrostatics.contract import CoulombEngine
from electrojax.electrostatics.coulomb import PERIODIC_METHODS
from electrojax.electrostatics.density import ChargeDensity
from electrojax.electrostatics.engines.counter_charge import CounterChargedCoulomb
from electrojax.electrostatics.engines.slab import SlabCoulomb
from electrojax.electrostatics.kernels.harmonics import QUADRUPOLE
from electrojax.electrostatics.profiles.grid import FARTHEST, given_density
from electrojax.errors import ConfigError, DataError
from electrojax.system.types import System
from electrojax.units import COULOMB

Derivatives = Callable[[np.ndarray, np.ndarray], list[np.ndarray]]
"""A function of distance and width, both broadcast: the value and its first two derivatives."""


def plane_averaged_density(
    heights: Any, density: ChargeDensity, system: System, axis: int, structure: int = 0
) -> np.ndarray:
    """Returns the charge density averaged over the plane of the lattice vectors other than one.

    Args:
        heights: [H] Å along the normal of the plane, from the origin of the coordinates; n points
            along lattice vector ``axis``.
        density: of the batch.
        system: the batch; periodic, or a slab with ``axis`` its open vector.
        axis: 0, 1 or 2.
        structure: index of the structure in the batch.

    Returns:
        [H] e/Å³; a counter charge is not in it.

    Raises:
        ConfigError: for an open boundary, or a slab averaged along the slab.
        DataError: for heights that are not numbers [H].
    """
    z = _checked(heights, system, axis)
    given = given_density(density, system, structure)
    sites, area, period = _along(given, axis)
    if system.boundary == "slab":
        return _sheets(z, given, sites, axis, _gaussian) / area
    reach = FARTHEST * float(np.max(given.width))
    low = math.floor((z.min() - sites.max() - reach) / period)
    high = math.ceil((z.max() - sites.min() + reach) / period)
    images = [_sheets(z - m * period, given, sites, axis, _gaussian) for m in range(low, high + 1)]
    return np.sum(images, axis=0) / area


def plane_averaged_potential(
    heights: Any,
    density: ChargeDensity,
    system: System,
    engine: CoulombEngine,
    axis: int,
    structure: int = 0,
) -> np.ndarray:
    """Returns the potential averaged over the plane of the lattice vectors other than one.

    The arguments are those of :func:`plane_averaged_density`; the engine says the gauge, as in
    :mod:`electrojax.electrostatics.profiles.grid`.

    Returns:
        [H] V.

    Raises:
        ConfigError: for an engine without planes (open, a molecule in a box), or a slab averaged
            along the slab.
        DataError: for heights that are not numbers [H].
    """
    z = _checked(heights, system, axis)
    given = given_density(density, system, structure)
    sites, area, period = _along(given, axis)
    if isinstance(engine, SlabCoulomb):
        scale = -2.0 * math.pi * COULOMB / area
        return scale * (
            _sheets(z, given, sites, axis, _distance) - _countered(z, given, sites, axis, engine)
        )
    if not isinstance(engine, tuple(PERIODIC_METHODS.values())):
        raise ConfigError(
            f"a plane average with {type(engine).__name__}; needed a periodic or a slab sum"
        )
    highest = math.ceil(FARTHEST * period / (2 * math.pi * float(np.min(given.width))))
    k = 2.0 * math.pi / period * np.arange(1, highest + 1)
    widths = np.broadcast_to(given.width, len(sites))
    charge, dipole, quadrupole = _moments(given, axis)
    # S(k) along the normal only: waves with an in-plane component average to zero.
    form = charge - 1j * np.outer(k, dipole) - np.outer(k**2, quadrupole)
    waves = np.exp(-1j * np.outer(k, sites) - 0.5 * np.outer(k**2, widths**2)) * form
    factors = waves.sum(axis=1) / k**2
    total = 2.0 * np.real(np.exp(1j * np.outer(z, k)) @ factors)
    # V = area · L; k and −k are complex conjugates, hence the 2 above.
    return 4.0 * math.pi * COULOMB / (area * period) * total


def _checked(heights: Any, system: System, axis: int) -> np.ndarray:
    z = finite("heights", heights)
    if z.ndim != 1 or not len(z):
        raise DataError(f"heights: needed shape [H] in Å, got {z.shape}")
    if axis not in (0, 1, 2):
        raise ConfigError(f"axis {axis!r}; needed 0, 1 or 2, the index of a lattice vector")
    if system.boundary == "open":
        raise ConfigError(
            "a plane average with boundary 'open'; needed boundary 'periodic' or 'slab', or "
            "potential_at on a grid"
        )
    if system.boundary == "slab" and axis != system.normal:
        raise ConfigError(
            f"a plane average along axis {axis} of a slab that is open along {system.normal}; "
            f"needed axis {system.normal}"
        )
    return z


def _normal(cell: np.ndarray, axis: int) -> tuple[np.ndarray, float]:
    """n, along lattice vector ``axis``, and the area of the plane."""
    product = np.cross(cell[(axis + 1) % 3], cell[(axis + 2) % 3])
    area = float(np.linalg.norm(product))
    return product / area * np.sign(product @ cell[axis]), area


def _along(given: GivenDensity, axis: int) -> tuple[np.ndarray, float, float]:
    """Heights of the atoms [N] Å, area and period L = V/area."""
    normal, area = _normal(given.cell, axis)
    return given.positions @ normal, area, float(abs(np.linalg.det(given.cell)) / area)


def _moments(given: GivenDensity, axis: int) -> list[np.ndarray]:
    """q, μ·n and ⅓ R(n)·p of every atom [N]."""
    normal = _normal(given.cell, axis)[0]
    rows = np.pad(given.multipoles, ((0, 0), (0, 9 - given.multipoles.shape[1])))
    harmonics = np.einsum("i,mij,j->m", normal, QUADRUPOLE, normal)
    return [rows[:, 0], rows[:, [3, 1, 2]] @ normal, rows[:, 4:9] @ harmonics / 3.0]


def _sheets(
    z: np.ndarray, given: GivenDensity, sites: np.ndarray, axis: int, kernel: Derivatives
) -> np.ndarray:
    """Σ_i (q − μ·n ∂ + ⅓ R(n)·p ∂²) of a kernel at z − z_i."""
    charge, dipole, quadrupole = _moments(given, axis)
    value, slope, curvature = kernel(z[:, None] - sites, np.broadcast_to(given.width, len(sites)))
    return value @ charge - slope @ dipole + curvature @ quadrupole


def _gaussian(d: np.ndarray, width: np.ndarray) -> list[np.ndarray]:
    value = np.exp(-0.5 * (d / width) ** 2) / (math.sqrt(2.0 * math.pi) * width)
    return [value, -d / width**2 * value, (d**2 / width**4 - 1.0 / width**2) * value]


def _distance(d: np.ndarray, width: np.ndarray) -> list[np.ndarray]:
    """⟨|d|⟩ over a Gaussian, its slope and its curvature."""
    sign, peak = erf(d / (math.sqrt(2.0) * width)), _gaussian(d, width)[0]
    return [d * sign + 2.0 * width**2 * peak, sign, 2.0 * peak]


def _countered(
    z: np.ndarray, given: GivenDensity, sites: np.ndarray, axis: int, engine: SlabCoulomb
) -> np.ndarray:
    """What a counter charge adds, in distances times charge: Q f(z) + F − Q f_gg; 0 if none."""
    if not isinstance(engine, CounterChargedCoulomb):
        return np.zeros_like(z)
    profile = engine.profile

    def kernel(height: np.ndarray, width: np.ndarray) -> list[np.ndarray]:
        with jax.enable_x64(True):
            pair = jnp.asarray(height), jnp.asarray(width)
            return [np.asarray(v) for v in profile.averages(*pair)]

    charge, dipole, quadrupole = _moments(given, axis)
    value, slope, curvature = kernel(sites, np.broadcast_to(given.width, len(sites)))
    far = value @ charge + slope @ dipole + curvature @ quadrupole
    total = charge.sum()
    sharp = kernel(z, np.full(1, 1e-4))[0]
    return total * sharp + far - profile.mean_distance * total
