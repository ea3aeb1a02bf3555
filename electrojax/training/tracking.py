"""Tells experiment trackers of a run, and keeps their failures from it."""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Iterable, Mapping
from operator import methodcaller
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from electrojax.errors import DataError
from electrojax.files import read_mapping, write_whole
from electrojax.training.loggers.base import Logger, RunStart, Status
from electrojax.training.run import Callback, Record, Run
from electrojax.typing import Reporter

IDS = "trackers.json"
"""In the run folder: what each tracker calls this run, so that a resumed run is the same there."""

PATIENCE = 3
"""Failures in a row after which a tracker is given up."""


class Tracking(Callback):
    """Open trackers of a run, as a context: leaving it closes them with how the run ended.

    metrics.jsonl holds everything that trackers are told. So a tracker that fails, for want of a
    network or of disk space, costs one warning; it is told of later epochs until it has failed
    three times in a row, and one that could not start is left out.

    Args:
        loggers: the trackers by kind.
        start: the run, without the trackers' ids, which are read from its folder.
        warn: receives a line for a tracker that fails.
    """

    def __init__(self, loggers: Mapping[str, Logger], start: RunStart, warn: Reporter) -> None:
        self._loggers, self._start, self._warn = dict(loggers), start, warn
        self._failures: dict[str, int] = {}
        self._warned: set[str] = set()

    def __enter__(self) -> Self:
        ids = _read_ids(self._start.folder / IDS)
        for kind in list(self._loggers):
            start = dataclasses.replace(self._start, run_id=ids.get(kind, ""))
            self._failures[kind] = PATIENCE - 1  # a tracker that cannot start is given up at once
            self._tell(kind, functools.partial(_open, ids, kind, start))
        self._save(ids)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        status: Status = "finished" if kind is None else "failed"
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            status = "interrupted"
        self._tell_all(methodcaller("close", status))

    def on_epoch(self, run: Run, record: Record) -> None:
        """Sends the metrics of an epoch."""
        self._log(record["epoch"], record)

    def results(self, epoch: int, metrics: Mapping[str, Any], files: Iterable[Path]) -> None:
        """Sends the final metrics, of the parameters that were kept after an epoch, and files."""
        self._log(epoch, metrics)
        for path in files:
            self._tell_all(methodcaller("artifact", path))

    def _log(self, epoch: int, record: Mapping[str, Any]) -> None:
        values = scalars(record)
        self._tell_all(methodcaller("log", epoch, values))

    def _tell_all(self, action: Callable[[Logger], None]) -> None:
        for kind in list(self._loggers):
            self._tell(kind, action)

    def _tell(self, kind: str, action: Callable[[Logger], None]) -> None:
        try:
            action(self._loggers[kind])
        except Exception as error:  # their packages raise what they like, and the run goes on
            self._failed(kind, error)
        else:
            self._failures[kind] = 0

    def _failed(self, kind: str, error: Exception) -> None:
        self._failures[kind] += 1
        if self._failures[kind] >= PATIENCE:
            del self._loggers[kind]
        if kind not in self._warned:
            self._warned.add(kind)
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            self._warn(f"warning: logger {kind}: {reason}; the run goes on, see metrics.jsonl")

    def _save(self, ids: Mapping[str, str]) -> None:
        if not ids:
            return
        try:
            write_whole(self._start.folder / IDS, (json.dumps(ids, indent=1) + "\n").encode())
        except DataError as error:
            self._warn(f"warning: {error}; resuming will open new runs of the loggers")


def scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """Returns the finite numbers of a record, its epoch apart."""
    return {
        name: float(value)
        for name, value in record.items()
        if name != "epoch"
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    }


def _open(ids: dict[str, str], kind: str, start: RunStart, logger: Logger) -> None:
    if run_id := logger.start(start):
        ids[kind] = run_id


def _read_ids(path: Path) -> dict[str, str]:
    try:
        found = read_mapping(path)
    except DataError:
        return {}  # a first start
    return {key: value for key, value in found.items() if isinstance(value, str)}
