"""The md job, end to end: read, check, simulate, plot."""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ase import units

from electrojax.analysis.thermo import thermo_plot
from electrojax.config.document import dump_document
from electrojax.config.md import LoadedMd, MdConfig, NvtLangevin, NvtNoseHoover, load_md
from electrojax.data.datasets import resolve_source
from electrojax.data.hdf5 import is_hdf5
from electrojax.data.reader import read_frame
from electrojax.data.trajectories import PER_ATOM
from electrojax.errors import ConfigError, DataError
from electrojax.files import write_whole
from electrojax.interruption import StartUp
from electrojax.locking import lock_folder
from electrojax.models.bundle import load
from electrojax.models.inputs import INPUTS
from electrojax.models.potential import Potential
from electrojax.runs.folder import software
from electrojax.simulation.checkpoints import remove_stale
from electrojax.simulation.engine import Engine, Limits
from electrojax.simulation.forces import in_precision, moving_system
from electrojax.simulation.inputs import frame_with_inputs, refuse_constraints
from electrojax.simulation.integrators import (
    Integrator,
    Langevin,
    Motion,
    NoseHoover,
    VelocityVerlet,
)
from electrojax.simulation.motion import (
    carried_energy,
    conserved_modes,
    maxwell_boltzmann,
    with_temperature,
    without_modes,
)
from electrojax.simulation.progress import Progress
from electrojax.simulation.run import Job, simulate
from electrojax.simulation.trajectory import Structure
from electrojax.system.atoms import atoms_from_frame
from electrojax.system.types import Frame
from electrojax.typing import Reporter

RESUME = ("auto", "never")
MAY_CHANGE = ("run", "steps", "checkpoint_every", "stop")
"""Keys that a resumed run may give other values."""

NO_DRIFT = 1e-9
"""Share of the kinetic energy; a rigid motion with less is a rounding error of a file."""


def run_md(
    path: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    resume: str = "never",
    report: Reporter = print,
    plugins: Sequence[type | str] = (),
) -> Path:
    """Simulates what an md file describes; ``electrojax md``.

    Positions and velocities are integrated in double precision whatever the model's precision, so
    that their rounding does not heat the system.

    Args:
        path: the md file.
        overrides: ``KEY=VALUE`` texts, such as ``steps=1000``.
        resume: ``auto`` or ``never``.
        report: receives lines of text.
        plugins: classes for kinds of the model that are not electrojax's own, or their
            ``module:Class``.

    Returns:
        The run folder: trajectory, ``thermo.jsonl`` and plots.

    Raises:
        ConfigError, DataError: before anything is written, or if a file cannot be written later.
        ConvergenceError: if a stop condition is met.
    """
    if resume not in RESUME:
        raise ConfigError(f'--resume: "{resume}" does not exist; choose from {", ".join(RESUME)}')
    loaded = load_md(path, overrides)
    with jax.enable_x64(True):
        job, warnings = build_md(loaded, plugins)
        StartUp.check()
        for warning in warnings:
            report(f"warning: {warning}")
        _refuse_used(job, resume)
        with lock_folder(_made(job.folder)):
            _simulate_locked(loaded, job, warnings, report)
    return job.folder


def _simulate_locked(loaded: LoadedMd, job: Job, warnings: Sequence[str], report: Reporter) -> None:
    remove_stale(job.checkpoints.folder)
    start = job.checkpoints.latest()
    if start is not None and start.manifest["step"] >= job.steps:
        report(f"{job.folder} is complete: {start.manifest['step']} steps; raise steps to go on")
        return
    _describe(loaded, job, warnings)
    began = time.monotonic()
    done = simulate(job, start, Progress(job.steps, job.timestep))
    write_whole(job.folder / "plots" / "thermo.png", thermo_plot(job.folder / "thermo.jsonl"))
    pace = done.timed_steps / done.seconds if done.seconds else float("nan")
    report(
        f"{job.folder} is complete: steps {done.first} to {done.last} in "
        f"{time.monotonic() - began:.0f} s, {pace:.4g} steps/s"
    )


def _refuse_used(job: Job, resume: str) -> None:
    used = job.folder.exists() and any(p.name != ".lock" for p in job.folder.iterdir())
    if resume == "auto":
        return
    if used:
        raise DataError(
            f"{job.folder}: exists already; continue it with --resume auto, or choose another "
            "run.name"
        )
    if job.trajectory.exists():
        raise DataError(f"{job.trajectory}: exists already; choose another write.path")


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made ({error.strerror}); choose another") from error
    return folder


def _describe(loaded: LoadedMd, job: Job, warnings: Sequence[str]) -> None:
    """Writes the configuration and the environment into the run folder."""
    environment = {
        **software(),
        "data": {name: job.identity[name] for name in ("model", "start")},
        "warnings": list(warnings),
    }
    resolved = dump_document(loaded.config.model_dump(mode="json"))
    write_whole(job.folder / "config.yaml", loaded.files[0].read_bytes())
    write_whole(job.folder / "resolved.yaml", resolved.encode())
    write_whole(
        job.folder / "environment.json", (json.dumps(environment, indent=1) + "\n").encode()
    )


def build_md(loaded: LoadedMd, plugins: Sequence[type | str] = ()) -> tuple[Job, list[str]]:
    """Returns the simulation that an md file describes, and what its author should know.

    To be called with 64-bit JAX switched on. Nothing is written or compiled.

    Args:
        loaded: the md file.
        plugins: classes for kinds of the model that are not electrojax's own, or their
            ``module:Class``.

    Raises:
        ConfigError: if the model, the start frame or their combination is wrong; it points at the
            line of the md file.
    """
    config = loaded.config
    model = in_precision(
        _located(loaded, "model", lambda: load(config.model, plugins)), config.precision
    )
    atoms = _start(loaded)
    warnings: list[str] = []
    frame = _located(loaded, "start", lambda: _frame(config, model, atoms, warnings))
    moving = _located(loaded, "start", lambda: moving_system(model, frame, config.neighbors.skin))
    masses = np.asarray(atoms.get_masses(), dtype=np.float64)
    velocities, freedom = _first_velocities(loaded, atoms, frame, masses, warnings)
    integrator = _integrator(config, masses, freedom)
    chain = config.ensemble.chain if isinstance(config.ensemble, NvtNoseHoover) else 0
    job = Job(
        engine=Engine(
            model,
            moving,
            integrator,
            _limits(config, freedom),
            config.solver.warm_start,
            config.neighbors.capacity,
        ),
        structure=_structure(frame, masses, model),
        motion=Motion(
            positions=jnp.asarray(frame.positions),
            velocities=jnp.asarray(velocities),
            chain_positions=jnp.zeros(chain),
            chain_momenta=jnp.zeros(chain),
            step=jnp.int32(0),
        ),
        timestep=config.timestep,
        steps=config.steps,
        folder=loaded.folder,
        trajectory=loaded.trajectory,
        quantities=_quantities(config, frame, warnings),
        write_every=config.write.every,
        checkpoint_every=config.checkpoint_every,
        identity=_identity(config),
    )
    return job, warnings


def _located(loaded: LoadedMd, key: str, make: Any) -> Any:
    """Returns what is made; a DataError then points at the key that led to it."""
    try:
        return make()
    except DataError as error:
        raise loaded.provenance.error(key, str(error)) from error


def _start(loaded: LoadedMd) -> Any:
    """The start frame as ase.Atoms.

    Raises:
        ConfigError: if it is not there, or has constraints, which the dynamics would not keep.
    """
    path = resolve_source(loaded.config.start)
    if not path.is_file():
        raise loaded.provenance.error("start", f"no such file: {path}")
    atoms = _read_start(loaded, path)
    source = f"{path.name} frame {loaded.config.frame}"
    _located(loaded, "start", lambda: refuse_constraints(atoms, source, "md"))
    return atoms


def _read_start(loaded: LoadedMd, path: Path) -> Any:
    import ase.io

    config = loaded.config
    try:
        if is_hdf5(path):
            frame = _located(loaded, "start", lambda: read_frame(path, config.frame))
            return atoms_from_frame(frame)
        return ase.io.read(path, index=config.frame)
    except (IndexError, StopIteration):
        message = f"{path.name} has no frame {config.frame}; frames are counted from 0"
        raise loaded.provenance.error("frame", message) from None
    except (OSError, ValueError, KeyError, ase.io.formats.UnknownFileTypeError) as error:
        reason = " ".join(str(error).split())
        raise loaded.provenance.error("start", f"{path} is not readable: {reason}") from None


def _frame(config: MdConfig, model: Potential, atoms: Any, warnings: list[str]) -> Frame:
    given = {name: getattr(config, name) for name in INPUTS}
    source = f"{Path(config.start).name} frame {config.frame}"
    frame = frame_with_inputs(model, atoms, given, source, override=True)
    for name in INPUTS:
        written = atoms.info.get(name)
        if given[name] is None or written is None or np.allclose(written, given[name]):
            continue
        warnings.append(f"{name} is {given[name]} as the md file says, not {written} of {source}")
    return frame


def _first_velocities(
    loaded: LoadedMd, atoms: Any, frame: Frame, masses: np.ndarray, warnings: list[str]
) -> tuple[np.ndarray, int]:
    """The first velocities [N, 3], and the degrees of freedom that carry heat.

    Motions that the dynamics conserves carry none where the velocities are without them. Noise
    drives every direction.
    """
    config = loaded.config
    noisy = isinstance(config.ensemble, NvtLangevin)
    modes, conserved = _rigid_motions(frame, masses, noisy)
    velocities, temperature = _given_or_drawn(loaded, atoms, masses)
    drawn = temperature is not None
    remove = drawn and not noisy if config.remove_drift is None else config.remove_drift
    if remove:
        chosen = modes if config.remove_drift else {name: modes[name] for name in conserved}
        for rigid in chosen.values():
            velocities = without_modes(velocities, masses, rigid)
    carried = {name: carried_energy(velocities, masses, modes[name]) for name in conserved}
    least = NO_DRIFT * 0.5 * float(np.sum(masses[:, None] * velocities**2))
    moving = {name: energy for name, energy in carried.items() if energy > least}
    freedom = 3 * len(masses) - sum(modes[n].shape[1] for n in carried if n not in moving)
    if freedom < 1:
        message = f"{frame.source} has no motion besides the conserved ones; needed more atoms"
        raise loaded.provenance.error("start", message)
    if temperature is not None:
        return with_temperature(velocities, masses, temperature * units.kB, freedom), freedom
    _check_heat(loaded, velocities, frame)
    if moving and config.remove_drift is None:
        told = " and ".join(f"{energy:.3g} eV of {name}" for name, energy in moving.items())
        warnings.append(
            f"the velocities of {frame.source} keep {told}; remove_drift: true takes it out"
        )
    return velocities, freedom


def _rigid_motions(
    frame: Frame, masses: np.ndarray, noisy: bool
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Rigid motions that can be removed, and which of them the dynamics conserves."""
    field, open_ = bool(np.any(frame.external_field)), frame.boundary == "open"
    modes = {"translation": conserved_modes(frame.positions, masses, True, False)}
    if open_:
        modes["rotation"] = conserved_modes(frame.positions, masses, False, True)
    if noisy:
        return modes, []
    kept = {"translation": not (field and abs(frame.total_charge) > 1e-9), "rotation": not field}
    return modes, [name for name in modes if kept[name]]


def _given_or_drawn(
    loaded: LoadedMd, atoms: Any, masses: np.ndarray
) -> tuple[np.ndarray, float | None]:
    """Velocities of the start frame, or drawn ones and their temperature in K."""
    config = loaded.config
    temperature = config.initial_temperature
    if temperature is None and "momenta" in atoms.arrays:
        return np.asarray(atoms.get_velocities(), dtype=np.float64), None
    if temperature is None:
        temperature = getattr(config.ensemble, "temperature", None)
    if temperature is None:
        message = "is required: the ensemble has no temperature and the start frame no velocities"
        raise loaded.provenance.error("initial_temperature", message)
    return maxwell_boltzmann(masses, temperature * units.kB, config.seed), temperature


def _check_heat(loaded: LoadedMd, velocities: np.ndarray, frame: Frame) -> None:
    if isinstance(loaded.config.ensemble, NvtNoseHoover) and not np.any(velocities):
        message = (
            f"is required: the atoms of {frame.source} are at rest, and a Nosé–Hoover chain cannot "
            "heat them"
        )
        raise loaded.provenance.error("initial_temperature", message)


def _integrator(config: MdConfig, masses: np.ndarray, freedom: int) -> Integrator:
    column = jnp.asarray(masses[:, None])
    timestep = jnp.asarray(config.timestep * units.fs)
    match config.ensemble:
        case NvtLangevin(temperature=temperature, friction=friction):
            rate = jnp.asarray(friction / (1000.0 * units.fs))
            heat = jnp.asarray(temperature * units.kB)
            return Langevin(column, timestep, heat, rate, jax.random.key(config.seed))
        case NvtNoseHoover(temperature=temperature, relaxation=relaxation):
            tau = jnp.asarray(relaxation * 1000.0 * units.fs)
            heat = jnp.asarray(temperature * units.kB)
            return NoseHoover(column, timestep, heat, tau, jnp.asarray(float(freedom)))
    return VelocityVerlet(column, timestep)


def _limits(config: MdConfig, freedom: int) -> Limits:
    return Limits(
        temperature=jnp.asarray(config.stop.temperature),
        unconverged=jnp.int32(config.stop.unconverged),
        freedom=jnp.asarray(float(freedom)),
        boltzmann=jnp.asarray(units.kB),
    )


def _structure(frame: Frame, masses: np.ndarray, model: Potential) -> Structure:
    info: dict[str, Any] = {
        "total_charge": frame.total_charge,
        "multiplicity": frame.multiplicity,
        "multipole_components": (int(model.config["density"]["l_max"]) + 1) ** 2,
    }
    if np.any(frame.external_field):
        info["external_field"] = np.asarray(frame.external_field)
    if frame.charge_control:
        info["charge_control"] = frame.charge_control
    if frame.reservoir_level is not None:
        info["fermi_level"] = frame.reservoir_level
    arrays = {
        name: np.asarray(getattr(frame, name))
        for name in PER_ATOM
        if getattr(frame, name) is not None
    }
    return Structure(frame.numbers, masses, frame.cell, frame.pbc, info, arrays)


def _quantities(config: MdConfig, frame: Frame, warnings: list[str]) -> tuple[str, ...]:
    if frame.boundary == "open" or "dipole" not in config.write.quantities:
        return tuple(config.write.quantities)
    if "quantities" in config.write.model_fields_set:
        warnings.append("write.quantities: a periodic structure has no dipole; it is left out")
    return tuple(q for q in config.write.quantities if q != "dipole")


def _identity(config: MdConfig) -> dict[str, Any]:
    plain = config.model_dump(mode="json", exclude=set(MAY_CHANGE))
    for name in ("model", "start"):
        content = resolve_source(getattr(config, name)).read_bytes()
        plain[name] = f"sha256:{hashlib.sha256(content).hexdigest()[:16]}"
    return plain
