"""What the data of a run lack of the inputs that the model reads, and what is not read of them."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from electrojax.data.datasets import PREFIX
from electrojax.data.duplicates import shared_frames
from electrojax.data.plausibility import implausible
from electrojax.errors import DataError, listed, shown
from electrojax.models.inputs import embedded_inputs, read_inputs
from electrojax.models.potential import Potential
from electrojax.system.names import near_quantity
from electrojax.system.quantities import DEFAULT_KEYS, INPUTS, LABELS
from electrojax.system.types import Frame

PREDICTED = "electrojax_"
"""What the names of predictions start with, in files that ``electrojax evaluate`` writes."""


def check_embedded(frames: Sequence[Frame], potential: Potential) -> None:
    """Checks that every structure gives the inputs that the backbone embeds.

    Raises:
        DataError: naming the first structure that does not.
    """
    for name in embedded_inputs(potential):
        lacking = [frame for frame in frames if name not in frame.given]
        if not lacking:
            continue
        first, there = lacking[0], len(frames) - len(lacking)
        near = [text for text in sorted(first.unread) if near_quantity(text, [name])]
        advice = (
            f'it has "{shown(near[0])}": give that name as the key of {name}'
            if near
            else f"add it ({INPUTS[name].default:g} where nothing is special)"
        )
        raise DataError(
            f"{first.source}: gives no {name}, which the model embeds (given in {there} of "
            f"{len(frames)} frames); {advice}"
        )


def reading_warnings(
    files: Mapping[str, Sequence[Frame]],
    potential: Potential,
    terms: Sequence[str] = (),
    quantities: Collection[str] = tuple(DEFAULT_KEYS),
) -> list[str]:
    """Returns a line for every file that holds names that are not read, or lacks what is read.

    Args:
        files: the structures of each file.
        potential: the model.
        terms: labels that are trained on.
        quantities: for which near names are shown; where these are not all, other names are not.
    """
    texts: dict[str, list[str]] = {}
    for path, frames in files.items():
        # What else a built-in set says of its frames is nothing that its user could map.
        unread = "" if path.startswith(PREFIX) else _unread(frames, quantities)
        parts = [unread, *_counts(frames, potential, terms)]
        if text := "; ".join(part for part in parts if part):
            texts.setdefault(text, []).append(Path(path).name)
    return [f"{', '.join(names)}: {text}" for text, names in texts.items()]


def _unread(frames: Sequence[Frame], quantities: Collection[str]) -> str:
    """The names that are not read, with the keys that they may belong to."""
    every = frozenset().union(*(frame.unread for frame in frames))
    names = sorted(name for name in every if not name.startswith(PREDICTED))
    near = {name: near_quantity(name, _lacking(name, frames, quantities)) for name in names}
    kept = [n for n in names if near[n] or len(quantities) == len(DEFAULT_KEYS)]
    ordered = sorted(kept, key=lambda name: near[name] is None)
    hints = [f"{shown(n)} (data.keys.{near[n]}?)" if near[n] else shown(n) for n in ordered]
    return f"not read: {listed(hints)}" if hints else ""


def _lacking(name: str, frames: Sequence[Frame], quantities: Collection[str]) -> list[str]:
    """Those quantities that some structure with an unread name lacks."""
    holders = [frame for frame in frames if name in frame.unread]
    return [q for q in quantities if any(not _gives(frame, q) for frame in holders)]


def _gives(frame: Frame, quantity: str) -> bool:
    return quantity in frame.labels or quantity in frame.given


def _counts(frames: Sequence[Frame], potential: Potential, terms: Sequence[str]) -> list[str]:
    """In how many structures the inputs and the labels of the loss are, if not in all."""
    counts = {
        name: sum(_gives(frame, name) for frame in frames)
        for name in (*read_inputs(potential, frames[0]), *(t for t in terms if t in LABELS))
    }
    return [
        _count(name, count, len(frames))
        for name, count in counts.items()
        if 0 < count < len(frames) or (not count and name in ("total_charge", "multiplicity"))
    ]


def _count(name: str, count: int, total: int) -> str:
    text = f"{name} in {count} of {total} frames"
    if name not in INPUTS:
        return text
    others = " for the others" if count else ""
    return f"{text}, {INPUTS[name].default:g} is taken{others}"


def plausibility_warnings(splits: Mapping[str, Sequence[Frame]]) -> list[str]:
    """Returns at most a line on implausible labels, and one for each two splits that share frames.

    Args:
        splits: the structures of each.
    """
    found = implausible([frame for frames in splits.values() for frame in frames])
    lines = [f"implausible: {found}; see electrojax data inspect"] if found else []
    names = list(splits)
    for index, later in enumerate(names):
        for earlier in names[:index]:
            if pairs := shared_frames(splits[earlier], splits[later]):
                one, other = splits[later][pairs[0][0]], splits[earlier][pairs[0][1]]
                lines.append(
                    f"{len(pairs)} of {len(splits[later])} frames of {later} are in {earlier} too "
                    f"(first: {one.source} is {other.source})"
                )
    return lines
