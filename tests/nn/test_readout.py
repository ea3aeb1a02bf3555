"""Readouts: closed forms, symmetry and clear refusals."""

import e3nn_jax as e3nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from electrojax.errors import ConfigError
from electrojax.nn.features import Features, component, from_components
from electrojax.nn.linear import Linear, Perceptron, SpeciesLinear, normalized_silu
from electrojax.nn.readout import EnergyReadout, MultipoleReadout

SILU_SCALE = (
    quad(lambda z: norm.pdf(z) * (z / (1 + np.exp(-z))) ** 2, -30, 30, epsabs=1e-14, limit=200)[0]
    ** -0.5
)


@pytest.fixture
def features(rng, x64):
    irreps = e3nn.Irreps("3x0e+2x1o")
    layers = [e3nn.IrrepsArray(irreps, jnp.asarray(rng.normal(size=(4, 9)))) for _ in range(2)]
    return Features(tuple(e3nn.IrrepsArray(irreps, x.array.at[3].set(0.0)) for x in layers))


def test_components_and_irreps_are_the_same_numbers(rng):
    blocks = (rng.normal(size=(4, 1, 3)), rng.normal(size=(4, 3, 2)))
    layer = from_components(tuple(jnp.asarray(b) for b in blocks))
    assert layer.irreps == "3x0e+2x1o"
    np.testing.assert_allclose(layer.filter("1o").array[:, 3:], blocks[1][:, :, 1], rtol=1e-6)
    for degree, block in enumerate(blocks):
        np.testing.assert_allclose(component(layer, degree), block, rtol=1e-6)
    assert component(layer, 2).shape == (4, 5, 0)


def test_energy_is_linear_in_early_layers_and_a_perceptron_of_the_last(features):
    readout = EnergyReadout()
    params = readout.init(jax.random.key(0), features)
    weights = jax.tree.map(np.asarray, params["params"])
    first, last = (np.asarray(layer.array)[:, :3] for layer in features.layers)
    hidden = last @ weights["layer_1"]["hidden_0"]["weights"] / np.sqrt(3)
    hidden = hidden / (1 + np.exp(-hidden)) * SILU_SCALE
    expected = first @ weights["layer_0"]["weights"] / np.sqrt(3)
    expected = expected + hidden @ weights["layer_1"]["output"]["weights"] / 4
    energies = readout.apply(params, features)
    np.testing.assert_allclose(energies, expected[:, 0], rtol=1e-10)
    assert energies.shape == (4,) and energies[3] == 0.0


def test_multipoles_sum_linear_maps_of_all_layers(features):
    readout = MultipoleReadout("1x0e+1x1o")
    params = readout.init(jax.random.key(0), features)
    weights = params["params"]
    expected = np.zeros((4, 4))
    for index, layer in enumerate(features.layers):
        w0 = weights[f"layer_{index}_degree_0"]["weights"][:, 0] / np.sqrt(3)
        w1 = weights[f"layer_{index}_degree_1"]["weights"][:, 0] / np.sqrt(2)
        expected[:, 0] += layer.array[:, :3] @ w0
        expected[:, 1:] += np.einsum("num,u->nm", layer.array[:, 3:].reshape(4, 2, 3), w1)
    multipoles = readout.apply(params, features)
    np.testing.assert_allclose(multipoles, expected, atol=1e-12)
    np.testing.assert_array_equal(multipoles[3], 0.0)


def test_initial_multipoles_are_small_but_not_zero(rng, x64):
    """A zero start would be a stationary point of energies quadratic in the charges."""
    normal = e3nn.IrrepsArray("64x0e+64x1o", jnp.asarray(rng.normal(size=(200, 256))))
    readout = MultipoleReadout("0e+1o")
    multipoles, _ = readout.init_with_output(jax.random.key(0), Features((normal,)))
    assert 0.05 < np.std(multipoles) < 0.2


@pytest.mark.parametrize("irreps", ["2x0e+1x1o", "1x1o", "1x0e+1x1e", "0e+2e"])
def test_multipoles_refuse_other_irreps(features, irreps):
    with pytest.raises(ConfigError, match="one irrep per degree"):
        MultipoleReadout(irreps).init(jax.random.key(0), features)


def test_multipoles_refuse_a_degree_that_the_backbone_lacks(features):
    with pytest.raises(ConfigError, match="l = 2, but layer 0 of the backbone has none"):
        MultipoleReadout("0e+1o+2e").init(jax.random.key(0), features)


def test_silu_has_unit_second_moment(x64):
    np.testing.assert_allclose(
        normalized_silu(jnp.float64(0.7)), SILU_SCALE * 0.7 / (1 + np.exp(-0.7))
    )


def test_linear_maps_keep_the_variance(rng):
    x = jnp.asarray(rng.normal(size=(500, 2, 64)))
    one_hot = jax.nn.one_hot(np.arange(500) % 3, 3)
    plain, _ = Linear(64).init_with_output(jax.random.key(0), x)
    species, params = SpeciesLinear(64).init_with_output(jax.random.key(1), x, one_hot)
    perceptron, _ = Perceptron((64, 64), 64).init_with_output(jax.random.key(2), x)
    for y in (plain, species, perceptron):
        assert 0.8 < np.std(y) < 1.25
    weights = params["params"]["weights"]
    np.testing.assert_allclose(species[4], x[4] @ weights[1] / 8, rtol=1e-4, atol=1e-5)
