"""What listens to a run: the metrics file, the progress display, checkpoints and limits."""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from electrojax.errors import ConvergenceError, DataError
from electrojax.files import append, open_own
from electrojax.progress import clock_time, open_bar
from electrojax.training.checkpoints import CheckpointStore
from electrojax.training.run import Callback, Record, Run


class JsonlLogger(Callback):
    """Appends the metrics of every epoch to a file, one JSON object per line.

    Lines are never rewritten. Only a last line without its end, which a killed process may leave
    behind, is cut off before the first append. Numbers that are not finite become null.

    Epochs that a run does again, after a kill or a roll back, are written again: the last record of
    an epoch counts. The line before them tells why: its ``event`` is ``resume`` or ``rollback``.

    Args:
        path: such as ``runs/water/metrics.jsonl``.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)

    def on_start(self, run: Run) -> None:
        """Makes the file ready for appending."""
        self._guarded(self._mend)

    def on_epoch(self, run: Run, record: Record) -> None:
        """Appends one line and sees it onto the disk."""
        self.write(record)

    def on_event(self, run: Run, record: Record) -> None:
        """Appends one line that tells of it."""
        self.write(record)

    def write(self, record: Mapping[str, Any]) -> None:
        """Appends one record, such as the final test metrics.

        Raises:
            DataError: if the disk is full or the file cannot be written.
        """
        line = json.dumps({name: _plain(value) for name, value in record.items()}) + "\n"
        self._guarded(lambda: append(self.path, line.encode()))

    def _mend(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.path.is_file():
            return
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with os.fdopen(open_own(self.path, os.O_RDWR), "rb+") as file:
                file.truncate(whole)

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as error:
            raise DataError(
                f"{self.path}: could not be written ({error.strerror}); free some space and resume"
            ) from error


class Checkpointer(Callback):
    """Saves the run at intervals, when it is interrupted and when it is complete.

    Args:
        store: where to.
        every_epochs: finished epochs between checkpoints.
        every_minutes: the longest time between checkpoints, looked at after every step.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        store: CheckpointStore,
        every_epochs: int = 10,
        every_minutes: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store, self.every_epochs, self.every_minutes = store, every_epochs, every_minutes
        self._clock, self._last = clock, clock()

    def on_start(self, run: Run) -> None:
        """Starts the clock."""
        self._last = self._clock()

    def on_step(self, run: Run) -> None:
        """Saves in the middle of an epoch if the last checkpoint is too old."""
        # After an epoch's last batch its end is near, and has a position of its own.
        if run.position.batch < run.batches and self._late():
            self.save(run)

    def on_epoch(self, run: Run, record: Record) -> None:
        """Saves after every so many epochs."""
        if run.position.epoch % self.every_epochs == 0 or self._late():
            self.save(run)

    def on_interrupt(self, run: Run) -> None:
        """Saves where the run stands."""
        self.save(run)

    def on_complete(self, run: Run) -> None:
        """Saves the end, so that a longer run can go on from it."""
        self.save(run)

    def on_close(self, run: Run) -> None:
        """Releases the store."""
        self.store.close()

    def save(self, run: Run) -> None:
        """Saves now."""
        snapshot = run.snapshot()
        self.store.save(snapshot)
        run.saved = snapshot
        self._last = self._clock()

    def _late(self) -> bool:
        return self._clock() - self._last > 60 * self.every_minutes


class ConvergenceLimit(Callback):
    """Ends a run whose charge solver fails too often.

    Args:
        max_unconverged: the largest share of an epoch's structures that may be left unconverged.
    """

    def __init__(self, max_unconverged: float = 0.01) -> None:
        self.max_unconverged = max_unconverged

    def on_epoch(self, run: Run, record: Record) -> None:
        """Raises a ConvergenceError above the limit."""
        share = record["scf/unconverged"]
        if share > self.max_unconverged:
            raise ConvergenceError(
                f"epoch {record['epoch']}: the charge solver left {share:.1%} of the structures "
                f"unconverged, more than the allowed {self.max_unconverged:.1%}; lower the "
                "learning rate or the solver's mixing, or raise train.max_unconverged"
            )


class Progress(Callback):
    """Shows how a run is going: a bar on a terminal, plain lines elsewhere.

    Args:
        stream: where to; standard error unless given.
        interval: seconds between plain lines; the first and the last epoch are always shown.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        interval: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream or sys.stderr
        self._interval, self._clock = interval, clock
        self._bar: Any = None
        self._begin, self._begin_step, self._shown = 0.0, 0, -math.inf
        self._announced = False

    def on_start(self, run: Run) -> None:
        """Opens the bar, if this is a terminal."""
        self._begin, self._begin_step = self._clock(), run.position.step
        self._announced = False
        if self._stream.isatty():
            self._bar = open_bar(self._stream, remaining=True)
            self._task = self._bar.add_task(
                "training",
                total=run.total_epochs * run.batches,
                completed=run.position.epoch * run.batches,
                detail="compiling",
            )

    def on_step(self, run: Run) -> None:
        """Moves the bar, and says once how long compiling took."""
        if not self._announced:
            # The time that is left is told from steps that did not wait for the compiler.
            self._begin, self._begin_step = self._clock(), run.position.step
        if self._bar is not None:
            done = run.position.epoch * run.batches + run.position.batch
            self._bar.update(self._task, completed=done)
        elif not self._announced:
            self._print(f"compiled in {run.compile_s:.1f} s; {run.batches} steps per epoch")
        self._announced = True

    def on_epoch(self, run: Run, record: Record) -> None:
        """Shows the metrics of an epoch."""
        total = run.total_epochs * run.batches
        if self._bar is not None:
            done = run.position.epoch * run.batches
            self._bar.update(self._task, completed=done, total=total, detail=_detail(record))
            return
        now = self._clock()
        ends = run.position.epoch in (1, run.total_epochs)
        if ends or now - self._shown >= self._interval:
            self._shown = now
            head = f"epoch {record['epoch']}/{run.total_epochs} {record['stage']}"
            self._print(f"{head}  {_detail(record)}  {self._remaining(run, now)} left")

    def on_event(self, run: Run, record: Record) -> None:
        """Says what happened."""
        line = _told(record)
        if line and self._bar is not None:
            self._bar.console.print(line, highlight=False, markup=False)
        elif line:
            self._print(line)

    def on_close(self, run: Run) -> None:
        """Gives the terminal back."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _remaining(self, run: Run, now: float) -> str:
        done = max(run.position.step - self._begin_step, 1)
        left = (run.total_epochs - run.position.epoch) * run.batches
        return clock_time((now - self._begin) / done * left)

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


SHOWN = (
    ("train/loss", "loss", ""),
    ("valid/loss", "valid", ""),
    ("valid/forces_rmse", "forces", " meV/Å"),
    ("valid/energy_rmse", "energy", " meV/atom"),
)


def _detail(record: Mapping[str, Any]) -> str:
    parts = [f"{short} {record[n]:.4g}{unit}" for n, short, unit in SHOWN if n in record]
    return "  ".join(parts)


def _told(record: Mapping[str, Any]) -> str:
    """One line about an event; nothing about a stop, whose error message is shown anyway."""
    if record["event"] == "resume":
        return f"resumed after epoch {record['epoch']}, step {record['step']}"
    if record["event"] == "rollback":
        return (
            f"{record['reason']}; going on from step {record['to_step']} with "
            f"{record['rate_factor']:g} times the learning rate"
        )
    return ""


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
