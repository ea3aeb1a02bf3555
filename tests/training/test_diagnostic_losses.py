"""Loss terms on what a self-consistent map says of itself, and structures left out of the loss."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax import testing
from electrojax.errors import ConfigError
from electrojax.models.potential import assemble
from electrojax.system.batching import Capacity, collate
from electrojax.training.evaluation import evaluate
from electrojax.training.loss import check_loss, loss
from electrojax.training.metrics import Sums
from electrojax.training.residuals import STABLE
from electrojax.typing import replace
from tests.conformance.models import STATISTICS
from tests.training import toy

TERMS = ("level_slope", "stability", "last_step", "legendre_gap")


def told(values, converged=(True, True, True)):
    """The toy prediction of three structures, the last one padding, with given diagnostics."""
    batch = collate(toy.samples(2), dataclasses.replace(toy.CAPACITY, graphs=3), np.float64)
    prediction = toy.compiled(toy.params(dtype=np.float64), batch.system)
    report = replace(prediction.report, converged=jnp.array(converged))
    return replace(prediction, diagnostics=values, report=report), batch


def value_and_slope(name, values, converged=(True, True, True), control=0):
    values = jnp.asarray(values)
    prediction, batch = told({}, converged)
    controls = np.full(3, control, np.int32)
    batch = replace(batch, system=replace(batch.system, charge_control=controls))

    def value(x):
        return loss(replace(prediction, diagnostics={name: x}), batch, {name: 2.0})[0]

    return jax.value_and_grad(value)(values)


@pytest.mark.parametrize(
    ("name", "values", "excess"),
    [
        ("level_slope", [0.3, -0.5, 9.0], [0.3, 0.0]),
        ("level_slope", [-0.3, -0.5, 9.0], [0.0, 0.0]),
        ("stability", [1.2, 0.5, 9.0], [1.2 - STABLE, 0.0]),
        ("stability", [0.2, 0.5, 9.0], [0.0, 0.0]),
        ("legendre_gap", [0.2, -0.5, 9.0], [0.2, -0.5]),
    ],
)
def test_values_and_slopes_by_hand(x64, name, values, excess):
    value, slope = value_and_slope(name, values)
    np.testing.assert_allclose(value, 2.0 * np.mean(np.square(excess)), rtol=1e-13)
    np.testing.assert_allclose(slope, [*(2.0 * np.asarray(excess)), 0.0], rtol=1e-13)


def test_the_last_step_counts_per_component(x64):
    real = np.asarray(told({})[1].system.node_mask)
    values = np.random.default_rng(0).normal(size=(len(real), 4))
    value, slope = value_and_slope("last_step", values)
    np.testing.assert_allclose(value, 2.0 * np.mean(values[real] ** 2), rtol=1e-13)
    assert np.all(np.any(slope, axis=1) == real)


def test_structures_that_are_not_meant_do_not_count(x64):
    """What did not converge, with NaN behind it; and fixed potential, where Q is an output."""
    value, slope = value_and_slope("legendre_gap", [0.2, np.nan, 9.0], (True, False, True))
    np.testing.assert_allclose(value, 2.0 * 0.2**2, rtol=1e-13)
    np.testing.assert_allclose(slope, [0.8, 0.0, 0.0], rtol=1e-13)
    value, slope = value_and_slope("legendre_gap", [0.2, 0.3, 9.0], control=1)
    assert float(value) == 0.0 and not np.any(slope)


def test_metrics_are_named_after_the_solver(x64):
    prediction, batch = told({"legendre_gap": jnp.array([0.003, -0.004, 9.0])})
    sums = Sums()
    sums.add_prediction(prediction, batch, (*toy.PROVIDES, "legendre_gap"))
    metrics = sums.metrics("test") | sums.solver_metrics()
    np.testing.assert_allclose(metrics["scf/legendre_gap"], 1e3 * np.sqrt(12.5e-6), rtol=1e-12)
    assert not [name for name in metrics if name.startswith("test/legendre_gap")]


@pytest.mark.parametrize("name", TERMS)
def test_other_solvers_are_refused(name):
    with pytest.raises(ConfigError, match=f"loss.{name}: only a solver .*kind scf"):
        check_loss({"energy": 1.0, name: 1.0}, toy.PROVIDES)
    check_loss({"energy": 1.0, name: 1.0}, (*toy.PROVIDES, name))


LIMITS = {"tolerance": 1e-11, "rank": 1, "terms": 2}


def model(**solver):
    """A small self-consistent model with random parameters, in float64."""
    config = {
        "backbone": {"kind": "light", "cutoff": 3.0, "channels": 4, "layers": 1},
        "density": {"l_max": 0, "width": 1.1},
        "coulomb": {"boundary": "auto", "accuracy": 1e-10},
        "solver": {"kind": "scf", "energy": "quadratic", **LIMITS, **solver},
    }
    return assemble(config, STATISTICS, "float64")


def samples_of(potential, count=2, **inputs):
    frames = [
        testing.cluster(
            np.random.default_rng(seed), n=3, labels={"energy": np.array(0.1 * seed)}, **inputs
        )
        for seed in range(count)
    ]
    return [potential.sample(frame) for frame in frames]


def batch_of(potential, **inputs):
    return collate(samples_of(potential, **inputs), Capacity(7, 24, 3, 4), np.float64)


def random_params(potential, system, seed=1):
    shapes = jax.eval_shape(lambda: potential.network.init(jax.random.key(0), system)["params"])
    rng = np.random.default_rng(seed)
    leaves, tree = jax.tree.flatten(shapes)
    return tree.unflatten([jnp.asarray(0.4 * rng.normal(size=x.shape)) for x in leaves])


@pytest.mark.parametrize("gradient", ["direct", pytest.param("implicit", marks=pytest.mark.slow)])
def test_the_legendre_gap_of_a_model(x64, gradient):
    """∂E/∂Q + μ by differences of the energy; its loss has a slope in the parameters."""
    potential = model(response="free", receiver_widths=[1.1, 2.0]).with_diagnostics()
    potential = potential.with_solver_options(gradient=gradient)
    batch = batch_of(potential, total_charge=0.5)
    params = random_params(potential, batch.system)

    def gap(params, charge):
        system = replace(batch.system, total_charge=batch.system.total_charge + charge)
        prediction = potential.apply(params, system)
        return loss(prediction, batch, {"legendre_gap": 1.0})[0], prediction

    run = jax.jit(jax.grad(gap, has_aux=True))  # one program for all
    slopes, found = run(params, 0.0)
    step = 1e-4
    energies = [np.asarray(run(params, x)[1].energy) for x in (step, -step)]
    expected = (energies[0] - energies[1]) / (2 * step) + np.asarray(found.fermi_level)
    np.testing.assert_allclose(found.diagnostics["legendre_gap"][:2], expected[:2], atol=1e-6)
    assert np.all(np.abs(expected[:2]) > 1e-3) and bool(np.all(found.report.converged))
    flat = [np.abs(leaf).max() for leaf in jax.tree.leaves(slopes["solver"])]
    assert np.all(np.isfinite(flat)) and max(flat) > 1e-3


@pytest.mark.parametrize("mixing", ["linear", pytest.param("krylov", marks=pytest.mark.slow)])
def test_what_did_not_converge_is_left_out(x64, mixing):
    """Two updates are too few: no slope comes from there, and no number that is none."""
    potential = model(response="free", receiver_widths=[1.1, 2.0], mixing=mixing, max_steps=2)
    batch = batch_of(potential, total_charge=0.5)
    params = jax.tree.map(lambda x: 10.0 * x, random_params(potential, batch.system))

    def value(params):
        prediction = potential.apply(params, batch.system)
        weights = {"energy": 1.0, "charges": 1.0}
        return loss(prediction, batch, weights)[0], prediction

    slopes, prediction = jax.jit(jax.grad(value, has_aux=True))(params)
    np.testing.assert_array_equal(prediction.report.converged, [False, False, True])
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(slopes))
    assert np.all(np.isfinite(prediction.energy)) and np.all(np.isfinite(prediction.forces))
    loader = toy.Loader(
        samples_of(potential, total_charge=0.5), 2, (Capacity(7, 24, 3, 4),), False, np.float64
    )
    metrics, _ = evaluate(lambda *_: prediction, params, loader, potential.provides)
    assert metrics["scf/unconverged"] == 1.0
