"""Charge that is missing is shared out in full, whatever the weights are."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from electrojax import testing
from electrojax.models.predict import predict_frames
from electrojax.solvers.readouts.fukui import conserve_charge
from tests.conformance.models import potential
from tests.solvers.systems import system_of


@pytest.mark.parametrize("logit", [0.0, -50.0, -110.0, -1e4, 1e4])
def test_weights_that_underflow_lose_no_charge_in_single_precision(rng, logit):
    """softplus(−110) is 0 in float32; the weights are made of logarithms."""
    frame = testing.cluster(rng, n=4, total_charge=1.0)
    system = system_of([frame], nodes=2, graphs=1)
    multipoles = jnp.asarray(rng.normal(size=(6, 4)) * np.asarray(system.node_mask)[:, None])
    multipoles = multipoles.astype(jnp.float32)
    logits = jnp.full(6, logit, jnp.float32)
    charges = np.asarray(conserve_charge(multipoles, logits, system))[:, 0]
    np.testing.assert_allclose(charges[:4].sum(), 1.0, atol=1e-6)
    assert not np.any(charges[4:])
    even = np.asarray(multipoles[:4, 0]) + (1.0 - np.sum(np.asarray(multipoles[:4, 0]))) / 4
    np.testing.assert_allclose(charges[:4], even, atol=1e-6)


def test_channels_are_put_right_one_by_one(x64, rng):
    """q + f (Q − Σ q) with f = softplus(x)/Σ softplus(x), computed with NumPy."""
    system = system_of([testing.cluster(rng, n=3, total_charge=-2.0)])
    multipoles, logits = rng.normal(size=(3, 2, 1)), rng.normal(size=3)
    weights = np.log1p(np.exp(logits)) / np.log1p(np.exp(logits)).sum()
    found = conserve_charge(jnp.asarray(multipoles), jnp.asarray(logits), system)
    for channel in range(2):
        charges = multipoles[:, channel, 0]
        expected = charges + weights * (-2.0 - charges.sum())
        np.testing.assert_allclose(found[:, channel, 0], expected, rtol=1e-13)


def test_a_predicted_ion_keeps_its_charge(rng):
    """Weights as training could make them: the sum was 0.415 e where two of three underflow."""
    model = potential("light", "local", "float32")
    solver = dict(model.params["solver"])
    solver["element_fukui"] = np.full_like(solver["element_fukui"], -300.0)
    model = dataclasses.replace(model, params={**model.params, "solver": solver})
    (prediction,) = predict_frames(model, [testing.cluster(rng, n=5, total_charge=1.0)])
    np.testing.assert_allclose(prediction.charges.sum(), 1.0, atol=1e-5)
