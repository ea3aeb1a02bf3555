"""Runs that differ in their seeds only stand together; the rest of their differences names them."""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from electrojax.analysis.report.runs import RunRecord

SEED = "run.seed"
NOT_THE_RUN = ("run.name", "run.dir", "loggers", "train.checkpoint", "train.max_unconverged")
"""Keys that do not decide what a finished run measured."""

KINDS = ("model.solver.kind", "model.backbone.kind")
"""Keys whose values name a run by themselves, told first."""

ABSENT = "–"


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs of one configuration, but for what is averaged over.

    Attributes:
        label: short and unlike every other group's.
        values: of the keys in which groups differ, as text.
        runs: those that are finished.
    """

    label: str
    values: Mapping[str, str]
    runs: tuple[RunRecord, ...]


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Returns the leaves of nested mappings and lists by dotted key."""
    if isinstance(tree, dict) and tree:
        parts = tree.items()
    elif isinstance(tree, list) and any(isinstance(v, dict) for v in tree):
        parts = {str(i): v for i, v in enumerate(tree)}.items()
    else:
        return {prefix.removesuffix("."): tree}
    return {k: v for name, part in parts for k, v in flatten(part, f"{prefix}{name}.").items()}


def differences(configs: Sequence[Mapping[str, Any]], but: Sequence[str]) -> dict[str, list[str]]:
    """Returns the keys whose values are not the same in all configurations, with the values.

    Args:
        configs: nested mappings.
        but: dotted keys that are left out, with everything below them.
    """
    flat = [flatten(dict(config)) for config in configs]
    keys = [k for k in dict.fromkeys(k for f in flat for k in f) if not _under(k, but)]
    columns = {key: [_text(f.get(key, ABSENT)) for f in flat] for key in keys}
    return {key: column for key, column in columns.items() if len(set(column)) > 1}


def group_runs(runs: Sequence[RunRecord], mean_over: Sequence[str] = (SEED,)) -> list[Group]:
    """Returns runs grouped by everything but some keys, in the order of their first ones.

    Runs that share even those keys (one configuration run twice) are not averaged: each is a group.

    Args:
        runs: finished ones.
        mean_over: dotted keys.
    """
    but = (*NOT_THE_RUN, *mean_over)
    columns = differences([_identity(run) for run in runs], but)
    rows = [tuple(column[i] for column in columns.values()) for i in range(len(runs))]
    averaged = [_told(run, mean_over) for run in runs]
    twice = {row for (row, _), n in Counter(zip(rows, averaged)).items() if n > 1}
    keys = [(row, run.name if row in twice else "") for row, run in zip(rows, runs)]
    found: dict[Any, list[int]] = {}
    for index, key in enumerate(keys):
        unique = (*key, index if key[1] and keys.count(key) > 1 else "")
        found.setdefault(unique, []).append(index)
    members = [[runs[i] for i in indices] for indices in found.values()]
    values = [dict(zip(columns, rows[indices[0]])) for indices in found.values()]
    labels = _labels(members, values)
    labels = [
        f"{label} ({part[0].name})".removeprefix(" ") if key[1] else label
        for label, part, key in zip(labels, members, found)
    ]
    return [Group(label, value, tuple(part)) for label, value, part in zip(labels, values, members)]


def _identity(run: RunRecord) -> dict[str, Any]:
    """The configuration, and the data files' contents, which may change under one name."""
    hashes = sorted(str(h)[:12] for h in run.environment.get("data", {}).values())
    return {**run.config, "data sha256": " ".join(hashes)}


def _labels(
    members: Sequence[Sequence[RunRecord]], values: Sequence[Mapping[str, str]]
) -> list[str]:
    """The shortest texts from axes or configuration keys that tell the groups apart."""
    if len(members) == 1:
        return [_alone(members[0])]
    varied = _varied(members)
    axes = [{k: _text(part[0].axes[k]) for k in varied} for part in members]
    told = axes if _distinct(axes) else [_chosen(value, _telling(values)) for value in values]
    return [" · ".join(_short(k, v, told) for k, v in t.items()) for t in told]


def _alone(part: Sequence[RunRecord]) -> str:
    """The only group: what its sweep calls it, the name of its one run, or its kind."""
    first = part[0]
    axes = {k: _text(v) for k, v in first.axes.items() if all(r.axes.get(k) == v for r in part)}
    if axes:
        return " · ".join(_short(k, v, [axes]) for k, v in axes.items())
    kind = flatten(dict(first.config)).get(KINDS[0])
    return first.name if len(part) == 1 or kind is None else str(kind)


def _varied(members: Sequence[Sequence[RunRecord]]) -> list[str]:
    """Axes that all runs have, with one value in a group and more than one over all of them."""
    runs = [run for part in members for run in part]
    keys = [k for k in runs[0].axes if all(k in run.axes for run in runs)]
    seen = {k: [{_text(run.axes[k]) for run in part} for part in members] for k in keys}
    return [k for k in keys if all(len(v) == 1 for v in seen[k]) and len(set.union(*seen[k])) > 1]


def _telling(values: Sequence[Mapping[str, str]]) -> list[str]:
    """As few keys as tell the groups apart, kinds first."""
    keys = sorted(values[0], key=lambda k: (k not in KINDS, list(values[0]).index(k)))
    chosen: list[str] = []
    for key in keys:
        more = len({tuple(v[k] for k in (*chosen, key)) for v in values})
        if more > len({tuple(v[k] for k in chosen) for v in values}):
            chosen.append(key)
    return chosen


def _short(key: str, value: str, told: Sequence[Mapping[str, str]]) -> str:
    """A kind or a named block by its value alone, a number with the end of its key."""
    if key in KINDS or not _is_literal(value):
        return value
    last = key.rpartition(".")[2]
    shared = {k for t in told for k in t if k.rpartition(".")[2] == last}
    return f"{last if len(shared) == 1 else key} {value}"


def _is_literal(value: str) -> bool:
    """Whether a text is a number, a list, true, false, null or nothing, which say little alone."""
    try:
        json.loads(value)
    except ValueError:
        return value == ABSENT
    return True


def _chosen(value: Mapping[str, str], keys: Sequence[str]) -> dict[str, str]:
    return {key: value[key] for key in keys}


def _distinct(axes: Sequence[Mapping[str, str]]) -> bool:
    return len({tuple(sorted(a.items())) for a in axes}) == len(axes)


def _told(run: RunRecord, keys: Sequence[str]) -> tuple[str, ...]:
    flat = flatten(dict(run.config))
    return tuple(_text({k: v for k, v in flat.items() if _under(k, [key])}) for key in keys)


def _under(key: str, parents: Sequence[str]) -> bool:
    return any(key == parent or key.startswith(f"{parent}.") for parent in parents)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
