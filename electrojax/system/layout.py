"""The dense per-structure layout [G, A, ...] in which long-range sums run."""

import jax
import jax.numpy as jnp

from electrojax.errors import CapacityError
from electrojax.system.types import System
from electrojax.typing import Array, static, struct


@struct
class GraphLayout:
    """Where each atom of a flat batch [N, ...] sits in the dense layout [G, A, ...].

    Attributes:
        node_graph: [N] the structure of each atom, G on padding.
        slot: [N] the place of each atom in its structure.
        index: [G, A] the atom at each place.
        mask: [G, A] true where there is an atom.
        whole: one structure fills the batch, and no gathering is needed.
    """

    node_graph: Array
    slot: Array
    index: Array
    mask: Array
    whole: bool = static()

    def dense(self, values: Array) -> Array:
        """Returns [G, A, ...] of per-atom values [N, ...], zero where there is no atom."""
        gathered = values[None] if self.whole else values[self.index]
        mask = self.mask.reshape(self.mask.shape + (1,) * (values.ndim - 1))
        return jnp.where(mask, gathered, jnp.zeros((), values.dtype))

    def nodes(self, dense: Array) -> Array:
        """Returns per-atom values [N, ...] of [G, A, ...], zero on padding."""
        mask = self.mask.reshape(self.mask.shape + (1,) * (dense.ndim - 2))
        clean = jnp.where(mask, dense, jnp.zeros((), dense.dtype))
        if self.whole:
            return clean[0]
        return clean.at[self.node_graph, self.slot].get(mode="fill", fill_value=0)


def graph_layout(system: System) -> GraphLayout:
    """Returns the dense layout of a batch whose atoms are sorted by structure, padding last.

    Raises:
        CapacityError: if the system does not say how many atoms its largest structure has.
    """
    if system.graph_nodes < 1:
        raise CapacityError("the system has graph_nodes = 0; build it with collate")
    return dense_layout(system.node_mask, system.node_graph, system.n_graphs, system.graph_nodes)


def dense_layout(
    mask: Array, node_graph: Array, graphs: int, atoms: int, ordered: bool = True
) -> GraphLayout:
    """Returns the dense layout of entries [N] of structures.

    Args:
        mask: [N] true on real entries.
        node_graph: [N] structure of each.
        graphs: G.
        atoms: A, the largest number of entries of one structure.
        ordered: structures ascend and padding comes last; otherwise entries are sorted first.

    Raises:
        CapacityError: if there is no place for an entry.
    """
    if atoms < 1:
        raise CapacityError("no place for an atom in a structure; needed graph_nodes >= 1")
    count = len(mask)
    counts = jax.ops.segment_sum(
        mask.astype(jnp.int32), node_graph, graphs, indices_are_sorted=ordered
    )
    starts = jnp.cumsum(counts) - counts
    places = jnp.arange(atoms, dtype=jnp.int32)
    rank = jnp.arange(count, dtype=jnp.int32)
    index = jnp.minimum(starts[:, None] + places, count - 1)
    graph = jnp.where(mask, node_graph, graphs)
    if not ordered:
        # Entries by structure, padding (graph G) last, as they come otherwise.
        order = jnp.argsort(graph, stable=True).astype(jnp.int32)
        index = order[index]
        rank = rank.at[order].set(rank)
    return GraphLayout(
        node_graph=graph,
        slot=rank - starts[jnp.minimum(node_graph, graphs - 1)],
        index=index,
        mask=places < counts[:, None],
        whole=ordered and graphs == 1 and atoms == count,
    )
