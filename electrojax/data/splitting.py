"""Which structures are trained on, watched and tested: alike in composition, and never the same."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from electrojax.data.duplicates import duplicate_groups
from electrojax.errors import ConfigError, DataError
from electrojax.system.types import Frame


def assign_splits(frames: Sequence[Frame], fractions: Mapping[str, float], seed: int) -> list[str]:
    """Returns the split of each structure, drawn at random.

    Structures of one composition and total charge are spread over the splits in proportion, and
    structures that are the same (see :mod:`electrojax.data.duplicates`) end up in one split.

    Args:
        frames: the structures.
        fractions: of the structures, by split; together 1, those of 0 stay empty.
        seed: of the drawing; the same seed gives the same splits.

    Raises:
        ConfigError: if a fraction is negative, or they do not add up to 1.
        DataError: if a split with a fraction over 0 gets no structure.
    """
    wanted = {name: f for name, f in fractions.items() if f > 0}
    if any(f < 0 for f in fractions.values()) or abs(sum(wanted.values()) - 1) > 1e-6:
        given = ", ".join(f"{name} {f:g}" for name, f in fractions.items())
        raise ConfigError(f"fractions {given}: needed numbers of at least 0 that add up to 1")
    chosen = [""] * len(frames)
    total: Counter[str] = Counter()
    for units in _strata(frames, seed):
        within: Counter[str] = Counter()
        for unit in units:
            name = _most_lacking(wanted, within, total, len(unit))
            within[name] += len(unit)
            total[name] += len(unit)
            for index in unit:
                chosen[index] = name
    for name in wanted:
        if not total[name]:
            raise DataError(
                f"{len(frames)} structures are too few for a share of {wanted[name]:g} in {name}; "
                "give more structures, fewer duplicates or a larger fraction"
            )
    return chosen


def _strata(frames: Sequence[Frame], seed: int) -> list[list[list[int]]]:
    """Groups of equal structures by composition and charge, in random order, large strata first."""
    groups = duplicate_groups(frames)
    grouped = {index for group in groups for index in group}
    units = [*groups, *([i] for i in range(len(frames)) if i not in grouped)]
    strata: dict[tuple, list[list[int]]] = defaultdict(list)
    for unit in sorted(units):
        frame = frames[unit[0]]
        strata[tuple(sorted(frame.numbers.tolist())), frame.total_charge].append(unit)
    random = np.random.default_rng(seed)
    ordered = [strata[key] for key in sorted(strata, key=lambda k: (-len(strata[k]), k))]
    return [[units[i] for i in random.permutation(len(units))] for units in ordered]


def _most_lacking(
    wanted: Mapping[str, float], within: Counter[str], total: Counter[str], size: int
) -> str:
    """The split that is furthest below its share, in the stratum and overall."""

    def lack(name: str) -> float:
        share = wanted[name]
        here = share * (within.total() + size) - within[name]
        everywhere = share * (total.total() + size) - total[name]
        return here + everywhere

    return max(wanted, key=lack)
