"""Periodic boundary in near-linear time: Gaussian multipoles on a mesh.

The structure factor of the reciprocal sum
(:mod:`electrojax.electrostatics.engines.periodic`) is taken from a mesh: multipoles are spread with
derivatives of a B-spline b, transformed by FFT and divided by the transform of b (Essmann et al.,
J. Chem. Phys. 103, 8577 (1995)),

    S(k) ≈ e^{−k²σ²/2} Σ_g e^{−ik·g} Σ_i Σ_l p_i·∂^l b(r_i − g) / b̃(k).

The Gaussian makes the sum converge by itself, and damps the waves at which b̃ is poor, so that a
coarse mesh is enough and there is no real-space part. b is in fractional coordinates and k comes
from the cell, so forces and stress are exact derivatives of the energy.
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
from electrojax.electrostatics.engines.periodic import PeriodicCoulomb
from electrojax.electrostatics.kernels.gaussian import on_site_response, self_potential
from electrojax.electrostatics.kernels.harmonics import quadrupole_tensor
from electrojax.electrostatics.kernels.mesh_waves import (
    deconvolution,
    frequencies,
    inside,
    squared_k,
)
from electrojax.electrostatics.kernels.splines import MeshPlan, mesh_plan, spline_weights
from electrojax.electrostatics.kernels.waves import planned_share, wave_weight
from electrojax.electrostatics.sites import Sites
from electrojax.errors import CapacityError, ConfigError
from electrojax.system.geometry import cartesian_order, reciprocal
from electrojax.system.types import System
from electrojax.typing import Array, static, struct

FINEST = 1e-10
"""The smallest force error that the meshes to choose from can meet."""

TOUCH_COST = 6.0
"""Time of one mesh point that an atom touches, over that of one phase, on two CPU cores."""

POINT_COST = 20.0
"""Time of one mesh point in the transforms, over that of one phase, on two CPU cores."""

_HIGHEST = jax.lax.Precision.HIGHEST


@dataclasses.dataclass(frozen=True)
class MeshCoulomb:
    """Coulomb interactions of crystals and liquids, by the reciprocal-space sum on a mesh.

    The same sum, gauge and k-vectors as :class:`PeriodicCoulomb`. The cost grows as N + V log V,
    with about 5 µs per atom on a CPU core at accuracy 1e-5. The mesh follows from the k-box of the
    batch, so batch-mates change a result, but by less than ``accuracy``.

    Attributes:
        accuracy: requested RMS error of the forces over the RMS force; it sets the largest |k|,
            the order of the spline and the mesh.
        self_interaction: keep each Gaussian's interaction with itself.
        block: the largest number of (atom, mesh point) values held in memory at once.
        narrowest_receiver: Å, of the receivers that :meth:`MeshOperator.receive` is asked for; a
            finer mesh is needed where it is narrower than the density.
    """

    accuracy: float = 1.0e-5
    self_interaction: bool = True
    block: int = 1 << 17
    narrowest_receiver: float = math.inf

    def __post_init__(self) -> None:
        PeriodicCoulomb(self.accuracy)  # refuses what no sum can meet

    def k_box(
        self, cell: np.ndarray, width: float | np.ndarray, l_max: int
    ) -> tuple[int, int, int]:
        """Returns the largest k-vector index along each reciprocal axis, on the host.

        Args:
            cell: [3, 3] Å, rows are lattice vectors.
            width: σ in Å; of several, the narrowest counts.
            l_max: highest multipole order.

        Raises:
            ConfigError: if no mesh meets the accuracy.
            CapacityError: if there would be too many k-vectors.
        """
        if self.accuracy < FINEST:
            raise ConfigError(
                f"coulomb accuracy {self.accuracy:g} on a mesh; needed at least {FINEST:g}, or the "
                "direct sum"
            )
        direct = PeriodicCoulomb(self.accuracy, narrowest_receiver=self.narrowest_receiver)
        return direct.k_box(cell, width, l_max)

    def pair_cutoff(self, l_max: int) -> float:
        """Returns 0: there is no real-space part."""
        return 0.0

    def tuned_for(
        self, atoms: int, cell: np.ndarray, width: float | np.ndarray, l_max: int
    ) -> "MeshCoulomb":
        """Returns the engine itself: its mesh follows from the cell and the width."""
        return self

    def cost(self, atoms: int, cell: np.ndarray, width: float | np.ndarray, l_max: int) -> float:
        """Returns the cost of one application in phases (k-vector times atom) of the direct sum.

        It is infinite for widths that differ or vanish, and for an accuracy that no mesh meets.
        """
        if self.accuracy < FINEST or math.isinf(
            PeriodicCoulomb(self.accuracy).cost(atoms, cell, width, l_max)
        ):
            return math.inf
        plan = self.plan(cell, width, l_max)
        return TOUCH_COST * atoms * plan.order**3 + POINT_COST * math.prod(plan.shape)

    def plan(self, cell: np.ndarray, width: float | np.ndarray, l_max: int) -> MeshPlan:
        """Returns the mesh for one cell, on the host; the arguments are those of :meth:`k_box`."""
        return mesh_plan(self.k_box(cell, width, l_max), self.accuracy, l_max)

    def prepare(self, sites: Sites | System, l_max: int, width: float | Array) -> "MeshOperator":
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
            raise ConfigError("a width per atom; needed one width for all atoms on a mesh")
        if not any(sites.k_box):
            raise CapacityError("the system has an empty k_box; plan it with the engine's k_box")
        plan = mesh_plan(sites.k_box, self.accuracy, l_max)
        cell = sites.cell
        width = jnp.asarray(width, cell.dtype)
        inverse = jnp.swapaxes(reciprocal(cell), 1, 2)
        graph = sites.structure
        scale = inverse[graph] * jnp.asarray(plan.shape, cell.dtype)
        base, offset = _places(sites.positions, inverse[graph], plan)
        return MeshOperator(
            sites=sites,
            base=jnp.concatenate([graph[:, None], base], axis=1).astype(jnp.int32),
            scale=scale,
            offset=offset,
            splines=tuple(spline_weights(offset, plan.order, d) for d in range(l_max + 1)),
            weight=self._weight(sites, cell, width, l_max, plan),
            width=width,
            on_site=self_potential(width, l_max) * (0.0 if self.self_interaction else 1.0),
            plan=plan,
            l_max=l_max,
            narrowest_receiver=self.narrowest_receiver,
            block=max(16, self.block // plan.order**3),
        )

    def _weight(self, sites: Sites, cell: Array, width: Array, l_max: int, plan: MeshPlan) -> Array:
        """(4π k_e/V) e^{−k²σ²}/(k² b̃²) [G, M1, M2, M3/2 + 1], zero outside the planned set."""
        # The set of waves and the taper at its edge belong to the plan, not to the cell as it is.
        indices, rows = frequencies(plan), reciprocal(sites.plan_cell)
        planned = squared_k(indices, rows)
        receiver, accuracy = self.narrowest_receiver, self.accuracy
        count = inside(indices, sites.k_box)
        share = planned_share(count, planned, rows, width, receiver, accuracy, l_max)
        value = wave_weight(squared_k(indices, reciprocal(cell)), share, cell, width)
        return value * jnp.asarray(deconvolution(plan), cell.dtype)


@struct
class MeshOperator(SitesOperator):
    """The reciprocal sum on a mesh for fixed geometry.

    Receivers narrower than the density must be announced in the engine's narrowest_receiver.

    Attributes:
        sites: where the multipoles are.
        base: [N, 4] structure and first mesh point of every atom.
        scale: [N, 3, 3] 1/Å, from Cartesian derivatives to those per mesh spacing.
        offset: [N, 3] place of every atom past that point, in mesh spacings.
        splines: for each derivative up to l_max, the spline [N, 3, order] at the atom's points.
        weight: [G, M1, M2, M3/2 + 1] eV/e².
        width: [] σ in Å.
        on_site: [M] eV/(e·Å^l)², the self-interaction to take out.
        plan: mesh and order of the spline.
        l_max: highest multipole order.
        narrowest_receiver: Å, for which the mesh suffices.
        block: number of atoms spread at once.
    """

    sites: Sites
    base: Array
    scale: Array
    offset: Array
    splines: tuple[Array, ...]
    weight: Array
    width: Array
    on_site: Array
    plan: MeshPlan = static()
    l_max: int = static()
    narrowest_receiver: float = static()
    block: int = static()

    def _potential(self, charge: Array) -> Array:
        # The adjoint is the transpose of the very same map, so the operator is exactly symmetric.
        mesh, adjoint = jax.vjp(self._spread, charge)
        waves = jnp.fft.rfftn(mesh, axes=(1, 2, 3)) * self.weight
        return adjoint(self._field(waves))[0] - self._own(charge)

    def _energy(self, charge: Array) -> Array:
        """By one transform: ½ Σ_k w(k) |S(k)|² without the self-interaction."""
        waves = jnp.fft.rfftn(self._spread(charge), axes=(1, 2, 3))
        # Only n3 >= 0 is stored; the others are complex conjugates.
        twice = jnp.asarray(np.where(np.arange(waves.shape[-1]) > 0, 2.0, 1.0), charge.dtype)
        square = jnp.real(waves) ** 2 + jnp.imag(waves) ** 2
        total = jnp.sum(twice * self.weight * square, axis=(1, 2, 3))
        own = self.sites.sums(jnp.sum(charge * self._own(charge), axis=-1))
        return 0.5 * (total - own)

    def _receive(
        self, charge: Array, widths: Sequence[float], l_max: int, self_interaction: bool
    ) -> Array:
        check_receivable(widths, self.narrowest_receiver)
        squared = squared_k(frequencies(self.plan), reciprocal(self.sites.cell))
        # Waves that are left out may have any k²: the factor below must not overflow there.
        squared = jnp.where(self.weight > 0, squared, 0.0)
        target = jnp.zeros((len(self.sites.mask), (l_max + 1) ** 2), self.weight.dtype)
        waves = jnp.fft.rfftn(self._spread(charge), axes=(1, 2, 3)) * self.weight
        _, adjoint = jax.vjp(self._spread, target)
        values = []
        for width in widths:
            # One of the two Gaussians of the weight is a receiver's.
            change = jnp.exp(0.5 * squared * (self.width**2 - width**2))
            received = adjoint(self._field(waves * change))[0]
            if not self_interaction:
                received = received - on_site_response(charge, self.width, width, l_max)
            values.append(received)
        return self._masked(jnp.stack(values, axis=1))

    def _field(self, waves: Array) -> Array:
        """The potential on the mesh, times its number of points."""
        # JAX's inverse transform divides by the number of points; the sum over k does not.
        field = jnp.fft.irfftn(waves, s=self.plan.shape, axes=(1, 2, 3))
        return math.prod(self.plan.shape) * field

    def _masked(self, values: Array) -> Array:
        mask = self.sites.mask
        return jnp.where(mask.reshape(-1, *[1] * (values.ndim - 1)), values, 0.0)

    def _own(self, multipoles: Array) -> Array:
        return self._masked(self.on_site * multipoles)

    def _spread(self, multipoles: Array) -> Array:
        """The density on the mesh [G, M1, M2, M3], in e per point."""
        # Each atom adds one window; points beyond the cell are a halo, folded back at the end.
        moments = self._moments(multipoles)
        halo = [n + self.plan.order - 1 for n in self.plan.shape]
        start = jnp.zeros((len(self.sites.cell), *halo), moments.dtype)
        order = math.isqrt(multipoles.shape[1])
        higher = range(self.l_max + 1, order)
        more = (spline_weights(self.offset, self.plan.order, d) for d in higher)
        data = (self.base, moments, *self.splines[:order], *more)
        blocks = -(-len(moments) // self.block)
        if blocks == 1:
            return _fold(_add(start, *data), self.plan.shape)
        parts = [_split(values, blocks, self.block) for values in data]
        total, _ = jax.lax.scan(lambda mesh, part: (_add(mesh, *part), None), start, parts)
        return _fold(total, self.plan.shape)

    def _moments(self, multipoles: Array) -> Array:
        """Coefficients of 1, ∂_x, ∂_y, ∂_z, ∂_xx ... ∂_zz per mesh spacing [N, 1, 4 or 13]."""
        values = self._masked(multipoles)
        parts = [values[:, :1]]
        if values.shape[1] > 1:
            # Chain rule: ∂_a = Σ_i (∂s_i/∂r_a) ∂_i with mesh coordinates s = r A^{−1} M.
            dipoles = cartesian_order(values[:, 1:4])
            parts.append(jnp.einsum("na,nai->ni", dipoles, self.scale, precision=_HIGHEST))
        if values.shape[1] > 4:
            tensors = quadrupole_tensor(values[:, 4:9])
            turned = jnp.einsum(
                "nab,nai,nbj->nij", tensors, self.scale, self.scale, precision=_HIGHEST
            )
            parts.append(turned.reshape(-1, 9))
        return jnp.concatenate(parts, axis=1)


def _places(positions: Array, inverse: Array, plan: MeshPlan) -> tuple[Array, Array]:
    """First mesh point [N, 3] and the distance [N, 3] of the atom from it, in mesh spacings."""
    fractional = jnp.einsum("na,nai->ni", positions, inverse, precision=_HIGHEST)
    # Wrapped before scaling, so that float32 keeps its digits.
    fractional = fractional - jax.lax.stop_gradient(jnp.floor(fractional))
    scaled = fractional * jnp.asarray(plan.shape, positions.dtype)
    # Rounding may bring a fraction to 1, which is past the last point.
    last = jnp.asarray(plan.shape, positions.dtype) - 1
    base = jnp.clip(jnp.floor(jax.lax.stop_gradient(scaled)), 0, last)
    return base, scaled - base


def _add(mesh: Array, base: Array, moments: Array, *splines: Array) -> Array:
    """Adds the spline density of some atoms to a mesh [G, M1 + halo, M2 + halo, M3 + halo]."""
    window = jax.lax.ScatterDimensionNumbers((1, 2, 3), (0,), (0, 1, 2, 3))
    values = _density(moments, splines)
    return jax.lax.scatter_add(mesh, base, values, window, mode="promise_in_bounds")


def _density(moments: Array, splines: tuple[Array, ...]) -> Array:
    """Σ_d c_d ∂^d b on the points of every atom [n, P, P, P]: a sum of (x, y) × z products."""

    def plane(dx: int, dy: int) -> Array:
        return splines[dx][:, 0, :, None] * splines[dy][:, 1, None, :]

    c = [moments[:, i, None, None] for i in range(moments.shape[1])]
    planes = [c[0] * plane(0, 0)]
    if len(splines) > 1:
        planes[0] += c[1] * plane(1, 0) + c[2] * plane(0, 1)
        planes.append(c[3] * plane(0, 0))
    if len(splines) > 2:
        planes[0] += c[4] * plane(2, 0) + 2.0 * c[5] * plane(1, 1) + c[8] * plane(0, 2)
        planes[1] += 2.0 * (c[6] * plane(1, 0) + c[9] * plane(0, 1))
        planes.append(c[12] * plane(0, 0))
    products = [p[..., None] * s[:, 2, None, None, :] for p, s in zip(planes, splines)]
    return sum(products[1:], start=products[0])


def _split(values: Array, blocks: int, atoms: int) -> Array:
    """[N, ...] to [blocks, atoms, ...], filled up with zeros."""
    missing = blocks * atoms - len(values)
    padded = jnp.pad(values, [(0, missing)] + [(0, 0)] * (values.ndim - 1))
    return padded.reshape(blocks, atoms, *values.shape[1:])


def _fold(mesh: Array, shape: tuple[int, int, int]) -> Array:
    """Adds what lies beyond the cell to its periodic image: [G, M1 + halo, ...] to [G, M1, ...]."""
    for axis, points in enumerate(shape, start=1):
        folded = jax.lax.slice_in_dim(mesh, 0, points, axis=axis)
        for start in range(points, mesh.shape[axis], points):
            stop = min(start + points, mesh.shape[axis])
            image = jax.lax.slice_in_dim(mesh, start, stop, axis=axis)
            where = (slice(None),) * axis + (slice(0, stop - start),)
            folded = folded.at[where].add(image)
        mesh = folded
    return mesh
