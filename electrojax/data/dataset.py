"""What a set of structures holds, how it is split, and whether it suits a boundary."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from electrojax.errors import DataError
from electrojax.system.quantities import LABELS
from electrojax.system.types import BOUNDARIES, Frame

GAUGE_LABELS = tuple(row.name for row in LABELS.values() if row.gauge)
"""Labels whose zero depends on the boundary: infinity when open, the cell average when periodic."""


@dataclasses.dataclass(frozen=True)
class Census:
    """What is in a set of structures; counts are numbers of frames.

    Attributes:
        frames: of the whole set.
        labels: how many frames have each label, in the order of Targets; labels that none has are
            left out.
        elements: how many frames contain each element, by symbol, in the order of atomic numbers.
        compositions: number of different compositions.
        atoms: atoms per frame: smallest, mean and largest.
        boundaries, total_charges, multiplicities: frames of each kind.
        fields: frames with an external field.
        splits: frames of each stored split; empty if the file names none.
    """

    frames: int
    labels: Mapping[str, int]
    elements: Mapping[str, int]
    compositions: int
    atoms: tuple[int, float, int]
    boundaries: Mapping[str, int]
    total_charges: Mapping[float, int]
    multiplicities: Mapping[float, int]
    fields: int
    splits: Mapping[str, int]

    def __str__(self) -> str:
        """Returns the census as a table of plain text, one line per property."""
        smallest, mean, largest = self.atoms
        rows = {
            "frames": str(self.frames),
            "atoms": f"{smallest} to {largest}, mean {mean:.1f}",
            "elements": _listed(self.elements, self.frames),
            "compositions": str(self.compositions),
            "boundary": _listed(self.boundaries, self.frames),
            "total charge": _listed({f"{q:+g}": n for q, n in self.total_charges.items()}),
            "multiplicity": _listed({f"{m:g}": n for m, n in self.multiplicities.items()}),
            "external field": f"{self.fields} frames" if self.fields else "none",
            "labels": _listed(self.labels, self.frames) or "none",
            "splits": _listed(self.splits) or "none stored",
        }
        return "\n".join(f"{name:<16}{text}" for name, text in rows.items())


def _listed(counts: Mapping[str, int], of: int | None = None) -> str:
    """Returns ``a 12, b 3``; a count that covers every frame is left out."""
    return ", ".join(name if n == of else f"{name} {n}" for name, n in counts.items())


def census(frames: Sequence[Frame]) -> Census:
    """Returns what a set of structures holds.

    Args:
        frames: at least one.

    Raises:
        DataError: if there is no frame, or one of them repeats along a single axis.
    """
    from ase.data import chemical_symbols

    if not frames:
        raise DataError("no structures to count; needed at least one")
    sizes = [len(frame.numbers) for frame in frames]
    labels = Counter(name for frame in frames for name in frame.labels)
    elements = Counter(int(z) for frame in frames for z in np.unique(frame.numbers))
    return Census(
        frames=len(frames),
        labels={name: labels[name] for name in LABELS if labels[name]},
        elements={chemical_symbols[z]: elements[z] for z in sorted(elements)},
        compositions=len({tuple(sorted(frame.numbers.tolist())) for frame in frames}),
        atoms=(min(sizes), float(np.mean(sizes)), max(sizes)),
        boundaries=_ordered(Counter(frame.boundary for frame in frames), BOUNDARIES),
        # Adding 0.0 makes one charge of 0.0 and -0.0.
        total_charges=_ordered(Counter(frame.total_charge + 0.0 for frame in frames)),
        multiplicities=_ordered(Counter(frame.multiplicity for frame in frames)),
        fields=sum(bool(np.any(frame.external_field)) for frame in frames),
        splits=_ordered(Counter(frame.split for frame in frames if frame.split)),
    )


def _ordered(counts: Counter, order: Sequence | None = None) -> dict:
    return {key: counts[key] for key in order or sorted(counts) if counts[key]}


def split(frames: Sequence[Frame], fraction: float, seed: int) -> tuple[list[Frame], list[Frame]]:
    """Returns a random share of the frames, and the rest; both keep the order of the file.

    The same frames, fraction and seed give the same share.

    Args:
        frames: the structures to draw from.
        fraction: share to draw, over 0 and at most 1; at least one frame is drawn.
        seed: of the drawing.

    Raises:
        DataError: for a fraction outside that range, or if nothing is left of a part of the frames.
    """
    parts, rest = partition(frames, {"share": fraction}, seed)
    return parts["share"], rest


def partition(
    frames: Sequence[Frame], fractions: Mapping[str, float], seed: int
) -> tuple[dict[str, list[Frame]], list[Frame]]:
    """Returns disjoint random shares of the frames by name, and what is left of them.

    Args:
        frames: the structures to draw from.
        fractions: of all frames, by name, over 0; every share gets at least one frame.
        seed: of the drawing.

    Raises:
        DataError: if a fraction is not over 0, the sum is over 1, or a sum under 1 leaves nothing.
    """
    total = sum(fractions.values())
    if total > 1 + 1e-9 or any(not f > 0 for f in fractions.values()):
        given = ", ".join(f"{name} {f:g}" for name, f in fractions.items())
        raise DataError(f"fractions {given}: each must be over 0, and together at most 1")
    order = np.random.default_rng(seed).permutation(len(frames))
    sizes = [max(1, round(f * len(frames))) for f in fractions.values()]
    if sum(sizes) > len(frames) - (total < 1 - 1e-9):
        raise DataError(
            f"{len(frames)} frames are too few to draw {', '.join(map(str, sizes))} of them and "
            "leave some; give more structures or smaller fractions"
        )
    bounds = np.cumsum([0, *sizes])
    drawn = [np.sort(order[a:b]) for a, b in itertools.pairwise(bounds)]
    left = np.sort(order[bounds[-1] :])
    parts = {name: [frames[i] for i in part] for name, part in zip(fractions, drawn)}
    return parts, [frames[i] for i in left]


def stored_split(frames: Sequence[Frame], name: str, file: str) -> list[Frame]:
    """Returns the frames that a file assigns to a split by the info key ``split``.

    Args:
        frames: all frames of the file.
        name: such as ``train``.
        file: the file's name, for the message.

    Raises:
        DataError: if no frame belongs to it.
    """
    chosen = [frame for frame in frames if frame.split == name]
    if not chosen:
        stored = ", ".join(sorted({f.split for f in frames if f.split})) or "none"
        raise DataError(
            f'"split={name}" is in 0 of {len(frames)} frames of {file}; splits there: {stored}'
        )
    return chosen


def boundary_check(frames: Sequence[Frame], boundary: str) -> None:
    """Refuses frames whose periodic directions contradict a named boundary.

    Args:
        frames: the structures.
        boundary: open, periodic, slab, or auto (each frame's own; they are batched apart).

    Raises:
        DataError: if a frame has another boundary; or, for auto, if frames of several boundaries
            carry labels whose zero of potential depends on the boundary.
    """
    if boundary == "auto":
        return _check_gauges(frames)
    wrong = [frame for frame in frames if frame.boundary != boundary]
    if wrong:
        flags = " ".join("T" if p else "F" for p in wrong[0].pbc)
        raise DataError(
            f'"{boundary}" but {len(wrong)} frames have pbc {flags} (first: {wrong[0].source}); '
            'use "auto" or split the data'
        )


def _check_gauges(frames: Sequence[Frame]) -> None:
    gauged = [(name, f) for f in frames for name in GAUGE_LABELS if name in f.labels]
    first = {frame.boundary: frame.source for _, frame in reversed(gauged)}
    if len(first) > 1:
        listed = ", ".join(f"{kind} ({source})" for kind, source in first.items())
        raise DataError(
            f'"auto" but the {gauged[0][0]} labels of {listed} have another zero of the potential '
            "for each boundary; split the data by boundary"
        )
