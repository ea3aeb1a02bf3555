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

import jax
import jax.numpy as jnp
import numpy as np

from electrojax.electrostatics.density import check_components, check_order, summed_channels
from electrojax.electrostatics.gaussian import fourier_factor, self_potential, tail_exponent
from electrojax.electrostatics.harmonics import quadrupole_tensor
from electrojax.electrostatics.layout import GraphLayout, graph_layout
from electrojax.errors import CapacityError, ConfigError
from electrojax.system.geometry import cartesian_order, volume
from electrojax.system.types import System
from electrojax.typing import Array, static, struct
from electrojax.units import COULOMB

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
            |k| (see :func:`~electrojax.electrostatics.gaussian.tail_exponent`).
        self_interaction: keep each Gaussian's interaction with itself.
        table_block: the largest number of phases held in memory at once.
    """

    accuracy: float = 1.0e-5
    self_interaction: bool = True
    table_block: int = 1 << 20

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

        |k| <= k_c means |n_i| <= k_c |a_i| / 2π, because k·a_i = 2π n_i.

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
        rows = np.asarray(cell, dtype=np.float64)
        lengths = np.linalg.norm(rows, axis=-1)
        shortest = 2 * np.pi * np.linalg.norm(np.linalg.inv(rows), axis=0).min()
        largest = np.sqrt(shortest**2 + tail_exponent(self.accuracy, l_max) / narrowest**2)
        box = np.floor(largest * lengths / (2 * np.pi) + 1e-9)
        if np.prod(2 * box + 1) / 2 > MAX_K_VECTORS:
            raise CapacityError(
                f"a width of {narrowest:g} Å in a cell of {lengths.round(2).tolist()} Å needs "
                f"k-vectors up to {box.astype(int).tolist()}, more than {MAX_K_VECTORS}; "
                "use wider Gaussians or a lower accuracy"
            )
        return tuple(int(n) for n in box)  # type: ignore[return-value]

    def pair_cutoff(self, l_max: int) -> float:
        """Returns 0: there is no real-space part."""
        return 0.0

    def tuned(
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
        largest = math.sqrt(tail_exponent(self.accuracy, l_max)) / float(np.min(width))
        # The half of the sphere of k-vectors, in a box of n1, n2, n3 twice its volume.
        vectors = size * largest**3 / (6 * math.pi**2)
        return math.inf if vectors > MAX_K_VECTORS else atoms * vectors

    def prepare(self, system: System, l_max: int, width: float | Array) -> "PeriodicOperator":
        """Returns the map from multipoles to potentials for these positions and cells.

        The set of k-vectors is that of ``system.plan_cell``: it does not change with ``cell``.

        Args:
            system: a batch whose k_box holds the vectors that :meth:`k_box` asks for.
            l_max: highest multipole order, 0 to 2.
            width: σ in Å, one number.

        Raises:
            ConfigError: if l_max or a width per atom is not supported.
            CapacityError: if the k_box is empty.
        """
        check_order(l_max)
        if jnp.ndim(width):
            raise ConfigError("a width per atom; needed one width for all atoms in a periodic sum")
        if not any(system.k_box):
            raise CapacityError("the system has an empty k_box; plan it with the engine's k_box")
        cell = jnp.asarray(system.cell)
        layout = graph_layout(system)
        width = jnp.asarray(width, cell.dtype)
        inverse = jnp.swapaxes(_reciprocal(cell), 1, 2)
        fractional = _matmul(layout.dense(jnp.asarray(system.positions)), inverse)
        # Wrapped, so that float32 keeps its digits; the phases do not see whole lattice vectors.
        fractional = fractional - jax.lax.stop_gradient(jnp.round(fractional))
        return PeriodicOperator(
            layout=layout,
            inverse=inverse,
            tables=tuple(_phases(fractional[..., i], system.k_box[i]) for i in range(3)),
            weight=self._weight(system, cell, width, l_max),
            on_site=self_potential(width, l_max) * (0.0 if self.self_interaction else 1.0),
            l_max=l_max,
            block=self._block(layout, system.k_box, l_max),
        )

    def _weight(self, system: System, cell: Array, width: Array, l_max: int) -> Array:
        """(4π k_e/V) e^{−k²σ²}/k² [G, 2, n, n3 + 1], times the number of ±k of each term."""
        indices, count = _half_space(system.k_box)
        triples = jnp.asarray(indices, cell.dtype)
        squared = _squared_k(triples, _reciprocal(cell))
        plan = _reciprocal(jnp.asarray(system.plan_cell))
        shortest = (2.0 * math.pi) ** 2 * jnp.min(jnp.sum(plan * plan, axis=-1), axis=-1)
        limit = shortest + tail_exponent(self.accuracy, l_max) / (width * width)
        used = (_squared_k(triples, plan) <= limit[:, None, None, None]) & (count > 0)
        safe = jnp.where(used, squared, 1.0)
        factor = 4.0 * math.pi * COULOMB / volume(cell)[:, None, None, None]
        value = factor * fourier_factor(2.0 * safe, width) / safe
        return jnp.where(used, jnp.asarray(count, cell.dtype) * value, 0.0)

    def _block(self, layout: GraphLayout, k_box: tuple[int, int, int], l_max: int) -> int:
        """Number of atoms per structure whose phases are made at once."""
        graphs, atoms = layout.mask.shape
        phases = graphs * (k_box[0] + 1) * (2 * k_box[1] + 1) * 2 * (l_max + 1)
        return min(atoms, max(16, self.table_block // phases))


@struct
class PeriodicOperator:
    """The reciprocal sum for fixed geometry.

    Attributes:
        layout: places of the atoms in the dense layout.
        inverse: [G, 3, 3] 1/Å, the inverse cells: s = r A^{−1}.
        tables: for each lattice direction cos and sin of 2π n s, [G, A, 2, n_i + 1].
        weight: [G, 2, (n1 + 1)(2 n2 + 1), n3 + 1] eV/e², for +n3 and −n3.
        on_site: [M] eV/(e·Å^l)², the self-interaction to take out.
        l_max: highest multipole order.
        block: number of atoms of a structure whose phases are made at once.
    """

    layout: GraphLayout
    inverse: Array
    tables: tuple[Array, ...]
    weight: Array
    on_site: Array
    l_max: int = static()
    block: int = static()

    def potential(self, multipoles: Array) -> Array:
        """Returns ∂E/∂p, the potential and its gradients averaged over each atom's own Gaussians.

        Args:
            multipoles: [N, M] or [N, C, M] e·Å^l.

        Returns:
            the same shape, eV/(e·Å^l); every channel feels the sum of all channels.
        """
        check_components(multipoles, self.l_max)
        dense = self.layout.dense(summed_channels(multipoles))
        # The adjoint is the transpose of the very same map, so the operator is exactly symmetric.
        factors, adjoint = jax.vjp(self._structure_factor, dense)
        values = adjoint(self.weight[..., None] * factors)[0] - self.on_site * dense
        values = self.layout.nodes(values)
        return (
            values if multipoles.ndim == 2 else jnp.broadcast_to(values[:, None], multipoles.shape)
        )

    def energy(self, multipoles: Array) -> Array:
        """Returns the Coulomb energy ½⟨p, Ap⟩ of every structure, by one transform.

        Args:
            multipoles: [N, M] or [N, C, M] e·Å^l.

        Returns:
            [G] eV.
        """
        check_components(multipoles, self.l_max)
        dense = self.layout.dense(summed_channels(multipoles))
        square = jnp.sum(self._structure_factor(dense) ** 2, axis=-1)
        reciprocal = jnp.sum(self.weight * square, axis=(1, 2, 3))
        return 0.5 * (reciprocal - jnp.sum(self.on_site * dense * dense, axis=(1, 2)))

    def _structure_factor(self, multipoles: Array) -> Array:
        """Σ_i e^{ik·r}(q + ik·μ − k·Θ·k) [G, 2, n, n3 + 1, 2] of [G, A, M], real and imaginary.

        The second axis is +n3 and −n3.
        """
        moments = self._moments(multipoles)
        atoms, blocks = self.block, -(-moments.shape[1] // self.block)
        if blocks == 1:
            return _unfold(_products(moments, *self.tables), self.tables)
        parts = [_split(a, blocks, atoms) for a in (moments, *self.tables)]

        # Recomputed in the backward pass, so that memory does not grow with the number of atoms.
        @jax.checkpoint
        def add(total: Array, part: list[Array]) -> tuple[Array, None]:
            return total + _products(*part), None

        start = jnp.zeros_like(_products(*[p[0] for p in parts]))
        total, _ = jax.lax.scan(add, start, parts)
        return _unfold(total, self.tables)

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
            scaled = jnp.einsum("gji,gajk,gkl->gail", turn, tensor, turn, precision=_HIGHEST)
            parts.append(scaled[..., [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]])
        return jnp.concatenate(parts, axis=-1)


def _matmul(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=_HIGHEST)


def _reciprocal(cell: Array) -> Array:
    """A^{−T} [G, 3, 3]: rows b_i with a_i · b_j = δ_ij, for either handedness."""
    a, b, c = cell[:, 0], cell[:, 1], cell[:, 2]
    rows = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)], axis=1)
    return rows / jnp.sum(a * rows[:, 0], axis=-1)[:, None, None]


def _half_space(k_box: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Integer triples [2, n, n3 + 1, 3] and how many of ±k each term stands for.

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


def _squared_k(triples: Array, reciprocal: Array) -> Array:
    vectors = jnp.einsum("snci,gij->gsncj", triples, reciprocal, precision=_HIGHEST)
    return (2.0 * math.pi) ** 2 * jnp.sum(vectors * vectors, axis=-1)


def _phases(fractional: Array, n_max: int) -> Array:
    """cos and sin of 2π n s, n = 0 ... n_max, as [G, A, 2, n_max + 1]."""
    turns = fractional[..., None] * jnp.arange(n_max + 1, dtype=fractional.dtype)
    angle = 2.0 * math.pi * (turns - jax.lax.stop_gradient(jnp.round(turns)))
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-2)


def _both_signs(table: Array) -> Array:
    """[..., 2, n + 1] of n >= 0 to [..., 2, 2n + 1] of 0 ... n, −n ... −1."""
    flipped = table[..., :0:-1] * jnp.array([[1.0], [-1.0]], table.dtype)
    return jnp.concatenate([table, flipped], axis=-1)


def _split(values: Array, blocks: int, atoms: int) -> Array:
    """[G, A, ...] to [blocks, G, atoms, ...], filled up with zeros."""
    missing = blocks * atoms - values.shape[1]
    padded = jnp.pad(values, [(0, 0), (0, missing)] + [(0, 0)] * (values.ndim - 2))
    return jnp.moveaxis(padded.reshape(values.shape[0], blocks, atoms, *values.shape[2:]), 1, 0)


def _products(moments: Array, first: Array, second: Array, third: Array) -> Array:
    """Σ_i (n1, n2 phases with moments) × (n3 phases): [G, 2 (l + 1) n, 2 (n3 + 1)].

    The left factor is e^{i(θ1 + θ2)} times the coefficients of 1, n3 and n3² in q + i n·ν − n·N·n.
    The powers of n3 are multiplied later: k·μ costs one more product, not three, k·Θ·k two.
    """
    second = _both_signs(second)
    ca, sa = first[..., 0, :, None], first[..., 1, :, None]
    cb, sb = second[..., 0, None, :], second[..., 1, None, :]
    phase = ca * cb - sa * sb, ca * sb + sa * cb
    n1, n2 = _signed_indices(first.shape[-1], second.shape[-1], first.dtype)
    parts = [
        part
        for factor in _polynomial(moments[..., None, None], n1, n2)
        for part in _times(factor, phase)
    ]
    left = jnp.stack(parts, axis=2).reshape(*moments.shape[:2], -1)
    right = third.reshape(*third.shape[:2], -1)
    return jnp.einsum("gax,gay->gxy", left, right, precision=_HIGHEST)


_Complex = tuple[Array | None, Array | None]
"""Real and imaginary part; none where it is zero."""


def _polynomial(moments: Array, n1: Array, n2: Array) -> list[_Complex]:
    """Coefficients of n3⁰, n3¹ and n3² in q + i n·ν − n·N·n, as real and imaginary parts."""
    m = [moments[:, :, i] for i in range(moments.shape[2])]
    if len(m) == 1:
        return [(m[0], None)]
    slope = n1 * m[1] + n2 * m[2]
    if len(m) == 4:
        return [(m[0], slope), (None, m[3])]
    square = n1 * n1 * m[4] + n2 * n2 * m[5] + 2.0 * n1 * n2 * m[7]
    return [(m[0] - square, slope), (-2.0 * (n1 * m[8] + n2 * m[9]), m[3]), (-m[6], None)]


def _times(factor: _Complex, phase: tuple[Array, Array]) -> tuple[Array, Array]:
    (a, b), (real, imaginary) = factor, phase
    parts = [] if a is None else [(a * real, a * imaginary)]
    parts += [] if b is None else [(-b * imaginary, b * real)]
    first, *rest = parts
    return (first[0] + rest[0][0], first[1] + rest[0][1]) if rest else first


def _signed_indices(n1: int, n2: int, dtype: np.dtype) -> tuple[Array, Array]:
    """Indices 0 ... n in a column and 0 ... n, −n ... −1 in a row."""
    second = np.arange(n2)
    second = np.where(second > n2 // 2, second - n2, second)
    return jnp.arange(n1, dtype=dtype)[:, None], jnp.asarray(second, dtype)[None, :]


def _unfold(products: Array, tables: tuple[Array, ...]) -> Array:
    """Structure factors of +n3 and −n3 from the products of cosines and sines.

    (x + iy) e^{±iθ3} with x, y = left parts, of which there are as many as powers of ±n3.
    """
    counts = [t.shape[-1] for t in tables]
    shape = (-1, counts[0] * (2 * counts[1] - 1), 2, counts[2])
    parts = products.reshape(products.shape[0], *shape)
    index = jnp.arange(counts[2], dtype=products.dtype)
    signs = []
    for sign in (1.0, -1.0):
        x, y = parts[:, 0], parts[:, 1]
        for power in range(1, parts.shape[1] // 2):
            scale = (sign * index) ** power
            x, y = x + scale * parts[:, 2 * power], y + scale * parts[:, 2 * power + 1]
        real = x[:, :, 0] - sign * y[:, :, 1]
        imaginary = y[:, :, 0] + sign * x[:, :, 1]
        signs.append(jnp.stack([real, imaginary], axis=-1))
    return jnp.stack(signs, axis=1)
