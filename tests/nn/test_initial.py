"""Initial weights: normal, uncorrelated, and a function of the key alone."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import kstest, norm

from electrojax.nn.initial import normal


def test_weights_are_normal_and_uncorrelated():
    draw = np.asarray(normal(0.5)(jax.random.key(3), (400, 500), jnp.float32))
    assert kstest(draw.ravel(), norm(scale=0.5).cdf).pvalue > 1e-3
    for shifted in (
        np.roll(draw, 1),
        np.roll(draw, 1, axis=0),
        draw**2 * np.sign(np.roll(draw, 1)),
    ):
        assert abs(np.corrcoef(draw.ravel(), shifted.ravel())[0, 1]) < 4 / np.sqrt(draw.size)


def test_keys_give_different_weights_and_the_same_key_the_same():
    first, again, other = (normal(1.0)(jax.random.key(i), (4096,), jnp.float32) for i in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.07
    old_style = normal(1.0)(jax.random.PRNGKey(1), (4096,), jnp.float32)
    np.testing.assert_array_equal(first, old_style)


def test_dtype_and_shape_follow_the_request(x64):
    draw = normal(1.0)(jax.random.key(0), (2, 0, 3), jnp.float64)
    assert draw.shape == (2, 0, 3) and draw.dtype == np.float64
