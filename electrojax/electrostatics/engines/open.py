"""Open boundary: the analytic sum over pairs of Gaussian multipoles, exact at every distance."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from electrojax.electrostatics.density import check_order
from electrojax.electrostatics.engines.operator import SitesOperator
from electrojax.electrostatics.kernels.gaussian import (
    on_site_response,
    point_coulomb,
    self_potential,
    smeared_coulomb,
)
from electrojax.electrostatics.kernels.pairs import pair_potential
from electrojax.electrostatics.sites import Sites
from electrojax.errors import ConfigError
from electrojax.system.geometry import harmonic_order
from electrojax.system.layout import GraphLayout
from electrojax.system.types import System
from electrojax.typing import Array, static, struct
from electrojax.units import COULOMB


@dataclasses.dataclass(frozen=True)
class OpenCoulomb:
    """Coulomb interactions of isolated structures, by the exact sum over pairs.

    The cost grows as N² per structure; the memory as N, since large structures are summed in
    blocks of rows. The zero of the potential is infinity.

    Attributes:
        self_interaction: keep each Gaussian's interaction with itself.
        pair_block: the largest number of pairs held in memory at once.
        sharp: widths may be zero, for points at different places, without self-interaction.
    """

    self_interaction: bool = True
    pair_block: int = 1 << 21
    sharp: bool = False

    def __post_init__(self) -> None:
        if self.sharp and self.self_interaction:
            raise ConfigError(
                "point charges with their self-interaction, which is infinite; needed "
                "self_interaction False"
            )

    def k_box(
        self, cell: np.ndarray, width: float | np.ndarray, l_max: int
    ) -> tuple[int, int, int]:
        """Returns zeros: there are no k-vectors."""
        return (0, 0, 0)

    def pair_cutoff(self, l_max: int) -> float:
        """Returns 0: every pair is summed, without a list."""
        return 0.0

    def prepare(self, sites: Sites | System, l_max: int, width: float | Array) -> "OpenOperator":
        """Returns the map from multipoles to potentials for these positions.

        Args:
            sites: the sites, or a batch for its atoms; cells are not read.
            l_max: highest multipole order, 0 to 2.
            width: σ in Å, one number or [N].

        Raises:
            ConfigError: if l_max is not supported.
        """
        check_order(l_max)
        sites = Sites.of(sites)
        layout = sites.layout()
        positions = layout.dense(harmonic_order(sites.positions))
        width = jnp.asarray(width, positions.dtype)
        if width.ndim:
            # Empty places keep a positive width, or the kernel there would be infinite.
            width = jnp.where(layout.mask, layout.dense(width), 1.0)
        graphs, atoms = layout.mask.shape
        whole = graphs * atoms * atoms <= self.pair_block
        pairs = (positions, positions, width, width)
        return OpenOperator(
            layout=layout,
            positions=positions,
            width=width,
            kernels=_kernels(*pairs, 2 * l_max, self.sharp) if whole else (),
            on_site=self._on_site(width, l_max),
            sharp=self.sharp,
            l_max=l_max,
            rows=atoms if whole else max(1, self.pair_block // (graphs * atoms)),
        )

    def _on_site(self, width: Array, l_max: int) -> Array:
        if not self.sharp:
            # The pair sum contains i = j, finite for Gaussians: taken out where it is not wanted.
            return self_potential(width, l_max) * (0.0 if self.self_interaction else 1.0)
        point = width == 0
        own = self_potential(jnp.where(point, 1.0, width), l_max)
        return jnp.where(point[..., None], 0.0, own)


@struct
class OpenOperator(SitesOperator):
    """The pair sum for fixed positions.

    Attributes:
        layout: places of the atoms in the dense layout.
        positions: [G, A, 3] Å in the order (y, z, x).
        width: [] or [G, A] σ in Å.
        kernels: radial kernels [G, A, A] of every pair; none when they are made block by block.
        on_site: [M] or [G, A, M] eV/(e·Å^l)², the self-interaction to take out.
        l_max: highest multipole order.
        rows: number of atoms of a structure whose pairs are summed at once.
        sharp: widths may be zero.
    """

    layout: GraphLayout
    positions: Array
    width: Array
    kernels: tuple[Array, ...]
    on_site: Array
    l_max: int = static()
    rows: int = static()
    sharp: bool = static()

    def _potential(self, charge: Array) -> Array:
        return self.layout.nodes(self._apply(self.layout.dense(charge)))

    def _energy(self, charge: Array) -> Array:
        dense = self.layout.dense(charge)
        return 0.5 * jnp.sum(dense * self._apply(dense), axis=(1, 2))

    def _receive(
        self, charge: Array, widths: Sequence[float], l_max: int, self_interaction: bool
    ) -> Array:
        dense = self.layout.dense(charge)
        values = [self._received(dense, w, l_max, self_interaction) for w in widths]
        return self.layout.nodes(jnp.stack(values, axis=2))

    def receivers(
        self, widths: Sequence[float], l_max: int, self_interaction: bool = True
    ) -> "OpenReceivers":
        """Returns ``receive`` with its radial kernels made once, for many applications."""
        targets = [jnp.full_like(self.width, width) for width in widths]
        order, pairs = self.l_max + l_max, (self.positions, self.positions)
        kernels = [_kernels(*pairs, t, self.width, order, self.sharp) for t in targets]
        held = tuple(kernels) if self.kernels else ()
        return OpenReceivers(self, held, tuple(widths), l_max, self_interaction)

    def _received(self, sources: Array, width: float, l_max: int, self_interaction: bool) -> Array:
        target = jnp.full_like(self.width, width)
        values = COULOMB * self._pair_sum(sources, target, l_max)
        if self_interaction:
            return values
        return values - on_site_response(sources, self.width, target, l_max)

    def _apply(self, sources: Array) -> Array:
        if self.kernels:
            pairs = _potential(self.kernels, self.positions, self.positions, sources, self.l_max)
        else:
            pairs = self._pair_sum(sources, self.width, self.l_max)
        return COULOMB * pairs - self.on_site * sources

    def _pair_sum(self, sources: Array, target_width: Array, l_max: int) -> Array:
        graphs, atoms = self.layout.mask.shape
        blocks = -(-atoms // self.rows)
        # The last block repeats the last row until it is full; the copies are cut off.
        order = np.minimum(np.arange(blocks * self.rows), atoms - 1).reshape(blocks, self.rows)

        # Recomputed in the backward pass: keeping every block's kernels would take N² memory.
        @jax.checkpoint
        def block(rows: Array) -> Array:
            targets = self.positions[:, rows]
            width = target_width[:, rows] if target_width.ndim else target_width
            order = self.l_max + l_max
            kernels = _kernels(targets, self.positions, width, self.width, order, self.sharp)
            # Σ_j over all atoms of the structure, for this block of rows.
            return _potential(kernels, targets, self.positions, sources, l_max)

        values = jax.lax.map(block, jnp.asarray(order))
        return jnp.moveaxis(values, 0, 1).reshape(graphs, blocks * self.rows, -1)[:, :atoms]


@struct
class OpenReceivers:
    """Receivers of other widths at the atoms of fixed positions.

    Attributes:
        operator: the pair sum.
        kernels: by width, those [G, A, A] of every pair; none for large structures, where they are
            made block by block.
        widths: Å.
        l_max: highest order of the receivers.
        self_interaction: keep what an atom's own multipoles add.
    """

    operator: OpenOperator
    kernels: tuple[tuple[Array, ...], ...]
    widths: tuple[float, ...] = static()
    l_max: int = static()
    self_interaction: bool = static()

    def __call__(self, multipoles: Array) -> Array:
        """Returns what receivers average of multipoles [N, M]: [N, W, (l_max + 1)²] V/Å^l."""
        operator, own = self.operator, self.self_interaction
        if not self.kernels:
            return operator.receive(multipoles, self.widths, self.l_max, own)
        dense = operator.layout.dense(multipoles)
        at = operator.positions
        values = []
        for width, kernels in zip(self.widths, self.kernels):
            value = COULOMB * _potential(kernels, at, at, dense, self.l_max)
            if not own:
                target = jnp.full_like(operator.width, width)
                value = value - on_site_response(dense, operator.width, target, self.l_max)
            values.append(value)
        return operator.layout.nodes(jnp.stack(values, axis=2))


def _kernels(
    targets: Array,
    sources: Array,
    target_width: Array,
    source_width: Array,
    order: int,
    sharp: bool,
) -> tuple[Array, ...]:
    """Radial kernels B_0 ... B_order [G, I, J] of the pairs of targets [G, I, 3] and sources."""
    squared = sum(d * d for d in _differences(targets, sources))
    if target_width.ndim:
        target_width, source_width = target_width[:, :, None], source_width[:, None, :]
    # Two Gaussians interact as erf(r/2w)/r with w² = (σ_i² + σ_j²)/2.
    width = jnp.sqrt(0.5 * (target_width**2 + source_width**2))
    if sharp:
        return _sharp_kernels(jnp.asarray(squared), width, order)
    return smeared_coulomb(jnp.asarray(squared), width, order)


def _sharp_kernels(squared: Array, width: Array, order: int) -> tuple[Array, ...]:
    """Kernels of Gaussians and points; none of a point at its own place."""
    point = jnp.broadcast_to(width == 0, squared.shape)
    apart = squared > 0
    sharp = point_coulomb(jnp.where(apart, squared, 1.0), order)
    smooth = smeared_coulomb(squared, jnp.where(width == 0, 1.0, width), order)
    return tuple(jnp.where(point, jnp.where(apart, a, 0.0), b) for a, b in zip(sharp, smooth))


def _differences(targets: Array, sources: Array) -> list[Array]:
    return [targets[:, :, None, x] - sources[:, None, :, x] for x in range(3)]


def _potential(
    kernels: tuple[Array, ...], targets: Array, sources: Array, multipoles: Array, l_max: int
) -> Array:
    """Potential and derivatives [G, I, M] at targets [G, I, 3] of sources [G, J, 3], e/Å^{1+l}."""
    moments = [multipoles[:, None, :, m] for m in range(multipoles.shape[-1])]
    values = pair_potential(kernels, _differences(targets, sources), moments, l_max)
    return jnp.stack([jnp.sum(v, axis=-1) for v in values], axis=-1)
