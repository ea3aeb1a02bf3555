"""Stages with a gradient of their own: what is compiled, and what the labels start."""

import sys

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax import testing
from electrojax.cli import main
from electrojax.config.resolve import load_run
from electrojax.config.starter import starter
from electrojax.errors import ConfigError
from electrojax.runs.build import build_training, open_job
from electrojax.runs.folder import run_folder
from electrojax.system.batching import collate
from electrojax.training.callbacks import ConvergenceLimit
from electrojax.training.guess import label_guess
from electrojax.training.loop import fit
from electrojax.training.optimizer import make_optimizer
from electrojax.training.step import (
    Controls,
    init_state,
    make_eval_step,
    make_train_step,
    read_report,
)
from electrojax.typing import replace
from tests.training import toy

RUN = """\
run: {name: modes, seed: 3}
data:
  train: {path: train.xyz}
  valid: {path: train.xyz, fraction: 0.5}
  atom_energies: {given: {H: 0.0, O: 0.0}}
  batching: {graphs: 2}
model:
  backbone: {kind: light, cutoff: 3.0, channels: 4, layers: 1}
  density: {l_max: 0, width: 1.1}
  solver: {kind: scf, response: free, energy: coulomb, receiver_widths: [1.1, 2.0], tolerance: 1e-4}
train:
  max_unconverged: 0.5
  stages:
    - {name: warm, epochs: 1, gradient: direct, loss: {energy: 1, charges: 1, last_step: 0.1}}
    - {name: closed, epochs: 1, loss: {energy: 1, forces: 1, level_slope: 1}}
    - {name: fine, epochs: 1, gradient: implicit, learning_rate: 1e-3}
"""


def frames(count):
    rng = np.random.default_rng(0)
    for _ in range(count):
        frame = testing.cluster(rng, n=3)
        atoms = ase.Atoms(frame.numbers, frame.positions)
        atoms.info["REF_energy"] = rng.normal()
        atoms.arrays["REF_forces"] = rng.normal(size=(3, 3))
        atoms.arrays["REF_charges"] = rng.normal(size=3)
        yield atoms


@pytest.fixture
def run_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ase.io.write(tmp_path / "train.xyz", list(frames(4)), format="extxyz")
    (tmp_path / "run.yaml").write_text(RUN)
    return tmp_path / "run.yaml"


def test_labels_start_the_solver_where_they_exist(x64):
    """Of one structure multipoles, of one charges, of one nothing."""
    kinds = (("multipoles", "charges"), ("charges",), ("energy",))
    samples = [toy.samples(1, seed=4 + k, labels=labels)[0] for k, labels in enumerate(kinds)]
    level = {**samples[1].labels, "fermi_level": np.array(0.7)}
    samples[1] = replace(samples[1], labels=level)
    batch = collate(samples, toy.CAPACITY, np.float64)
    found = label_guess(batch, 1)
    start = -np.ones((toy.CAPACITY.nodes, 4))
    owner = np.asarray(batch.system.node_graph)
    expected = start.copy()
    expected[owner == 0] = samples[0].labels["multipoles"]
    expected[owner == 1, 0] = samples[1].labels["charges"]
    np.testing.assert_array_equal(found.over(jnp.asarray(start)), expected)
    np.testing.assert_array_equal(found.fermi_level, [0.0, 0.7, 0.0, 0.0])


def test_the_step_hands_the_guess_to_the_model():
    """A model whose energy is the charge that it starts from."""

    def apply(params, system, guess):
        start = jnp.sum(guess.over(jnp.zeros((system.n_nodes, 4))), axis=1)
        sums = jax.ops.segment_sum(start, system.node_graph, system.n_graphs)
        found = toy.apply(params, system)
        return replace(found, energy=sums + 0.0 * found.energy)

    sample = toy.samples(1)[0]
    batch = collate([sample], toy.CAPACITY, np.float32)
    optimizer = make_optimizer("adam", 10.0, 0.0)
    state = init_state(toy.params(), optimizer)
    step = make_train_step(apply, optimizer, guess=lambda b: label_guess(b, 1))
    _, report = step(state, batch, Controls(np.float32(0.1), {"energy": np.float32(1.0)}))
    head, _ = read_report(np.asarray(report), ["energy"])
    charge = np.sum(sample.labels["multipoles"])
    wanted = ((charge - sample.labels["energy"]) / sample.system.n_nodes) ** 2
    assert head["loss"] == pytest.approx(wanted, rel=1e-5)


def test_a_step_for_each_gradient(run_file):
    """Direct: no iteration in the program. Stages of one gradient share a program."""
    job = open_job(run_file, [])
    state, stages, _ = build_training(job)
    assert stages[1].train_step is stages[2].train_step is not stages[0].train_step
    batch, _ = next(iter(job.loaders["train"].epoch(0)))
    loops = []
    for stage in stages[:2]:
        weights = {name: np.float32(w) for name, w in stage.weights.items() if w}
        program = jax.make_jaxpr(stage.train_step)(state, batch, Controls(np.float32(1), weights))
        loops.append("while[" in str(program))
    assert loops == [False, True]
    assert job.potential.network.solver.gradient == "implicit"


@pytest.mark.slow
def test_a_staged_run_compiles_once_per_gradient(run_file):
    job = open_job(run_file, [])
    state, stages, selection = build_training(job)
    result = fit(
        state,
        stages,
        make_eval_step(job.potential.apply),
        job.loaders["train"],
        job.loaders["valid"],
        provides=job.potential.provides,
        selection=selection,
        callbacks=[ConvergenceLimit(job.run.config.train.max_unconverged)],
    )
    programs = [record["compiled_programs"] for record in result.records]
    assert programs == [2, 3, 3]
    assert all(np.isfinite(record["train/loss"]) for record in result.records)
    assert result.records[0]["scf/last_step"] > 0
    assert all("scf/legendre_gap" in record for record in result.records)


def test_too_many_without_a_solution_end_with_exit_code_3(run_file, monkeypatch, capsys):
    """One product of the linear solve is too few; the run goes on where the limit is raised."""
    overrides = [
        "data.valid=null",
        "model.solver={kind: scf, response: symmetric, linear_solver: cg, max_steps: 1, "
        "initial_hardness: 0.5}",
        "train.stages=[{name: only, epochs: 1, loss: {energy: 1}}]",
        "train.max_unconverged=0.01",
    ]
    words = [word for text in overrides for word in ("--set", text)]
    monkeypatch.setattr(sys, "argv", ["electrojax", "train", str(run_file), *words])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 3
    assert "of the structures unconverged" in capsys.readouterr().err
    job = open_job(run_file, [*overrides, "train.max_unconverged=1.0"])
    with run_folder(job, resume=True) as existed:
        assert existed


@pytest.mark.parametrize("kind", ["local", "qeq"])
def test_other_solvers_have_one_gradient(run_file, kind):
    override = f"model.solver={{kind: {kind}}}"
    with pytest.raises(ConfigError) as caught:
        load_run(run_file, [override])
    lines = [" ".join(line.split()) for line in str(caught.value).splitlines()]
    assert sorted(lines) == [
        f'{run_file}:14 train.stages.0.gradient solver kind "{kind}" has gradient implicit alone, '
        'so "direct" of stage "warm" means nothing; drop it, or use solver kind scf',
        f"{run_file}:14 train.stages.0.loss.last_step "
        f'solver kind "{kind}" predicts no last_step; drop this weight',
        f"{run_file}:15 train.stages.1.loss.level_slope "
        f'solver kind "{kind}" predicts no level_slope; drop this weight',
    ]


def test_a_gradient_that_does_not_exist(run_file):
    with pytest.raises(ConfigError, match='train.stages.0.gradient   "exact" is not known'):
        load_run(run_file, ["train.stages.0.gradient=exact"])


def test_the_starter_of_scf_has_the_two_stages(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(starter("scf"))
    stages = load_run(path).config.train.stages
    assert [stage.gradient for stage in stages] == ["direct", "implicit"]
    assert stages[0].loss.multipoles > 0
