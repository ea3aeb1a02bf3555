"""Errors against independent NumPy on unpadded predictions, in the units of their names."""

import json

import numpy as np
import pytest

from electrojax.system.batching import Capacity, build_sample
from electrojax.system.geometry import places
from electrojax.training.evaluation import evaluate
from electrojax.training.metrics import Sums
from electrojax.training.step import make_eval_step
from electrojax.typing import replace
from tests.training import toy

WIDE = Capacity(nodes=40, edges=300, graphs=6, graph_nodes=7)


@pytest.fixture(scope="module")
def eval_step():
    return make_eval_step(toy.apply)


@pytest.fixture(scope="module")
def samples():
    found = toy.samples(10)
    found[3] = replace(found[3], labels={"energy": found[3].labels["energy"]})
    found[7] = replace(found[7], labels={"forces": found[7].labels["forces"]})
    return found


@pytest.fixture(scope="module")
def outcome(eval_step, samples):
    loader = toy.Loader(samples, size=4, capacities=(toy.CAPACITY, WIDE))
    return evaluate(
        eval_step, toy.params(), loader, toy.PROVIDES, "test", {"energy": 2.0, "forces": 3.0}
    )


def errors(outcome, samples, name, per_atom=False):
    differences, references = [], []
    for sample, prediction in zip(samples, outcome[1]):
        if name in sample.labels:
            scale = len(prediction.charges) if per_atom else 1
            reference = np.ravel(sample.labels[name]) / scale
            differences.append(np.ravel(getattr(prediction, name)) / scale - reference)
            references.append(reference)
    return np.concatenate(differences), np.concatenate(references)


@pytest.mark.parametrize("name", ["energy", "forces", "dipole", "charges", "multipoles"])
def test_errors_equal_a_recomputation_from_the_predictions(outcome, samples, name):
    difference, reference = errors(outcome, samples, name, per_atom=name == "energy")
    metrics = outcome[0]
    rmse = np.sqrt(np.mean(difference**2))
    assert metrics[f"test/{name}_rmse"] == pytest.approx(1e3 * rmse, rel=1e-5)
    assert metrics[f"test/{name}_mae"] == pytest.approx(1e3 * np.abs(difference).mean(), rel=1e-5)
    spread = np.sum((reference - reference.mean()) ** 2)
    assert metrics[f"test/{name}_r2"] == pytest.approx(1 - np.sum(difference**2) / spread, rel=1e-5)


def test_the_relative_force_error_is_over_the_rms_force(outcome, samples):
    difference, reference = errors(outcome, samples, "forces")
    expected = np.sqrt(np.mean(difference**2) / np.mean(reference**2))
    assert outcome[0]["test/forces_rmse_relative"] == pytest.approx(expected, rel=1e-5)


def test_multipoles_are_told_apart_by_order(outcome, samples):
    pairs = [
        (p.multipoles - s.labels["multipoles"])
        for s, p in zip(samples, outcome[1])
        if "multipoles" in s.labels
    ]
    difference = np.concatenate(pairs)
    for order, block in ((0, slice(0, 1)), (1, slice(1, 4))):
        expected = 1e3 * np.sqrt(np.mean(difference[:, block] ** 2))
        assert outcome[0][f"test/multipoles_l{order}_rmse"] == pytest.approx(expected, rel=1e-5)


def test_the_loss_is_that_of_one_large_batch(outcome):
    metrics = outcome[0]
    expected = 2 * (metrics["test/energy_rmse"] / 1e3) ** 2
    expected += 3 * (metrics["test/forces_rmse"] / 1e3) ** 2
    assert metrics["test/loss"] == pytest.approx(expected, rel=1e-6)


def test_predictions_come_in_the_order_of_the_data(outcome, samples):
    for sample, prediction in zip(samples, outcome[1]):
        assert prediction.forces.shape == sample.system.positions.shape
        moments = prediction.charges @ np.asarray(places(sample.system))
        expected = moments + prediction.multipoles[:, [3, 1, 2]].sum(axis=0)
        np.testing.assert_allclose(prediction.dipole, expected, atol=2e-6)
        assert prediction.energy == pytest.approx(sum(prediction.energies.values()), abs=1e-6)
        assert prediction.converged


def test_what_the_model_does_not_provide_is_not_compared(eval_step, samples):
    metrics, _ = evaluate(
        eval_step, toy.params(), toy.Loader(samples), ("energy", "forces", "stress")
    )
    assert {name.split("_")[0] for name in metrics if name.startswith("test/")} == {
        "test/energy",
        "test/forces",
    }


def test_unconverged_structures_are_counted_and_kept_in_the_errors(eval_step):
    frames = toy.frames(4)
    frames[2] = replace(frames[2], total_charge=99.0)
    loader = toy.Loader([build_sample(f, toy.CUTOFF) for f in frames])
    metrics, predictions = evaluate(
        eval_step, toy.params(), loader, toy.PROVIDES, weights={"energy": 1.0}
    )
    assert [p.converged for p in predictions] == [True, True, False, True]
    assert metrics["scf/unconverged"] == 0.25 and metrics["scf/steps"] == 3.0
    wanted = [(p.energy - f.labels["energy"]) / len(f.numbers) for f, p in zip(frames, predictions)]
    assert metrics["test/energy_rmse"] == pytest.approx(1e3 * np.sqrt(np.mean(np.square(wanted))))
    converged = np.square(wanted)[[0, 1, 3]]
    assert metrics["test/loss"] == pytest.approx(np.mean(converged), rel=1e-5)


def test_constant_labels_have_no_r2():
    sums = Sums()
    sums.add("energy", entries=4, square=1.0, absolute=2.0, reference=-8.0, reference_square=16.0)
    assert sums.metrics("valid") == {"valid/energy_rmse": 500.0, "valid/energy_mae": 500.0}


def test_sums_survive_json_exactly():
    sums = Sums()
    sums.add("forces", entries=3, square=0.1, absolute=1 / 3)
    sums.add_report(5, 1, 17)
    assert Sums(**json.loads(json.dumps(sums.plain()))) == sums
