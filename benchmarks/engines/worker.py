"""The process of one engine: it prepares tasks and does one timed call whenever it is asked to.

    python -m benchmarks.engines.worker NAME THREADS

Requests and answers are lines of JSON on standard input and output. A process of its own gives an
engine its own interpreter, its own packages and its own peak memory. It needs NumPy and the
engine's packages, nothing else of this repository where the engine is a peer.
"""

import contextlib
import importlib
import json
import os
import platform
import resource
import sys
import time
import traceback
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

ENGINES = {
    "electrojax": ("electrojax_mace", {}),
    "mace-torch": ("mace_torch", {}),
    "mace-torch-cueq": ("mace_torch", {"cueq": True}),
    "mlip": ("mlip_mace", {}),
    "mlip-e3nn": ("mlip_mace", {"contraction": "e3nn_symmetric"}),
}
"""Module of this folder that has the class ``Engine``, and its options, by the engine's name."""

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "torch",
    "mace-torch",
    "e3nn",
    "cuequivariance-torch",
    "mlip",
    "e3j",
)
RESIDENT = Path("/proc/self/status")
FORGET = Path("/proc/self/clear_refs")


class Worker:
    """What an engine's process answers to each request, by the request's name."""

    def __init__(self, name: str) -> None:
        module, options = ENGINES[name]
        self.engine = importlib.import_module(f"benchmarks.engines.{module}").Engine(**options)

    def describe(self) -> dict[str, Any]:
        """Returns the device that the engine computes on, and the versions of its packages."""
        return {
            "device": self.engine.device(),
            "python": platform.python_version(),
            "versions": {name: found for name in PACKAGES if (found := _installed(name))},
        }

    def draw(self, model: str, workload: str, path: str) -> dict[str, Any]:
        """Writes random weights of a model and what it predicts with them in double precision."""
        return self.engine.draw(json.loads(model), _read(workload), path)

    def prepare(self, task: str, model: str, workload: str, weights: str) -> dict[str, Any]:
        """Returns how long the first call of a task takes, with all that is compiled for it."""
        drawn = _read(weights) if weights else None
        sizes = self.engine.prepare(task, json.loads(model), _read(workload), drawn)
        first = self.call(task)
        return {**sizes, "first_s": first["ms"] / 1e3, "first_cpu_s": first["cpu_ms"] / 1e3}

    def call(self, task: str) -> dict[str, Any]:
        """Returns the milliseconds that one call of a prepared task takes, by clock and processor.

        The processor's time, all threads together, also says something on a machine that is busy.
        """
        start, before = time.perf_counter(), time.process_time()
        self.engine.call(task)
        passed, used = time.perf_counter() - start, time.process_time() - before
        return {"ms": 1e3 * passed, "cpu_ms": 1e3 * used}

    def memory(self, task: str) -> dict[str, Any]:
        """Returns the peak memory of one call and of the process so far, in MiB."""
        whole = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        with contextlib.suppress(OSError):  # not every system has it; then both are the same
            FORGET.write_text("5")  # the high-water mark starts anew
        self.engine.call(task)
        lines = RESIDENT.read_text().splitlines()
        peak = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
        found = {"call_mib": int(peak) / 1024, "process_mib": max(whole, int(peak) / 1024)}
        device = self.engine.device_peak()
        return found if device is None else {**found, "device_mib": device / 2**20}

    def result(self, path: str) -> dict[str, Any]:
        """Writes energies and forces of the task ``forces``."""
        energy, forces = self.engine.predicted()
        np.savez(path, energy=energy, forces=forces)
        return {}


def _read(path: str) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def main(name: str, threads: str) -> None:
    """Answers requests until the input ends."""
    if int(threads):  # XLA counts the cores it may use, torch reads OMP_NUM_THREADS
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the packages print is no answer
    worker = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            worker = worker or Worker(name)
            answer = getattr(worker, request.pop("do"))(**request)
        except Exception as error:  # whatever a package raises is the answer
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"[:600]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
