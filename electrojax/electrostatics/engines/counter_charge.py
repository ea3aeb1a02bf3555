"""Counter charges of slabs: a plane or a jellium that takes up −Q, as electrode work needs it.

A charged slab's energy has no lower bound in Q: its potential −2π k_e (Q/area) |z| falls for ever.
With −Q spread over the plane of the slab, along its normal by a profile g(z) of integral one, the
whole is neutral, and its energy the field's, ½∫E² >= 0. Uniform sheets see the slab's mean over the
plane alone, so that the counter charge adds two moments of the density, exactly and without images,

    ΔE = (2π k_e/area) (Q F − ½ Q² f_gg),  F = ∫ρ f(n·r),  f(z) = ∫ g(z') |z − z'| dz',

with f averaged over the Gaussians of the density, which smooths the profile's edges.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from electrojax.electrostatics.contract import CoulombOperator, receiver_multipoles
from electrojax.electrostatics.engines.operator import SitesOperator
from electrojax.electrostatics.engines.slab import SlabCoulomb, open_sites
from electrojax.electrostatics.kernels.harmonics import quadrupole_product
from electrojax.electrostatics.sites import Sites
from electrojax.errors import ConfigError
from electrojax.system.geometry import harmonic_order, volume
from electrojax.system.layout import GraphLayout
from electrojax.system.slabs import open_axis
from electrojax.system.types import System
from electrojax.typing import Array, static, struct
from electrojax.units import COULOMB

SHARPEST = 1e-4
"""Å; narrower Gaussians, and points, are averaged as if they were this wide."""


class Profile(Protocol):
    """How a counter charge is spread along the normal; frozen, static under jit."""

    def averages(self, height: Array, width: Array) -> tuple[Array, Array, Array]:
        """Returns ⟨f⟩, ⟨f'⟩ and ⟨f''⟩ over Gaussians of width σ Å at heights n·r in Å."""
        ...

    @property
    def mean_distance(self) -> float:
        """f_gg = ∫∫ g g' |z − z'| in Å."""
        ...

    @property
    def mean_height(self) -> float:
        """z̄ = ∫ g z in Å, from the origin of the coordinates."""
        ...


@dataclasses.dataclass(frozen=True)
class Plane:
    """A charged plane.

    Attributes:
        position: Å along the slab's normal, from the origin of the coordinates; outside the atoms.
    """

    position: float

    @property
    def mean_distance(self) -> float:
        """0: all of it is at one height."""
        return 0.0

    @property
    def mean_height(self) -> float:
        """That of the plane."""
        return self.position

    def averages(self, height: Array, width: Array) -> tuple[Array, Array, Array]:
        """Returns the averages of |z|, its slope and its curvature, 2 G_σ(z)."""
        z = height - self.position
        return _distance(z, width), _sign(z, width), 2.0 * _gaussian(z, width)


@dataclasses.dataclass(frozen=True)
class Jellium:
    """A uniform charge between two heights.

    Attributes:
        lower, upper: Å along the slab's normal, from the origin of the coordinates.
    """

    lower: float
    upper: float

    def __post_init__(self) -> None:
        if not self.lower < self.upper:
            raise ConfigError(
                f"jellium from {self.lower:g} to {self.upper:g} Å; needed a lower bound below the "
                "upper one"
            )

    @property
    def mean_distance(self) -> float:
        """A third of its thickness."""
        return (self.upper - self.lower) / 3.0

    @property
    def mean_height(self) -> float:
        """Its middle."""
        return 0.5 * (self.lower + self.upper)

    def averages(self, height: Array, width: Array) -> tuple[Array, Array, Array]:
        """Returns the averages of (1/thickness) ∫ |z − z'| dz' and its two derivatives."""
        thickness = self.upper - self.lower
        ends = (height - self.lower, height - self.upper)
        first, last = ([f(z, width) for f in (_area, _distance, _sign)] for z in ends)
        value, slope, curvature = ((a - b) / thickness for a, b in zip(first, last))
        return value, slope, curvature


COUNTER_CHARGES: dict[str, type] = {"plane": Plane, "jellium": Jellium}
"""Counter charges by name; each takes its heights along the normal in Å."""


@dataclasses.dataclass(frozen=True)
class CounterChargedCoulomb(SlabCoulomb):
    """Coulomb interactions of a slab and of a counter charge −Q, which follows the slab's charge.

    The whole is neutral: the operator is positive semi-definite for any change of charge. A charge
    put on an atom is taken from the counter charge, so that the potential refers to the counter
    charge's own: to the vacuum behind a plane. The counter charge stays at its place in space when
    atoms move, and forces on the atoms need not add up to zero. n points along the open lattice
    vector.

    Attributes:
        profile: the counter charge.
    """

    profile: Profile = Plane(0.0)

    def __post_init__(self) -> None:
        if self.neutral:
            raise ConfigError("a counter charge on a slab that is taken as neutral; needed neither")

    def prepare(  # type: ignore[override]
        self, sites: Sites | System, l_max: int, width: float | Array
    ) -> "CounterChargedOperator":
        """Returns the map from multipoles to potentials; the arguments are those of SlabCoulomb."""
        sites = open_sites(sites)
        slab = super().prepare(sites, l_max, width)
        layout, cell = slab.layout, sites.cell
        normal, height = open_axis(cell, sites.normal)
        # Counter charges stand at heights in space.
        positions = layout.dense(sites.positions + sites.origin[sites.structure])
        return CounterChargedOperator(
            bulk=slab,
            layout=layout,
            height=jnp.einsum("gax,gx->ga", positions, normal),
            normal=normal,
            width=slab.width,
            scale=2.0 * math.pi * COULOMB * height / volume(cell),
            profile=self.profile,
            l_max=l_max,
        )


@struct
class CounterChargedOperator(SitesOperator):
    """A slab's operator with its counter charge: symmetric, of rank two more.

    What receivers of a channel feel is the counter charge of that channel alone.

    Attributes:
        bulk: the slab alone.
        layout: places of the atoms in the dense layout.
        height: [G, A] n·r in Å.
        normal: [G, 3] n.
        width: [] or [G, A] σ in Å.
        scale: [G] 2π k_e/area in eV/(e²·Å).
        profile: the counter charge.
        l_max: highest multipole order.
    """

    bulk: CoulombOperator
    layout: GraphLayout
    height: Array
    normal: Array
    width: Array
    scale: Array
    profile: Profile = static()
    l_max: int = static()

    @property
    def counter_place(self) -> Array:
        """z̄ n [G, 3] Å, the mean place of the counter charge along the normal."""
        return self.profile.mean_height * self.normal

    def _potential(self, charge: Array) -> Array:
        moments = self._moments(self.layout.dense(charge))
        added = self._felt(moments, self.width, self.l_max)
        return self.bulk.potential(charge) + self.layout.nodes(added)

    def _energy(self, charge: Array) -> Array:
        total, far = self._moments(self.layout.dense(charge))
        # (2π k_e/area) (Q F − ½ Q² f_gg)
        own = 0.5 * self.profile.mean_distance * total**2
        return self.bulk.energy(charge) + self.scale * (total * far - own)

    def _receive(
        self, charge: Array, widths: Sequence[float], l_max: int, self_interaction: bool
    ) -> Array:
        bulk = receiver_multipoles(self.bulk).receive(charge, widths, l_max, self_interaction)
        moments = self._moments(self.layout.dense(charge))
        values = [self._felt(moments, jnp.asarray(w), l_max) for w in widths]
        return bulk + self.layout.nodes(jnp.stack(values, axis=2))

    def _moments(self, dense: Array) -> tuple[Array, Array]:
        """Q and F [G] of multipoles [G, A, M]."""
        rows = self._rows(self.width, self.l_max)
        return jnp.sum(dense[..., 0], axis=1), jnp.sum(rows * dense, axis=(1, 2))

    def _felt(self, moments: tuple[Array, Array], width: Array, l_max: int) -> Array:
        """What multipoles of a width feel of the counter charge, and of being part of it."""
        charge, far = (self.scale * m for m in moments)
        # ∂/∂p of Q F is Q ∂F/∂p + F ∂Q/∂p, and ∂Q/∂p is 1 for charges alone.
        values = charge[:, None, None] * self._rows(width, l_max)
        shared = far - self.profile.mean_distance * charge
        values = values.at[..., 0].add(shared[:, None])
        return jnp.where(self.layout.mask[..., None], values, 0.0)

    def _rows(self, width: Array, l_max: int) -> Array:
        """∫ f φ_lm of every unit multipole [G, A, M]: ⟨f⟩, ⟨f'⟩ n and ⟨f''⟩ R_m(n)/3."""
        # f has a kink at a plane, and points no width to round it.
        smooth = jnp.maximum(jnp.asarray(width, self.height.dtype), SHARPEST)
        value, slope, curvature = self.profile.averages(self.height, smooth)
        n = harmonic_order(self.normal)
        rows = [value, *(slope * n[:, x, None] for x in range(3))]
        components = [n[:, x, None] for x in range(3)]
        # A quadrupole is Θ:∇∇ of a Gaussian with Θ = ⅓ Σ p_m C_m, and ∇∇f = f'' n n.
        rows += [curvature * r / 3.0 for r in quadrupole_product(components, components)]
        return jnp.stack(rows[: (l_max + 1) ** 2], axis=-1)


def with_counter_charge(slab: SlabCoulomb, name: str, heights: Sequence[float]) -> SlabCoulomb:
    """Returns a slab's engine with a counter charge.

    Args:
        slab: the engine without.
        name: none, plane or jellium.
        heights: Å along the slab's normal, from the origin of the coordinates: of the plane, or the
            lower and upper bound of the jellium; nothing for none.

    Raises:
        ConfigError: if the name does not exist, or the heights are not as many numbers as it needs.
    """
    numbers = {"none": 0, "plane": 1, "jellium": 2}
    if name not in numbers:
        raise ConfigError(f"counter_charge {name!r} does not exist; needed {' or '.join(numbers)}")
    if len(heights) != numbers[name] or not np.all(np.isfinite(heights)):
        raise ConfigError(
            f"counter_charge {name!r} at {list(heights)}; needed {numbers[name]} finite heights "
            "along the slab's normal in Å"
        )
    if name == "none":
        return slab
    profile = COUNTER_CHARGES[name](*(float(h) for h in heights))
    return CounterChargedCoulomb(bulk=slab.bulk, neutral=False, profile=profile)


def check_fixed_potential(boundary: str, counter_charge: str) -> None:
    """Checks that a charge that follows from a fixed potential has an energy with a minimum.

    Raises:
        ConfigError: for a slab without a counter charge.
    """
    if boundary == "slab" and counter_charge == "none":
        raise ConfigError(
            "charge_control 'fixed_potential' with boundary 'slab' and counter_charge 'none': the "
            "energy of a charged slab has no minimum; needed counter_charge 'plane' or 'jellium'"
        )


def _gaussian(z: Array, width: Array) -> Array:
    return jnp.exp(-0.5 * (z / width) ** 2) / (math.sqrt(2.0 * math.pi) * width)


def _sign(z: Array, width: Array) -> Array:
    """The average of sign(z)."""
    return jax.scipy.special.erf(z / (math.sqrt(2.0) * width))


def _distance(z: Array, width: Array) -> Array:
    """The average of |z|."""
    return z * _sign(z, width) + 2.0 * width**2 * _gaussian(z, width)


def _area(z: Array, width: Array) -> Array:
    """The average of ½ z |z|, the integral of the distance."""
    return 0.5 * (z**2 + width**2) * _sign(z, width) + z * width**2 * _gaussian(z, width)
