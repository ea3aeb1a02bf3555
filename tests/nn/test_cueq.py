"""The symmetric contraction through cuEquivariance gives what our own gives."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax.errors import ConfigError
from electrojax.nn import cueq, mace
from electrojax.nn.contraction import SymmetricContraction
from tests.nn import graphs

needs_package = pytest.mark.skipif(
    not (cueq._installed("cuequivariance") and cueq._installed("cuequivariance_jax")),
    reason="cuequivariance and cuequivariance_jax are not installed (extra cueq)",
)
SPECIES = jnp.array([[1.0, 0], [0, 1.0], [0, 1.0], [1.0, 0], [0, 0]])  # the last is padding


def _pair(l_out: int, correlation: int) -> tuple[SymmetricContraction, SymmetricContraction]:
    return tuple(SymmetricContraction(2, l_out, correlation, kernels) for kernels in mace.KERNELS)


def _features(rng, dtype=np.float64):
    return jnp.asarray(rng.normal(size=(9, len(SPECIES), 3)), dtype)


def _close(actual, expected, tolerance: float) -> None:
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, e, rtol=0, atol=tolerance * np.abs(e).max())


@needs_package
@pytest.mark.parametrize(("l_out", "correlation"), [(1, 2), (0, 3), (1, 1)])
def test_values_and_two_derivatives_are_those_of_our_own(l_out, correlation, rng, x64):
    """The second derivative is that of a loss of forces, by features and weights."""
    own, other = _pair(l_out, correlation)
    x = _features(rng)
    params = own.init(jax.random.key(0), x, SPECIES)

    @functools.partial(jax.jit, static_argnums=0)
    def evaluate(module, params, x):
        def energy(params, x):
            values = module.apply(params, x, SPECIES)
            return sum(jnp.sum(jnp.sin(v)) for v in values), values

        def loss(params, x):
            first, values = jax.grad(energy, (0, 1), has_aux=True)(params, x)
            return jnp.sum(first[1] ** 2), (first, values)

        return jax.grad(loss, (0, 1), has_aux=True)(params, x)

    expected = evaluate(own, params, x)
    assert all(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(expected))
    _close(evaluate(other, params, x), expected, 1e-12)


@needs_package
def test_values_of_a_third_order_with_vectors_and_quadrupoles(rng, x64):
    own, other = _pair(2, 3)
    x = _features(rng)
    params = own.init(jax.random.key(0), x, SPECIES)
    _close(other.apply(params, x, SPECIES), own.apply(params, x, SPECIES), 1e-12)


@needs_package
def test_parameters_begin_the_same_and_single_precision_stays(rng):
    own, other = _pair(1, 2)
    x = _features(rng, np.float32)
    params = own.init(jax.random.key(3), x, SPECIES)
    begun = other.init(jax.random.key(3), x, SPECIES)
    assert jax.tree.structure(begun) == jax.tree.structure(params)
    for a, b in zip(jax.tree.leaves(begun), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(a, b)
    values = other.apply(params, x, SPECIES)
    assert {v.dtype for v in values} == {np.dtype(np.float32)}
    _close(values, own.apply(params, x, SPECIES), 1e-6)


@needs_package
def test_maps_over_a_batch_and_clears_padding(rng, x64):
    own, other = _pair(0, 2)
    xs = jnp.stack([_features(rng), _features(rng)])
    params = own.init(jax.random.key(0), xs[0], SPECIES)
    batched = jax.vmap(lambda x: other.apply(params, x, SPECIES))(xs)
    _close(
        batched, [jnp.stack(v) for v in zip(*(own.apply(params, x, SPECIES) for x in xs))], 1e-12
    )
    assert all(not np.any(values[:, :, -1]) for values in batched)


@needs_package
def test_a_backbone_gives_the_same_features_from_the_same_parameters(rng, x64):
    system = graphs.graph(graphs.molecule(1.5 * rng.normal(size=(4, 3))))
    arguments = (system, graphs.species(system), graphs.vectors(system))
    own = mace.Mace(2, 3.0, channels=2, hidden_l_max=0, layers=1, correlation=2, radial_hidden=())
    shapes = jax.eval_shape(own.init, jax.random.key(0), *arguments)
    params = jax.tree.map(lambda p: rng.normal(size=p.shape), shapes)
    other = dataclasses.replace(own, kernels="cuequivariance")
    (expected,), (values,) = (m.apply(params, *arguments).layers for m in (own, other))
    assert np.abs(expected.array).max() > 1e-3
    _close(values.array, expected.array, 1e-12)


@pytest.mark.parametrize(
    ("missing", "backend", "advice"),
    [
        ("cuequivariance", "cpu", "pip install 'electrojax[cueq]'"),
        ("cuequivariance_jax", "gpu", "pip install 'electrojax[cueq]'"),
        ("cuequivariance_ops_jax", "gpu", "pip install cuequivariance-ops-jax-cu12"),
    ],
)
def test_a_missing_package_is_named_with_what_to_install(missing, backend, advice, monkeypatch):
    monkeypatch.setattr(cueq, "_installed", lambda package: package != missing)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    with pytest.raises(ConfigError) as error:
        _trace("cuequivariance")
    assert advice in str(error.value)
    assert "kernels: own" in str(error.value)


def test_without_a_gpu_its_kernels_are_not_asked_for(monkeypatch):
    monkeypatch.setattr(cueq, "_installed", lambda package: package != "cuequivariance_ops_jax")
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    cueq.require_cuequivariance()


def test_unknown_kernels_are_refused():
    with pytest.raises(ConfigError, match='kernels "triton" does not exist'):
        _trace("triton")


def _trace(kernels: str) -> None:
    system = graphs.graph(graphs.molecule([[0.0, 0, 0], [0, 0, 1.0]]), dtype=np.float32)
    module = dataclasses.replace(graphs.backbone("mace"), kernels=kernels)
    arguments = (system, graphs.species(system), graphs.vectors(system))
    jax.eval_shape(functools.partial(module.init, jax.random.key(0)), *arguments)
