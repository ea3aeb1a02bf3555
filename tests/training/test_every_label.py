"""Every label trains: alone in the loss, it lowers its own error."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

from electrojax import testing
from electrojax.data.loader import prepare
from electrojax.models.potential import assemble
from electrojax.models.predict import predict_frames
from electrojax.system.batching import capacity_for, collate
from electrojax.system.quantities import RESPONSES
from electrojax.training.loss import loss
from tests.conformance.models import STATISTICS

CONFIG = {
    "backbone": {"kind": "light", "cutoff": 4.0, "channels": 4, "layers": 1},
    "density": {"l_max": 1, "width": 1.1},
    "coulomb": {"boundary": "auto", "method": "auto", "accuracy": 1e-5, "finite_size": "none"},
    "solver": {"kind": "qeq", "charge_control": "fixed_charge"},
}

CASES = {
    "stress": "periodic",
    "polarization": "periodic",
    "born_charges": "periodic",
    "polarizability": "open",
    "quadrupole": "open",
    "potential": "open",
    "fermi_level": "open",
    "multipoles": "open",
}
INSULATING = {"kind": "local"}
"""Of crystals: charges that flow freely have no polarisation there."""


def fresh(seed: int, frames: list):
    """A model with parameters of its own."""
    periodic = any(frame.boundary == "periodic" for frame in frames)
    config = CONFIG | ({"solver": INSULATING} if periodic else {})
    model = assemble(config, STATISTICS, "float64").with_responses(RESPONSES)
    sample = model.sample(frames[0])
    system = collate([sample], capacity_for([sample]), np.float64).system
    return dataclasses.replace(model, params=model.init(seed, system))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_label_alone_lowers_its_error(name, x64):
    """Labels are those of a model with other weights: a solution exists."""
    make = testing.crystal if CASES[name] == "periodic" else testing.cluster
    frames = [make(np.random.default_rng(seed), n=4) for seed in range(3)]
    teacher, model = fresh(1, frames), fresh(2, frames)
    asked = tuple(n for n in RESPONSES if n == name)
    teacher, model = (dataclasses.replace(m, responses=asked) for m in (teacher, model))
    labels = [np.asarray(p.value(name)) for p in predict_frames(teacher, frames)]
    labelled = [
        dataclasses.replace(frame, labels={name: label}) for frame, label in zip(frames, labels)
    ]
    samples = prepare(labelled, STATISTICS, model.sample)
    batch = collate(samples, capacity_for(samples), np.float64)
    optimizer = optax.adam(0.02)

    @jax.jit
    def step(params, state):
        value, slopes = jax.value_and_grad(
            lambda p: loss(model.apply(p, batch.system), batch, {name: 1.0})[0]
        )(params)
        changes, state = optimizer.update(slopes, state)
        return optax.apply_updates(params, changes), state, value

    params, state, values = model.params, optimizer.init(model.params), []
    for _ in range(60):
        params, state, value = step(params, state)
        values.append(float(value))
    assert values[0] > 0 and values[-1] < 0.25 * values[0]
