"""Born charges and polarisabilities against closed forms and finite differences."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import electrojax as ej
from electrojax import testing
from electrojax.errors import ConfigError, DataError
from electrojax.models.potential import assemble
from electrojax.models.predict import born_charges, polarizability, predict_frames
from electrojax.models.responses import field_responses
from electrojax.system.batching import collate
from electrojax.system.quantities import FIELD_RESPONSES
from electrojax.training.loss import loss
from electrojax.typing import replace
from tests.conformance.models import STATISTICS, capacity, compiled, potential, system_of

FIELD = np.array([0.05, -0.1, 0.2])


def crystal(**inputs):
    return testing.crystal(np.random.default_rng(3), n=4, length=4.4, total_charge=-1.0, **inputs)


def test_two_polarizable_molecules_in_closed_form(x64):
    """E = −Σ_g (f·Σ q r + ½ a_g |f|² + ½ b (f·R_g)²) with R_g the sum of positions."""
    rng = np.random.default_rng(0)
    positions, field = rng.normal(size=(5, 3)), rng.normal(size=(2, 3))
    charges, owner = rng.normal(size=5), np.array([0, 0, 1, 1, 1])
    a, b = np.array([1.3, 0.4]), 0.7

    def energy(r, f):
        sums = jax.ops.segment_sum(r, owner, 2)
        linear = jnp.sum(f[owner] * charges[:, None] * r)
        return -linear - 0.5 * jnp.sum(a * jnp.sum(f**2, 1) + b * jnp.sum(f * sums, 1) ** 2)

    found = field_responses(energy, jnp.asarray(positions), jnp.asarray(field), FIELD_RESPONSES)
    eye = np.eye(3)
    for graph in range(2):
        r, f = positions[owner == graph].sum(axis=0), field[graph]
        alpha = a[graph] * eye + b * np.outer(r, r)
        np.testing.assert_allclose(found["polarizability"][graph], alpha, atol=1e-13)
        for atom in np.flatnonzero(owner == graph):
            z = charges[atom] * eye + b * (np.outer(r, f) + (f @ r) * eye)
            np.testing.assert_allclose(found["born_charges"][atom], z, atol=1e-13)


@pytest.mark.conformance
def test_responses_of_split_charges_are_slopes_of_the_polarization(x64):
    """Part of the charge of this model flows; its energy is linear in the field."""
    model, run = potential("light", "split"), compiled("light", "split")
    system = system_of(model, [crystal(external_field=FIELD)])
    direction = np.array([0.3, -0.5, 0.8])

    def moment(positions):
        prediction = run(replace(system, positions=positions))
        return float(prediction.polarization[0] @ direction)

    charges, alpha = jax.jit(lambda s: (born_charges(model, s), polarizability(model, s)))(system)
    slope = np.einsum("a,iab->ib", direction, charges)
    testing.assert_gradient(moment, slope, system.positions)
    np.testing.assert_allclose(charges.sum(axis=0), -np.eye(3), atol=1e-9)  # Q = −1
    assert np.abs(charges - charges.mean(axis=0)).max() > 0.1
    assert not np.any(alpha)


def test_parameter_gradient_of_a_loss_on_born_charges(x64):
    """Third derivatives, in a padded batch with one label missing."""
    backbone = {"kind": "light", "cutoff": 4.0, "channels": 4, "layers": 1}
    config = {**potential("light", "local").config, "backbone": backbone}
    model = assemble(config, STATISTICS, "float64").with_responses(["born_charges"])
    frame = testing.cluster(np.random.default_rng(1), n=3, total_charge=1.0)
    label = np.random.default_rng(2).normal(size=(3, 3, 3))
    samples = [
        model.sample(dataclasses.replace(frame, labels={"born_charges": label})),
        model.sample(testing.cluster(np.random.default_rng(4), n=4)),
    ]
    batch = collate(samples, capacity(samples, nodes=2, edges=5, graphs=1), np.float64)

    params = model.init(0, batch.system)

    @jax.jit
    def value(params):
        return loss(model.apply(params, batch.system), batch, {"born_charges": 1.0})[0]

    flat, unravel = ravel_pytree(params)
    gradient, _ = ravel_pytree(jax.jit(jax.grad(value))(params))
    testing.assert_gradient(lambda x: float(value(unravel(x))), gradient, flat, rtol=1e-6)
    found = np.asarray(jax.jit(model.apply)(params, batch.system).responses["born_charges"])
    np.testing.assert_allclose(value(params), np.mean((found[:3] - label) ** 2), rtol=1e-12)


def test_predict_gives_what_is_asked_for(rng):
    model = potential("light", "split", "float32")
    frames = [testing.cluster(rng, n=n) for n in (3, 5)]
    asked = model.with_responses(["polarizability", "born_charges"])
    for frame, prediction in zip(frames, predict_frames(asked, frames)):
        assert prediction.responses["born_charges"].shape == (len(frame.numbers), 3, 3)
        assert prediction.responses["polarizability"].shape == (3, 3)
        np.testing.assert_allclose(
            prediction.responses["born_charges"].sum(axis=0), np.zeros((3, 3)), atol=1e-4
        )


def test_responses_that_mean_nothing_are_refused(rng):
    frame = testing.cluster(rng)
    with pytest.raises(DataError, match="born_charges need a solver that feels a field.*none"):
        predict_frames(potential("light", "none").with_responses(["born_charges"]), [frame])
    with pytest.raises(ConfigError, match='"raman" does not exist; choose from'):
        ej.predict(potential("light", "local"), [], responses=["raman"])
