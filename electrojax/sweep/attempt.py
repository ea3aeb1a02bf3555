"""One attempt at a point, on a worker: a training process under watch."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electrojax.files import open_own
from electrojax.locking import try_lock
from electrojax.sweep.state import FAILED, FINISHED, STOPPED, PointFolder

CRASHED = "crashed"
"""An attempt that a signal ended; it may be begun again."""

POLL = 0.2
GRACE = 60.0
"""Seconds that a training process has to save a checkpoint after it was asked to stop."""
SILENCE = 120.0
"""Seconds without a sign of the coordinator after which nobody waits for the result any more."""


@dataclass(frozen=True)
class Task:
    """What a worker is asked to do.

    Attributes:
        folder: the point's run folder.
        session: of the `sweep run` that asks; attempts are bounded within it.
        most: attempts within it.
        command: trains the file that is appended to it; electrojax itself where None.
        environment: added to that of the process.
        devices: GPUs of this machine, of which the worker's number takes one.
        heartbeat: a file that changes while the coordinator lives.
    """

    folder: str
    session: str
    most: int
    command: tuple[str, ...] | None
    environment: Mapping[str, str]
    devices: tuple[str, ...]
    heartbeat: str


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: its state (finished, pruned, failed, stopped, crashed) and why."""

    state: str
    reason: str = ""


def run_attempt(task: Task) -> Outcome:
    """Trains a point to its end, or until it is asked to stop; runs on a worker.

    While another process trains the point it waits, and never begins a second one.
    """
    folder, pulse = PointFolder(task.folder), Pulse(task.heartbeat)
    with _held(folder, pulse) as handle:
        if handle is None:
            return Outcome(STOPPED, "another process was training it")
        if folder.final() is not None:
            return Outcome(FINISHED)
        if (asked := folder.asked_to_stop()) is not None:
            return Outcome(asked, "asked to stop before it began")
        left = task.most - sum(_begins(event, task.session) for event in folder.events())
        if left <= 0:
            return _ended(folder, Outcome(FAILED, f"its process was lost {task.most} times"))
        folder.add({"event": "begin", "session": task.session, "at": time.time(),
                    "host": socket.gethostname(), "pid": os.getpid()})  # fmt: skip
        outcome = _train(task, folder, handle, pulse)
        if outcome.state == CRASHED and left == 1:
            outcome = Outcome(FAILED, f"{outcome.reason}; {task.most} attempts")
        return _ended(folder, outcome)


def _begins(event: Mapping[str, Any], session: str) -> bool:
    return bool(event["event"] == "begin" and event.get("session") == session)


class Pulse:
    """Watches whether the coordinator still gives signs of life.

    Only changes of the file are looked at, by this machine's own clock.
    """

    def __init__(self, path: str) -> None:
        self._path, self._seen, self._at = Path(path), "", time.monotonic()

    def stopped(self) -> bool:
        """Returns whether there was no sign for too long."""
        try:
            now = self._path.read_text()
        except OSError:
            now = ""
        if now != self._seen:
            self._seen, self._at = now, time.monotonic()
        return time.monotonic() - self._at > SILENCE


@contextmanager
def _held(folder: PointFolder, pulse: Pulse) -> Iterator[int | None]:
    """Holds the point for this attempt, and its training process too; None if that must end."""
    handle = try_lock(folder.lock)
    while handle is None and folder.asked_to_stop() is None and not pulse.stopped():
        time.sleep(POLL)
        handle = try_lock(folder.lock)
    try:
        yield handle
    finally:
        if handle is not None:
            os.close(handle)


def _train(task: Task, folder: PointFolder, handle: int, pulse: Pulse) -> Outcome:
    command = task.command or (sys.executable, "-m", "electrojax.cli", "train")
    arguments = () if task.command else ("--resume", "auto")
    bound = (sys.executable, "-m", "electrojax.sweep.bound", str(os.getpid()))
    with os.fdopen(open_own(folder.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as log:
        start = log.tell()
        child = subprocess.Popen(
            [*bound, *command, str(folder.file), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **task.environment, **_device(task)},
            start_new_session=True,  # a Ctrl-C at the terminal is for the coordinator
            pass_fds=(handle,),
        )
        try:
            asked = _wait(child, folder, pulse)
        finally:
            _kill(child)
    return _outcome(folder, child.returncode, asked, start)


def _device(task: Task) -> dict[str, str]:
    """The GPU of this worker, by its number in the local cluster."""
    if not task.devices:
        return {}
    from distributed import get_worker

    return {"CUDA_VISIBLE_DEVICES": task.devices[int(get_worker().name) % len(task.devices)]}


def _wait(child: subprocess.Popen, folder: PointFolder, pulse: Pulse) -> str | None:
    """Waits for a process, asking it to stop when somebody wants that; returns who."""
    asked, deadline = None, 0.0
    while child.poll() is None:
        if asked is None:
            asked = folder.asked_to_stop() or (STOPPED if pulse.stopped() else None)
            if asked is not None:
                child.terminate()
                deadline = time.monotonic() + GRACE
        elif time.monotonic() > deadline:
            _kill(child)
        time.sleep(POLL)
    return asked


def _kill(child: subprocess.Popen) -> None:
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _outcome(folder: PointFolder, code: int, asked: str | None, start: int) -> Outcome:
    if folder.final() is not None:
        return Outcome(FINISHED)
    if asked is not None:
        return Outcome(asked, "" if asked != STOPPED else "asked to stop")
    if code < 0:
        name = signal.Signals(-code).name
        memory = " (out of memory?)" if name == "SIGKILL" else ""
        return Outcome(CRASHED, f"ended by {name}{memory}")
    if code == 0:
        return Outcome(FAILED, "ended without final metrics")
    return Outcome(FAILED, f"exit {code}: {_last_words(folder.log, start)}")


def _last_words(log: Path, start: int) -> str:
    """The error that the process printed last, or its last line."""
    with log.open("rb") as file:
        file.seek(start)
        lines = [
            s for line in file.read().decode(errors="replace").splitlines() if (s := line.strip())
        ]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or ["no message"])[-1]


def _ended(folder: PointFolder, outcome: Outcome) -> Outcome:
    ended: dict[str, Any] = {"event": "end", "state": outcome.state, "at": time.time()}
    folder.add({**ended, "reason": outcome.reason} if outcome.reason else ended)
    return outcome
