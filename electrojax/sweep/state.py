"""What is known of a point from its folder: attempts, epochs, and how it ended."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electrojax.errors import DataError
from electrojax.files import append, read_mapping, read_records, write_whole
from electrojax.locking import is_locked

FINISHED, PRUNED, FAILED = "finished", "pruned", "failed"
RUNNING, STOPPED, WAITING = "running", "stopped", "waiting"
EVENTS = ("begin", "end")
ENDED = (FINISHED, PRUNED)
"""States that another `sweep run` leaves as they are."""


@dataclass(frozen=True)
class State:
    """How a point stands.

    Attributes:
        name: finished, pruned, failed, running, stopped (to be resumed) or waiting.
        attempts: how often its training was begun.
        epoch: the last one that was written.
        reason: why it failed or stopped.
    """

    name: str
    attempts: int = 0
    epoch: int = 0
    reason: str = ""


class PointFolder:
    """The run folder of a point, with what a sweep keeps beside the run's own files.

    `point.yaml` is the training file, `point.json` what the sweep calls the point,
    `attempts.jsonl` when training was begun and how it ended, `train.log` what it printed.

    Args:
        path: the run folder; it need not exist.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self.file, self.log = self.path / "point.yaml", self.path / "train.log"
        self.lock, self._stop = self.path / ".attempt", self.path / ".stop"
        self._attempts = self.path / "attempts.jsonl"

    def prepare(self, training_file: str, told: Mapping[str, Any]) -> None:
        """Writes what an attempt needs, and takes back an earlier wish to stop."""
        write_whole(self.file, training_file.encode())
        write_whole(self.path / "point.json", (json.dumps(dict(told), indent=1) + "\n").encode())
        self._stop.unlink(missing_ok=True)

    def told(self) -> dict[str, Any]:
        """Returns what the sweep calls the point; nothing where it never began."""
        try:
            return read_mapping(self.path / "point.json")
        except DataError:
            return {}

    def ask_to_stop(self, why: str) -> None:
        """Asks the attempt that is under way to end, as pruned or stopped."""
        write_whole(self._stop, why.encode())

    def asked_to_stop(self) -> str | None:
        """Returns why the attempt should end, or None."""
        try:
            return self._stop.read_text(errors="replace")
        except OSError:
            return None

    def add(self, event: Mapping[str, Any]) -> None:
        """Appends one event to the log of attempts."""
        append(self._attempts, (json.dumps(dict(event)) + "\n").encode())

    def events(self) -> list[dict[str, Any]]:
        """Returns the begun attempts and their ends, in order."""
        return [e for e in read_records(self._attempts) if e.get("event") in EVENTS]

    def records(self) -> list[dict[str, Any]]:
        """Returns what was written to metrics.jsonl."""
        return read_records(self.path / "metrics.jsonl")

    def final(self) -> dict[str, Any] | None:
        """Returns the metrics of the finished run, which are written last; None before."""
        return next((r for r in reversed(self.records()) if r.get("final")), None)

    def state(self) -> State:
        """Returns how the point stands."""
        events, records = self.events(), self.records()
        attempts = sum(event["event"] == "begin" for event in events)
        finished = (r.get("epoch") for r in records if "event" not in r)
        epoch = max((e for e in finished if isinstance(e, int)), default=0)
        if any(record.get("final") for record in records):
            return State(FINISHED, attempts, epoch)
        if is_locked(self.lock):
            return State(RUNNING, attempts, epoch)
        if not events:
            return State(WAITING)
        last = events[-1]
        if last["event"] == "begin":
            return State(STOPPED, attempts, epoch, "its process was lost")
        return State(str(last.get("state", STOPPED)), attempts, epoch, str(last.get("reason", "")))
