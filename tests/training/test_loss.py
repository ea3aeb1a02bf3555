"""The loss against loops over structures, its masks and its independence of padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax.errors import ConfigError
from electrojax.system.batching import Capacity, build_sample, collate
from electrojax.system.types import Frame
from electrojax.training.loss import check_loss, loss
from electrojax.typing import replace
from tests.training import toy

WEIGHTS = {"energy": 3.0, "forces": 10.0, "dipole": 2.0, "charges": 5.0, "multipoles": 0.5}


def batch_of(samples, capacity=toy.CAPACITY):
    return collate(samples, capacity, np.float64)


@jax.jit
def toy_loss(params, batch, weights):
    return loss(toy.apply(params, batch.system), batch, weights)


def loss_of(samples, weights=None, capacity=toy.CAPACITY, params=None):
    batch = batch_of(samples, capacity)
    return toy_loss(params or toy.params(dtype=np.float64), batch, weights or WEIGHTS)


def by_hand(samples, weights):
    """The same loss from one structure at a time, in plain NumPy."""
    squares, counts = dict.fromkeys(weights, 0.0), dict.fromkeys(weights, 0)
    for sample in samples:
        n, labels = sample.system.n_nodes, sample.labels
        found = toy.compiled(toy.params(dtype=np.float64), batch_of([sample]).system)
        values = {
            "energy": found.energy[0] / n,
            "forces": found.forces[:n],
            "dipole": found.dipole[0] / n,
            "charges": found.charges[:n],
            "multipoles": found.density.multipoles[:n, 0],
            "total_charge": found.charges.sum() / n,
        }
        references = dict(labels)
        references["total_charge"] = sample.system.total_charge[0] / n
        for name in set(weights) & set(references):
            scale = n if name in ("energy", "dipole") else 1
            difference = np.ravel(values[name] - references[name] / scale)
            squares[name] += sample.weight * np.sum(difference**2)
            counts[name] += difference.size
    return sum(w * squares[k] / counts[k] for k, w in weights.items() if counts[k])


def test_equals_a_loop_over_structures(x64):
    samples = toy.samples(4)
    samples[1] = replace(samples[1], weight=2.5)
    samples[2] = replace(samples[2], labels={"forces": samples[2].labels["forces"]})
    weights = {**WEIGHTS, "total_charge": 0.7}
    value, _ = loss_of(samples, weights)
    assert float(value) == pytest.approx(by_hand(samples, weights), rel=1e-12)


def test_padding_changes_nothing(x64):
    samples = toy.samples(3)
    tight, _ = loss_of(samples)
    wide, _ = loss_of(samples, capacity=Capacity(90, 700, 11, 8))
    np.testing.assert_allclose(wide, tight, rtol=1e-13)


def test_unlabelled_batch_mates_change_nothing(x64):
    samples = toy.samples(3)
    alone, _ = loss_of(samples)
    together, _ = loss_of([replace(toy.samples(1, seed=5)[0], labels={}), *samples])
    np.testing.assert_allclose(together, alone, rtol=1e-13)


def test_a_label_nobody_has_contributes_zero_with_zero_gradient(x64):
    samples = toy.samples(3, labels=("energy",))

    def value(params, name):
        return loss_of(samples, {name: 4.0}, params=params)[0]

    for name in ("forces", "dipole", "charges", "multipoles", "stress", "fermi_level"):
        found, gradient = jax.value_and_grad(value)(toy.params(dtype=np.float64), name)
        assert float(found) == 0.0, name
        assert all(np.all(np.asarray(g) == 0.0) for g in jax.tree.leaves(gradient)), name


def test_a_nan_behind_the_mask_stays_there(x64):
    batch = batch_of(toy.samples(2))
    hidden = jnp.where(batch.targets.forces.mask[:, None], batch.targets.forces.value, jnp.nan)
    targets = replace(batch.targets, forces=replace(batch.targets.forces, value=hidden))
    batch = replace(batch, targets=targets)

    def value(params):
        return toy_loss(params, batch, WEIGHTS)[0]

    found, gradient = jax.value_and_grad(value)(toy.params(dtype=np.float64))
    assert np.isfinite(found)
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))


def test_multipole_components_are_masked_one_by_one(x64):
    samples = toy.samples(3)
    short = [
        replace(s, labels={**s.labels, "multipoles": s.labels["multipoles"][:, :1]})
        for s in samples
    ]
    value, terms = loss_of(short, {"multipoles": 1.0})
    charges, _ = loss_of(samples, {"charges": 1.0})
    assert int(terms["multipoles"].entries) == sum(s.system.n_nodes for s in samples)
    np.testing.assert_allclose(value, charges, rtol=1e-13)


def test_multipole_labels_longer_than_the_model_are_cut(x64):
    samples = toy.samples(3)
    long = [
        replace(
            s, labels={**s.labels, "multipoles": np.pad(s.labels["multipoles"], ((0, 0), (0, 5)))}
        )
        for s in samples
    ]
    np.testing.assert_allclose(
        loss_of(long, {"multipoles": 1.0})[0], loss_of(samples, {"multipoles": 1.0})[0], rtol=1e-13
    )


def test_unconverged_structures_do_not_count(x64):
    frames = toy.frames(4)
    failed = [build_sample(replace(frames[0], total_charge=99.0), toy.CUTOFF)]
    others = [build_sample(f, toy.CUTOFF) for f in frames[1:]]
    weights = {"energy": 1.0, "forces": 1.0, "charges": 1.0}
    value, terms = loss_of(failed + others, weights)
    np.testing.assert_allclose(value, loss_of(others, weights)[0], rtol=1e-13)
    assert int(terms["energy"].loss_count) == 3 and int(terms["energy"].entries) == 4


def test_a_weight_of_zero_is_a_structure_left_out_and_others_scale(x64):
    first, second = toy.samples(2)
    weights, params = {"energy": 1.0, "forces": 3.0}, toy.params(dtype=np.float64)

    def value(params, samples):
        return loss_of(samples, weights, params=params)[0]

    slope = jax.value_and_grad(value)
    alone, expected = slope(params, [second])
    both, gradient = slope(params, [replace(first, weight=0.0), second])
    np.testing.assert_allclose(both, alone, rtol=1e-13)
    for found, wanted in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected)):
        np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-14)
    scaled = value(params, [replace(second, weight=2.5)])
    np.testing.assert_allclose(scaled, 2.5 * alone, rtol=1e-13)
    silent, slopes = slope(params, [replace(first, weight=0.0)])
    assert silent == 0 and not any(np.any(leaf) for leaf in jax.tree.leaves(slopes))


def test_the_dipole_of_a_periodic_cell_is_not_fitted(x64):
    frame = toy.frames(1)[0]
    cell = replace(frame, cell=9.0 * np.eye(3), pbc=(True, True, True))
    periodic = [build_sample(cell, toy.CUTOFF)]
    value, terms = loss_of(periodic, {"dipole": 1.0, "energy": 0.0})
    assert float(value) == 0.0 and int(terms["dipole"].entries) == 0


def test_stress_counts_in_periodic_cells_only(x64):
    frame: Frame = toy.frames(1)[0]
    labels = {"stress": np.full((3, 3), 0.2)}
    cell = replace(frame, cell=9.0 * np.eye(3), pbc=(True, True, True), labels=labels)
    periodic, _ = loss_of([build_sample(cell, toy.CUTOFF)], {"stress": 1.0})
    open_frame = build_sample(replace(frame, labels=labels), toy.CUTOFF)
    free, _ = loss_of([open_frame], {"stress": 1.0})
    np.testing.assert_allclose(periodic, 0.04, rtol=1e-13)  # the toy model predicts no stress
    assert float(free) == 0.0


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"energies": 1.0}, ["loss.energies", "energy, forces"]),
        ({"energy": -1.0}, ["loss.energy", "-1.0"]),
        ({"energy": float("nan")}, ["loss.energy", "nan"]),
        ({"energy": 1.0, "charges": 2.0}, ["loss.charges", "does not predict charges"]),
        ({"total_charge": 2.0}, ["loss.total_charge", "does not predict charges"]),
        ({"energy": 0.0}, ["every weight is 0"]),
    ],
)
def test_an_impossible_loss_is_refused(weights, words):
    with pytest.raises(ConfigError) as caught:
        check_loss(weights, ("energy", "forces", "stress"))
    assert all(word in str(caught.value) for word in words)


def test_a_possible_loss_is_accepted():
    check_loss({"energy": 1.0, "charges": 0.0}, ("energy", "forces"))
    check_loss({"charges": 1.0, "total_charge": 1.0}, ("energy", "charges"))
