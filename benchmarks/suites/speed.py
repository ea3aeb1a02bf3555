"""Energy + forces of 192-atom water and the training step of 8 such boxes, per backbone and solver.

Water-like box: 64 molecules on a jittered lattice at 1 g/cm³, cutoff 5 Å, float32; the fastest of
repeated calls after compilation, the solvers in turn.
"""

import time
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from electrojax.models.potential import assemble
from electrojax.system.batching import capacity_for, collate
from electrojax.system.types import Frame, Statistics

BACKBONES = {
    "mace": {
        "kind": "mace",
        "cutoff": 5.0,
        "channels": 64,
        "l_max": 2,
        "layers": 2,
        "correlation": 3,
    },
    "light": {"kind": "light", "cutoff": 5.0, "channels": 32, "layers": 2},
}


def water_box(molecules_per_edge: int, seed: int = 0) -> Frame:
    """Returns a periodic box of water-like molecules at 1 g/cm³."""
    rng = np.random.default_rng(seed)
    n = molecules_per_edge**3
    length = (n * 29.9) ** (1 / 3)
    grid = np.stack(np.meshgrid(*[np.arange(molecules_per_edge)] * 3, indexing="ij"), -1)
    centres = (grid.reshape(-1, 3) + 0.5) * length / molecules_per_edge + 0.1 * rng.normal(
        size=(n, 3)
    )
    shape = np.array([[0, 0, 0], [0.9572, 0, 0], [-0.2400, 0.9266, 0]])
    rotations = np.linalg.qr(rng.normal(size=(n, 3, 3)))[0]
    positions = centres[:, None] + np.einsum("ai,nij->naj", shape, rotations)
    return Frame(np.tile([8, 1, 1], n), positions.reshape(-1, 3), np.eye(3) * length, (True,) * 3)


def timed(calls: dict[str, Callable[[], Any]], rounds: int = 9) -> dict[str, float]:
    """Returns the fastest of several calls in milliseconds; the calls take turns.

    On a machine that does other things the minimum is what the code costs, and taking turns lets a
    busy moment fall on all.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        jax.block_until_ready(call())
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: min(values) for name, values in times.items()}


def prepared(backbone: str, solver: dict, boxes: int) -> tuple[dict, dict[str, Callable[[], Any]]]:
    """Returns a row with compile times, and the calls to time."""
    frame = water_box(4)
    fitted = Statistics((1, 8), (-13.6, -432.0), average_neighbors=54.0)
    config = {
        "backbone": BACKBONES[backbone],
        "density": {"l_max": 1, "width": 1.5},
        "coulomb": {"boundary": "auto", "method": "auto", "accuracy": 1e-5, "finite_size": "none"},
        "solver": solver,
    }
    model = assemble(config, fitted, "float32")
    samples = [model.sample(frame)] * boxes
    system = jax.device_put(collate(samples, capacity_for(samples), np.float32).system)
    params = model.init(0, system)

    def loss(params, system):
        prediction = model.apply(params, system)
        return jnp.mean(prediction.forces**2) + jnp.mean(prediction.energy**2)

    def forces(params, system):
        prediction = model.apply(params, system)
        return prediction.forces, prediction.report.steps

    row = {"backbone": backbone, "solver": solver["kind"], "boxes": boxes, "atoms": 192 * boxes}
    calls: dict[str, Callable[[], Any]] = {}
    for name, function in (("forces", forces), ("gradient", jax.grad(loss))):
        start = time.perf_counter()
        compiled = jax.jit(function).lower(params, system).compile()
        row[f"{name}_compile_s"] = time.perf_counter() - start
        calls[name] = lambda c=compiled: c(params, system)
    row["solver_steps"] = int(calls["forces"]()[1][0])
    return row, calls


SOLVERS = (
    {"kind": "none"},
    {"kind": "local", "charge_control": "total"},
    {"kind": "split", "formal_charges": {"O": -2.0, "H": 1.0}},
    {"kind": "latent"},
    {"kind": "qeq"},
    {"kind": "functional"},
    {"kind": "scf", "initial_hardness": 8.0},
    {"kind": "non_scf"},
)
"""Every kind; the charges of scf are as soft as those of qeq, or it would hardly need a step."""


def rows(options: Namespace) -> list[dict]:
    """Returns a row per backbone and solver; those of one backbone take turns."""
    found = []
    for backbone in BACKBONES:
        chosen = [
            prepared(backbone, solver, 1)
            for solver in SOLVERS
            if not options.only or options.only in f"{backbone}-{solver['kind']}"
        ]
        for name in ("forces", "gradient"):
            times = timed({row["solver"]: calls[name] for row, calls in chosen})
            for row, _ in chosen:
                row[f"{name}_ms"] = times[row["solver"]]
                row[f"{name}_over_none"] = times[row["solver"]] / times.get("none", float("nan"))
        found += [row for row, _ in chosen]
    return found
