"""What self-consistency costs: energy + forces of 192-atom water, scf over local.

Water-like box of the speed suite, dipoles in the density (l = 1), fresh parameters, charges as soft
as a metal's (8 eV/e²; at the default 500 they hardly need a step): times taken in turn in one run;
steps are products with the Coulomb operator beyond the three that every solution takes (start,
check, energy), to a residual of 1e-5 in float32 and of 1e-8 in float64; warm steps are means over
the second half of 10 fs in steps of 0.5 fs, in which every atom vibrates about its place with the
speeds of 300 K and a period between 9 fs (that of the O-H stretch) and 40 fs: from the last
density, and extrapolated as md does it.
``mixing linear`` is damped iteration with a quarter of the new density. Memory is what the compiled
program of energy + forces asks for beyond its inputs.
"""

import dataclasses
from argparse import Namespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.suites.equilibration import SPEED
from benchmarks.suites.speed import BACKBONES, timed, water_box
from electrojax.models.potential import assemble
from electrojax.simulation.forces import REMEMBERED, extrapolate
from electrojax.solvers.state import ChargeGuess
from electrojax.system.batching import capacity_for, collate
from electrojax.system.types import Frame, Statistics

LOCAL = {"kind": "local", "charge_control": "total"}
SCF = {"kind": "scf", "initial_hardness": 8.0}
ARMS: dict[str, dict[str, Any]] = {
    "local": LOCAL,
    "scf": SCF,
    "scf coulomb readout": {**SCF, "energy": "coulomb"},
    "scf quadratic readout": {**SCF, "energy": "quadratic"},
    "scf free": {**SCF, "response": "free", "energy": "coulomb"},
    "scf linear mixing": {**SCF, "mixing": "linear"},
}
TOLERANCE = {"float32": 1.0e-5, "float64": 1.0e-8}


STEPS = 20


def vibrating(frame: Frame) -> list[Frame]:
    """The structure at successive steps of 0.5 fs."""
    rng = np.random.default_rng(5)
    n = len(frame.numbers)
    speed = np.array([SPEED[int(z)] for z in frame.numbers])[:, None] * rng.normal(size=(n, 3))
    omega = 2.0 * np.pi / rng.permutation(np.linspace(9.0, 40.0, n))[:, None]
    times = 0.5 * np.arange(STEPS + 1)
    paths = [frame.positions + speed / omega * np.sin(omega * t) for t in times]
    return [dataclasses.replace(frame, positions=positions) for positions in paths]


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
    frames = vibrating(water_box(4))
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
        *_, steps, converged, first = cold(systems[0])
        row |= {"steps_cold": int(steps), "converged": bool(converged)}
        warm = jax.jit(forces)
        for name, most in (("last", 1), ("extrapolated", REMEMBERED[precision])):
            row[f"steps_warm_{name}"] = along(warm, systems[1:], first, most)
    return row, lambda: cold(systems[0])


def along(warm: Any, systems: list, first: ChargeGuess, most: int) -> float:
    """Mean steps of a trajectory's second half, each density guessed from ``most`` before it."""
    past, steps = [first], []
    for system in systems:
        past = past[:most]
        guess = jax.tree.map(lambda *values: extrapolate(jnp.stack(values), len(values)), *past)
        *_, taken, _, found = warm(system, guess)
        steps.append(int(taken))
        past.insert(0, found)
    return float(np.mean(steps[len(steps) // 2 :]))


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
