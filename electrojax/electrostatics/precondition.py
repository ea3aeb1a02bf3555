"""Preconditioners of A + H: the long waves of the Coulomb operator inverted exactly.

A has eigenvalues of 4π k_e n/k² for waves k of a density of n atoms, so that conjugate gradients
take ever more steps as a system grows. With the waves below a cutoff as columns U, weights Λ and
everything else replaced by a diagonal D, the inverse of

    P = D + U Λ Uᵀ,  P⁻¹ = D⁻¹ − D⁻¹ U Λ^½ (1 + Λ^½ Uᵀ D⁻¹ U Λ^½)⁻¹ Λ^½ Uᵀ D⁻¹

(M. A. Woodbury, 1950) needs one Cholesky factor of a few hundred columns. P is symmetric positive
definite, and what is left of A + H is bounded by the weight of the first wave beyond the cutoff,
whatever the size of the system.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from electrojax.electrostatics.density import l_max_of
from electrojax.electrostatics.engines.corrections import CorrectedOperator
from electrojax.electrostatics.engines.periodic import PeriodicCoulomb, PeriodicOperator
from electrojax.electrostatics.kernels.gaussian import fourier_factor, self_potential
from electrojax.electrostatics.kernels.waves import half_space
from electrojax.electrostatics.long_waves import (
    operator_chain,
    softest_cutoff,
    wanted_cutoff,
    wave_reach,
)
from electrojax.errors import ConfigError
from electrojax.system.geometry import summed_in, volume
from electrojax.system.layout import GraphLayout, graph_layout
from electrojax.system.types import System
from electrojax.typing import Array, replace, struct
from electrojax.units import COULOMB

PARTS = (8, 3, 1)
"""A batch that wants no more than one of these fractions of the waves works with those alone."""

MAX_WAVES = 1500
"""Of one structure: the Cholesky factor of twice as many columns takes half a second."""

_HIGHEST = jax.lax.Precision.HIGHEST


@struct
class JacobiPreconditioner:
    """The inverse of a diagonal.

    Attributes:
        inverse: [N, M] (e·Å^l)²/eV, zero on padding.
    """

    inverse: Array

    @property
    def diagonal(self) -> Array:
        """D [N, M] eV/(e·Å^l)², zero on padding."""
        return _inverted(self.inverse)

    def apply(self, residual: Array) -> Array:
        """Returns P⁻¹ r [N, M] of a residual [N, M] eV/(e·Å^l); zero on padding."""
        return self.inverse * residual


@struct
class LowKPreconditioner:
    """The inverse of a diagonal and the long waves, for fixed geometry and hardness.

    Applying it costs two sums over the long waves; making it, one more over eight times as many and
    the factor.

    Attributes:
        layout: places of the atoms in the dense layout.
        waves: structure factors on the box of integers that holds the waves.
        chosen: [G, K] places of the waves among those of the box.
        dipoles: [G, A, R, M] rows of a slab's or box's dipole.
        root: [G, 2K + R] Λ^½ of cosines, sines and dipoles, zero where there is no wave.
        inverse: [G, A, M] D⁻¹, zero where there is no atom.
        factor: [G, 2K + R, 2K + R] Cholesky factor of 1 + Λ^½ Uᵀ D⁻¹ U Λ^½.
        level: [] 0 where no structure has waves and the inverse of the diagonal is all; else which
            part of the waves holds all that are used, the smallest being 1.
    """

    layout: GraphLayout
    waves: PeriodicOperator
    chosen: Array
    dipoles: Array
    root: Array
    inverse: Array
    factor: Array
    level: Array

    @property
    def diagonal(self) -> Array:
        """D [N, M] eV/(e·Å^l)², zero on padding."""
        return self.layout.nodes(_inverted(self.inverse))

    def apply(self, residual: Array) -> Array:
        """Returns P⁻¹ r [N, M] of a residual [N, M] eV/(e·Å^l); zero on padding."""
        scaled = self.inverse * self.layout.dense(residual)
        branches = [lambda x: x] + [
            lambda x, count=count: _first(self, count)._without_waves(x)
            for count in _counts(self.chosen.shape[1])
        ]
        return self.layout.nodes(jax.lax.switch(self.level, branches, scaled))

    def _without_waves(self, scaled: Array) -> Array:
        amplitudes, adjoint = jax.vjp(self._amplitudes, scaled)
        solved = jax.scipy.linalg.cho_solve((self.factor, True), amplitudes[..., None])[..., 0]
        return scaled - self.inverse * adjoint(solved)[0]

    def _amplitudes(self, dense: Array) -> Array:
        """Λ^½ Uᵀ x [G, 2K + R] of x [G, A, M]."""
        waves = _taken(self.waves.structure_factor(dense), self.chosen)
        moments = jnp.einsum("garm,gam->gr", self.dipoles, dense, precision=_HIGHEST)
        return self.root * jnp.concatenate([waves[..., 0], waves[..., 1], moments], axis=-1)


def low_k_preconditioner(
    operator: Any,
    system: System,
    hardness: Array,
    width: float | Array,
    cutoff: float | None = None,
    accuracy: float = 1.0e-5,
) -> JacobiPreconditioner | LowKPreconditioner:
    """Returns a preconditioner of A + H for conjugate gradients.

    For an open boundary it is the inverse diagonal. It is not differentiated: a preconditioner
    changes how a solution is reached, not the solution. What the waves of a structure are does not
    depend on its batch-mates.

    Args:
        operator: A, of any engine, self-interaction kept.
        system: the batch that A was prepared for.
        hardness: [N, M] the diagonal of H, eV/(e·Å^l)², positive; within each order l of an atom
            the mean counts. M is that of the multipoles.
        width: σ of the density in Å, as A was prepared with it; one number, except for a split.
        cutoff: 1/Å, of the waves; None for what the hardness of each structure wants, which is none
            where its longest wave is not worth it (:func:`wanted_cutoff`).
        accuracy: of the engine, which says how far the system's k_box reaches; for a looser one
            than given here, the waves of a structure are cut off by the box.

    Raises:
        ConfigError: if the cutoff is not positive, or a width is traced where it must be known.
    """
    if cutoff is not None and not cutoff > 0:
        raise ConfigError(f"a cutoff of {cutoff:g} 1/Å for long waves; needed a positive number")
    system, hardness = jax.lax.stop_gradient((summed_in(system), jnp.asarray(hardness)))
    layout, l_max = graph_layout(system), l_max_of(hardness.shape[1])
    mask = layout.mask[..., None]
    dense = jnp.where(mask, _mean_of_order(layout.dense(hardness), l_max), 1.0)
    sigma = _common_width(jnp.asarray(width, dense.dtype), layout)
    own = self_potential(sigma, l_max)[:, None]
    if system.boundary == "open":
        return JacobiPreconditioner(layout.nodes(jnp.where(mask, 1.0 / (dense + own), 0.0)))
    reach = wave_reach(operator, width, accuracy)
    most = cutoff or softest_cutoff(system, reach, width)
    limit = jnp.full_like(sigma, most)
    if cutoff is None:
        limit = jnp.minimum(limit, wanted_cutoff(system, layout.dense(hardness)[..., 0], sigma))
    low = replace(system, k_box=_low_box(system.k_box, reach, most))
    waves = PeriodicCoulomb(self_interaction=True).prepare(low, l_max, 1.0)
    chosen, weight = _long_waves(waves, low.k_box, system.cell, sigma, limit)
    squared = _taken(waves.squared, chosen)
    rest = own - _on_site(weight, squared, l_max)[:, None]
    inverse = jnp.where(mask, 1.0 / (dense + jnp.maximum(rest, 0.0)), 0.0)
    used = jnp.any(weight > 0, axis=1)
    dipoles, coupling = _dipole_rows(operator, l_max, inverse)
    coupling = jnp.where(used[:, None], coupling, 0.0)
    made = LowKPreconditioner(
        layout=layout,
        waves=waves,
        chosen=chosen,
        dipoles=dipoles,
        root=jnp.sqrt(jnp.concatenate([weight, weight, coupling], axis=-1)),
        inverse=inverse,
        factor=jnp.zeros((), inverse.dtype),
        level=_level(weight),
    )
    return replace(made, factor=_factor(made, low, l_max))


def _inverted(values: Array) -> Array:
    return jnp.where(values > 0, 1.0 / jnp.where(values > 0, values, 1.0), 0.0)


def _mean_of_order(values: Array, l_max: int) -> Array:
    """[..., M] with every order l replaced by its mean."""
    parts = [values[..., l * l : (l + 1) ** 2] for l in range(l_max + 1)]
    means = [jnp.broadcast_to(p.mean(axis=-1, keepdims=True), p.shape) for p in parts]
    return jnp.concatenate(means, axis=-1)


def _common_width(sigma: Array, layout: GraphLayout) -> Array:
    """σ [G] Å: where atoms differ, the root of the mean square."""
    if not sigma.ndim:
        return jnp.broadcast_to(sigma, layout.mask.shape[:1])
    count = jnp.maximum(jnp.sum(layout.mask, axis=1), 1)
    return jnp.sqrt(jnp.sum(layout.dense(sigma) ** 2, axis=1) / count)


def _low_box(k_box: tuple[int, int, int], reach: float, cutoff: float) -> tuple[int, int, int]:
    """The integers of waves up to the cutoff, in a box that holds those up to the reach."""
    fraction = min(1.0, cutoff / reach)
    while True:
        box = tuple(min(n, int(fraction * (n + 1))) for n in k_box)
        if fraction == 0.0 or _room(box) <= MAX_WAVES:
            return tuple(max(n, 1) for n in box)  # type: ignore[return-value]
        fraction *= 0.95


def _room(box: tuple[int, ...]) -> int:
    """How many waves of a half space fit in the ellipsoid that touches the box, and some more."""
    half = (math.prod(2 * n + 1 for n in box) - 1) // 2
    return min(half, int(1.15 * math.pi / 6 * half) + 8)


def _places(triples: Array, box: tuple[int, int, int]) -> tuple[Array, Array]:
    """Where integers are in a flattened structure factor, and 1, or −1 for the conjugate."""
    sign = jnp.where(triples[..., 0] < 0, -1, 1)
    n1, n2, n3 = (sign * triples[..., i] for i in range(3))
    n2 = jnp.where(n2 < 0, n2 + 2 * box[1] + 1, n2)
    plane = jnp.where(n3 < 0, 1, 0) * (box[0] + 1) + n1
    return (plane * (2 * box[1] + 1) + n2) * (box[2] + 1) + jnp.abs(n3), sign


def _taken(values: Array, places: Array) -> Array:
    """[G, ...] of values [G, 2, n, n3 + 1, ...] at places [G, ...] of the flattened box."""
    flat = values.reshape(values.shape[0], -1, *values.shape[4:])
    return jax.vmap(lambda v, p: v[p])(flat, places)


def _long_waves(
    waves: PeriodicOperator, box: tuple[int, int, int], cell: Array, sigma: Array, cutoff: Array
) -> tuple[Array, Array]:
    """Places [G, K] of the waves, longest first, and their λ [G, K], zero beyond the cutoff [G].

    λ = 8π k_e e^{−k²σ²}/(V k²).
    """
    n = half_space(box)[0].reshape(-1, 3)
    half = (n[:, 0] > 0) | ((n[:, 0] == 0) & ((n[:, 1] > 0) | ((n[:, 1] == 0) & (n[:, 2] > 0))))
    # n3 = 0 is there twice, for +n3 and −n3.
    half &= (n[:, 2] != 0) | (np.arange(len(n)) < len(n) // 2)
    squared = waves.squared.reshape(len(cell), -1)
    found, chosen = jax.lax.top_k(-jnp.where(half, squared, jnp.inf), _room(box))
    used = -found <= cutoff[:, None] ** 2
    safe = jnp.where(used, -found, 1.0)
    strength = 8.0 * math.pi * COULOMB / volume(cell)[:, None]
    return chosen, jnp.where(
        used, strength * fourier_factor(2.0 * safe, sigma[:, None]) / safe, 0.0
    )


def _on_site(weight: Array, squared: Array, l_max: int) -> Array:
    """What the waves give a unit multipole of its own potential [G, M], the mean over directions.

    Σ_k λ (1, k²/3, k⁴/45), since a wave's cosine and sine share each atom.
    """
    sums = [jnp.sum(weight * squared**l, axis=-1) / (1, 3, 45)[l] for l in range(l_max + 1)]
    return jnp.stack([sums[l] for l in range(l_max + 1) for _ in range(2 * l + 1)], axis=-1)


def _dipole_rows(operator: Any, l_max: int, like: Array) -> tuple[Array, Array]:
    """The dipoles of a corrected sum [G, A, R, M] and how they interact [G, R]."""
    for each in operator_chain(operator):
        if isinstance(each, CorrectedOperator):
            rows = jnp.asarray(each.dipoles)
            coupling = jnp.diagonal(each.coupling, axis1=1, axis2=2)[:, rows]
            moments = each.moments[:, :, rows, : (l_max + 1) ** 2]
            return jax.lax.stop_gradient((moments, coupling))
    return jnp.zeros((*like.shape[:2], 0, like.shape[2]), like.dtype), like[:, 0, :0]


def _counts(room: int) -> list[int]:
    """How many waves each part holds, the smallest first."""
    return [max(room // part, 1) for part in PARTS]


def _level(weight: Array) -> Array:
    """Which part holds all waves that have a weight [G, K], 0 where there are none."""
    needed = jnp.max(jnp.sum(weight > 0, axis=1))
    bounds = jnp.array([0, *_counts(weight.shape[1])[:-1]])
    return jnp.sum(needed > bounds).astype(jnp.int32)


def _factor(made: LowKPreconditioner, low: System, l_max: int) -> Array:
    """The Cholesky factor of 1 + Λ^½ Uᵀ D⁻¹ U Λ^½, made from as many waves as are used."""
    branches = [lambda: _identity(made)] + [
        lambda count=count: _placed(_factor_of(_first(made, count), low, l_max), made, count)
        for count in _counts(made.chosen.shape[1])
    ]
    return jax.lax.switch(made.level, branches)


def _identity(made: LowKPreconditioner) -> Array:
    size = made.root.shape[1]
    unit = jnp.eye(size, dtype=made.root.dtype)
    return jnp.broadcast_to(unit, (len(made.root), size, size))


def _first(made: LowKPreconditioner, count: int) -> LowKPreconditioner:
    """The preconditioner with the longest waves alone."""
    kept = _kept(made.chosen.shape[1], made.root.shape[1], count)
    factor = made.factor[:, kept[:, None], kept[None]] if made.factor.ndim else made.factor
    return replace(made, chosen=made.chosen[:, :count], root=made.root[:, kept], factor=factor)


def _kept(room: int, size: int, count: int) -> np.ndarray:
    """Columns of the first cosines, the first sines and the dipoles."""
    first = np.arange(count)
    return np.concatenate([first, room + first, np.arange(2 * room, size)])


def _placed(factor: Array, made: LowKPreconditioner, count: int) -> Array:
    """A factor of the first waves among those of all, which are not used."""
    kept = _kept(made.chosen.shape[1], made.root.shape[1], count)
    return _identity(made).at[:, kept[:, None], kept[None]].set(factor)


def _factor_of(made: LowKPreconditioner, low: System, l_max: int) -> Array:
    """The Cholesky factor of the waves given."""
    gram = _wave_overlaps(made, low, l_max)
    scale = made.root[:, :, None] * made.root[:, None, :]
    size, waves = scale.shape[1], gram.shape[1]
    matrix = jnp.zeros_like(scale).at[:, :waves, :waves].set(gram * scale[:, :waves, :waves])
    if size > waves:
        scaled = made.inverse[:, :, None] * made.dipoles
        columns = jax.vmap(made._amplitudes, in_axes=2, out_axes=2)(scaled)
        columns = columns * made.root[:, None, waves:]
        matrix = matrix.at[:, :, waves:].set(columns)
        matrix = matrix.at[:, waves:, :].set(jnp.swapaxes(columns, 1, 2))
    return jnp.linalg.cholesky(matrix + jnp.eye(size, dtype=matrix.dtype))


def _wave_overlaps(made: LowKPreconditioner, low: System, l_max: int) -> Array:
    """Uᵀ D⁻¹ U [G, 2K, 2K] of the waves, from structure factors of D⁻¹ at k' ± k.

    With u_k = e^{ik·r} (1, i k, −R(k)/3), Σ u_k* u_k' and Σ u_k u_k' are sums of e^{i(k' ∓ k)·r}
    times 1/d_0 ± k·k'/d_1 + (3 (k·k')² − k² k'²)/(18 d_2); cosines and sines are their parts.
    """
    box = low.k_box
    double = (2 * box[0], 2 * box[1], 2 * box[2])
    sums = PeriodicCoulomb().prepare(replace(low, k_box=double), 0, 1.0)
    n = jnp.asarray(half_space(box)[0].reshape(-1, 3))[made.chosen]
    turn = 2.0 * math.pi * jnp.swapaxes(made.waves.inverse, 1, 2)
    k = jnp.einsum("gki,gij->gkj", n.astype(turn.dtype), turn, precision=_HIGHEST)
    product = jnp.einsum("gki,gli->gkl", k, k, precision=_HIGHEST)
    square = jnp.sum(k * k, axis=-1)
    quadratic = (3.0 * product**2 - square[:, :, None] * square[:, None, :]) / 18.0
    factors = (jnp.ones_like(product), product, quadratic)
    orders = jnp.stack([made.inverse[..., l * l, None] for l in range(l_max + 1)])
    waves = jax.vmap(sums.structure_factor)(orders)
    parts = []
    for sign in (-1, 1):
        places, conjugate = _places(n[:, None, :] + sign * n[:, :, None], double)
        total = jnp.zeros((*product.shape, 2), product.dtype)
        for l in range(l_max + 1):
            total = total + ((-sign) ** l * factors[l])[..., None] * _taken(waves[l], places)
        parts.append((total[..., 0], conjugate * total[..., 1]))
    (below, below_sine), (above, above_sine) = parts
    cosines, sines = 0.5 * (below + above), 0.5 * (below - above)
    mixed = 0.5 * (above_sine + below_sine)
    upper = jnp.concatenate([cosines, mixed], axis=2)
    lower = jnp.concatenate([jnp.swapaxes(mixed, 1, 2), sines], axis=2)
    return jnp.concatenate([upper, lower], axis=1)
