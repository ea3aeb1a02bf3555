"""Molecular dynamics: cost of the loop over bare forces, speed beside ASE, thermostats and drift.

Boxes of 192 atoms have random parameters, since only time is measured. Clusters use
runs/quickstart/model.ejx if it is there; else the quickstart is trained first. The drift of a
trained periodic box needs --data DIR, the folder of the public ab initio sets, and uses
runs/nacl_aq/model.ejx or trains benchmarks/cases/nacl_aq.yaml first, longer than that case asks:
after its 6 epochs (0.11 eV/Å) oxygens still fuse within 1 ps.
"""

import contextlib
import functools
import io
import json
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ase import units

from benchmarks.suites.speed import BACKBONES, water_box
from electrojax.config.md import load_md
from electrojax.models.potential import Potential, assemble
from electrojax.runs.md import build_md, run_md
from electrojax.simulation.ase import Calculator
from electrojax.simulation.engine import Engine, Limits
from electrojax.simulation.forces import moving_system
from electrojax.simulation.integrators import Motion, VelocityVerlet
from electrojax.simulation.motion import maxwell_boltzmann
from electrojax.system.batching import capacity_for, collate
from electrojax.system.types import Frame, Statistics
from electrojax.typing import replace

REPEATS = 5
"""Evaluations, or steps, per timing."""

TETRAMER = 39
"""Four water molecules in builtin:ion_water, its test split."""

LONGER = ("data.batching.graphs=1", "train.epochs=30", "train.learning_rate=0.006")
"""What the model of the box needs for molecules that stay apart (0.05 eV/Å; about ten minutes)."""

CASES = Path(__file__).resolve().parent.parent / "cases"


def block_error(values: np.ndarray, blocks: int = 10) -> float:
    """Returns the standard error of a correlated series from the means of its blocks.

    Ten blocks of 2 ps are many times the kinetic energy's correlation time, below 0.2 ps here.
    """
    means = [np.mean(b) for b in np.array_split(values, blocks)]
    return float(np.std(means, ddof=1) / np.sqrt(blocks))


def slope(time_ps: np.ndarray, values: np.ndarray, blocks: int = 20) -> tuple[float, float]:
    """Returns the slope of a line and its standard error, both from the means of equal blocks.

    Neighbouring records are correlated by the vibrations: an error from their residuals would be
    several times too small. Blocks of 0.1 ps are longer than that correlation.
    """
    times, means = (
        np.array([np.mean(b) for b in np.array_split(v, blocks)]) for v in (time_ps, values)
    )
    (gradient, _), covariance = np.polyfit(times, means, 1, cov=True)
    return float(gradient), float(np.sqrt(covariance[0, 0]))


def overhead(backbone: str) -> dict:
    """Returns one row: a step of 192 atoms beside bare energy and forces of the same frame."""
    frame = water_box(4)
    config = {
        "backbone": BACKBONES[backbone],
        "density": {"l_max": 1, "width": 1.5},
        "coulomb": {"boundary": "auto", "accuracy": 1e-5, "finite_size": "none"},
        "solver": {"kind": "local", "charge_control": "total"},
    }
    bare = assemble(config, Statistics((1, 8), (-13.6, -432.0), average_neighbors=54.0), "float32")
    sample = bare.sample(frame)
    system = collate([sample], capacity_for([sample]), np.float32).system
    params = jax.device_get(bare.init(0, system))
    model = assemble(config, bare.statistics, "float32", params)
    system, params = jax.device_put((system, params))

    @jax.jit
    def forces(positions: jax.Array) -> jax.Array:
        """Evaluates REPEATS times in one loop, as md does, without the stress, as md does."""

        def again(_: int, positions: jax.Array) -> jax.Array:
            found = model.apply(params, replace(system, positions=positions))
            return positions + 1e-12 * (found.forces + found.energy)

        return jax.lax.fori_loop(0, REPEATS, again, positions)

    state, engine = _moving_box(model, frame)
    state, _, _ = engine.advance(state, 5)
    jax.block_until_ready(forces(system.positions))
    bare, steps = [], []
    for _ in range(7):  # taking turns, so that both see the same load of the machine
        bare.append(_seconds(lambda: forces(system.positions)))
        steps.append(_seconds(lambda s=state: engine.advance(s, REPEATS)))
    (bare_wall, bare_cpu), (wall, cpu) = np.median(bare, axis=0), np.median(steps, axis=0)
    return {
        "case": "overhead", "backbone": backbone, "atoms": 192,
        "forces_ms": 1e3 * bare_wall / REPEATS,
        "step_ms": 1e3 * wall / REPEATS, "overhead": wall / bare_wall - 1.0,
        "overhead_cpu_time": cpu / bare_cpu - 1.0,
    }  # fmt: skip


def _seconds(function) -> tuple[float, float]:
    """Returns wall and processor time of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(function())
    return time.perf_counter() - wall, time.process_time() - cpu


def _moving_box(model: Potential, frame: Frame) -> tuple:
    masses = np.where(frame.numbers == 1, 1.008, 15.999)
    velocities = maxwell_boltzmann(masses, 300 * units.kB, 0)
    limits = Limits(jnp.asarray(1e9), jnp.int32(0), jnp.asarray(573.0), jnp.asarray(units.kB))
    integrator = VelocityVerlet(jnp.asarray(masses[:, None]), jnp.asarray(0.1 * units.fs))
    engine = Engine(model, moving_system(model, frame), integrator, limits)
    motion = Motion(
        jnp.asarray(frame.positions),
        jnp.asarray(velocities),
        jnp.zeros(0),
        jnp.zeros(0),
        jnp.int32(0),
    )
    return engine.start(motion), engine


def beside_ase(model: Path, folder: Path) -> dict:
    """Returns one row: NVE of a 12-atom cluster by electrojax md and by ASE, taking turns."""
    import ase.io
    from ase.md.verlet import VelocityVerlet as AseVerlet

    from electrojax.data.datasets import builtin_path
    from electrojax.models.bundle import load

    path = folder / "speed.yaml"
    path.write_text(_file(model, "speed", "{kind: nve}", 20_000, "write: {every: 100}"))
    job, _ = build_md(load_md(path))
    state = job.engine.start(job.motion)
    state, _, _ = job.engine.advance(state, 100)
    atoms = ase.io.read(builtin_path("ion_water"), index=TETRAMER)
    atoms.calc = Calculator(load(model))
    atoms.set_velocities(np.asarray(job.motion.velocities))
    dynamics = AseVerlet(atoms, 0.5 * units.fs)
    dynamics.run(30)
    ours, theirs = [], []
    for _ in range(5):
        start = time.perf_counter()
        state, _, _ = job.engine.advance(state, 1000)
        ours.append(1000 / (time.perf_counter() - start))
        start = time.perf_counter()
        dynamics.run(100)
        theirs.append(100 / (time.perf_counter() - start))
    mine, ase_rate = float(np.median(ours)), float(np.median(theirs))
    return {
        "case": "beside ASE", "atoms": len(atoms), "steps_per_s": mine,
        "ase_steps_per_s": ase_rate, "ratio": mine / ase_rate,
    }  # fmt: skip


def thermostat(model: Path, folder: Path, ensemble: str) -> dict:
    """Returns one row: the mean temperature of 25 ps of a 12-atom cluster, the first 5 left out."""
    path = folder / f"{ensemble}.yaml"
    coupling = {"nvt_langevin": "friction: 5", "nvt_nose_hoover": "relaxation: 0.1"}[ensemble]
    path.write_text(
        _file(model, ensemble, f"{{kind: {ensemble}, temperature: 300, {coupling}}}", 50_000)
    )
    records = _run(path, folder / "runs" / ensemble)
    temperature = np.array([r["temperature"] for r in records if r["time_fs"] >= 5000.0])
    mean, error = float(np.mean(temperature)), block_error(temperature)
    return {
        "case": ensemble, "atoms": 12, "ps": 20, "temperature_k": mean, "error_k": error,
        "deviation_in_errors": (mean - 300.0) / error,
    }  # fmt: skip


def drift(model: Path, folder: Path, precision: str, data: Path | None = None) -> dict:
    """Returns one row: the slope of the total energy over 2 ps of NVE at 0.5 fs.

    Args:
        model: of the cluster, or of the box where there is data.
        folder: where to run.
        precision: of energies and forces.
        data: folder of nacl_aq_test.xyz.gz, whose first frame is the box.
    """
    system = "cluster" if data is None else "box"
    name = f"nve_{system}_{precision}"
    path = folder / f"{name}.yaml"
    path.write_text(_file(model, name, "{kind: nve}", 4000, f"precision: {precision}", data=data))
    records = _run(path, folder / "runs" / name)
    atoms = _atoms(folder / "runs" / name)
    fitted = slope(
        np.array([r["time_fs"] / 1000.0 for r in records]),
        np.array([1000.0 * r["total"] / atoms for r in records]),
    )
    return {
        "case": "drift", "system": system, "precision": precision, "atoms": atoms, "ps": 2,
        "mev_per_atom_ps": fitted[0], "error": fitted[1],
        "mean_temperature_k": float(np.mean([r["temperature"] for r in records])),
    }  # fmt: skip


def _atoms(run: Path) -> int:
    import ase.io

    return len(ase.io.read(run / "trajectory.xyz", index=0))


def _file(
    model: Path, name: str, ensemble: str, steps: int, *more: str, data: Path | None = None
) -> str:
    """Returns an md file for the cluster, or for the box in a folder of data."""
    start = ["start: builtin:ion_water", f"frame: {TETRAMER}"]
    if data is not None:
        start = [f"start: {(data / 'nacl_aq_test.xyz.gz').resolve()}", "total_charge: 0"]
    written = "write: {every: 10, path: trajectory.xyz, quantities: [energy]}"
    lines = [
        f"run: {{name: {name}, dir: runs}}",
        f"model: {model.resolve()}",
        *start,
        "initial_temperature: 300",
        f"ensemble: {ensemble}",
        f"steps: {steps}",
        "seed: 5",
        *(more if any(m.startswith("write") for m in more) else [written, *more]),
    ]
    return "\n".join(lines) + "\n"


def _run(path: Path, folder: Path) -> list[dict]:
    with contextlib.redirect_stderr(io.StringIO()):
        run_md(path, [], "never", lambda line: None)
    return [json.loads(line) for line in (folder / "thermo.jsonl").read_text().splitlines()]


def cluster_model(folder: Path) -> Path:
    """Returns the quickstart model, trained where there is none."""
    return _trained("quickstart", Path("configs/quickstart.yaml"), folder, [])


def box_model(folder: Path, data: Path) -> Path:
    """Returns the model of the case nacl_aq, trained on a folder of data where there is none."""
    sets = {"train": "train", "valid": "train", "test": "test"}
    paths = [f"data.{k}.path={data.resolve()}/nacl_aq_{v}.xyz.gz" for k, v in sets.items()]
    return _trained("nacl_aq", CASES / "nacl_aq.yaml", folder, [*paths, *LONGER])


def _trained(name: str, file: Path, folder: Path, overrides: list[str]) -> Path:
    from electrojax.runs.train import run_training

    existing = Path("runs") / name / "model.ejx"
    if existing.is_file():
        return existing
    with jax.enable_x64(False), contextlib.redirect_stderr(io.StringIO()):
        run_training(file, [f"run.dir={folder}", *overrides], "never", lambda line: None)
    return folder / name / "model.ejx"


def rows(options: Namespace) -> list[dict]:
    """Returns a row per case."""
    with tempfile.TemporaryDirectory() as name, jax.enable_x64(True):
        cases = _cases(Path(name), options.data)
        chosen = [c for label, c in cases.items() if not options.only or options.only in label]
        return [case() for case in chosen]


def _cases(folder: Path, data: Path | None) -> dict[str, Callable[[], dict]]:
    """The measurements by name; models are trained when the first of them needs one."""
    cluster = functools.cache(lambda: cluster_model(folder))
    cases: dict[str, Callable[[], dict]] = {
        f"overhead-{b}": functools.partial(overhead, b) for b in BACKBONES
    }
    cases["beside-ase"] = lambda: beside_ase(cluster(), folder)
    for kind in ("nvt_langevin", "nvt_nose_hoover"):
        cases[kind] = lambda kind=kind: thermostat(cluster(), folder, kind)
    for precision in ("float32", "float64"):
        cases[f"drift-cluster-{precision}"] = lambda p=precision: drift(cluster(), folder, p)
    if data is not None:
        box = functools.cache(lambda: box_model(folder, data))
        for precision in ("float32", "float64"):
            cases[f"drift-box-{precision}"] = lambda p=precision: drift(box(), folder, p, data)
    return cases
