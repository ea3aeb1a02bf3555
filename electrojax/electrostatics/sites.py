"""Where multipoles sit: at the atoms, at points that move with them, or at points in space."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from electrojax.errors import ConfigError
from electrojax.system.layout import GraphLayout, dense_layout
from electrojax.system.types import System, masked_sum
from electrojax.typing import Array, replace, static, struct


@struct
class Pairs:
    """Pairs of sites for a real-space sum, each in both directions.

    Attributes:
        senders, receivers: [P] sites; the vector of a pair is r[receiver] − r[sender] + shift·cell.
        shifts: [P, 3] integer cell shifts.
        mask: [P] true on real pairs.
    """

    senders: Array
    receivers: Array
    shifts: Array
    mask: Array


@struct
class Sites:
    """Places of Gaussian multipoles, with all that a Coulomb sum reads of a batch.

    Attributes:
        positions: [S, 3] Å.
        owner: [S] the atom a site belongs to; the number of atoms for a site of no atom.
        graph: [S] structure of each site, G on padding.
        mask: [S] true on real sites.
        pairs: for the real-space part of a split sum; None if they were not given.
        cell: [G, 3, 3] Å, rows are lattice vectors.
        plan_cell: [G, 3, 3] Å, the cell for which the k-vectors were chosen.
        origin: [G, 3] Å, where positions along open axes start from in space.
        atoms: number of atoms, padding included.
        room: the largest number of sites in one structure.
        normal: index of the open axis of a slab.
        k_box: largest k-vector index along each reciprocal axis.
        ordered: sites ascend by structure with padding last, pairs by receiver, as atoms do.
    """

    positions: Array
    owner: Array
    graph: Array
    mask: Array
    pairs: Pairs | None
    cell: Array
    plan_cell: Array
    origin: Array
    atoms: int = static()
    room: int = static()
    normal: int = static()
    k_box: tuple[int, int, int] = static()
    ordered: bool = static()

    @classmethod
    def of(cls, system: System | Sites) -> Sites:
        """Returns the atoms of a batch as sites; sites are returned as they are."""
        if isinstance(system, Sites):
            return system
        return cls(
            positions=system.positions,
            owner=jnp.arange(system.n_nodes, dtype=jnp.int32),
            graph=system.node_graph,
            mask=system.node_mask,
            pairs=Pairs(
                system.pair_senders, system.pair_receivers, system.pair_shifts, system.pair_mask
            ),
            cell=system.cell,
            plan_cell=system.plan_cell,
            origin=system.origin,
            atoms=system.n_nodes,
            room=system.graph_nodes,
            normal=system.normal,
            k_box=system.k_box,
            ordered=True,
        )

    @property
    def structure(self) -> Array:
        """[S] the structure of each site, the last one for padding."""
        return jnp.minimum(self.graph, len(self.cell) - 1)

    def layout(self) -> GraphLayout:
        """Returns the places of the sites in the dense layout [G, A, ...]."""
        return dense_layout(self.mask, self.graph, len(self.cell), self.room, self.ordered)

    def sums(self, values: Array) -> Array:
        """Returns per-structure sums [G, ...] of values [S, ...]; padding is left out."""
        return masked_sum(values, self.mask, self.graph, len(self.cell), self.ordered)

    def at_atoms(self, values: Array) -> Array:
        """Returns the sums [N, ...] of values [S, ...] over the sites of every atom."""
        mask = self.mask.reshape(-1, *[1] * (values.ndim - 1))
        return jax.ops.segment_sum(jnp.where(mask, values, 0), self.owner, self.atoms)


def attached_sites(system: System, offsets: Array) -> Sites:
    """Returns sites at r_i + Δ_ik that move with the atoms of a batch.

    Forces on the sites reach the atoms through r_i and through Δ(r). For a split sum, the pairs of
    the batch must reach 2 max|Δ| farther than the engine's cutoff; wrapping an atom takes its sites
    along.

    Args:
        system: a batch of N atoms.
        offsets: [N, K, 3] Å, zero for a site on the atom itself.

    Returns:
        K N sites; number k N + i belongs to atom i.
    """
    atoms, (n, copies) = Sites.of(system), offsets.shape[:2]
    # One copy of all atoms after the other, so that copies are slices of what sums return.
    places = system.positions[:, None] + offsets

    def repeated(values: Array) -> Array:
        return jnp.tile(values, (copies, *[1] * (values.ndim - 1)))

    return replace(
        atoms,
        positions=jnp.swapaxes(places, 0, 1).reshape(-1, 3),
        owner=repeated(atoms.owner),
        graph=repeated(atoms.graph),
        mask=repeated(atoms.mask),
        pairs=_copied_pairs(atoms, n, copies),
        room=copies * atoms.room,
        ordered=copies == 1,
    )


def with_fixed_sites(
    sites: Sites | System,
    positions: Array,
    graph: Array,
    mask: Array,
    pairs: Pairs | None = None,
    room: int | None = None,
) -> Sites:
    """Returns sites followed by X others of no atom, such as external charges.

    Args:
        sites: S sites, or a batch for its atoms.
        positions: [X, 3] Å in space.
        graph: [X] structure of each.
        mask: [X] true on real ones.
        pairs: all pairs of the S + X sites, with shifts for atoms in the cell; not needed by sums
            without a real-space part.
        room: the largest number of them in one structure; X where not given.
    """
    first, count = Sites.of(sites), len(positions)
    joined = jnp.concatenate
    origin = first.origin[jnp.minimum(graph, len(first.cell) - 1)]
    placed = jnp.asarray(positions, first.positions.dtype) - origin
    return replace(
        first,
        positions=joined([first.positions, placed]),
        owner=joined([first.owner, jnp.full(count, first.atoms, first.owner.dtype)]),
        graph=joined([first.graph, jnp.where(mask, graph, len(first.cell)).astype(jnp.int32)]),
        mask=joined([first.mask, jnp.asarray(mask)]),
        pairs=pairs,
        room=first.room + (count if room is None else room),
        ordered=False,
    )


def real_space_pairs(sites: Sites) -> Pairs:
    """Returns the pairs of a split sum.

    Raises:
        ConfigError: if they were not given.
    """
    if sites.pairs is None:
        raise ConfigError(
            "extra sites without pairs in a split Coulomb sum; needed those of all sites within "
            "its cutoff, or method 'direct' or 'mesh'"
        )
    return sites.pairs


def _copied_pairs(atoms: Sites, n: int, copies: int) -> Pairs:
    """Pairs of every copy with every other: of each atom pair, and within each atom."""
    listed = real_space_pairs(atoms)
    if copies == 1 or not len(listed.mask):
        return listed
    itself = Pairs(
        jnp.arange(n, dtype=listed.senders.dtype),
        jnp.arange(n, dtype=listed.senders.dtype),
        jnp.zeros((n, 3), listed.shifts.dtype),
        atoms.mask,
    )
    # K² P pairs from the list and K (K − 1) N within the atoms.
    parts = [
        replace(part, senders=part.senders + k * n, receivers=part.receivers + l * n)
        for part in (listed, itself)
        for k in range(copies)
        for l in range(copies)
        if part is listed or k != l
    ]
    return jax.tree.map(lambda *columns: jnp.concatenate(columns), *parts)
