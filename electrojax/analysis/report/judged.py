"""Which set of structures a run was judged on: errors on different sets do not compare."""

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from electrojax.analysis.report.runs import RunRecord

PREFIX = "builtin:"


def by_data_set(runs: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """Returns runs by the set that their last evaluation was of, under short names.

    The set is a file with its content, a stored split and a share of it.

    Args:
        runs: finished ones.
    """
    found: dict[str, list[RunRecord]] = {}
    for run in runs:
        found.setdefault(json.dumps(_source(run), sort_keys=True, default=str), []).append(run)
    names = [_name(part[0]) for part in found.values()]
    numbered = [f"{n} ({names[:i].count(n) + 1})" if n in names[:i] else n
                for i, n in enumerate(names)]  # fmt: skip
    return dict(zip(numbered, found.values()))


def _source(run: RunRecord) -> dict[str, Any]:
    """The block of the configuration that names the set, and the file's SHA-256."""
    split = next((name.partition("/")[0] for name in run.final if "/" in name), "test")
    block = run.config.get("data", {}).get(split)
    source = dict(block) if isinstance(block, Mapping) else {}
    stem = _stem(str(source.get("path", "")))
    hashes = run.environment.get("data", {})
    return {
        **source,
        "set": split,
        "sha256": sorted(h for p, h in hashes.items() if _stem(p) == stem),
    }


def _name(run: RunRecord) -> str:
    source = _source(run)
    return f"{_stem(str(source.get('path', ''))) or 'data'}, {source['set']} set"


def _stem(path: str) -> str:
    """The name of a file or of a built-in set, without folders and suffixes."""
    return PurePath(path.removeprefix(PREFIX)).name.partition(".")[0]
