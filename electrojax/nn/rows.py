"""Edges in short rows of one receiving atom each: sums over neighbours as small matrix products.

A sum over the edges of an atom is then a product inside each row, which needs no message per edge
in memory, and a sum over an eighth as many rows. Rows are also what large systems are cut into.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from electrojax.typing import Array, ArrayLike, struct

LENGTH = 8
"""Edges in a row; of 2 to 16 the fastest at 10 to 60 neighbours."""

AT_ONCE = {"cpu": 2048}
"""Edges that are worked on at a time, by platform: on a CPU what stays in its caches."""
AT_ONCE_ELSEWHERE = 2**18

MOST_CHUNKS = 192
"""Of larger systems the chunks are larger: each costs as much as the atoms' features once more."""


@struct
class EdgeRows:
    """Which edges stand in which row.

    Attributes:
        edges: [R, B] index of the edge; the number of edges where the place is empty.
        receivers: [R] ascending, the atom at which a row's edges end; the number of atoms in rows
            that are not needed.
    """

    edges: Array
    receivers: Array

    def take(self, values: Array) -> Array:
        """Returns what belongs to edges [E, ...] in rows [R, B, ...], zero in empty places."""
        return values.at[self.edges].get(mode="fill", fill_value=0)

    def sum(self, values: Array, nodes: int) -> Array:
        """Returns what belongs to rows [R, ...] summed over the rows of each atom, [N, ...]."""
        return jax.ops.segment_sum(values, self.receivers, nodes, indices_are_sorted=True)


def edge_rows(receivers: ArrayLike, nodes: int, length: int = LENGTH) -> EdgeRows:
    """Returns the rows of edges in the order of their receivers.

    There are as many rows as any graph with these numbers of edges and atoms can need.

    Args:
        receivers: [E] ascending; edges that end at ``nodes`` are padding and left out.
        nodes: N.
        length: B.
    """
    receivers = jnp.asarray(receivers)
    size = receivers.shape[0]
    total = -(-(size + (length - 1) * min(nodes, size)) // length)
    ones = jnp.ones_like(receivers)
    counts = jax.ops.segment_sum(ones, receivers, nodes, indices_are_sorted=True)
    ends = jnp.cumsum(-(-counts // length))
    row = jnp.arange(total, dtype=receivers.dtype)
    atom = jnp.searchsorted(ends, row, side="right").astype(receivers.dtype)
    known = jnp.minimum(atom, nodes - 1)
    first_row = (ends - -(-counts // length))[known]
    first_edge = (jnp.cumsum(counts) - counts)[known]
    rank = (row - first_row)[:, None] * length + jnp.arange(length, dtype=receivers.dtype)
    there = (rank < counts[known][:, None]) & (atom < nodes)[:, None]
    return EdgeRows(jnp.where(there, first_edge[:, None] + rank, size), atom)


def rows_at_once(length: int = LENGTH) -> int:
    """Returns how many rows of a length the platform of this process works on at a time."""
    return AT_ONCE.get(jax.default_backend(), AT_ONCE_ELSEWHERE) // length


def summed_products(y: Array, features: Array) -> Array:
    """Returns Σ_b y[r, b, k] · features[r, b, c] of every row, [R, K, C].

    On a CPU, XLA calls a routine per row for matrix products whose first factor lies transposed;
    turning that factor, the smaller one, in memory before is several times faster.

    Args:
        y: [R, B, K].
        features: [R, B, C].
    """
    if jax.default_backend() != "cpu":
        return jnp.einsum("rbk,rbc->rkc", y, features)
    turned = jax.lax.optimization_barrier(jnp.swapaxes(y, 1, 2))
    return jnp.einsum("rkb,rbc->rkc", turned, features)


def in_chunks(function: Callable[..., Any], rows: int, *arguments: Array | None) -> Any:
    """Returns a function of rows [R, ...], evaluated for a number of rows at a time.

    Intermediates are recomputed in the backward pass, so memory holds one chunk. Second derivatives
    need a second checkpoint. What the function uses beside its arguments, such as features of
    atoms, is differentiated too.

    Args:
        function: from arrays [r, ...] to arrays [r, ...], row by row.
        rows: r in general; all rows at once where there are no more, more where there are many.
        arguments: arrays [R, ...]; None is handed on as it is.
    """
    total = jax.tree.leaves(arguments)[0].shape[0]
    chunks = min(math.ceil(total / rows), MOST_CHUNKS)
    if chunks <= 1:
        return function(*arguments)
    size = math.ceil(total / chunks)

    def cut(x: Array) -> Array:
        padding = ((0, chunks * size - total), *((0, 0),) * (x.ndim - 1))
        return jnp.pad(x, padding).reshape(chunks, size, *x.shape[1:])

    one = jax.checkpoint(lambda chunk: function(*chunk), prevent_cse=False)
    one = jax.checkpoint(one, prevent_cse=False)
    found = jax.lax.map(one, jax.tree.map(cut, arguments))
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:total], found)
