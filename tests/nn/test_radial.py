"""Radial functions and harmonics against their closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax.errors import ConfigError
from electrojax.nn.radial import (
    bessel_basis,
    harmonics,
    lengths_and_directions,
    polynomial_cutoff,
    radial_basis,
)
from tests.nn import graphs


@pytest.mark.parametrize(("power", "half"), [(5, 99 / 128), (6, 219 / 256)])
def test_polynomial_cutoff_at_half_the_cutoff(power, half, x64):
    """p = 5: 1 − 21 u⁵ + 35 u⁶ − 15 u⁷; p = 6: 1 − 28 u⁶ + 48 u⁷ − 21 u⁸ (arXiv 2003.03123)."""
    value = polynomial_cutoff(jnp.array([0.0, 2.5, 5.0, 7.0]), 5.0, power)
    np.testing.assert_allclose(value, [1.0, half, 0.0, 0.0], atol=1e-14)


@pytest.mark.parametrize("power", [3, 5, 6])
def test_polynomial_cutoff_has_two_vanishing_derivatives(power, x64):
    def value(r):
        return polynomial_cutoff(r, 4.0, power)

    edge = jnp.float64(4.0 - 1e-9)
    assert abs(jax.grad(value)(edge)) < 1e-8
    assert abs(jax.grad(jax.grad(value))(edge)) < 1e-6
    assert jax.grad(value)(jnp.float64(2.0)) < -0.1


def test_bessel_functions_are_orthonormal_in_the_ball(x64):
    nodes, weights = np.polynomial.legendre.leggauss(60)
    r, w = 2.5 * (nodes + 1), 2.5 * weights
    basis = np.asarray(bessel_basis(jnp.asarray(r), 5.0, 8))
    overlap = np.einsum("q,qn,qm->nm", w * r**2, basis, basis)
    np.testing.assert_allclose(overlap, np.eye(8), atol=1e-12)


def test_bessel_value_and_limit_at_zero(x64):
    value = bessel_basis(jnp.array([0.0, 2.5]), 5.0, 2)
    expected = np.sqrt(0.4) * np.array([[np.pi / 5, 2 * np.pi / 5], [0.4, 0.0]])
    np.testing.assert_allclose(value, expected, atol=1e-15)


def test_harmonics_of_permuted_vectors_are_in_multipole_order(rng, x64):
    points = rng.normal(size=(5, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    value = harmonics(jnp.asarray(points[:, [1, 2, 0]]), 2)
    expected = np.concatenate(graphs.real_harmonics(points), axis=1)
    np.testing.assert_allclose(value, expected, atol=1e-13)


def test_lengths_and_directions(x64):
    lengths, directions = lengths_and_directions(jnp.array([[3.0, 0, 4.0], [0, 0, 0]]))
    np.testing.assert_allclose(lengths, [5.0, 0.0])
    np.testing.assert_allclose(directions, [[0.6, 0, 0.8], [0, 0, 0]], atol=1e-15)


def test_a_single_gaussian_has_no_width():
    with pytest.raises(ConfigError, match="at least 2 functions"):
        radial_basis("gaussian", jnp.ones(3), 5.0, 1)
