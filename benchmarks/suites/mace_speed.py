"""Our MACE beside mace-torch and mlip: time, compilation and memory, in one run; and its limits.

    python benchmarks/run.py mace_speed --peer-python mace-torch=/path/to/python \\
        --peer-python mlip=/path/to/python
    python benchmarks/run.py mace_speed --only scaling

Cases: ``table`` (192 atoms, all engines in turn), ``scaling`` (time per atom and memory of ours,
192 to 6144 atoms) and, on a GPU, ``memory_end`` (the atom count at which memory ends).

Water of 192 atoms, cutoff 5 Å, 64x0e + 64x1o, l_max 2, correlation 3, two layers, 8 Bessel
functions, radial network [64, 64, 64], float32. A training step is the gradient of a loss on the
energies and forces of 8 boxes and one step of Adam: 192 atoms in all (``train``), or 1536
(``train_large``). Every engine has a process of its
own, allowed the same cores, and they take turns call by call. Neighbour lists are not timed. Ours
has the weights of mace-torch; both are compared with mace-torch in float64. mlip's are random.

An engine's interpreter is given by --peer-python NAME=PATH or by the environment variable
ELECTROJAX_BENCH_PYTHON_NAME (mace-torch: MACE_TORCH). Where this interpreter has mace-torch, it is
the default. Engines without an interpreter are left out, and a row says so. mlip-e3nn is mlip
with the symmetric contraction of e3nn-jax, is there for the curious. All processes stay alive: the
table needs about 16 GiB with mace-torch and mlip.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engines.remote import EngineError, Remote, started

MODEL = {
    "cutoff": 5.0,
    "channels": 64,
    "hidden_l_max": 1,
    "l_max": 2,
    "correlation": 3,
    "layers": 2,
    "bessel": 8,
    "radial_hidden": [64, 64, 64],
    "numbers": [1, 8],
    "neighbors": 54.0,
}
PEERS = {
    "mace-torch": "mace",
    "mace-torch-cueq": "cuequivariance_torch",
    "mlip": "mlip",
    "mlip-e3nn": "mlip",
}
"""Peers, and the package that shows that an interpreter has them."""
SAME_PYTHON = {"mace-torch-cueq": "mace-torch"}
"""Peers that run wherever another one does, if the package is there."""
ORIGINAL = "mace-torch"
ROUNDS = {"forces": 15, "train": 8, "train_large": 4}
BOXES = {"forces": (192, 1), "train": (24, 8), "train_large": (192, 8)}
"""Atoms in a box, and boxes."""
PAUSE_S = 0.05
"""Between turns: threads of one engine that still spin must not disturb the next."""
LARGEST = 6144
START = 49152
"""Atoms of the first attempt at the size where memory ends."""
ATTEMPT_S = 150.0


def rows(options: Namespace) -> list[dict]:
    """Returns the rows of the cases whose names contain the text of --only."""
    with tempfile.TemporaryDirectory() as folder, started("electrojax", sys.executable) as probe:
        device = probe.ask("describe")["device"]
        suite = Suite(Path(folder), interpreters(options.peer_python), device)
        probe.close()
        return [
            row for name, case in suite.cases().items() if _wanted(name, options) for row in case()
        ]


def _wanted(case: str, options: Namespace) -> bool:
    return not options.only or options.only in case


def interpreters(given: list[str]) -> dict[str, str]:
    """Returns the interpreter of every engine that has one.

    Args:
        given: texts NAME=PATH.
    """
    found = {"electrojax": sys.executable}
    stated = dict(text.split("=", 1) for text in given)
    if importlib.util.find_spec(PEERS[ORIGINAL]):
        found[ORIGINAL] = sys.executable
    for name in PEERS:
        variable = f"ELECTROJAX_BENCH_PYTHON_{name.upper().replace('-', '_')}"
        path = stated.get(name) or os.environ.get(variable)
        if not path and name in SAME_PYTHON and _has(found.get(SAME_PYTHON[name]), PEERS[name]):
            path = found[SAME_PYTHON[name]]
        if path:
            found[name] = path
    return found


def _has(python: str | None, package: str) -> bool:
    """Whether an interpreter finds a package."""
    if not python:
        return False
    test = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    return subprocess.run([python, "-c", test], check=False).returncode == 0


class Suite:
    """One run: its folder of workloads and weights, interpreters and device.

    Args:
        folder: for files that engines read.
        pythons: interpreter by engine.
        device: name of the device that ours computes on.
    """

    def __init__(self, folder: Path, pythons: dict[str, str], device: str) -> None:
        self.folder, self.pythons, self.device = folder, pythons, device
        self.weights, self.reference = "", ""

    def cases(self) -> dict[str, Any]:
        """Returns functions that return rows, by the name of the case."""
        if self.device == "cpu":
            cores = sorted({1, len(os.sched_getaffinity(0))})
            tables = {f"table-{n}": lambda n=n: self.table(n) for n in cores}
            return {**tables, "scaling": self.scaling}
        ends = {
            f"memory_end-{task}-{name}": lambda task=task, name=name: [self.memory_end(task, name)]
            for task in ("forces", "train")
            for name in self.pythons
            if not name.startswith("mlip")
        }
        return {"table-0": lambda: self.table(0), "scaling": self.scaling, **ends}

    def table(self, threads: int) -> list[dict]:
        """Returns a row per engine: times of calls in turn, compilation, memory and errors."""
        found = self.left_out()
        self._draw()
        with ExitStack() as stack:
            engines = {
                name: stack.enter_context(started(name, python, threads))
                for name, python in self.pythons.items()
            }
            measured = {name: {} for name in engines}
            for task in ROUNDS:
                for name, row in self._task(task, engines).items():
                    measured[name] |= row
            for name, remote in engines.items():
                head = {"case": "table", "engine": name, "threads": threads, "atoms": 192}
                head |= {"load": os.getloadavg()[0]}
                measured[name] |= _tried(lambda r=remote: r.ask("describe"))
                found.append(head | measured[name])
        return _compared(found)

    def scaling(self) -> list[dict]:
        """Returns a row per size: the time per atom and the peak memory of ours."""
        found, atoms = [], 192
        while atoms <= LARGEST:
            needed = 0.0 if not found else 2 * found[-1]["call_mib"]
            if self.device == "cpu" and needed > available_mib():
                found.append(
                    {"case": "scaling", "atoms": atoms, "why": f"about {needed:.0f} MiB needed"}
                )
                break
            found.append({"case": "scaling", "engine": "electrojax", **self._size("forces", atoms)})
            atoms *= 2
        return found

    def memory_end(self, task: str, name: str) -> dict:
        """Returns the largest number of atoms that one engine computes, within a factor of 1.5.

        A size that fails is followed by a smaller one until one succeeds, a size that succeeds by
        its double until one fails; in between, half as much again is tried.
        """
        row: dict[str, Any] = {"case": "memory_end", "task": task, "engine": name}
        atoms = START
        while atoms >= 192 and 2 * row.get("atoms", 0) != row.get("fails_at"):
            row |= self._attempt(task, name, atoms)
            atoms = atoms * 2 if row.get("atoms") == atoms else atoms // 2
        if "atoms" in row:
            row |= self._attempt(task, name, row["atoms"] * 3 // 2)
        return row

    def _attempt(self, task: str, name: str, atoms: int) -> dict:
        """Returns what one size takes, or that it fails; the last success is what stays."""
        try:
            found = self._size(task, atoms, name, whole_device=True, timeout=ATTEMPT_S)
            say(f"{task} {name}: {atoms} atoms in {found['ms']:.0f} ms, {found}")
            return found
        except EngineError as error:
            say(f"{task} {name}: {atoms} atoms fail: {error}")
            return {"fails_at": atoms, "why": str(error)[:200]}

    def left_out(self) -> list[dict]:
        """Returns a row for each engine that has no interpreter."""
        return [
            {"case": "left out", "engine": name, "why": "no interpreter given"}
            for name in PEERS
            if name not in self.pythons
        ]

    def _draw(self) -> None:
        """Lets mace-torch draw the weights and predict with them in float64."""
        if self.weights or ORIGINAL not in self.pythons:
            return
        self.weights = str(self.folder / "weights.npz")
        with started(ORIGINAL, self.pythons[ORIGINAL]) as remote:
            remote.ask(
                "draw",
                model=_text(MODEL),
                workload=self._workload(*BOXES["forces"]),
                path=self.weights,
            )

    def _task(self, task: str, engines: dict[str, Remote]) -> dict[str, dict]:
        """Times one task of all engines in turn; what fails says why."""
        say(f"{task}: {', '.join(engines)}")
        workload = self._workload(*BOXES[task])
        weights = self.weights
        found: dict[str, dict] = {}
        for name, remote in engines.items():
            found[name] = _tried(
                lambda r=remote: _prefixed(
                    task,
                    r.ask(
                        "prepare", task=task, model=_text(MODEL), workload=workload, weights=weights
                    ),
                )
            )
        alive = [name for name in engines if "why" not in found[name]]
        times: dict[str, list[dict]] = {name: [] for name in alive}
        for _ in range(ROUNDS[task]):
            for name in list(alive):
                time.sleep(PAUSE_S)
                try:
                    times[name].append(engines[name].ask("call", task=task))
                except EngineError as error:  # out of memory, as a rule
                    alive.remove(name)
                    found[name][f"{task}_why"] = str(error)
        for name in alive:
            say(
                f"{task} {name}: first {found[name][f'{task}_first_s']:.1f} s, then "
                f"{min(call['ms'] for call in times[name]):.1f} ms"
            )
            found[name] |= _summary(task, times[name], found[name])
            found[name] |= _prefixed(task, engines[name].ask("memory", task=task))
            if task == "forces" and not name.startswith("mlip"):
                found[name] |= self._errors(engines[name])
        return found

    def _errors(self, remote: Remote) -> dict[str, float]:
        """Deviations from mace-torch in float64 at the same weights."""
        if not self.weights:
            return {}
        path = str(self.folder / "result.npz")
        remote.ask("call", task="forces")
        remote.ask("result", path=path)
        found, exact = np.load(path), np.load(self.weights)
        return {
            "energy_error_mev_per_atom": float(
                1e3 * np.abs(found["energy"] - exact["energy"]).max() / 192
            ),
            "force_error_mev_per_a": float(
                1e3 * np.abs(found["forces"][:192] - exact["forces"]).max()
            ),
            "force_rms_ev_per_a": float(np.sqrt(np.mean(exact["forces"] ** 2))),
        }

    def _size(
        self,
        task: str,
        atoms: int,
        name: str = "electrojax",
        whole_device: bool = False,
        timeout: float = 900.0,
    ) -> dict[str, Any]:
        """Returns time and memory of one box, in a process of its own."""
        workload = self._workload(atoms)
        with started(name, self.pythons[name], whole_device=whole_device) as remote:
            first = remote.ask(
                "prepare", timeout, task=task, model=_text(MODEL), workload=workload, weights=""
            )
            rounds = 5 if atoms <= 1536 else 3
            times = [remote.ask("call", timeout, task=task)["ms"] for _ in range(rounds)]
            memory = remote.ask("memory", timeout, task=task)
        best = min(times)
        return {
            "atoms": atoms,
            "ms": best,
            "us_per_atom": 1e3 * best / atoms,
            "compile_s": first["first_s"] - best / 1e3,
            "edges": first["edges"],
            **memory,
            "mib_per_1000_atoms": 1e3 * memory.get("device_mib", memory["call_mib"]) / atoms,
        }

    def _workload(self, atoms: int, boxes: int = 1) -> str:
        """Writes boxes of water with labels drawn at random, and returns the file's name."""
        path = self.folder / f"water-{atoms}-{boxes}.npz"
        if not path.exists():
            np.savez(path, **_stacked([repeated(seed, atoms) for seed in range(boxes)]))
        return str(path)


def repeated(seed: int, atoms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns numbers, positions and cell of a box of 24 atoms, or of 192 put side by side."""
    from benchmarks.suites.speed import water_box

    frame = water_box(2 if atoms < 192 else 4, seed)
    copies, axis = [1, 1, 1], 0
    remaining = atoms // len(frame.numbers)
    while remaining > 1:
        factor = 2 if remaining % 2 == 0 else 3
        copies[axis % 3] *= factor
        remaining, axis = remaining // factor, axis + 1
    offsets = np.stack(np.meshgrid(*map(np.arange, copies), indexing="ij"), -1).reshape(-1, 3)
    positions = (frame.positions + (offsets @ frame.cell)[:, None]).reshape(-1, 3)
    cell = frame.cell * np.array(copies)[:, None]
    return np.tile(frame.numbers, len(offsets)), positions, cell


def available_mib() -> float:
    """Returns the memory that a new process may take, in MiB."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if "MemAvailable" in line)) / 1024


def _stacked(boxes: list[tuple]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    columns = [np.stack(column) for column in zip(*boxes)]
    found = dict(zip(("numbers", "positions", "cell"), columns))
    found["energy"] = rng.normal(size=len(boxes))
    found["forces"] = rng.normal(size=found["positions"].shape)
    return found


def _text(model: dict) -> str:
    return json.dumps(model)


def say(what: str) -> None:
    """Tells at once what is going on, so that a run that is cut off has shown something."""
    print(time.strftime("%H:%M:%S"), what, file=sys.stderr, flush=True)


def _tried(call: Any) -> dict:
    try:
        return call()
    except EngineError as error:
        return {"why": str(error)}


def _prefixed(task: str, values: dict) -> dict:
    return {f"{task}_{name}": value for name, value in values.items()}


def _summary(task: str, times: list[dict], row: dict) -> dict[str, float]:
    clock, cpu = ([call[name] for call in times] for name in ("ms", "cpu_ms"))
    return {
        f"{task}_ms": min(clock),
        f"{task}_ms_median": float(np.median(clock)),
        f"{task}_cpu_ms": min(cpu),
        f"{task}_compile_s": row[f"{task}_first_s"] - min(clock) / 1e3,
        f"{task}_compile_cpu_s": row[f"{task}_first_cpu_s"] - min(cpu) / 1e3,
    }


def _compared(found: list[dict]) -> list[dict]:
    """Adds how many times faster each engine is than mace-torch."""
    base = next((row for row in found if row.get("engine") == ORIGINAL and "why" not in row), None)
    for row in found if base else []:
        for task in ROUNDS:
            for name in (f"{task}_ms", f"{task}_cpu_ms"):
                if name in row and name in base:
                    row[f"{name}_speedup"] = base[name] / row[name]
    return found
