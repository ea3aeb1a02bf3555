"""Neighbour lists under jit: every image within the cutoff, a skin, and capacities that can grow.

``jax_md.custom_partition.neighbor_list_multi_image`` finds the same edges, but enumerates 27 images
even of large cells, needs atoms wrapped into the cell and leaves receivers unsorted, which the
models' sorted segment sums do not allow. Here an axis longer than twice the reach needs no images:
the nearest one is the only one.
"""

import dataclasses
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from electrojax.system.neighbors import complete_cell
from electrojax.typing import Array, replace, static, struct

PAIR_BLOCK = 1 << 22
"""Largest number of pairs whose distances are in memory at once."""

Vector = tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class ListPlan:
    """What of a neighbour list is compiled: its reach, its cell and its array sizes.

    Attributes:
        cutoff: Å, reach of an edge.
        skin: Å; pairs within cutoff + skin are kept as candidates, until an atom has moved by half
            the skin.
        cell: rows are lattice vectors, Å; open axes are completed with unit vectors.
        pbc: which of them repeat.
        candidates: capacity for pairs within cutoff + skin.
        edges: capacity for pairs within the cutoff.
        pairs: plan of the Coulomb pairs, whose cutoff and cell are their own; None for a sum
            without pairs.
    """

    cutoff: float
    skin: float
    cell: tuple[Vector, Vector, Vector]
    pbc: tuple[bool, bool, bool]
    candidates: int = 1
    edges: int = 1
    pairs: "ListPlan | None" = None

    @property
    def reach(self) -> float:
        """Å, cutoff and skin together."""
        return self.cutoff + self.skin

    @property
    def heights(self) -> np.ndarray:
        """[3] Å, distances between opposite faces of the cell."""
        return 1.0 / np.linalg.norm(np.linalg.inv(np.array(self.cell)), axis=0)

    @property
    def nearest(self) -> np.ndarray:
        """[3] bool: axes so long that only the nearest image can be within reach."""
        return np.asarray(self.pbc) & (self.heights > 2.0 * self.reach)

    @property
    def images(self) -> np.ndarray:
        """[S, 3] int: the cell shifts to search, in lexicographic order, for atoms in the cell."""
        # Atoms in the cell differ by less than one cell: |n| < reach / height + 1.
        largest = np.ceil(self.reach / self.heights).astype(int)
        largest = np.where(np.asarray(self.pbc) & ~self.nearest, largest, 0)
        ranges = [range(-n, n + 1) for n in largest]
        return np.array(list(itertools.product(*ranges)), dtype=np.int32)

    @property
    def capacity(self) -> tuple[int, ...]:
        """Room for candidates and edges and, where there are Coulomb pairs, the same for those."""
        own = (self.candidates, self.edges)
        return own if self.pairs is None else (*own, *self.pairs.capacity)

    def sized(self, capacity: Any) -> "ListPlan":
        """Returns the plan with given capacities, in the order of :attr:`capacity`."""
        candidates, edges, *rest = (int(n) for n in capacity)
        pairs = self.pairs if self.pairs is None else self.pairs.sized(rest)
        return dataclasses.replace(self, candidates=candidates, edges=edges, pairs=pairs)

    def grown(self, needed: Any, spare: float) -> "ListPlan":
        """Returns the plan with room for what was needed; nothing shrinks.

        Args:
            needed: what was needed of each of :attr:`capacity`.
            spare: factor of spare room for candidates. Edges, which the network evaluates padding
                and all, get a tenth of it.
        """
        factors = itertools.cycle((spare, 1.0 + 0.1 * (spare - 1.0)))
        wanted = [_rounded(int(n) * factor) for n, factor in zip(needed, factors)]
        return self.sized(map(max, self.capacity, wanted))


def plan_for(cell: np.ndarray, pbc: tuple[bool, bool, bool], cutoff: float, skin: float,
             pair_cutoff: float = 0, pair_cell: np.ndarray | None = None) -> ListPlan:  # fmt: skip
    """Returns a plan without capacities for a cell [3, 3] Å whose open rows are not read.

    With a pair_cutoff in Å there are Coulomb pairs too. They repeat along all three vectors of
    pair_cell, the cell of the Coulomb sum, or of the cell where that is not given.
    """
    rows = [tuple(float(x) for x in row) for row in complete_cell(cell, pbc)]
    box = cell if pair_cell is None else pair_cell
    pairs = plan_for(box, (True,) * 3, pair_cutoff, skin) if pair_cutoff and any(pbc) else None
    return ListPlan(
        float(cutoff), float(skin), tuple(rows), tuple(bool(p) for p in pbc), pairs=pairs  # type: ignore[arg-type]
    )  # fmt: skip


def _rounded(size: float) -> int:
    """Rounds up in steps of about 1/64, so that few shapes compile."""
    whole = max(1, math.ceil(size))
    step = 2 ** max(0, whole.bit_length() - 7)
    return -(-whole // step) * step


@struct
class Edges:
    """The pairs within the cutoff, as a :class:`electrojax.system.types.System` holds them.

    Attributes:
        senders, receivers: [E], receivers ascending, padding N.
        shifts: [E, 3], with respect to the wrapped positions.
        count: how many there are; more than E means that some are missing.
    """

    senders: Array
    receivers: Array
    shifts: Array
    count: Array


@struct
class Candidates:
    """Pairs within cutoff + skin.

    Attributes:
        senders, receivers: [C], receivers ascending, padding N.
        shifts: [C, 3] cell shifts with respect to the wrapped positions.
    """

    senders: Array
    receivers: Array
    shifts: Array

    def within(self, plan: ListPlan, wrapped: Array) -> Edges:
        """Returns those that are closer than the cutoff at wrapped positions [N, 3] Å."""
        cell, n = jnp.asarray(np.array(plan.cell), wrapped.dtype), len(wrapped)
        vectors = wrapped[self.receivers] - wrapped[self.senders]
        vectors = vectors + _product(self.shifts.astype(wrapped.dtype), cell)
        inside = (self.receivers < n) & (jnp.sum(vectors**2, axis=1) < plan.cutoff**2)
        chosen, count = _where(inside, plan.edges)
        senders, receivers = (_take(a, chosen, n) for a in (self.senders, self.receivers))
        return Edges(senders, receivers, _take(self.shifts, chosen, 0), count)

    def resize(self, size: int, n: int) -> "Candidates":
        """Returns them in larger arrays, n the number of atoms."""
        pad = ((0, size - len(self.senders)),)
        return Candidates(
            jnp.pad(self.senders, pad, constant_values=n),
            jnp.pad(self.receivers, pad, constant_values=n),
            jnp.pad(self.shifts, (*pad, (0, 0))),
        )


@struct
class NeighborList:
    """Candidate pairs, and where the atoms were when they were found.

    Attributes:
        edges: candidates for the backbone's edges.
        pairs: candidates for the Coulomb pairs; none where the plan has no such pairs.
        reference: [N, 3] Å, positions at the last rebuild.
        wrap: [N, 3] cells by which each atom is moved into the cell.
        origin: [3] Å, the mean of the atoms along open axes, subtracted from the positions.
        needed: what was needed so far of each of the plan's capacities.
        did_buffer_overflow: whether something did not fit since the list was allocated.
        plan: reach, cell and capacities.
    """

    edges: Candidates
    pairs: Candidates
    reference: Array
    wrap: Array
    origin: Array
    needed: Array
    did_buffer_overflow: Array
    plan: ListPlan = static()

    def wrapped(self, positions: Array) -> Array:
        """Returns positions [N, 3] Å in the cell, and about the mean along open axes.

        They move on continuously until the list is rebuilt.
        """
        cell = jnp.asarray(np.array(self.plan.cell), positions.dtype)
        return positions - _product(self.wrap.astype(positions.dtype), cell) - self.origin

    def refresh(self, positions: Array) -> "NeighborList":
        """Returns the list, rebuilt if an atom has moved by more than half the skin."""
        moved = jnp.max(jnp.sum((positions - self.reference) ** 2, axis=1))
        # Written so that NaN rebuilds too: the search ends, and the caller finds the NaN.
        valid = moved <= (0.5 * self.plan.skin) ** 2
        return jax.lax.cond(valid, lambda: self, lambda: build(positions, self.plan, self.needed))

    def update(self, positions: Array) -> "NeighborList":
        """Returns the list for new positions, with ``did_buffer_overflow`` kept up to date.

        The equivalent of ``jax_md.partition.NeighborList.update``.
        """
        positions = jnp.asarray(positions, self.reference.dtype)
        fresh = self.refresh(positions)
        edges, pairs = fresh.within_cutoff(positions), fresh.pairs_within_cutoff(positions)
        needed = fresh.met(edges.count, pairs.count)
        overflow = self.did_buffer_overflow | jnp.any(needed > self.capacity)
        return replace(fresh, needed=needed, did_buffer_overflow=overflow)

    @property
    def capacity(self) -> Array:
        """The plan's capacities."""
        return jnp.array(self.plan.capacity, jnp.int32)

    def within_cutoff(self, positions: Array) -> Edges:
        """Returns the edges: candidates closer than the cutoff at these positions [N, 3] Å."""
        return self.edges.within(self.plan, self.wrapped(positions))

    def pairs_within_cutoff(self, positions: Array) -> Edges:
        """Returns the Coulomb pairs, likewise."""
        if self.plan.pairs is None:
            return Edges(self.pairs.senders, self.pairs.receivers, self.pairs.shifts, jnp.int32(0))
        return self.pairs.within(self.plan.pairs, self.wrapped(positions))

    def met(self, edges: Array, pairs: Array) -> Array:
        """Returns what is needed of each capacity with so many edges and Coulomb pairs."""
        needed = self.needed.at[1].max(edges)
        return needed if self.plan.pairs is None else needed.at[3].max(pairs)

    def resize(self, plan: ListPlan) -> "NeighborList":
        """Returns the list with the larger arrays of another plan (on the host).

        If candidates are missing, the next use rebuilds it.
        """
        n, missing = len(self.reference), self.did_buffer_overflow
        pairs = self.pairs
        return replace(
            self,
            reference=jnp.where(missing, jnp.inf, self.reference),
            edges=self.edges.resize(plan.candidates, n),
            pairs=pairs if plan.pairs is None else pairs.resize(plan.pairs.candidates, n),
            did_buffer_overflow=jnp.zeros_like(missing),
            plan=plan,
        )


def build(positions: Array, plan: ListPlan, needed: Array | None = None) -> NeighborList:
    """Returns the list of all pairs within cutoff + skin, at positions [N, 3] Å anywhere."""
    dtype = positions.dtype
    cell = np.array(plan.cell)
    fractions = _product(positions, jnp.asarray(np.linalg.inv(cell), dtype))
    periodic = np.array(plan.pbc)
    wrap = jnp.floor(fractions).astype(jnp.int32) * jnp.asarray(periodic.astype(np.int32))
    mean = jnp.where(jnp.asarray(periodic), 0.0, jnp.mean(fractions, axis=0))
    origin = _product(mean[None], jnp.asarray(cell, dtype))[0]
    inside = positions - _product(wrap.astype(dtype), jnp.asarray(cell, dtype)) - origin
    edges, count = _search(inside, plan)
    found = [count, jnp.zeros_like(count)]
    pairs, overflow = _no_candidates(), count > plan.candidates
    if plan.pairs is not None:
        pairs, pair_count = _search(inside, plan.pairs)
        found += [pair_count, jnp.zeros_like(count)]
        overflow = overflow | (pair_count > plan.pairs.candidates)
    most = jnp.stack(found)
    return NeighborList(
        edges=edges,
        pairs=pairs,
        reference=positions,
        wrap=wrap,
        origin=origin,
        needed=most if needed is None else jnp.maximum(most, needed),
        did_buffer_overflow=overflow,
        plan=plan,
    )


def _no_candidates() -> Candidates:
    none = jnp.zeros(0, jnp.int32)
    return Candidates(none, none, jnp.zeros((0, 3), jnp.int32))


def _search(positions: Array, plan: ListPlan) -> tuple[Candidates, Array]:
    """Pairs within reach and their number, block by block of receivers."""
    n, images = len(positions), len(plan.images)
    rows = max(1, min(n, PAIR_BLOCK // (n * images)))
    blocks = -(-n // rows)
    # A block's share of the capacity, doubled: a denser block counts as an overflow.
    room = (
        plan.candidates if blocks == 1 else min(plan.candidates, -(-2 * plan.candidates // blocks))
    )

    def block(index: Array) -> tuple[Array, Array, Array]:
        receivers = index * rows + jnp.arange(rows)
        close, shift = _close(positions, receivers, plan)
        chosen, count = _where(close.ravel(), room)
        row, rest = chosen // (n * images), chosen % (n * images)
        sender, image = rest // images, rest % images
        picked = jnp.asarray(plan.images)[image] + shift[jnp.minimum(row, rows - 1), sender]
        edges = jnp.stack([sender, index * rows + row], axis=1).astype(jnp.int32)
        return jnp.concatenate([edges, picked], axis=1), chosen < close.size, count

    if blocks == 1:
        packed, real, count = block(jnp.int32(0))
    else:
        parts, reals, counts = jax.lax.map(block, jnp.arange(blocks, dtype=jnp.int32))
        flat = reals.ravel()
        chosen, _ = _where(flat, plan.candidates)
        packed, real = _take(parts.reshape(-1, 5), chosen, 0), chosen < flat.size
        crowded = jnp.max(counts) * (-(-plan.candidates // room))
        count = jnp.where(jnp.any(counts > room), jnp.maximum(crowded, counts.sum()), counts.sum())
    senders, receivers = (jnp.where(real, packed[:, k], n) for k in (0, 1))
    shifts = jnp.where(real[:, None], packed[:, 2:], 0)
    return Candidates(senders, receivers, shifts), count.astype(jnp.int32)


def _close(positions: Array, receivers: Array, plan: ListPlan) -> tuple[Array, Array]:
    """Which pairs [R, N, S] are within reach, and the nearest-image shifts [R, N, 3]."""
    cell = np.array(plan.cell)
    vectors = positions[jnp.minimum(receivers, len(positions) - 1)][:, None] - positions[None]
    fractions = _product(vectors, jnp.asarray(np.linalg.inv(cell), positions.dtype))
    shift = -jnp.round(fractions).astype(jnp.int32) * plan.nearest.astype(np.int32)
    shifted = _product(shift.astype(positions.dtype), jnp.asarray(cell, positions.dtype))
    vectors = vectors + shifted
    moved = vectors[:, :, None] + jnp.asarray(plan.images @ cell, positions.dtype)
    close = jnp.sum(moved**2, axis=-1) < plan.reach**2
    # An atom is no neighbour of itself; its nearest-image shift is zero.
    itself = receivers[:, None] == jnp.arange(len(positions))
    zero = np.all(plan.images == 0, axis=1)
    real = (receivers < len(positions))[:, None, None]
    return close & real & ~(itself[:, :, None] & zero), shift


def _where(mask: Array, size: int) -> tuple[Array, Array]:
    """Indices of the first ``size`` true entries, one past the end where there are none left."""
    running = jnp.cumsum(mask, dtype=jnp.int32)
    if len(mask) < 16 * size:
        place = jnp.where(mask, running - 1, size)
        every = jnp.arange(len(mask), dtype=jnp.int32)
        return jnp.full(size, len(mask), jnp.int32).at[place].set(every, mode="drop"), running[-1]
    # Among many pairs, few of them close, a search for each index is cheaper than a pass over all.
    wanted = jnp.arange(1, size + 1, dtype=jnp.int32)
    return jnp.searchsorted(running, wanted).astype(jnp.int32), running[-1]


def _take(values: Array, index: Array, fill: int) -> Array:
    return values.at[index].get(mode="fill", fill_value=fill)


def _product(a: Array, b: Array) -> Array:
    """a @ b of positions: in float32 a GPU would round them to three digits."""
    return jnp.matmul(a, b, precision="highest")
