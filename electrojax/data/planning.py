"""Which structures share a batch, and how large its arrays are.

Structures are sorted by size into strata of as many structures as there are batches, and a batch
takes one structure of each stratum. Two batches then differ by no more than the largest from the
smallest structure, whatever the shuffle: the sum of the strata's maxima bounds every batch, so the
number of batches is the same in every epoch and little is padded.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from electrojax.errors import CapacityError
from electrojax.system.batching import Capacity, KPlan, Sample
from electrojax.system.types import Boundary, System

DEFAULT_GRAPHS = 8
"""Structures per batch where neither edges nor graphs are given."""

NODE_STEP, EDGE_STEP = 8, 32
"""Sizes of arrays are rounded up to multiples of these."""

CUTS = 16
"""Most places where buckets may be divided."""

Group = tuple[Boundary, int]


class Room(NamedTuple):
    """How much a batch may hold."""

    nodes: float
    edges: float
    graphs: float
    pairs: float = math.inf


@dataclasses.dataclass(frozen=True)
class Bucket:
    """One array shape, and so one compiled program.

    Attributes:
        boundary, normal: of all its structures.
        capacity: its arrays' sizes.
        graph_edges: the largest number of edges of one structure.
        graph_pairs: likewise, of the real-space Coulomb pairs.
    """

    boundary: Boundary
    normal: int
    capacity: Capacity
    graph_edges: int
    graph_pairs: int = 0

    def holds(self, system: System) -> bool:
        """Returns whether a batch of this shape could hold the structure."""
        return (system.boundary, system.normal) == (self.boundary, self.normal) and (
            system.n_nodes <= self.capacity.graph_nodes
            and system.n_edges <= self.graph_edges
            and system.n_pairs <= self.graph_pairs
            and all(a <= b for a, b in zip(system.k_box, self.capacity.k_box))
        )


@dataclasses.dataclass(frozen=True)
class BatchPlan:
    """The array shapes of a run, smallest first within a boundary."""

    buckets: tuple[Bucket, ...]

    def bucket_of(self, sample: Sample) -> int:
        """Returns the index of the smallest bucket that holds a structure.

        Raises:
            CapacityError: if none does.
        """
        for index, bucket in enumerate(self.buckets):
            if bucket.holds(sample.system):
                return index
        s = sample.system
        raise CapacityError(
            f"{sample.source}: {s.n_nodes} atoms, {s.n_edges} edges and boundary {s.boundary} fit "
            "none of the planned batches; plan the batches with this structure included"
        )


def plan_buckets(
    samples: Sequence[Sample],
    edges: int | None = None,
    graphs: int | None = None,
    buckets: int = 1,
    held_out: Sequence[Sample] = (),
) -> BatchPlan:
    """Returns array shapes for batches of these structures that leave little of them empty.

    Args:
        samples: the training set, for which the shapes are made.
        edges: most edges in a batch; no bound if None.
        graphs: most structures in a batch; no bound if None, 8 if both are.
        buckets: most shapes; there is always at least one for each boundary.
        held_out: structures of other sets; each will fit, and they decide nothing else.

    Raises:
        CapacityError: if one structure alone has more edges than a batch may have.
    """
    if edges is None and graphs is None:
        graphs = DEFAULT_GRAPHS
    _check_edges([*samples, *held_out], edges)
    own, others = _grouped(samples), _grouped(held_out)
    spare = max(0, buckets - len({*own, *others}))
    made: list[Bucket] = []
    for group in sorted({*own, *others}, key=lambda g: -len(own.get(g, []))):
        systems = sorted(own.get(group) or others[group], key=size_of, reverse=True)
        parts = _settled(_divide(systems, 1 + spare, edges, graphs))
        spare -= len(parts) - 1
        for part in parts:
            capacity = _capacity(part, edges, graphs)
            made.append(Bucket(*group, capacity, part[0].n_edges, _most_pairs(part)))
        made[-1] = _enlarged(made[-1], [*systems, *others.get(group, [])])
    return BatchPlan(tuple(made))


def _check_edges(samples: Sequence[Sample], edges: int | None) -> None:
    largest = max(samples, key=lambda s: s.system.n_edges, default=None)
    if edges is not None and largest is not None and largest.system.n_edges > edges:
        raise CapacityError(
            f"{largest.source}: has {largest.system.n_edges} edges, but a batch may have {edges} "
            "(data.batching.edges); raise it, or leave the structure out"
        )


def _grouped(samples: Sequence[Sample]) -> dict[Group, list[System]]:
    groups: dict[Group, list[System]] = {}
    for sample in samples:
        key = (sample.system.boundary, sample.system.normal)
        groups.setdefault(key, []).append(sample.system)
    return groups


def size_of(system: System) -> tuple[int, int, int]:
    """Returns what structures are sorted by: the numbers of edges, atoms and Coulomb pairs."""
    return (system.n_edges, system.n_nodes, system.n_pairs)


def _capacity(systems: Sequence[System], edges: int | None, graphs: int | None) -> Capacity:
    """Returns the arrays' sizes of batches of structures, largest first."""
    sizes = np.array([size_of(s) for s in systems])
    batches = batch_count(sizes, Room(math.inf, edges or math.inf, graphs or math.inf))
    most_edges, nodes, pairs = _bounds(sizes, batches)
    return Capacity(
        nodes=_rounded(nodes, NODE_STEP),
        edges=_rounded(most_edges, EDGE_STEP),
        graphs=math.ceil(len(systems) / batches),
        graph_nodes=int(sizes[:, 1].max()),
        k_box=_largest_box(systems),
        pairs=_rounded(pairs, EDGE_STEP) if pairs else 0,
    )


def _bounds(sizes: np.ndarray, batches: int) -> tuple[int, int, int]:
    """Returns the most edges, nodes and pairs of a batch with one structure of every stratum."""
    starts = np.arange(0, len(sizes), batches)
    edges, nodes, pairs = np.maximum.reduceat(sizes, starts).sum(axis=0)
    return int(edges), int(nodes), int(pairs)


def batch_count(sizes: np.ndarray, room: Room) -> int:
    """Returns the least number of batches for which none exceeds the room, whatever the shuffle.

    The bound on edges falls with the number of batches, since structures are sorted by it: bisect.
    Those on nodes and pairs nearly do: go on from there.

    Args:
        sizes: [n, 3] numbers of edges, atoms and pairs of every structure, the largest first; each
            fits alone.
        room: of one batch.
    """
    low, high = max(1, math.ceil(len(sizes) / room.graphs)), len(sizes)
    while low < high:
        middle = (low + high) // 2
        if _bounds(sizes, middle)[0] <= room.edges:
            high = middle
        else:
            low = middle + 1
    while low < len(sizes) and np.any(np.array(_bounds(sizes, low)[1:]) > (room.nodes, room.pairs)):
        low += 1
    return low


def _divide(
    systems: Sequence[System], most: int, edges: int | None, graphs: int | None
) -> list[Sequence[System]]:
    """Cuts structures, sorted by size, into at most so many runs that pad the least in total.

    Dynamic programming over a few places to cut: best[b] is the cheapest division of systems[:b].
    """
    if most == 1 or len(systems) < 2:
        return [systems]
    sizes = np.array([size_of(s) for s in systems])
    room = Room(math.inf, edges or math.inf, graphs or math.inf)
    cuts = np.unique(np.linspace(0, len(systems), CUTS + 1).astype(int)).tolist()
    cost = {(a, b): _cost(sizes[a:b], room) for j, b in enumerate(cuts) for a in cuts[:j]}
    best: dict[int, tuple[int, list[int]]] = {b: (cost[0, b], [0, b]) for b in cuts[1:]}
    for _ in range(min(most, CUTS) - 1):
        extended = dict(best)
        for (a, b), extra in cost.items():
            if a and best[a][0] + extra < extended[b][0]:
                extended[b] = (best[a][0] + extra, [*best[a][1], b])
        best = extended
    return [systems[a:b] for a, b in itertools.pairwise(best[len(systems)][1])]


def _settled(parts: Sequence[Sequence[System]]) -> list[list[System]]:
    """Returns runs, smallest first, after each took what would fit it from the larger ones.

    A batch is sought from the smallest bucket on, so these are the structures it will get.
    """
    left = [system for part in parts for system in part]
    settled = []
    for part in reversed(parts):
        atoms, box = max(s.n_nodes for s in part), _largest_box(part)
        pairs = _most_pairs(part)
        taken = [
            s.n_edges <= part[0].n_edges
            and s.n_nodes <= atoms
            and s.n_pairs <= pairs
            and all(a <= b for a, b in zip(s.k_box, box))
            for s in left
        ]
        settled.append([s for s, own in zip(left, taken) if own])
        left = [s for s, own in zip(left, taken) if not own]
    return [part for part in settled if part]


def _cost(sizes: np.ndarray, room: Room) -> int:
    """Returns the edges and atoms that an epoch computes, padding included."""
    batches = batch_count(sizes, room)
    edges, nodes, _ = _bounds(sizes, batches)
    return batches * (_rounded(nodes, NODE_STEP) + _rounded(edges, EDGE_STEP))


def _enlarged(bucket: Bucket, systems: Sequence[System]) -> Bucket:
    """Returns a bucket in which every one of these structures fits alone."""
    capacity = bucket.capacity
    atoms = max(s.n_nodes for s in systems)
    edges = max(s.n_edges for s in systems)
    pairs = _most_pairs(systems)
    larger = dataclasses.replace(
        capacity,
        nodes=_rounded(max(capacity.nodes, atoms), NODE_STEP),
        edges=_rounded(max(capacity.edges, edges), EDGE_STEP),
        graph_nodes=max(capacity.graph_nodes, atoms),
        k_box=_largest_box(systems),
        pairs=_rounded(max(capacity.pairs, pairs), EDGE_STEP) if pairs else 0,
    )
    return dataclasses.replace(bucket, capacity=larger, graph_edges=edges, graph_pairs=pairs)


def _most_pairs(systems: Sequence[System]) -> int:
    return max(s.n_pairs for s in systems)


def _largest_box(systems: Sequence[System]) -> KPlan:
    largest = np.max([s.k_box for s in systems], axis=0)
    return (int(largest[0]), int(largest[1]), int(largest[2]))


def _rounded(size: int, step: int) -> int:
    return max(step, math.ceil(size / step) * step)
