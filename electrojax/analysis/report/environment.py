"""What runs were computed with: what all share, and what only some have."""

from collections.abc import Mapping, Sequence
from typing import Any

from electrojax.analysis.report.groups import flatten
from electrojax.analysis.report.runs import RunRecord

NOT_COMPARED = ("command", "data", "warnings")
ALL = "all runs"


def environment_rows(runs: Sequence[RunRecord]) -> list[tuple[str, str, str]]:
    """Returns (what, value, which runs) for versions, devices, commits and so on.

    Args:
        runs: of a report.
    """
    plain = [{k: v for k, v in run.environment.items() if k not in NOT_COMPARED} for run in runs]
    flat = [{k: _text(v) for k, v in flatten(tree).items() if k} for tree in plain]
    keys = dict.fromkeys(k for f in flat for k in f)
    return [(key, *row) for key in keys for row in _sharers(runs, [f.get(key) for f in flat])]


def data_rows(runs: Sequence[RunRecord]) -> list[tuple[str, str, str]]:
    """Returns (file, SHA-256, which runs) for every data file and every content it had."""
    files = [run.environment.get("data", {}) for run in runs]
    paths = dict.fromkeys(path for f in files for path in f)
    return [(path, *row) for path in paths for row in _sharers(runs, [f.get(path) for f in files])]


def warning_rows(runs: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """Returns (warning, which runs) for everything that runs were warned of."""
    told = [[*run.environment.get("warnings", []), *run.damage] for run in runs]
    texts = dict.fromkeys(text for own in told for text in own)
    return [(text, _names(runs, [text in own for own in told])) for text in texts]


def _sharers(runs: Sequence[RunRecord], values: Sequence[str | None]) -> list[tuple[str, str]]:
    there = dict.fromkeys(v for v in values if v is not None)
    return [(value, _names(runs, [v == value for v in values])) for value in there]


def _names(runs: Sequence[RunRecord], chosen: Sequence[bool]) -> str:
    return ALL if all(chosen) else ", ".join(run.called for run, c in zip(runs, chosen) if c)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(v) for v in value) or "none"
    return "none" if isinstance(value, Mapping) or value is None else str(value)
