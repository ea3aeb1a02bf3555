"""The checks that electrojax ships must themselves be able to fail."""

import numpy as np
import pytest

from electrojax import testing


def test_ridders_on_known_derivatives():
    for function, expected in ((np.sin, 1.0), (np.exp, 1.0), (lambda t: (t + 2) ** 5, 80.0)):
        value, error = testing.ridders(function)
        assert abs(value - expected) < 1e-10 * max(1, expected)
        assert error < 1e-8


def test_assert_gradient_accepts_the_right_and_refuses_the_wrong():
    at = np.array([0.3, -0.2, 0.9])

    def function(x):
        return float(np.sum(np.cos(x)))

    testing.assert_gradient(function, -np.sin(at), at, rtol=1e-9)
    with pytest.raises(AssertionError, match="finite difference"):
        testing.assert_gradient(function, -np.sin(at) * 1.00001, at, rtol=1e-7)


def test_assert_gradient_refuses_noise():
    rng = np.random.default_rng(0)
    with pytest.raises(AssertionError):
        testing.assert_gradient(
            lambda x: float(x[0] + 1e-3 * rng.normal()), np.ones(1), np.zeros(1), rtol=1e-9
        )


@pytest.mark.parametrize("inversion", [False, True])
def test_random_rotation_is_orthogonal(rng, inversion):
    matrix = testing.random_rotation(rng, inversion)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.isclose(np.linalg.det(matrix), -1.0 if inversion else 1.0)
