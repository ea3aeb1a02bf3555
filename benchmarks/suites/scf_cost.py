"""What self-consistency costs: energy + forces of 192-atom water, scf over local.

Water-like box of the speed suite, dipoles in the density (l = 1), fresh parameters, charges as soft
as a metal's (8 eV/e²; at the default 500 they hardly need a step): times taken in turn in one run;
steps are products with the Coulomb operator beyond the three that every solution takes (start,
check, energy), to a residual of 1e-5 in float32 and of 1e-8 in float64; warm starts take the last
density, or the line through the last two, after every atom has moved for 0.5 fs at 300 K.
``mixing linear`` is damped iteration with a quarter of the new density. Memory is what the compiled
program of energy + forces asks for beyond its inputs.
"""

import dataclasses
from argparse import Namespace
from typing import Any

import jax
import numpy as np

from benchmarks.suites.equilibration import SPEED
from benchmarks.suites.speed import BACKBONES, timed, water_box
from electrojax.models.potential import assemble
from electrojax.solvers.state import ChargeGuess
from electrojax.system.batching import capacity_for, collate
from electrojax.system.types import Frame, Statistics

LOCAL = {"kind": "local", "charge_control": "total"}
SCF = {"kind": "scf", "initial_hardness": 8.0}
ARMS: dict[str, dict[str, Any]] = {
    "local": LOCAL,
    "scf": SCF,
    "scf quadratic readout": {**SCF, "energy": "quadratic"},
    "scf functional energy": {**SCF, "energy": "functional"},
    "scf free": {**SCF, "response": "free"},
    "scf linear mixing": {**SCF, "mixing": "linear"},
}
TOLERANCE = {"float32": 1.0e-5, "float64": 1.0e-8}


def moved(frame: Frame, steps: int) -> Frame:
    """The structure after that many steps of 0.5 fs at thermal velocities."""
    rng = np.random.default_rng(5)
    speed = np.array([SPEED[int(z)] for z in frame.numbers])[:, None]
    displacement = 0.5 * speed * rng.normal(size=frame.positions.shape)
    return dataclasses.replace(frame, positions=frame.positions + steps * displacement)


def arm(backbone: str, solver: dict[str, Any], precision: str) -> tuple[dict, Any]:
    """Returns a row with the steps and memory of one arm, and the call to time."""
    config = {
        "backbone": BACKBONES[backbone],
        "density": {"l_max": 1, "width": 1.5},
        "coulomb": {"boundary": "auto", "method": "auto", "accuracy": 1e-5, "finite_size": "none"},
        "solver": solver,
    }
    if solver["kind"] == "scf":
        config["solver"] = {**solver, "tolerance": TOLERANCE[precision]}
    fitted = Statistics((1, 8), (-13.6, -432.0), average_neighbors=54.0)
    model = assemble(config, fitted, precision)
    frames = [moved(water_box(4), k) for k in range(3)]
    samples = [model.sample(frame) for frame in frames]
    room = capacity_for([max(samples, key=lambda s: s.system.n_edges)])
    systems = [jax.device_put(collate([s], room, np.dtype(precision)).system) for s in samples]
    params = model.init(0, systems[0])

    def forces(system, guess):
        found = model.apply(params, system, guess)
        again = ChargeGuess(found.density.multipoles, found.fermi_level)
        return found.forces, found.report.steps[0], found.report.converged[0], again

    cold = jax.jit(lambda system: forces(system, None)).lower(systems[0]).compile()
    row = {"temporary_mib": cold.memory_analysis().temp_size_in_bytes / 2**20}
    if solver["kind"] == "scf":
        warm = jax.jit(forces)
        *_, steps, converged, first = cold(systems[0])
        row |= {"steps_cold": int(steps), "converged": bool(converged)}
        *_, last, _, second = warm(systems[1], first)
        line = jax.tree.map(lambda a, b: 2.0 * b - a, first, second)
        row |= {"steps_warm_last": int(last), "steps_warm_line": int(warm(systems[2], line)[1])}
    return row, lambda: cold(systems[0])


def rows(options: Namespace) -> list[dict]:
    """Returns a row per backbone, precision and arm."""
    found = []
    for backbone in ("light", "mace"):
        for precision in TOLERANCE:
            if options.only and options.only not in f"{backbone}-{precision}":
                continue
            with jax.enable_x64(precision == "float64"):
                arms = {name: arm(backbone, solver, precision) for name, solver in ARMS.items()}
                times = timed({name: call for name, (_, call) in arms.items()})
            base = arms["local"][0]["temporary_mib"]
            for name, (row, _) in arms.items():
                head = {"backbone": backbone, "precision": precision, "solver": name}
                ratios = {"over_local": times[name] / times["local"]}
                memory = {"memory_over_local": row["temporary_mib"] / base}
                found.append({**head, "forces_ms": times[name], **ratios, **row, **memory})
    return found
