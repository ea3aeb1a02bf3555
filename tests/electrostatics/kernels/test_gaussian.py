"""Boys functions and smeared kernels against SciPy and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import erf, hyp1f1

from electrojax.electrostatics.kernels.gaussian import (
    boys,
    fourier_factor,
    self_potential,
    smeared_coulomb,
    tail_exponent,
)
from electrojax.units import COULOMB as K_E

ARGUMENTS = np.concatenate([[0.0, 1e-300, 1e-12, 1e-3], np.linspace(0.1, 6, 40), [30.0, 1e3, 1e6]])


def exact_boys(n, x):
    return hyp1f1(n + 0.5, n + 1.5, -x) / (2 * n + 1)


def test_boys_functions(x64):
    for n, value in enumerate(boys(jnp.asarray(ARGUMENTS), 6)):
        np.testing.assert_allclose(value, exact_boys(n, ARGUMENTS), rtol=3e-12, atol=1e-300)


def test_boys_functions_in_single_precision():
    values = boys(jnp.asarray(ARGUMENTS, jnp.float32), 4)
    for n, value in enumerate(values):
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, exact_boys(n, ARGUMENTS), rtol=2e-5, atol=1e-30)


def test_boys_derivatives_to_fourth_order(x64):
    """Through both branches and their seam at x = 2, mixing reverse and forward mode."""
    x = jnp.asarray([0.0, 1e-9, 1.999, 2.0, 2.001, 40.0])
    function = lambda t: boys(t, 0)[0]  # noqa: E731
    for order in range(1, 5):
        function = jax.grad(function) if order % 2 else jax.jacfwd(function)
        expected = (-1) ** order * exact_boys(order, np.asarray(x))
        np.testing.assert_allclose(jax.jit(jax.vmap(function))(x), expected, rtol=1e-11)


def test_kernel_is_the_smeared_coulomb_potential(x64):
    r, w = np.linspace(0.05, 12, 60), 0.8
    (kernel,) = smeared_coulomb(jnp.asarray(r * r), w, 0)
    np.testing.assert_allclose(kernel, erf(r / (2 * w)) / r, rtol=1e-14)


def test_kernel_derivatives_at_zero_distance(x64):
    """T(x) along a line, with every derivative through r = 0 finite and exact."""
    w = 0.7

    def line(x):
        return smeared_coulomb(x * x, w, 0)[0]

    zero = jnp.asarray(0.0)
    assert jax.grad(line)(zero) == 0
    second = jax.grad(jax.grad(line))(zero)
    np.testing.assert_allclose(second, -1 / (6 * np.sqrt(np.pi) * w**3), rtol=1e-13)
    assert jax.grad(jax.grad(jax.grad(line)))(zero) == 0


def test_self_potential_matches_the_published_numbers(x64):
    """physics.md Appendix C: 2.708... per q² and 0.2006... per μ² at σ = 1.5, halves of these."""
    values = 0.5 * np.asarray(self_potential(1.5, 1))
    np.testing.assert_allclose(values[0], 2.708043305076275, rtol=1e-13)
    np.testing.assert_allclose(values[1:], 0.20059580037602032, rtol=1e-13)
    np.testing.assert_allclose(K_E / (np.sqrt(np.pi) * 1.5) / 2, values[0], rtol=1e-13)


def test_fourier_factor_is_the_transform_of_a_gaussian(x64):
    """∫ G(x) cos(kx) dx by the trapezoidal rule, which is spectrally exact here."""
    sigma, k = 0.9, 1.7
    x = np.linspace(-12, 12, 4001)
    gaussian = np.exp(-(x**2) / (2 * sigma**2)) / np.sqrt(2 * np.pi) / sigma
    expected = np.sum(gaussian * np.cos(k * x)) * (x[1] - x[0])
    np.testing.assert_allclose(fourier_factor(jnp.asarray(k * k), sigma), expected, rtol=1e-12)


def test_tail_exponent_grows_with_accuracy_and_order():
    values = [tail_exponent(a, 0) for a in (1e-3, 1e-5, 1e-8)]
    assert values == sorted(values)
    assert tail_exponent(1e-5, 1) > tail_exponent(1e-5, 0)
