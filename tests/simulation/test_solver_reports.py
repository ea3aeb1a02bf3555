"""What md makes of an iterative charge solver: its guess, its steps and its failures."""

import dataclasses
import json
import types

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax.config.md import load_md
from electrojax.errors import ConvergenceError
from electrojax.numerics.report import SolverReport
from electrojax.runs.md import build_md
from electrojax.simulation.forces import guess_from
from electrojax.simulation.run import simulate
from electrojax.simulation.trajectory import read_hdf5
from electrojax.solvers.local import LocalCharges

LOG2_TOLERANCE = -24.0


class Halving(LocalCharges):
    """Local charges as an iteration would find them that halves its error in every step."""

    most: int = 100

    def __call__(self, features, system, coulomb, guess):
        state = super().__call__(features, system, coulomb, None)
        found = jax.lax.stop_gradient(state.density.multipoles)
        start = jnp.zeros_like(found) if guess is None else guess.multipoles
        error = jnp.full(system.n_graphs, jnp.max(jnp.abs(found - start)))
        steps = jnp.ceil(jnp.log2(error) - LOG2_TOLERANCE).clip(0).astype(jnp.int32)
        report = SolverReport(steps <= self.most, jnp.minimum(steps, self.most), error)
        return dataclasses.replace(state, report=report)


def built(path, *overrides, most=100):
    """Returns the job of an md file whose model iterates."""
    with jax.enable_x64(True):
        job, _ = build_md(load_md(path, overrides))
    engine = job.engine
    solver = engine.model.network.solver
    network = engine.model.network.clone(
        solver=Halving(
            charge_control=solver.charge_control, most=most, l_max=solver.l_max, width=solver.width
        )
    )
    model = dataclasses.replace(engine.model, network=network)
    moving = dataclasses.replace(engine.moving, network=network)
    return dataclasses.replace(job, engine=dataclasses.replace(engine, model=model, moving=moving))


def run(job, start=None):
    with jax.enable_x64(True):
        simulate(job, start)
    text = (job.folder / "thermo.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


WRITE = "{every: 1, path: frames.h5, quantities: [velocities, multipoles]}"
ORDER = 6
"""Of the extrapolation in float64."""


def next_of(past):
    """The value after some at equal steps, on the polynomial through them: Lagrange's formula."""
    nodes = np.arange(len(past))
    weights = [np.prod([(len(past) - j) / (i - j) for j in nodes if j != i]) for i in nodes]
    return np.tensordot(weights, past, 1)


STARTS = {
    "last": lambda p, n: p[n - 1],
    "extrapolate": lambda p, n: next_of(p[max(n - ORDER, 0) : n]),
}


def test_steps_start_from_the_densities_of_the_steps_before(md_file):
    logs = {}
    for kind, start in STARTS.items():
        job = built(md_file(kind, write=WRITE, solver=f"{{warm_start: {kind}}}", steps=12))
        logs[kind] = [record["scf/steps"] for record in run(job)]
        p = read_hdf5(job.trajectory)["multipoles"]
        errors = [np.abs(p[n] - start(p, n)).max() for n in range(1, 13)]
        np.testing.assert_array_equal(logs[kind][1:], np.ceil(np.log2(errors) - LOG2_TOLERANCE))
    last, extrapolate = (np.mean(log[2:]) for log in logs.values())
    assert last > extrapolate + 2


def test_a_resumed_run_starts_its_solver_as_the_uninterrupted_one(md_file):
    # Far from the guess the first steps fail; that is forgiven once the extrapolation works.
    parts, whole = (
        built(md_file(name, write=WRITE, stop="{unconverged: 3}"), most=17)
        for name in ("parts", "whole")
    )
    whole = run(whole)
    assert not whole[0]["scf/converged"] and whole[-1]["scf/converged"]
    run(dataclasses.replace(parts, steps=14))
    found = run(parts, parts.checkpoints.latest())
    assert found == whole
    assert len({record["scf/steps"] for record in whole}) > 1


def test_failures_in_a_row_stop_the_run_with_the_last_good_frame(md_file):
    path = md_file("stop", write=WRITE, stop="{unconverged: 3}", solver="{warm_start: none}")
    job = built(path, most=5)
    with pytest.raises(ConvergenceError, match=r"step 4: the charge solver did not converge .* 3 "):
        run(job)
    records = [json.loads(x) for x in (job.folder / "thermo.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records] == [0, 1, 2, 3]
    assert not any(r["scf/converged"] for r in records)
    last = ase.io.read(job.folder / "last_good.xyz").positions
    np.testing.assert_allclose(last, read_hdf5(job.trajectory)["positions"][-1], atol=1e-8)
    assert job.checkpoints.latest().manifest["step"] == 3


@pytest.mark.parametrize(("degree", "exact"), [(3, ["float32", "float64"]), (5, ["float64"])])
def test_a_guess_continues_a_polynomial_as_far_as_its_precision_bears(x64, degree, exact):
    path = jnp.array([[(0.1 * t) ** degree, 1.0 - (0.1 * t) ** degree] for t in range(6, -1, -1)])
    density = path[1:, :, None, None]
    last = types.SimpleNamespace(multipoles=density, fermi_level=path[1:, :1], known=jnp.int32(6))
    for dtype in ("float32", "float64"):
        guess = guess_from(last, "extrapolate", dtype)
        errors = np.abs(guess.multipoles[:, 0, 0] - path[0])
        assert guess.multipoles.dtype == dtype
        assert (max(errors) < 1e-6) == (dtype in exact)
        np.testing.assert_allclose(
            guess.fermi_level, path[0, :1], atol=1e-6 if dtype in exact else 1
        )
