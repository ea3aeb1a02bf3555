"""Prediction and training step lower for CPU, CUDA and TPU in float32, without the hardware."""

import re

import jax
import numpy as np
import pytest
from jax import export

from electrojax.system.batching import capacity_for, collate
from electrojax.training.optimizer import make_optimizer
from electrojax.training.step import Controls, init_state, make_train_step
from tests.conformance import models
from tests.conformance.test_conformance import BOUNDARIES, cases, every_case, structure

PLATFORMS = ("cpu", "cuda", "tpu")


def batch_of(model, boundary, solver="local"):
    samples = [model.sample(structure(boundary, solver=solver))]
    return collate(samples, capacity_for(samples), model.dtype)


def check(function, *arguments):
    exported = export.export(function, platforms=PLATFORMS)(*arguments)
    assert set(exported.platforms) == set(PLATFORMS)
    text = exported.mlir_module()
    assert "f64" not in text and "complex" not in text, "double precision in a float32 program"


@cases("s")
def test_prediction_exports(backbone, solver, boundary):
    model = models.potential(backbone, solver, "float32")
    system = batch_of(model, boundary, solver).system
    check(jax.jit(model.apply), model.params, system)


@pytest.mark.conformance_for(
    "light-functional-slab",
    "light-latent-slab",
    "light-local-slab",
    "light-qeq-bounded-open",
    "light-qeq-periodic",
    "light-qeq-soft-slab",
)
@every_case
def test_training_step_exports(backbone, solver, boundary):
    model = models.potential(backbone, solver, "float32")
    optimizer = make_optimizer("adamw", 10.0, 1e-6)
    weights = {name: np.float32(1.0) for name in ("energy", "forces") if name in model.provides}
    step = make_train_step(model.apply, optimizer, 0.99)
    state = init_state(model.params, optimizer)
    check(step, state, batch_of(model, boundary, solver), Controls(np.float32(1e-3), weights))


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_float32_program_holds_no_float64_under_x64(x64, boundary):
    """With x64 switched on, one stray array would promote everything; Python scalars are weak."""
    model = models.potential("mace", "local", "float32")
    system = batch_of(model, boundary).system
    jaxpr = jax.make_jaxpr(model.apply)(model.params, system)
    assert not re.findall(r"(?:f64|c128)\[\d[^]]*\]", str(jaxpr))
