"""The symmetric contraction and the edge product against independent constructions."""

import math

import e3nn_jax as e3nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax.nn import contraction
from electrojax.nn.contraction import SymmetricContraction, symmetric_basis
from electrojax.nn.interaction import coupling, paths, row_product


def _evaluate(order: int, l_max: int, l_out: int, x: np.ndarray):
    """Returns the outputs for x [N, M] and the weights."""
    module = SymmetricContraction(l_max, l_out, order)
    stacked, one_hot = jnp.asarray(x.T[:, :, None]), jnp.ones((len(x), 1))
    params = module.init(jax.random.key(0), stacked, one_hot)
    return module.apply(params, stacked, one_hot), params["params"]


@pytest.mark.parametrize(("order", "l_max"), [(1, 2), (2, 2), (3, 1), (3, 2), (4, 1), (2, 0)])
def test_nested_evaluation_equals_the_full_tensor_sum(order, l_max, rng, x64):
    x = rng.normal(size=(3, (l_max + 1) ** 2))
    l_out = min(l_max, 1)
    outputs, weights = _evaluate(order, l_max, l_out, x)
    for degree, output in enumerate(outputs):
        expected = np.zeros((3, 2 * degree + 1))
        for nu in range(1, order + 1):
            basis = symmetric_basis(l_max, nu, degree)
            value = np.broadcast_to(basis, (3, *basis.shape))
            for _ in range(nu):
                value = np.einsum("ni...,ni->n...", value, x)
            expected += np.einsum("npm,p->nm", value, weights[f"weights_{degree}_{nu}"][0, :, 0])
        np.testing.assert_allclose(output[:, :, 0].T, expected, atol=1e-12)


def test_second_order_scalars_are_combinations_of_squared_norms(rng, x64):
    x = rng.normal(size=(20, 9))
    (output,), weights = _evaluate(2, 2, 0, x)
    second = output[0, :, 0] - x[:, 0] * weights["weights_0_1"][0, 0, 0]
    norms = np.stack([np.sum(part**2, axis=1) for part in np.split(x, [1, 4], axis=1)], axis=1)
    solution, _, rank, _ = np.linalg.lstsq(norms, second, rcond=None)
    assert rank == 3
    np.testing.assert_allclose(norms @ solution, second, atol=1e-12)
    # Orthonormal tensors: |x_l|² enters with 1/√(2l + 1), up to sign.
    used = np.sort(np.abs(solution) * np.sqrt([1, 3, 5]))
    np.testing.assert_allclose(used, np.sort(np.abs(weights["weights_0_2"][0, :, 0])), atol=1e-12)


def test_second_order_vectors_are_products_with_scalars_and_quadrupoles(rng, x64):
    """x₀ x₁ and the symmetric traceless matrix of x₂ times x₁, written in Cartesian form."""
    x = rng.normal(size=(20, 9))
    outputs, weights = _evaluate(2, 2, 1, x)
    linear = x[:, 1:4] * weights["weights_1_1"][0, 0, 0]
    second = outputs[1][:, :, 0].T - linear
    # With e3nn's l = 1 components as Cartesian (a, b, c), its l = 2 ones are, up to one factor,
    # (ac, ab, b² − (a² + c²)/2, bc, (c² − a²)/2) · (√3, √3, 1, √3, √3).
    s, t, u, v, w = x[:, 4:].T
    root = np.sqrt(3)
    zero = -u / root
    matrix = np.array([[zero - w, t, s], [t, 2 * u / root, v], [s, v, zero + w]])
    products = np.stack([x[:, :1] * x[:, 1:4], np.einsum("ijn,nj->ni", matrix, x[:, 1:4])], axis=-1)
    solution, _, rank, _ = np.linalg.lstsq(products.reshape(60, 2), second.reshape(60), rcond=None)
    assert rank == 2
    np.testing.assert_allclose(products @ solution, second, atol=1e-12)
    assert np.all(np.abs(solution) > 1e-3)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("degree", [0, 1, 2])
def test_number_of_paths_is_the_multiplicity_in_the_symmetric_power(order, degree):
    """Multiplicity of D_l in Sym^n(V): an integral of characters over O(3)."""
    assert symmetric_basis(2, order, degree).shape[-2] == _multiplicity(2, order, degree)


def test_basis_is_orthonormal_even_when_made_while_tracing_in_float32():
    contraction.symmetric_basis.cache_clear()
    e3nn._src.reduced_tensor_product._reduced_tensor_product_basis.cache_clear()

    @jax.jit
    def trace(x):
        return x * symmetric_basis(2, 3, 1).shape[-2]

    trace(jnp.float32(1.0))
    basis = symmetric_basis(2, 3, 1).reshape(9**3, -1)
    assert basis.dtype == np.float64
    np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-12)


def test_every_species_has_its_own_weights_and_padding_none(rng, x64):
    module = SymmetricContraction(1, 1, 2)
    x = jnp.asarray(np.repeat(rng.normal(size=(4, 1, 3)), 3, axis=1))
    one_hot = jnp.array([[1.0, 0], [0, 1.0], [0, 0]])
    scalars, vectors = module.apply(module.init(jax.random.key(0), x, one_hot), x, one_hot)
    assert np.abs(scalars[:, 0] - scalars[:, 1]).min() > 1e-3
    np.testing.assert_array_equal(scalars[:, 2], 0.0)
    np.testing.assert_array_equal(vectors[:, 2], 0.0)


@pytest.mark.parametrize("path", paths(2, 2))
def test_edge_product_equals_e3nn(path, rng, x64):
    l1, l2, l3 = path
    features = rng.normal(size=(4, 2 * l1 + 1, 1))
    angular = np.concatenate([np.ones((4, 1)), rng.normal(size=(4, 8))], axis=1)
    y = angular[:, l2**2 : (l2 + 1) ** 2]
    expected = e3nn.tensor_product(
        e3nn.IrrepsArray(f"{l1}{'eo'[l1 % 2]}", jnp.asarray(features[:, :, 0])),
        e3nn.IrrepsArray(f"{l2}{'eo'[l2 % 2]}", jnp.asarray(y)),
        filter_ir_out=[e3nn.Irrep(l3, (-1) ** l3)],
    )
    value = row_product(jnp.asarray(features)[None], jnp.asarray(angular)[None], path)
    np.testing.assert_allclose(value[0, :, 0], np.sum(expected.array, axis=0), atol=1e-12)


def test_couplings_keep_natural_parity_and_unit_variance():
    assert paths(0, 2) == [(0, 0, 0), (0, 1, 1), (0, 2, 2)]
    assert len(paths(1, 2)) == 7
    for path in paths(2, 2):
        assert math.isclose(np.sum(coupling(path) ** 2), 2 * path[2] + 1, rel_tol=1e-12)


def _multiplicity(l_max: int, order: int, degree: int) -> int:
    angles, weights = np.polynomial.legendre.leggauss(200)
    theta, measure = np.pi * (angles + 1) / 2, weights * np.pi / 2

    def character(rotor: int, power: int, sign: int) -> np.ndarray:
        turns = np.arange(-rotor, rotor + 1)[:, None] * (power * theta)
        return float(sign) ** (rotor * power) * np.sum(np.cos(turns), axis=0)

    total = 0.0
    for sign in (1, -1):
        power_sums = [
            sum(character(rotor, k, sign) for rotor in range(l_max + 1)) for k in range(order + 1)
        ]
        complete = [np.ones_like(theta)]
        for n in range(1, order + 1):
            complete.append(sum(power_sums[k] * complete[n - k] for k in range(1, n + 1)) / n)
        haar = (1 - np.cos(theta)) / np.pi
        total += 0.5 * np.sum(measure * haar * complete[order] * character(degree, 1, sign))
    return round(total)
