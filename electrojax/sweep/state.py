"""What is known of a point from its folder: attempts, epochs, and how it ended."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electrojax.files import write_whole
from electrojax.locking import is_locked

FINISHED, PRUNED, FAILED = "finished", "pruned", "failed"
RUNNING, STOPPED, WAITING = "running", "stopped", "waiting"
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
            return dict(json.loads((self.path / "point.json").read_text()))
        except (OSError, ValueError):
            return {}

    def ask_to_stop(self, why: str) -> None:
        """Asks the attempt that is under way to end, as pruned or stopped."""
        write_whole(self._stop, why.encode())

    def asked_to_stop(self) -> str | None:
        """Returns why the attempt should end, or None."""
        try:
            return self._stop.read_text()
        except OSError:
            return None

    def add(self, event: Mapping[str, Any]) -> None:
        """Appends one event to the log of attempts."""
        with self._attempts.open("ab") as file:
            file.write((json.dumps(dict(event)) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())

    def events(self) -> list[dict[str, Any]]:
        """Returns the begun attempts and their ends, in order."""
        return _lines(self._attempts)

    def records(self) -> list[dict[str, Any]]:
        """Returns what was written to metrics.jsonl."""
        return _lines(self.path / "metrics.jsonl")

    def final(self) -> dict[str, Any] | None:
        """Returns the metrics of the finished run, which are written last; None before."""
        return next((r for r in reversed(self.records()) if r.get("final")), None)

    def state(self) -> State:
        """Returns how the point stands."""
        events, records = self.events(), self.records()
        attempts = sum(event["event"] == "begin" for event in events)
        epoch = max(
            (int(r["epoch"]) for r in records if "epoch" in r and "event" not in r), default=0
        )
        if any(record.get("final") for record in records):
            return State(FINISHED, attempts, epoch)
        if is_locked(self.lock):
            return State(RUNNING, attempts, epoch)
        if not events:
            return State(WAITING)
        last = events[-1]
        if last["event"] == "begin":
            return State(STOPPED, attempts, epoch, "its process was lost")
        return State(last["state"], attempts, epoch, last.get("reason", ""))


def _lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines; a last one that is not whole yet is left out."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    found = []
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found
