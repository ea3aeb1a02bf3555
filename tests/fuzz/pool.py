"""Two processes that try cases; one that dies or does not answer is replaced."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

WORKERS, SECONDS, START = 2, 10.0, 180.0
COMMAND = (sys.executable, "-m", "tests.fuzz.worker")
ROOT = Path(__file__).resolve().parents[2]


class Worker:
    """A process with its answers, which a thread collects."""

    def __init__(self, folder: Path, command: Sequence[str] = COMMAND) -> None:
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}
        flags = "--xla_cpu_multi_thread_eigen=false --xla_backend_optimization_level=0"
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        self._log = folder.with_suffix(".log").open("wb")
        self.process = subprocess.Popen(
            [*command, str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, bufsize=1,
            env={**os.environ, **threads, "XLA_FLAGS": flags, "PYTHONPATH": paths}, cwd=ROOT,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._collect, daemon=True)
        self._reader.start()
        if self._next(START) is None:
            raise RuntimeError(f"a worker did not start; see {folder.with_suffix('.log')}")

    def _collect(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._answers.put(json.loads(line))
        self._answers.put(None)

    def _next(self, seconds: float) -> dict[str, Any] | None:
        """The next answer, unless it costs more processor time, or ten times that on the clock."""
        began, spent = time.monotonic(), self._spent()
        while self._spent() - spent < seconds and time.monotonic() - began < 10 * seconds:
            with contextlib.suppress(queue.Empty):
                return self._answers.get(timeout=0.1)
        return {"fault": f"no answer after {seconds:g} s", "late": True}

    def _spent(self) -> float:
        """Seconds of processor time: on the clock a loaded machine lets every case look slow."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def run(self, seed: int, index: int) -> str:
        """Returns what was wrong with a case; the process is dead afterwards if it died or hung."""
        assert self.process.stdin is not None
        try:
            print(json.dumps([seed, index]), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            return f"the process died with {self.process.wait()}"
        answer = self._next(SECONDS)
        if answer is None:
            return f"the process died with {self.process.wait()}"
        if answer.get("late"):
            self.end()
        fault: str = answer["fault"]
        return f"{' '.join(answer['arguments'])} in {answer['folder']}: {fault}" if (
            fault and "arguments" in answer
        ) else fault  # fmt: skip

    @property
    def alive(self) -> bool:
        """Whether it can take another case."""
        return self.process.poll() is None

    def end(self) -> None:
        """Ends the process, where it has not ended, and closes what led to it."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for stream in (self.process.stdin, self.process.stdout, self._log):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):  # what a dead process had not read
                stream.close()


def faults(folder: Path, seed: int, count: int) -> list[str]:
    """Returns what was wrong with the cases of a seed, each with its index."""
    cases = iter(range(count))
    lock, found = threading.Lock(), []

    def work(number: int) -> None:
        for index, fault in _tried(folder / f"worker{number}", seed, cases, lock):
            if fault:
                with lock:
                    found.append(f"case ({seed}, {index}): {fault}")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert next(cases, None) is None, "not every case was tried; a worker did not start"
    return found


def _tried(
    folder: Path, seed: int, cases: Iterator[int], lock: threading.Lock
) -> Iterator[tuple[int, str]]:
    started = 0
    worker = Worker(folder.with_name(f"{folder.name}-{started}"))
    try:
        while True:
            with lock:
                index = next(cases, None)
            if index is None:
                return
            yield index, worker.run(seed, index)
            if not worker.alive:
                worker.end()
                started += 1
                worker = Worker(folder.with_name(f"{folder.name}-{started}"))
    finally:
        worker.end()
