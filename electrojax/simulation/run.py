"""A molecular dynamics run: blocks of steps, files that grow, checkpoints and stop conditions."""

import dataclasses
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ase import units

from electrojax.errors import ConvergenceError, DataError
from electrojax.interruption import Interruption
from electrojax.models.potential import Potential
from electrojax.simulation.appending import GrowingFile
from electrojax.simulation.checkpoints import Checkpoint, CheckpointFolder
from electrojax.simulation.engine import Engine, State, Status
from electrojax.simulation.forces import Evaluation
from electrojax.simulation.integrators import Motion
from electrojax.simulation.progress import Progress
from electrojax.simulation.trajectory import (
    Snapshot,
    Structure,
    TrajectoryWriter,
    open_trajectory,
    write_frame,
)

LONGEST_BLOCK = 2.0
"""Seconds after which a block ends, so that a signal is answered."""

SYNC_EVERY = 1.0
"""Seconds after which new frames are seen onto the disk, so that a reader can follow."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A simulation, ready to start.

    Attributes:
        engine: structure, model, integrator and limits.
        structure: what stays the same along the trajectory.
        motion: the first positions and velocities.
        timestep: fs.
        steps: how many to take in all.
        folder: the run folder.
        trajectory: the file of frames.
        quantities: what frames hold.
        write_every: steps between frames and lines of the log.
        checkpoint_every: steps between checkpoints.
        identity: what a resumed run must share with the one it continues.
        capacity: of the first neighbour list, instead of what the structure needs.
    """

    engine: Engine
    structure: Structure
    motion: Motion
    timestep: float
    steps: int
    folder: Path
    trajectory: Path
    quantities: tuple[str, ...]
    write_every: int
    checkpoint_every: int
    identity: Mapping[str, Any]
    capacity: tuple[int, ...] | None = None

    @property
    def checkpoints(self) -> CheckpointFolder:
        """Where the checkpoints are."""
        return CheckpointFolder(self.folder / "checkpoints")


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        first, last: steps taken before it and after it.
        seconds: spent stepping, compilation left out.
        timed_steps: taken in these seconds.
        state: the last one.
    """

    first: int
    last: int
    seconds: float
    timed_steps: int
    state: State


def simulate(
    job: Job, start: Checkpoint | None = None, progress: Progress | None = None
) -> Summary:
    """Runs a simulation to its last step and returns what it did.

    Frames, log and checkpoints appear in the run folder as it goes on; a run that is continued from
    a checkpoint leaves, bit for bit on a CPU, the files of one that was never interrupted.

    Args:
        job: the simulation.
        start: where to go on; None starts at step 0.
        progress: shown as it goes on.

    Raises:
        ConvergenceError: if a stop condition is met; the last good frame is saved.
        DataError: if a file cannot be written or does not fit the checkpoint.
        KeyboardInterrupt: after SIGINT or SIGTERM, once the state has been saved.
    """
    with Interruption() as interruption:
        run = _Run(job, start, progress)
        try:
            run.go(interruption)
        finally:
            run.close()
    return run.summary()


class _Run:
    """A simulation in progress."""

    def __init__(self, job: Job, start: Checkpoint | None, progress: Progress | None) -> None:
        self.job, self._progress = job, progress
        marks = None if start is None else _marks(start, job)
        self._log = GrowingFile(
            job.folder / "thermo.jsonl", 0 if marks is None else marks["thermo"]
        )
        self._frames: TrajectoryWriter = open_trajectory(
            job.trajectory,
            job.structure,
            job.quantities,
            None if marks is None else marks["trajectory"],
        )
        if start is None:
            self.state = job.engine.start(job.motion, job.capacity)
        else:
            self.state = start.state(job.engine)
        self._saved = None if start is None else self.step
        self._first, self._timed, self._seconds = self.step, 0, 0.0
        self._compiled, self._rate = False, 0.0
        self._synced = time.monotonic()

    @property
    def step(self) -> int:
        """Steps taken."""
        return int(self.state.motion.step)

    def go(self, interruption: Interruption) -> None:
        """Takes the steps that are left."""
        if self._progress:
            self._progress.start(self.step)
        if self._saved is None:
            self._record()
            self.save()
        while self.step < self.job.steps:
            self._block()
            if interruption.requested:
                self.save()
                raise KeyboardInterrupt
        self.save()

    def summary(self) -> Summary:
        """Returns what was done."""
        return Summary(self._first, self.step, self._seconds, self._timed, self.state)

    def close(self) -> None:
        """Closes the files."""
        self._log.close()
        self._frames.close()
        if self._progress:
            self._progress.close()

    def save(self) -> None:
        """Writes a checkpoint, after the files that it marks are on the disk."""
        if self._saved == self.step:
            return
        marks = {"trajectory": self._frames.sync(), "thermo": self._log.size}
        self._log.sync()
        self.job.checkpoints.save(self.state, {"marks": marks, "identity": dict(self.job.identity)})
        self._saved = self.step

    def _block(self) -> None:
        """Steps to the next frame, checkpoint or end, or for about two seconds."""
        job, step = self.job, self.step
        following = [job.write_every - step % job.write_every,
                     job.checkpoint_every - step % job.checkpoint_every,
                     job.steps - step]  # fmt: skip
        count = min(*following, max(1, int(LONGEST_BLOCK * self._rate)) if self._compiled else 1)
        begin = time.perf_counter()
        self.state, status, temperature = job.engine.advance(self.state, count)
        self._measure(self.step - step, time.perf_counter() - begin)
        if status is not Status.GOOD:
            self._stop(status, temperature)
        if self.step % job.write_every == 0:
            self._record()
        if self.step % job.checkpoint_every == 0:
            self.save()

    def _measure(self, steps: int, seconds: float) -> None:
        # The first block compiles; a growing list compiles again, and is then seen as a slow block.
        if self._compiled:
            self._timed, self._seconds = self._timed + steps, self._seconds + seconds
            self._rate = max(steps / seconds, 0.25 * self._rate)
        self._compiled = True

    def _record(self) -> None:
        """Appends a frame and a line of the log."""
        line, frame = observe(self.job, self.state)
        text = {k: v if _finite(v) else None for k, v in line.items()}
        self._log.append((json.dumps(text) + "\n").encode())
        self._frames.append(frame)
        if time.monotonic() - self._synced > SYNC_EVERY:
            self._frames.sync()
            self._synced = time.monotonic()
        if self._progress:
            self._progress.update(self.step, line["temperature"], line["total"])

    def _stop(self, status: Status, temperature: float) -> None:
        """Saves the last good frame and ends the run.

        Raises:
            ConvergenceError: always.
        """
        path = self.job.folder / "last_good.xyz"
        write_frame(path, self.job.structure, observe(self.job, self.state)[1])
        self.save()
        limit = float(self.job.engine.limits.temperature)
        reasons = {
            Status.NON_FINITE: "energy or velocities are not finite; shorten the timestep, or "
            "look for atoms too close to each other",
            Status.HOT: f"temperature {temperature:.0f} K is above stop.temperature {limit:.0f} K; "
            "shorten the timestep or retrain the model near these structures",
            Status.UNCONVERGED: "the charge solver did not converge for more than "
            f"stop.unconverged = {int(self.job.engine.limits.unconverged)} steps in a row; lower "
            "its mixing or retrain the model near these structures",
        }
        raise ConvergenceError(f"step {self.step + 1}: {reasons[status]} (last good frame: {path})")


def _marks(start: Checkpoint, job: Job) -> dict[str, int]:
    found, wanted = start.manifest["identity"], dict(job.identity)
    changed = [k for k in sorted({*found, *wanted}) if found.get(k) != wanted.get(k)]
    if changed:
        names = ", ".join(
            f"{k} ({json.dumps(found.get(k))} -> {json.dumps(wanted.get(k))})" for k in changed
        )
        raise DataError(
            f"{job.folder}: the run to resume differs in {names}; give it back its configuration, "
            "or start another run"
        )
    return dict(start.manifest["marks"])


def observe(job: Job, state: State) -> tuple[dict[str, Any], Snapshot]:
    """Returns a state as a line of the log and as a frame.

    Energies include the atomic energies; velocities are in Å/fs. A dipole is given only for open
    boundaries.
    """
    engine = job.engine
    motion, evaluation = jax.device_get((state.motion, state.evaluation))
    atomic = engine.model.atomic_energy(job.structure.numbers)
    kinetic = float(0.5 * np.sum(np.asarray(engine.integrator.masses) * motion.velocities**2))
    freedom = float(engine.limits.freedom)
    terms = {name: float(value) for name, value in evaluation.energies.items()}
    energy = atomic + sum(terms.values())
    extra = float(engine.integrator.thermostat_energy(state.motion))
    temperature = 2.0 * kinetic / (freedom * units.kB)
    step = int(motion.step)
    line = {
        "step": step,
        "time_fs": step * job.timestep,
        "temperature": temperature,
        "kinetic": kinetic,
        "potential": energy,
        "total": energy + kinetic,
        "conserved": energy + kinetic + extra,
        **{f"energy/{name}": value for name, value in terms.items()},
        **_charge_and_level(engine.model, evaluation),
        "scf/steps": int(evaluation.solver_steps),
        "scf/converged": bool(evaluation.converged),
    }
    multipoles = evaluation.multipoles[0].sum(axis=1)
    values = {
        "positions": motion.positions,
        "velocities": motion.velocities * units.fs,
        "forces": evaluation.forces,
        "energy": np.float64(energy),
        "temperature": np.float64(temperature),
        "charges": evaluation.charges,
        "multipoles": multipoles.astype(np.float64),
        "scf_steps": np.int32(evaluation.solver_steps),
    }
    if not any(job.structure.pbc):
        line["dipole"] = [float(x) for x in evaluation.dipole]
        values["dipole"] = evaluation.dipole
    return line, Snapshot(step, step * job.timestep, values)


def _charge_and_level(model: Potential, evaluation: Evaluation) -> dict[str, float]:
    """The charge in e and the Fermi level in eV, of kinds that define them."""
    found = {}
    if "charges" in model.provides:
        found["charge"] = float(np.sum(evaluation.charges))
    if "fermi_level" in model.provides:
        found["fermi_level"] = float(evaluation.fermi_level[0, 0])
    return found


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
