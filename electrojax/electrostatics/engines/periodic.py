"""Periodic boundary: the reciprocal-space sum of Gaussian multipoles with separable phases.

Smearing makes the sum converge by itself, so there is no real-space part. With S(k) the structure
factor, V the volume and n a triple of integers,

    E = (2π k_e / V) Σ_{k≠0} |S(k)|²/k²,  k = 2π n A^{−T},
    S(k) = e^{−k²σ²/2} Σ_i e^{−ik·r_i} (q_i − i k·μ_i − k·Θ_i·k).

The phase of atom i factorises over the three lattice directions, e^{2πi n·s} with s = r A^{−1}, so
S takes N Σn sines and cosines and one matrix product instead of N·K sines and cosines.
"""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from electrojax.electrostatics.contract import check_receivable
from electrojax.electrostatics.density import check_order
from electrojax.electrostatics.engines.operator import SitesOperator
from electrojax.electrostatics.kernels.gaussian import (
    on_site_response,
    self_potential,
    tail_exponent,
)
from electrojax.electrostatics.kernels.harmonics import quadrupole_tensor
from electrojax.electrostatics.kernels.phases import phases, products, split_atoms, unfold
from electrojax.electrostatics.kernels.plan import k_box_of
from electrojax.electrostatics.kernels.waves import half_space, planned_share, wave_weight
from electrojax.electrostatics.sites import Sites
from electrojax.errors import CapacityError, ConfigError
from electrojax.system.geometry import cartesian_order, reciprocal
from electrojax.system.layout import GraphLayout
from electrojax.system.types import System
from electrojax.typing import Array, static, struct

MAX_K_VECTORS = 1 << 26
"""More than this in the half space would take gigabytes: a narrower Gaussian needs another sum."""

_HIGHEST = jax.lax.Precision.HIGHEST


@dataclasses.dataclass(frozen=True)
class PeriodicCoulomb:
    """Coulomb interactions of crystals and liquids, by the reciprocal-space sum.

    k = 0 is left out: the potential averages to zero over the cell, and a charged cell is
    neutralised by a uniform background. No finite-size term is added. The cost grows as N·V, as
    matrix products.

    Attributes:
        accuracy: requested RMS error of the forces over the RMS force; it sets the largest
            |k| (see :func:`~electrojax.electrostatics.kernels.gaussian.tail_exponent`).
        self_interaction: keep each Gaussian's interaction with itself.
        table_block: the largest number of phases held in memory at once.
        narrowest_receiver: Å, of the receivers that :meth:`PeriodicOperator.receive` is asked for;
            more k-vectors are needed where it is narrower than the density.
    """

    accuracy: float = 1.0e-5
    self_interaction: bool = True
    table_block: int = 1 << 20
    narrowest_receiver: float = math.inf

    def __post_init__(self) -> None:
        if not 1e-13 <= self.accuracy <= 0.1:
            raise ConfigError(
                f"coulomb accuracy {self.accuracy:g}; needed a relative force error "
                "from 1e-13 to 0.1"
            )

    def k_box(
        self, cell: np.ndarray, width: float | np.ndarray, l_max: int
    ) -> tuple[int, int, int]:
        """Returns the largest k-vector index along each reciprocal axis, on the host.

        Args:
            cell: [3, 3] Å, rows are lattice vectors.
            width: σ in Å; of several, the narrowest counts.
            l_max: highest multipole order.

        Raises:
            ConfigError: if a width is not positive.
            CapacityError: if there would be too many k-vectors.
        """
        narrowest = float(np.min(width))
        if not narrowest > 0:
            raise ConfigError(
                f"a width of {narrowest:g} Å in a reciprocal sum; needed a positive width, or "
                "method 'ewald' for point charges"
            )
        narrowest = min(narrowest, math.hypot(narrowest, self.narrowest_receiver) / math.sqrt(2))
        box = k_box_of(cell, narrowest, self.accuracy, l_max)
        if np.prod(2 * box + 1) / 2 > MAX_K_VECTORS:
            raise CapacityError(
                f"a width of {narrowest:g} Å in a cell of "
                f"{np.linalg.norm(cell, axis=-1).round(2).tolist()} Å needs "
                f"k-vectors up to {box.tolist()}, more than {MAX_K_VECTORS}; "
                "use wider Gaussians or a lower accuracy"
            )
        return tuple(int(n) for n in box)  # type: ignore[return-value]

    def pair_cutoff(self, l_max: int) -> float:
        """Returns 0: there is no real-space part."""
        return 0.0

    def tuned_for(
        self, atoms: int, cell: np.ndarray, width: float | np.ndarray, l_max: int
    ) -> "PeriodicCoulomb":
        """Returns the engine itself: there is nothing to choose."""
        return self

    def cost(self, atoms: int, cell: np.ndarray, width: float | np.ndarray, l_max: int) -> float:
        """Returns the cost of one application in phases (k-vector times atom).

        It is infinite for widths that differ, or so narrow that a sum would not fit in memory.
        """
        if np.ptp(width) > 0 or np.min(width) <= 0:
            return math.inf
        size = abs(float(np.linalg.det(cell)))
        # k_c σ = √t, where the terms have decayed to the accuracy.
        largest = math.sqrt(tail_exponent(self.accuracy, l_max)) / float(np.min(width))
        # The half of the sphere of k-vectors, in a box of n1, n2, n3 twice its volume.
        vectors = size * largest**3 / (6 * math.pi**2)
        return math.inf if vectors > MAX_K_VECTORS else atoms * vectors

    def prepare(
        self, sites: Sites | System, l_max: int, width: float | Array
    ) -> "PeriodicOperator":
        """Returns the map from multipoles to potentials for these positions and cells.

        The set of k-vectors is that of ``plan_cell``: it does not change with ``cell``.

        Args:
            sites: the sites, or a batch for its atoms, whose k_box holds the vectors that
                :meth:`k_box` asks for.
            l_max: highest multipole order, 0 to 2.
            width: σ in Å, one number.

        Raises:
            ConfigError: if l_max or a width per atom is not supported.
            CapacityError: if the k_box is empty.
        """
        check_order(l_max)
        sites = Sites.of(sites)
        if jnp.ndim(width):
            raise ConfigError("a width per atom; needed one width for all atoms in a periodic sum")
        if not any(sites.k_box):
            raise CapacityError("the system has an empty k_box; plan it with the engine's k_box")
        cell = sites.cell
        layout = sites.layout()
        width = jnp.asarray(width, cell.dtype)
        rows = reciprocal(cell)
        indices, count = half_space(sites.k_box)
        triples = jnp.asarray(indices, cell.dtype)
        squared = _squared_k(triples, rows)
        share = self._share(sites, triples, jnp.asarray(count, cell.dtype), width, l_max)
        inverse = jnp.swapaxes(rows, 1, 2)
        fractional = _matmul(layout.dense(sites.positions), inverse)
        # Wrapped, so that float32 keeps its digits; the phases do not see whole lattice vectors.
        fractional = fractional - jax.lax.stop_gradient(jnp.round(fractional))
        return PeriodicOperator(
            layout=layout,
            inverse=inverse,
            tables=tuple(phases(fractional[..., i], sites.k_box[i]) for i in range(3)),
            weight=wave_weight(squared, share, cell, width),
            squared=squared,
            width=width,
            narrowest_receiver=self.narrowest_receiver,
            on_site=self_potential(width, l_max) * (0.0 if self.self_interaction else 1.0),
            l_max=l_max,
            block=self._block(layout, sites.k_box, l_max),
        )

    def _share(self, sites: Sites, triples: Array, count: Array, width: Array, l_max: int) -> Array:
        """How much each wave of the plan counts, [G, 2, n, n3 + 1]."""
        plan = reciprocal(sites.plan_cell)
        planned = _squared_k(triples, plan)
        receiver, accuracy = self.narrowest_receiver, self.accuracy
        return planned_share(count, planned, plan, width, receiver, accuracy, l_max)

    def _block(self, layout: GraphLayout, k_box: tuple[int, int, int], l_max: int) -> int:
        """Number of atoms per structure whose phases are made at once."""
        graphs, atoms = layout.mask.shape
        phases = graphs * (k_box[0] + 1) * (2 * k_box[1] + 1) * 2 * (l_max + 1)
        blocks = -(-atoms // max(16, self.table_block // phases))
        return -(-atoms // blocks)  # equal blocks, so that little is filled up


@struct
class PeriodicOperator(SitesOperator):
    """The reciprocal sum for fixed geometry.

    Receivers narrower than the density must be announced in the engine's narrowest_receiver.

    Attributes:
        layout: places of the atoms in the dense layout.
        inverse: [G, 3, 3] 1/Å, the inverse cells: s = r A^{−1}.
        tables: for each lattice direction cos and sin of 2π n s, [G, A, 2, n_i + 1].
        weight: [G, 2, (n1 + 1)(2 n2 + 1), n3 + 1] eV/e², for +n3 and −n3.
        squared: [G, 2, (n1 + 1)(2 n2 + 1), n3 + 1] k² in 1/Å².
        width: [] σ in Å.
        on_site: [M] eV/(e·Å^l)², the self-interaction to take out.
        l_max: highest multipole order.
        narrowest_receiver: Å, for which the k-vectors suffice.
        block: number of atoms of a structure whose phases are made at once.
    """

    layout: GraphLayout
    inverse: Array
    tables: tuple[Array, ...]
    weight: Array
    squared: Array
    width: Array
    on_site: Array
    l_max: int = static()
    narrowest_receiver: float = static()
    block: int = static()

    def _potential(self, charge: Array) -> Array:
        dense = self.layout.dense(charge)
        # The adjoint is the transpose of the very same map, so the operator is exactly symmetric.
        factors, adjoint = jax.vjp(self.structure_factor, dense)
        values = adjoint(self.weight[..., None] * factors)[0] - self.on_site * dense
        return self.layout.nodes(values)

    def _energy(self, charge: Array) -> Array:
        """By one transform: ½ Σ_k w(k) |S(k)|² without the self-interaction."""
        dense = self.layout.dense(charge)
        square = jnp.sum(self.structure_factor(dense) ** 2, axis=-1)
        waves = jnp.sum(self.weight * square, axis=(1, 2, 3))
        return 0.5 * (waves - jnp.sum(self.on_site * dense * dense, axis=(1, 2)))

    def _receive(
        self, charge: Array, widths: Sequence[float], l_max: int, self_interaction: bool
    ) -> Array:
        check_receivable(widths, self.narrowest_receiver)
        dense = self.layout.dense(charge)
        factors = self.structure_factor(dense)
        target = jnp.zeros((*dense.shape[:2], (l_max + 1) ** 2), dense.dtype)
        _, adjoint = jax.vjp(self.structure_factor, target)
        values = []
        for width in widths:
            received = adjoint(self._received_weight(width)[..., None] * factors)[0]
            if not self_interaction:
                received = received - on_site_response(dense, self.width, width, l_max)
            values.append(received)
        return self.layout.nodes(jnp.stack(values, axis=2))

    def _received_weight(self, width: float) -> Array:
        """The weight with one of its two Gaussians e^{−k²σ²/2} replaced by a receiver's."""
        # e^{−k²σ²} becomes e^{−k²(σ² + τ²)/2}.
        squared = jnp.where(self.weight > 0, self.squared, 0.0)
        return self.weight * jnp.exp(0.5 * squared * (self.width**2 - width**2))

    def structure_factor(self, multipoles: Array) -> Array:
        """Σ_i e^{ik·r}(q + ik·μ − k·Θ·k) [G, 2, n, n3 + 1, 2] of [G, A, M], real and imaginary.

        The second axis is +n3 and −n3.
        """
        moments = self._moments(multipoles)
        atoms, blocks = self.block, -(-moments.shape[1] // self.block)
        if blocks == 1:
            return unfold(products(moments, *self.tables), self.tables)
        parts = [split_atoms(a, blocks, atoms) for a in (moments, *self.tables)]

        # Recomputed in the backward pass, so that memory does not grow with the number of atoms.
        @jax.checkpoint
        def add(total: Array, part: list[Array]) -> tuple[Array, None]:
            return total + products(*part), None

        start = jnp.zeros_like(products(*[p[0] for p in parts]))
        total, _ = jax.lax.scan(add, start, parts)
        return unfold(total, self.tables)

    def _moments(self, multipoles: Array) -> Array:
        """Moments that go with the integers n of k = 2π n A^{−T}: [G, A, 1, 4 or 10].

        Charges, 2π μ A^{−1} and, as (11, 22, 33, 12, 13, 23), (2π)² A^{−T} Θ A^{−1}.
        """
        if multipoles.shape[-1] == 1:
            return multipoles
        turn = 2.0 * math.pi * self.inverse
        parts = [multipoles[..., :1], _matmul(cartesian_order(multipoles[..., 1:4]), turn)]
        if multipoles.shape[-1] == 9:
            tensor = quadrupole_tensor(multipoles[..., 4:9])
            # k·Θ·k = n·(2π)² A^{−T} Θ A^{−1}·n
            scaled = jnp.einsum("gji,gajk,gkl->gail", turn, tensor, turn, precision=_HIGHEST)
            parts.append(scaled[..., [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]])
        return jnp.concatenate(parts, axis=-1)


def _matmul(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=_HIGHEST)


def _squared_k(triples: Array, rows: Array) -> Array:
    vectors = jnp.einsum("snci,gij->gsncj", triples, rows, precision=_HIGHEST)
    return (2.0 * math.pi) ** 2 * jnp.sum(vectors * vectors, axis=-1)
