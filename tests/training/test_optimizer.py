"""Schedules, clipping, weight decay and the moving average against closed forms."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from electrojax.errors import ConfigError
from electrojax.training.optimizer import Schedule, make_optimizer, moving_average


def test_schedules_take_their_textbook_values():
    assert [Schedule(0.2)(t) for t in (0.0, 0.3, 1.0)] == [0.2, 0.2, 0.2]
    cosine = Schedule(0.2, "cosine", final=0.1)
    assert cosine(0.0) == pytest.approx(0.2)
    assert cosine(0.5) == pytest.approx(0.2 * 0.55)
    assert cosine(1 / 3) == pytest.approx(0.2 * (0.1 + 0.9 * 0.75))
    assert cosine(1.0) == pytest.approx(0.02)
    exponential = Schedule(0.2, "exponential", final=0.01)
    assert exponential(0.5) == pytest.approx(0.02)
    assert exponential(1.0) == pytest.approx(0.002)


def test_warmup_rises_to_the_peak_and_hands_over():
    schedule = Schedule(1.0, "cosine", warmup=0.2, final=0.01)
    assert 0 < schedule(0.0) <= 1e-3
    assert schedule(0.1) == pytest.approx(0.5)
    assert schedule(0.2) == pytest.approx(1.0)
    assert schedule(0.6) == pytest.approx(0.505)
    assert schedule(1.0) == pytest.approx(0.01)


@pytest.mark.parametrize(
    "options", [{"kind": "linear"}, {"warmup": 1.0}, {"final": 0.0}, {"peak": -1.0}]
)
def test_impossible_schedules_are_refused(options):
    with pytest.raises(ConfigError):
        Schedule(**{"peak": 0.1, **options})


def test_moving_average_is_the_weighted_sum_of_its_history():
    history = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    start = np.array([1.0, -1.0, 2.0, 0.5], np.float32)
    average = {"w": jnp.asarray(start)}
    for step, params in enumerate(history):
        average = moving_average(average, {"w": jnp.asarray(params)}, 0.8, jnp.int32(step))
    decays = [min(0.8, (1 + t) / (10 + t)) for t in range(30)]
    weights = [(1 - d) * math.prod(decays[t + 1 :]) for t, d in enumerate(decays)]
    expected = math.prod(decays) * start + np.einsum("t,ti->i", weights, history)
    np.testing.assert_allclose(average["w"], expected, rtol=2e-6, atol=1e-6)


def test_no_moving_average_is_the_parameters():
    new = {"w": jnp.array([0.1, 0.2])}
    average = moving_average({"w": jnp.array([5.0, 5.0])}, new, 0.0, jnp.int32(7))
    np.testing.assert_array_equal(average["w"], new["w"])


def test_the_first_direction_of_adam_is_the_sign_of_the_gradient():
    optimizer = make_optimizer("adam", clip=None)
    params = {"w": jnp.array([1.0, 2.0])}
    direction, _ = optimizer.update({"w": jnp.array([3.0, -0.2])}, optimizer.init(params), params)
    np.testing.assert_allclose(direction["w"], [1.0, -1.0], rtol=1e-5)


def test_weight_decay_acts_on_matrices_alone():
    optimizer = make_optimizer("adamw", weight_decay=0.5)
    params = {"kernel": jnp.full((2, 2), 4.0), "bias": jnp.full(2, 4.0), "scale": jnp.float32(4.0)}
    zero = {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2), "scale": jnp.float32(0.0)}
    direction, _ = optimizer.update(zero, optimizer.init(params), params)
    np.testing.assert_allclose(direction["kernel"], 2.0)
    np.testing.assert_array_equal(direction["bias"], 0.0)
    assert float(direction["scale"]) == 0.0


def test_a_long_gradient_is_shortened_before_adam():
    clipped, free = make_optimizer(clip=1.0), make_optimizer(clip=None)
    params = {"w": jnp.zeros(2)}
    long, short = {"w": jnp.array([300.0, 400.0])}, {"w": jnp.array([0.03, 0.04])}
    _, state = clipped.update(long, clipped.init(params), params)
    direction, _ = clipped.update(short, state, params)
    _, state = free.update({"w": jnp.array([0.6, 0.8])}, free.init(params), params)
    expected, _ = free.update(short, state, params)
    np.testing.assert_allclose(direction["w"], expected["w"], rtol=1e-5)


@pytest.mark.parametrize("options", [{"name": "sgd"}, {"name": "adam", "weight_decay": 0.1}])
def test_impossible_optimizers_are_refused(options):
    with pytest.raises(ConfigError):
        make_optimizer(**options)
