"""The energy of the short-range rest of a split Coulomb sum, in blocks of pairs.

Nothing of the size of the pair list is ever stored, and one pass gives the energy and all its first
derivatives: they are the rule by which it is differentiated, and are themselves differentiable.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from electrojax.electrostatics.kernels.pairs import pair_potential
from electrojax.electrostatics.kernels.screened import switched_coulomb
from electrojax.electrostatics.sites import Pairs, Sites
from electrojax.system.geometry import PADDING_DISTANCE, harmonic_order
from electrojax.typing import Array, static, struct
from electrojax.units import COULOMB

BLOCK = 1 << 15
"""Pairs at once: their arrays stay in the cache of a core."""


@struct
class PairList:
    """The pairs of a batch, and how they interact.

    Attributes:
        senders, receivers: [P] atoms.
        shifts: [P, 3] lattice vectors between them.
        mask: [P] true where there is a pair.
        node_graph: [N] structure of each atom.
        split: Å.
        cutoff: Å.
        uniform_width: Å, w of all pairs where the program is made for it.
    """

    senders: Array
    receivers: Array
    shifts: Array
    mask: Array
    node_graph: Array
    split: float = static()
    cutoff: float = static()
    uniform_width: float | None = static()


Summed = TypeVar("Summed")

_Arguments = tuple[Array, Array, Array, Array]
"""Positions [N, 3] and cells [G, 3, 3] in harmonic order, multipoles [N, M] and widths [N]."""


def short_range_energy(
    sites: Sites,
    pairs: Pairs,
    multipoles: Array,
    widths: Array,
    split: float,
    cutoff: float,
    uniform_width: float | None,
) -> Array:
    """Returns ½ Σ_ij p_i (T_w − T_s) p_j over the pairs of every structure.

    Args:
        sites: where the multipoles are.
        pairs: those of a real-space sum.
        multipoles: [N, M] e·Å^l.
        widths: [N] σ in Å; not read where uniform_width is given.
        split: s in Å.
        cutoff: Å, at which pairs are switched off.
        uniform_width: Å, that of all atoms if it is known when the program is made.

    Returns:
        [G] eV.
    """
    listed = PairList(
        senders=pairs.senders,
        receivers=pairs.receivers,
        shifts=pairs.shifts,
        mask=pairs.mask,
        node_graph=sites.graph,
        split=split,
        cutoff=cutoff,
        uniform_width=uniform_width,
    )
    positions = harmonic_order(sites.positions)
    cells = harmonic_order(sites.cell)
    if not len(pairs.mask):
        return jnp.zeros(len(cells), positions.dtype)
    return COULOMB * _energy((positions, cells, multipoles, widths), listed)


@jax.custom_jvp
def _energy(arguments: _Arguments, pairs: PairList) -> Array:
    return _over_blocks(lambda start: _block_energy(arguments, pairs, start), pairs)


def _energy_derivative(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    """dE = Σ_i ∂E/∂x_i · dx_i, summed over each structure."""
    arguments, pairs = primals
    changed = [i for i, t in enumerate(tangents[0]) if not isinstance(t, SymbolicZero)]

    def block(start: Array) -> tuple[Array, list[Array]]:
        def energy(moving: list[Array]) -> tuple[Array, Array]:
            given = list(arguments)
            for i, value in zip(changed, moving):
                given[i] = value
            energies = _block_energy(tuple(given), pairs, start)  # type: ignore[arg-type]
            return jnp.sum(energies), energies

        # One pass gives the energies and all slopes that are asked for.
        slopes, energies = jax.grad(energy, has_aux=True)([arguments[i] for i in changed])
        return energies, slopes

    energies, slopes = _over_blocks(block, pairs)
    change = jnp.zeros_like(energies)
    for i, slope in zip(changed, slopes):
        # ∂E/∂x_i · dx_i of each atom, or of each cell (argument 1), which is a structure already.
        parts = jnp.sum((slope * tangents[0][i]).reshape(len(slope), -1), axis=1)
        if i != 1:
            parts = jax.ops.segment_sum(parts, pairs.node_graph, len(energies))
        change = change + parts
    return energies, change


_energy.defjvp(_energy_derivative, symbolic_zeros=True)


def _over_blocks(function: Callable[[Array], Summed], pairs: PairList) -> Summed:
    """The sum of a function of the first pair of every block."""
    size = min(BLOCK, len(pairs.mask))
    blocks = -(-len(pairs.mask) // size)
    if blocks == 1:
        return function(jnp.zeros((), jnp.int32))

    # Recomputed in second derivatives, so that memory does not grow with the number of pairs.
    @jax.checkpoint
    def add(total: Summed, number: Array) -> tuple[Summed, None]:
        return jax.tree.map(jnp.add, total, function(number * size)), None

    shapes = jax.eval_shape(function, jax.ShapeDtypeStruct((), jnp.int32))
    start = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return jax.lax.scan(add, start, jnp.arange(blocks, dtype=jnp.int32))[0]


def _block_energy(arguments: _Arguments, pairs: PairList, start: Array) -> Array:
    """[G] of the pairs from one on; the last block begins earlier and leaves out what was done."""
    positions, cells, multipoles, widths = arguments
    size = min(BLOCK, len(pairs.mask))
    # Blocks of one size in one program.
    first = jnp.minimum(start, len(pairs.mask) - size)
    cut = partial(jax.lax.dynamic_slice_in_dim, start_index=first, slice_size=size)
    senders, receivers = cut(pairs.senders), cut(pairs.receivers)
    used = cut(pairs.mask) & (first + jnp.arange(size, dtype=first.dtype) >= start)
    graph = pairs.node_graph[receivers] if len(cells) > 1 else None
    vectors = positions[receivers] - positions[senders]
    vectors = vectors + _offsets(cut(pairs.shifts), cells if graph is None else cells[graph])
    # Unused pairs are far apart: beyond the switch, with finite derivatives.
    vectors = jnp.where(used[:, None], vectors, PADDING_DISTANCE / math.sqrt(3.0))
    squared = jnp.sum(vectors * vectors, axis=-1)
    width: Array | float
    if pairs.uniform_width is not None:
        width = pairs.uniform_width
    else:
        width = jnp.sqrt(0.5 * (widths[receivers] ** 2 + widths[senders] ** 2))
    l_max = math.isqrt(multipoles.shape[1]) - 1
    kernels = switched_coulomb(squared, width, pairs.split, pairs.cutoff, 2 * l_max)
    sent, received = multipoles[senders], multipoles[receivers]
    columns = range(multipoles.shape[1])
    values = pair_potential(
        kernels, [vectors[:, x] for x in range(3)], [sent[:, m] for m in columns], l_max
    )
    # ½ p_i · φ_i, both directions of a pair being listed.
    energy = 0.5 * sum(received[:, m] * values[m] for m in columns)
    energy = jnp.where(used, energy, 0.0)
    if graph is None:
        return jnp.sum(energy)[None]
    return jax.ops.segment_sum(energy, graph, len(cells))


def _offsets(shifts: Array, cells: Array) -> Array:
    """Lattice vectors [n, 3] of shifts [n, 3] in cells [1 or n, 3, 3]."""
    parts = [shifts[:, i, None].astype(cells.dtype) * cells[:, i] for i in range(3)]
    return parts[0] + parts[1] + parts[2]
