"""Periodic boundary for narrow Gaussians and point charges: real and reciprocal space together.

Every Gaussian of width σ is a wider one of width s, summed in reciprocal space, plus a rest that is
short-ranged and summed over pairs (P. P. Ewald, Ann. Phys. 369, 253 (1921)). Their k = 0 terms are
left out together, so that the result does not depend on s:

    E = E_reciprocal(s) + ½ Σ_pairs [T_w − T_s] + on-site − (2π k_e/V) (s² Q² − Q Σ_i σ_i² q_i).
"""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from electrojax.electrostatics.contract import CoulombOperator, receiver_multipoles
from electrojax.electrostatics.density import check_order
from electrojax.electrostatics.engines.operator import SitesOperator
from electrojax.electrostatics.engines.periodic import PeriodicCoulomb
from electrojax.electrostatics.kernels.gaussian import (
    on_site_response,
    self_potential,
    tail_exponent,
)
from electrojax.electrostatics.kernels.pairs import pair_potential
from electrojax.electrostatics.kernels.screened import are_points, switched_coulomb
from electrojax.electrostatics.kernels.short_range import short_range_energy
from electrojax.electrostatics.sites import Pairs, Sites, real_space_pairs
from electrojax.errors import ConfigError
from electrojax.system.geometry import PADDING_DISTANCE, harmonic_order, volume
from electrojax.system.types import System
from electrojax.typing import Array, static, struct
from electrojax.units import COULOMB

PAIR_COST = 40.0
"""Time of one pair over that of one phase of one atom (k-vector times atom), on two CPU cores:
measured for point charges, whose energy and forces take 0.03-0.05 µs a pair."""


@dataclasses.dataclass(frozen=True)
class EwaldCoulomb:
    """Coulomb interactions of periodic systems by the real/reciprocal split.

    Widths may differ from atom to atom and be zero, which needs atoms apart and the
    self-interaction left out. Same gauge and background as the direct sum. With the best cutoff
    (:meth:`tuned`) the cost grows as N^{3/2}, about 0.03 µs per pair of point charges for energy
    and forces. The pairs stay those of the plan while atoms and cell move, and leave through a
    switch with two continuous derivatives, so that neither a step within a plan nor a list made
    anew is felt. A width that is a plain number, not an array, makes the faster program.

    Attributes:
        accuracy: requested RMS error of the forces over the RMS force; it sets the largest
            |k| and how the cutoff fixes the split.
        self_interaction: keep each Gaussian's interaction with itself.
        cutoff: Å, of the pairs.
    """

    accuracy: float = 1.0e-5
    self_interaction: bool = True
    cutoff: float = 9.0

    def __post_init__(self) -> None:
        PeriodicCoulomb(self.accuracy)  # refuses what no sum can meet
        if not self.cutoff > 0:
            raise ConfigError(f"coulomb cutoff {self.cutoff:g} Å; needed a positive distance")

    def split(self, l_max: int) -> float:
        """Returns the width s in Å of the Gaussians that are summed in reciprocal space.

        The rest decays as e^{−u²}, u = r/2s, times u^{2l} for multipoles; with the same margin as
        the reciprocal sum, the cutoff is at u² = t where t^l e^{−t} = accuracy / 30.
        """
        return self.cutoff / (2.0 * _screening(self.accuracy, l_max))

    def pair_cutoff(self, l_max: int) -> float:
        """Returns the cutoff of the real-space pairs in Å."""
        return self.cutoff

    def k_box(
        self, cell: np.ndarray, width: float | np.ndarray, l_max: int
    ) -> tuple[int, int, int]:
        """Returns, on the host, the largest k-vector index along each axis of a cell [3, 3] Å.

        Raises:
            ConfigError: if a Gaussian is wider than the split.
        """
        widest, split = float(np.max(width)), self.split(l_max)
        if widest > split * (1 + 1e-12):
            raise ConfigError(
                f"a width of {widest:g} Å with a cutoff of {self.cutoff:g} Å; needed at least "
                f"{2 * widest * _screening(self.accuracy, l_max):.3g} Å, or the direct sum"
            )
        return self._reciprocal().k_box(cell, split, l_max)

    def tuned_for(
        self, atoms: int, cell: np.ndarray, width: float | np.ndarray, l_max: int
    ) -> "EwaldCoulomb":
        """Returns the engine with the cutoff at which this structure costs least.

        Pairs grow as s³ and k-vectors as s^{−3}: the costs are equal, and their sum smallest, at
        s⁶ = V² / (128 π³ N c) for pairs that cost c phases.
        """
        size = abs(float(np.linalg.det(cell)))
        best = (size**2 / (128 * math.pi**3 * atoms * PAIR_COST)) ** (1 / 6)
        # No Gaussian may be wider than those of the reciprocal sum.
        split = max(best, float(np.max(width)))
        return dataclasses.replace(self, cutoff=2 * split * _screening(self.accuracy, l_max))

    def cost(self, atoms: int, cell: np.ndarray, width: float | np.ndarray, l_max: int) -> float:
        """Returns the cost of one application in phases (k-vector times atom)."""
        size = abs(float(np.linalg.det(cell)))
        pairs = atoms**2 / size * 4 / 3 * math.pi * self.cutoff**3
        return PAIR_COST * pairs + self._reciprocal().cost(atoms, cell, self.split(l_max), l_max)

    def prepare(self, sites: Sites | System, l_max: int, width: float | Array) -> "EwaldOperator":
        """Returns the map from multipoles to potentials for these positions and cells.

        Args:
            sites: the sites, or a batch for its atoms, with the k_box and the pairs that
                :meth:`k_box` and :meth:`pair_cutoff` ask for.
            l_max: highest multipole order, 0 to 2.
            width: σ in Å, one number or [N], none wider than the split.

        Raises:
            ConfigError: if l_max is not supported.
            CapacityError: if the k_box is empty.
        """
        check_order(l_max)
        sites = Sites.of(sites)
        if are_points(width) and self.self_interaction:
            raise ConfigError(
                "point charges (width 0) with their interaction with themselves, which is "
                "infinite; needed self_interaction False or a positive width"
            )
        cell, pairs = sites.cell, real_space_pairs(sites)
        split = jnp.asarray(self.split(l_max), cell.dtype)
        widths = jnp.broadcast_to(jnp.asarray(width, cell.dtype), (len(sites.mask),))
        vectors = _pair_vectors(sites, pairs)
        squared = jnp.sum(vectors * vectors, axis=-1)
        kernels = switched_coulomb(
            squared,
            _pair_width(pairs, width, cell.dtype),
            self.split(l_max),
            self.cutoff,
            2 * l_max,
        )
        return EwaldOperator(
            sites=sites,
            pairs=pairs,
            reciprocal=self._reciprocal().prepare(sites, l_max, split),
            vectors=vectors,
            kernels=_masked(kernels, pairs),
            on_site=self._on_site(widths, split, l_max, sites.mask),
            background=4.0 * math.pi * COULOMB / volume(cell),
            widths=widths,
            split=self.split(l_max),
            cutoff=self.cutoff,
            l_max=l_max,
            uniform_width=_known_width(width),
        )

    def _on_site(self, widths: Array, split: Array, l_max: int, mask: Array) -> Array:
        """[N, M] what each multipole feels of itself beyond the reciprocal sum."""
        # The reciprocal sum has each wide Gaussian with itself; the pairs have no i = j at shift 0.
        wide = jnp.broadcast_to(self_potential(split, l_max), (len(widths), (l_max + 1) ** 2))
        if not self.self_interaction:
            return -wide
        return self_potential(jnp.where(mask, widths, 1.0), l_max) - wide

    def _reciprocal(self) -> PeriodicCoulomb:
        return PeriodicCoulomb(self.accuracy)


@struct
class EwaldOperator(SitesOperator):
    """The real/reciprocal split for fixed geometry.

    With widths that differ, or are not known when the program is made, no receiver may be wider
    than the split; nor may one have width 0 at a point charge.

    Attributes:
        sites: where the multipoles are.
        pairs: those within the cutoff.
        reciprocal: the sum over wide Gaussians.
        vectors: [P, 3] Å in the order (y, z, x), from sender to receiver.
        kernels: short-range radial kernels [P], zero at the cutoff and on padding.
        on_site: [N, M] eV/(e·Å^l)².
        background: [G] 4π k_e/V in eV/(e²·Å²).
        widths: [N] σ in Å.
        split: Å, s.
        cutoff: Å, at which pairs are switched off.
        l_max: highest multipole order.
        uniform_width: Å, the width of all atoms where the program is made for it.
    """

    sites: Sites
    pairs: Pairs
    reciprocal: CoulombOperator
    vectors: Array
    kernels: tuple[Array, ...]
    on_site: Array
    background: Array
    widths: Array
    split: float = static()
    cutoff: float = static()
    l_max: int = static()
    uniform_width: float | None = static()

    def _potential(self, charge: Array) -> Array:
        return self.reciprocal.potential(charge) + self._rest(charge)

    def _energy(self, charge: Array) -> Array:
        given = (self.widths, self.split, self.cutoff, self.uniform_width)
        # ½ Σ_pairs [T_w − T_s] in blocks, so that energy and forces never store the pair list.
        short = short_range_energy(self.sites, self.pairs, charge, *given)
        alone = self.sites.sums(jnp.sum(charge * self._alone(charge), axis=-1))
        return self.reciprocal.energy(charge) + short + 0.5 * alone

    def _receive(
        self, charge: Array, widths: Sequence[float], l_max: int, self_interaction: bool
    ) -> Array:
        receive = receiver_multipoles(self.reciprocal).receive
        widened = [self._widened(width) for width in widths]
        # Receivers as wide as the split, to which pairs add T_w − T_s with w² = (σ² + τ²)/2.
        far = receive(charge, (self.split,), l_max, self_interaction=False)[:, 0]
        values = [
            far + self._received(charge, width, l_max, self_interaction)
            if wide is None
            else receive(charge, (wide,), l_max, self_interaction)[:, 0]
            for width, wide in zip(widths, widened)
        ]
        return jnp.stack(values, axis=1)

    def _widened(self, width: float) -> float | None:
        """τ' of the receivers of the wide Gaussians that feel the same, where pairs are not needed.

        σ² + τ² = s² + τ'², with more than 2 s² in all, so that the k-vectors suffice.
        """
        if self.uniform_width is not None:
            # What a pair feels depends on σ² + τ² alone.
            total = self.uniform_width**2 + width**2
            return math.sqrt(total - self.split**2) if total > 2.0 * self.split**2 else None
        if width > self.split * (1 + 1e-12):
            raise ConfigError(
                f"a receiver of width {width:g} Å with a split of {self.split:.4g} Å; needed a "
                "cutoff so many times longer, the direct sum, or one plain number as the width "
                "of all atoms"
            )
        return None

    def _received(
        self, multipoles: Array, width: float, l_max: int, self_interaction: bool
    ) -> Array:
        """What one receiver feels beyond the reciprocal sum, [N, (l_max + 1)²]."""
        pairs, mask = self.pairs, self.sites.mask
        squared = jnp.sum(self.vectors**2, axis=-1)
        pair_width: float | Array = 0.0
        if self.uniform_width != 0 or width != 0:
            pair_width = jnp.sqrt(0.5 * (self.widths[pairs.senders] ** 2 + width**2))
        order = self.l_max + l_max
        # T_w − T_s with w² = (σ_j² + τ²)/2 of source and receiver.
        kernels = switched_coulomb(squared, pair_width, self.split, self.cutoff, order)
        total = self._pair_sum(_masked(kernels, pairs), multipoles, l_max)
        if self_interaction:
            source = jnp.where(mask, self.widths, 1.0)
            total = total + on_site_response(multipoles, source, width, l_max)
        spread = jnp.full_like(self.widths, 0.5 * width**2)
        total = total.at[:, 0].add(-self._neutralising(multipoles[:, 0], spread))
        return jnp.where(mask[:, None], total, 0.0)

    def _pair_sum(self, kernels: tuple[Array, ...], multipoles: Array, l_max: int) -> Array:
        sent = multipoles[self.pairs.senders]
        sources = [sent[:, m] for m in range(sent.shape[1])]
        vectors = [self.vectors[:, x] for x in range(3)]
        values = pair_potential(kernels, vectors, sources, l_max)
        return jax.ops.segment_sum(
            COULOMB * jnp.stack(values, axis=-1),
            self.pairs.receivers,
            len(multipoles),
            indices_are_sorted=self.sites.ordered,
        )

    def _rest(self, multipoles: Array) -> Array:
        """Everything but the reciprocal sum, [N, M]."""
        pairs = self._pair_sum(self.kernels, multipoles, self.l_max)
        mask = self.sites.mask[:, None]
        return jnp.where(mask, pairs, 0.0) + self._alone(multipoles)

    def _alone(self, multipoles: Array) -> Array:
        """What needs neither pairs nor waves: each atom's own, and the background, [N, M]."""
        total = self.on_site * multipoles
        background = self._neutralising(multipoles[:, 0], 0.5 * self.widths**2)
        total = total.at[:, 0].add(-background)
        return jnp.where(self.sites.mask[:, None], total, 0.0)

    def _neutralising(self, charges: Array, spread: Array) -> Array:
        """(4π k_e/V) Σ_j (s² − ½σ_i² − ½σ_j²) q_j, what the pairs have at k = 0, [N] eV/e.

        spread is ½σ_i² of what feels it.
        """
        graph = self.sites.structure
        total = self.sites.sums(charges)[graph]
        # At k → 0, T_w − T_s has the limit 4π (s² − w²) with w² = (σ_i² + σ_j²)/2.
        moment = self.sites.sums(0.5 * self.widths**2 * charges)[graph]
        return self.background[graph] * ((self.split**2 - spread) * total - moment)


def _screening(accuracy: float, l_max: int) -> float:
    return math.sqrt(tail_exponent(accuracy, 2 * l_max))


def _pair_vectors(sites: Sites, pairs: Pairs) -> Array:
    """From sender to receiver, [P, 3] Å in harmonic order."""
    positions = harmonic_order(sites.positions)
    cells = harmonic_order(sites.cell)
    if len(cells) > 1:
        cells = cells[sites.graph[pairs.receivers]]
    shifts = pairs.shifts.astype(positions.dtype)
    # Σ_i n_i a_i
    offsets = [shifts[:, i, None] * cells[:, i] for i in range(3)]
    vectors = positions[pairs.receivers] - positions[pairs.senders]
    vectors = vectors + sum(offsets[1:], start=offsets[0])
    padding = jnp.array([0.0, PADDING_DISTANCE, 0.0], positions.dtype)
    return jnp.where(pairs.mask[:, None], vectors, padding)


def _pair_width(pairs: Pairs, width: float | Array, dtype: np.dtype) -> float | Array:
    """w = √((σ_i² + σ_j²)/2): one number where all atoms have the same width, or [P]."""
    if are_points(width) or jnp.ndim(width) == 0:
        return 0.0 if are_points(width) else width
    square = jnp.asarray(width, dtype) ** 2
    return jnp.sqrt(0.5 * (square[pairs.receivers] + square[pairs.senders]))


def _masked(kernels: tuple[Array, ...], pairs: Pairs) -> tuple[Array, ...]:
    return tuple(jnp.where(pairs.mask, kernel, 0.0) for kernel in kernels)


def _known_width(width: float | Array) -> float | None:
    """The one width of all atoms, where the program is made for it."""
    known = isinstance(width, int | float | np.ndarray) and np.ptp(width) == 0
    return float(np.max(width)) if known else None
