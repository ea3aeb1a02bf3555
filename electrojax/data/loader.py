"""Structures prepared for a model, and their batches, collated ahead by a thread."""

import contextlib
import dataclasses
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from electrojax.data.planning import BatchPlan, Bucket, Room, batch_count, plan_buckets, size_of
from electrojax.data.statistics import relative_energy
from electrojax.system.batching import Sample, collate
from electrojax.system.geometry import traceless
from electrojax.system.quantities import LABELS
from electrojax.system.types import Batch, Frame, Statistics

__all__ = ["BatchPlan", "Loader", "plan_buckets", "prepare"]

PREFETCH = 2
"""Batches that are kept ready."""

T = TypeVar("T")


def prepare(
    frames: Sequence[Frame], statistics: Statistics, build: Callable[[Frame], Sample]
) -> list[Sample]:
    """Returns frames with neighbour lists, and labels as they are compared.

    Energies are relative to the atomic energies, quadrupoles traceless.

    Args:
        frames: the structures.
        statistics: with the atomic energies.
        build: makes a frame the input of the model, with its neighbour list and what its Coulomb
            sum needs.

    Raises:
        DataError: for an unknown element, a cell without volume, or atoms on top of each other.
    """
    return [_sample(frame, statistics, build) for frame in frames]


def _sample(frame: Frame, statistics: Statistics, build: Callable[[Frame], Sample]) -> Sample:
    labels = dict(frame.labels)
    if "energy" in labels:
        labels["energy"] = np.array(relative_energy(frame, statistics))
    labels |= {
        name: traceless(np.asarray(label, np.float64))
        for name, label in labels.items()
        if LABELS[name].compared == "traceless"
    }
    return build(dataclasses.replace(frame, labels=labels))


class Loader:
    """The batches of a set of structures, collated ahead by a thread.

    Args:
        samples: the structures; batches refer to them by their index.
        plan: array shapes, in which all of them fit.
        dtype: of the real-valued arrays.
        seed: of the shuffles.
        shuffle: whether each epoch has another order; without it every epoch is the same.

    Raises:
        CapacityError: if a structure fits none of the plan's shapes.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        plan: BatchPlan,
        dtype: np.dtype | type = np.float32,
        seed: int = 0,
        shuffle: bool = False,
    ) -> None:
        self.samples, self.plan = list(samples), plan
        self.dtype, self.seed, self.shuffle = dtype, seed, shuffle
        self._members: list[list[int]] = [[] for _ in plan.buckets]
        for index, sample in enumerate(self.samples):
            self._members[plan.bucket_of(sample)].append(index)
        self._counts = [
            self._count(members, bucket) for members, bucket in zip(self._members, plan.buckets)
        ]

    def __len__(self) -> int:
        """Returns the number of batches, the same in every epoch."""
        return sum(self._counts)

    @property
    def efficiency(self) -> float:
        """Share of the edges computed in an epoch that are real ones (1 if there are none)."""
        real = sum(s.system.n_edges for s in self.samples)
        padded = sum(n * b.capacity.edges for n, b in zip(self._counts, self.plan.buckets))
        return real / padded if padded else 1.0

    def epoch(self, number: int) -> Iterator[tuple[Batch, list[int]]]:
        """Yields batches with the indices of their structures, ascending, every structure once.

        The same seed and number give the same batches. Closing the iterator ends its thread.

        Args:
            number: of the epoch; without shuffling it changes nothing.
        """
        return _ahead(self._collated(self._assign(number)))

    def _collated(self, batches: list[tuple[int, list[int]]]) -> Iterator[tuple[Batch, list[int]]]:
        for bucket, indices in batches:
            chosen = [self.samples[i] for i in indices]
            yield collate(chosen, self.plan.buckets[bucket].capacity, self.dtype), indices

    def _count(self, members: list[int], bucket: Bucket) -> int:
        if not members:
            return 0
        capacity = bucket.capacity
        sizes = sorted((size_of(self.samples[i].system) for i in members), reverse=True)
        room = Room(capacity.nodes, capacity.edges, capacity.graphs, capacity.pairs)
        return batch_count(np.array(sizes), room)

    def _assign(self, number: int) -> list[tuple[int, list[int]]]:
        """Returns the bucket and the indices of every batch of an epoch."""
        random = np.random.default_rng((self.seed, number)) if self.shuffle else None
        batches = [
            (bucket, sorted(indices))
            for bucket, (members, count) in enumerate(zip(self._members, self._counts))
            for indices in self._deal(members, count, random)
        ]
        if random is None:
            return sorted(batches, key=lambda batch: batch[1][0])
        return [batches[i] for i in random.permutation(len(batches))]

    def _deal(
        self, members: list[int], count: int, random: np.random.Generator | None
    ) -> list[list[int]]:
        """Deals structures, from the largest to the smallest, one of each stratum to each batch."""
        if random is not None:  # among structures of one size the shuffle decides
            members = [members[i] for i in random.permutation(len(members))]
        ordered = sorted(members, key=lambda i: size_of(self.samples[i].system), reverse=True)
        dealt: list[list[int]] = [[] for _ in range(count)]
        for start in range(0, len(ordered), max(count, 1)):
            turns = range(count) if random is None else random.permutation(count)
            for turn, index in zip(turns, ordered[start : start + count]):
                dealt[turn].append(index)
        return dealt


@dataclasses.dataclass(frozen=True)
class _Failure:
    """What the thread raised."""

    error: Exception


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """Yields items that a thread computes ahead; its exceptions are raised here."""
    ready: queue.Queue[T | _Failure | None] = queue.Queue(PREFETCH)
    stopped = threading.Event()
    thread = threading.Thread(target=_fill, args=(items, ready, stopped), daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        stopped.set()
        with contextlib.suppress(queue.Empty):  # makes room, so that a waiting thread sees the end
            ready.get_nowait()
        thread.join()


def _fill(items: Iterator[T], ready: "queue.Queue", stopped: threading.Event) -> None:
    try:
        for item in items:
            ready.put(item)
            if stopped.is_set():
                return
        ready.put(None)
    except Exception as error:
        ready.put(_Failure(error))
