"""`electrojax sweep run`: gives points to workers and hears how they end."""

import json
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from electrojax.config.resolve import resolved_yaml
from electrojax.errors import ConvergenceError, DataError
from electrojax.files import write_whole
from electrojax.interruption import Interruption
from electrojax.locking import lock_folder
from electrojax.sweep.attempt import CRASHED, Outcome, Task, run_attempt
from electrojax.sweep.cluster import (
    RESOURCE,
    capacity,
    local_devices,
    open_client,
    point_environment,
)
from electrojax.sweep.points import LoadedSweep, Point
from electrojax.sweep.state import ENDED, FAILED, STOPPED, PointFolder
from electrojax.typing import Reporter

BEAT = 10.0
"""Seconds between signs of life of the coordinator."""
TICK = 0.2
"""Seconds between looks at running points."""


class Work(Protocol):
    """Where points come from."""

    def next(self) -> Point | None:
        """Returns a point to train now, or None while there is none."""
        ...

    def told(self, point: Point, outcome: Outcome) -> None:
        """Hears how a point ended."""
        ...

    def watch(self, running: Collection[Point]) -> None:
        """Looks at the points that are being trained."""
        ...


class Listed:
    """The points of a grid or a list that have not ended yet, in order."""

    def __init__(self, points: Sequence[Point]) -> None:
        states = [PointFolder(point.folder).state().name for point in points]
        self._left = deque(p for p, state in zip(points, states) if state not in ENDED)

    def __len__(self) -> int:
        """Number of points that are left."""
        return len(self._left)

    def next(self) -> Point | None:
        """Returns the next point, or None after the last."""
        return self._left.popleft() if self._left else None

    def told(self, point: Point, outcome: Outcome) -> None:
        """Nothing follows from how a point ended."""

    def watch(self, running: Collection[Point]) -> None:
        """Nothing is pruned."""


class Coordinator:
    """Keeps every worker busy with one point until there are no more.

    Args:
        sweep: the checked sweep.
        work: where points come from.
        client: of the Dask cluster.
        report: receives lines of progress.
        command: what trains a file, for tests; electrojax itself where None.
        devices: GPUs of local workers.
    """

    def __init__(
        self,
        sweep: LoadedSweep,
        work: Work,
        client: Any,
        report: Reporter,
        command: Sequence[str] | None,
        devices: tuple[str, ...],
    ) -> None:
        self._sweep, self._work, self._client, self._report = sweep, work, client, report
        self._command = None if command is None else tuple(command)
        self._devices, self._session = devices, uuid.uuid4().hex[:12]
        self._running: dict[Any, tuple[Point, float]] = {}
        self.failed = 0
        self._environment = point_environment(sweep.config.executor, sweep.folder)

    def run(self, interruption: Interruption) -> None:
        """Trains all points.

        Raises:
            KeyboardInterrupt: after SIGINT or SIGTERM, once the training processes have saved.
        """
        told = False
        while not interruption.requested:
            free = capacity(self._client, self._sweep.provenance)
            if not free and not told:
                self._report("waiting for workers")
            told = not free
            self._fill(free - len(self._running))
            if free and not self._running:
                break
            self._collect()
            self._work.watch([point for point, _ in self._running.values()])
        if not interruption.requested:
            return
        for point, _ in self._running.values():
            PointFolder(point.folder).ask_to_stop(STOPPED)
        while self._running:
            self._collect()
        raise KeyboardInterrupt

    def _fill(self, free: int) -> None:
        """Begins points on free workers."""
        for _ in range(free):
            point = self._work.next()
            if point is None:
                return
            self._begin(point)

    def _begin(self, point: Point) -> None:
        folder = PointFolder(point.folder)
        again = "resuming" if folder.events() else "beginning"
        folder.prepare(
            resolved_yaml(point.run.config), {"name": point.name, "values": dict(point.values)}
        )
        self._report(f"{point.name}  {again}  {point.label}")
        self._submit(point)

    def _submit(self, point: Point) -> None:
        task = Task(
            folder=str(point.folder),
            session=self._session,
            most=1 + self._sweep.config.executor.retries,
            command=self._command,
            environment=self._environment,
            devices=self._devices,
            heartbeat=str(heartbeat_file(self._sweep.folder)),
        )
        key = f"{point.name}-{uuid.uuid4().hex[:8]}"
        future = self._client.submit(
            run_attempt, task, key=key, pure=False, retries=0, resources={RESOURCE: 1}
        )
        self._running[future] = (point, time.monotonic())

    def _collect(self) -> None:
        """Waits a moment for points to end, and deals with those that did."""
        done = [future for future in self._running if future.done()]
        if not done:
            time.sleep(TICK)
        for future in done:
            point, begun = self._running.pop(future)
            outcome = self._outcome(point, future)
            future.release()
            if outcome.state == CRASHED:
                self._report(f"{point.name}  {outcome.reason}; resuming  {point.label}")
                self._submit(point)
                continue
            self._tell(point, outcome, time.monotonic() - begun)

    def _outcome(self, point: Point, future: Any) -> Outcome:
        """How an attempt ended; a worker that died too often fails the point."""
        if future.status in ("cancelled", "lost"):
            raise DataError("the Dask scheduler was lost; `electrojax sweep run` again goes on")
        error = future.exception()
        if error is None:
            outcome: Outcome = future.result()
            return outcome
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        if type(error).__name__ == "KilledWorker":
            reason = f"its worker was lost {1 + self._sweep.config.executor.retries} times"
        folder = PointFolder(point.folder)
        folder.add({"event": "end", "state": FAILED, "reason": reason, "at": time.time()})
        return Outcome(FAILED, reason)

    def _tell(self, point: Point, outcome: Outcome, seconds: float) -> None:
        self.failed += outcome.state == FAILED
        said = outcome.reason or self._measured(point) or ""
        self._report(f"{point.name}  {outcome.state} after {seconds:.0f} s  {point.label}  {said}")
        self._work.told(point, outcome)

    def _measured(self, point: Point) -> str:
        final = PointFolder(point.folder).final() or {}
        wanted = self._sweep.config.report.metrics or ("test/forces_rmse",)
        return "  ".join(f"{name} {final[name]:.4g}" for name in wanted if name in final)


def heartbeat_file(folder: Path) -> Path:
    """Returns the file that changes while a sweep's coordinator lives."""
    return folder / ".heartbeat"


@contextmanager
def _heartbeat(folder: Path) -> Iterator[None]:
    """Gives signs of life, until the context or the process ends."""
    over = threading.Event()

    def beat() -> None:
        while True:
            write_whole(heartbeat_file(folder), f"{os.getpid()} {time.time()}\n".encode())
            if over.wait(BEAT):
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def run_sweep(
    sweep: LoadedSweep, work: Work, report: Reporter, command: Sequence[str] | None = None
) -> None:
    """Trains all points of a sweep; those that have ended are left alone.

    Args:
        sweep: the checked sweep.
        work: where points come from.
        report: receives lines of progress.
        command: what trains a file, for tests.

    Raises:
        ConfigError, DataError: before anything starts.
        ConvergenceError: at the end, if points failed.
        KeyboardInterrupt: if it was interrupted; running it again goes on.
    """
    executor, folder = sweep.config.executor, sweep.folder
    devices = local_devices(executor, sweep.provenance)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"{folder}: cannot be made ({error.strerror}); choose another sweep.dir"
        raise DataError(message) from error
    with (
        Interruption() as interruption,
        lock_folder(folder, "sweep.name"),
        _heartbeat(folder),
        open_client(executor, sweep.provenance, folder) as client,
    ):
        coordinator = Coordinator(sweep, work, client, report, command, devices)
        coordinator.run(interruption)
    if coordinator.failed:
        count = f"{coordinator.failed} point{'s' if coordinator.failed > 1 else ''}"
        message = f"{count} failed; `electrojax sweep status` tells why, the others are complete"
        raise ConvergenceError(message)


def write_index(sweep: LoadedSweep, points: Sequence[Point]) -> None:
    """Writes `sweep.json`: axes, points and what to report, for those who compare them.

    Beside it goes `sweep.yaml`, the file as given.
    """
    index = {
        "name": sweep.config.sweep.name,
        "mode": sweep.config.sweep.mode,
        "axes": {axis.key: [choice.name for choice in axis.choices] for axis in sweep.axes},
        "report": sweep.config.report.model_dump(mode="json"),
        "points": [{"name": point.name, "values": dict(point.values)} for point in points],
    }
    write_whole(sweep.folder / "sweep.yaml", sweep.file.path.read_bytes())
    write_whole(sweep.folder / "sweep.json", (json.dumps(index, indent=1) + "\n").encode())
