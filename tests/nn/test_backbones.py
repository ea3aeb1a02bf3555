"""What every backbone must do: symmetries, padding, cutoff, finite derivatives, one precision."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax.nn.base import BACKBONES
from electrojax.nn.features import Features, component
from electrojax.nn.readout import EnergyReadout
from electrojax.system.batching import Capacity, on_device
from electrojax.system.geometry import PADDING_DISTANCE
from electrojax.typing import replace
from tests.nn import graphs
from tests.programs import equations

every_variant = pytest.mark.parametrize("variant", list(graphs.VARIANTS))


@pytest.fixture
def frame(rng):
    grid = np.stack(np.meshgrid([0, 1.6], [0, 1.7], [0, 1.5]), -1).reshape(-1, 3)
    return graphs.molecule(grid[:7] + 0.2 * rng.normal(size=(7, 3)))


@every_variant
def test_every_layer_rotates_and_inverts_in_the_order_of_multipoles(variant, frame, x64):
    system, params = graphs.graph(frame), graphs.parameters(variant)
    before = graphs.features(variant, params, system)
    for seed in (2, 3):  # an odd seed inverts as well
        matrix = graphs.rotation(seed)
        turned = replace(system, positions=system.positions @ matrix.T)
        after = graphs.features(variant, params, turned)
        for old, new in zip(before, after, strict=True):
            assert old.irreps.lmax >= 1
            assert all(ir.p == (-1) ** ir.l for _, ir in old.irreps)
            for degree in range(old.irreps.lmax + 1):
                values = np.asarray(component(old, degree))
                expected = np.einsum("mk,nkc->nmc", graphs.representation(matrix, degree), values)
                scale = np.abs(values).max()
                assert scale > 1e-3
                np.testing.assert_allclose(component(new, degree), expected, atol=1e-10 * scale)
                assert degree == 0 or not np.allclose(expected, values, atol=1e-3 * scale)


@every_variant
def test_permuting_atoms_permutes_features(variant, frame, rng, x64):
    order = rng.permutation(7)
    shuffled = graphs.molecule(frame.positions[order], frame.numbers[order])
    system = graphs.graph(frame)
    params = graphs.parameters(variant)
    old = graphs.features(variant, params, system)
    new = graphs.features(variant, params, graphs.graph(shuffled))
    for a, b in zip(old, new, strict=True):
        np.testing.assert_allclose(b.array, a.array[order], atol=1e-10)


@every_variant
def test_padding_and_batch_mates_change_nothing_and_padding_is_zero(variant, frame, rng, x64):
    mate = graphs.molecule(rng.normal(size=(4, 3)) * 2)
    alone = graphs.graph(frame)
    padded = graphs.graph(
        mate, frame, capacity=Capacity(nodes=19, edges=90, graphs=4, graph_nodes=9)
    )
    params = graphs.parameters(variant)
    old, new = graphs.features(variant, params, alone), graphs.features(variant, params, padded)
    for a, b in zip(old, new, strict=True):
        np.testing.assert_allclose(b.array[4:11], a.array, atol=1e-11)
        assert np.abs(a.array).max() > 1e-3
        np.testing.assert_array_equal(b.array[11:], 0.0)


@every_variant
def test_features_vanish_smoothly_at_the_cutoff(variant, x64):
    """Terms that reach the cutoff fall as its third power at least: forces are continuous."""
    pair = graphs.graph(graphs.molecule([[0.0, 0, 0], [0, 0, 1.0]]))
    params = graphs.parameters(variant)

    def change(gap: float) -> float:
        direction = np.array([0.6, 0.0, 0.8])
        apart = np.stack([np.zeros(3), direction * (graphs.CUTOFF - gap)])
        new = graphs.features(variant, params, replace(pair, positions=apart))
        far = graphs.features(variant, params, replace(pair, positions=apart * 2))
        return max(np.abs(a.array - b.array).max() for a, b in zip(new, far, strict=True))

    assert change(0.0) == 0.0
    assert change(-0.3) == 0.0
    assert change(1.0) > 1e-4
    assert 0 < change(0.01) < change(0.1) / 500


@every_variant
def test_forces_of_edges_at_the_cutoff_are_zero(variant, x64):
    pair = on_device(graphs.graph(graphs.molecule([[0.0, 0, 0], [0, 0, 1.0]])))
    params, module = graphs.parameters(variant), graphs.backbone(variant)

    @jax.jit
    def slope(length):
        def total(r):
            vectors = jnp.array([[0.0, 0, 1.0], [0.0, 0, -1.0]]) * r
            layers = module.apply(params, pair, graphs.species(pair), vectors).layers
            return sum(jnp.sum(jnp.sin(layer.array)) for layer in layers)

        return jax.grad(total)(length)

    assert abs(slope(2.0)) > 1e-4
    assert abs(slope(graphs.CUTOFF - 1e-5)) < 1e-8
    assert slope(graphs.CUTOFF) == slope(PADDING_DISTANCE) == 0.0


@pytest.mark.parametrize("variant", ["mace", "light-l2"])
def test_force_gradients_are_finite_in_the_corners(variant, x64):
    """An isolated atom, a pair, two atoms at one place and padding; then nothing but padding."""
    system = _corners()
    module, readout = graphs.backbone(variant), EnergyReadout()
    params = graphs.parameters(variant)
    layers = graphs.features(variant, params, system)
    weights = readout.init(jax.random.key(0), Features(layers))

    @jax.jit
    def gradients(params, system, species):
        def energy(positions):
            vectors = graphs.vectors(replace(system, positions=positions))
            return jnp.sum(readout.apply(weights, module.apply(params, system, species, vectors)))

        def loss(params, positions):
            return jnp.sum(jax.grad(energy)(positions) ** 2)

        return jax.grad(loss, argnums=(0, 1))(params, jnp.asarray(system.positions))

    everything = layers, gradients(params, system, graphs.species(system))
    padding = gradients(params, _emptied(system), jnp.full(system.n_nodes, -1, jnp.int32))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((everything, padding)))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(everything[1]))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(padding))


@every_variant
def test_float32_stays_float32_in_a_float64_process(variant, frame, x64):
    system = on_device(graphs.graph(frame, dtype=np.float32))
    params = graphs.parameters(variant, np.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    module, readout = graphs.backbone(variant), EnergyReadout()
    species, vectors = graphs.species(system), graphs.vectors(system)

    def initial(params):
        return readout.init(jax.random.key(0), module.apply(params, system, species, vectors))

    weights = jax.eval_shape(initial, params)
    weights = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), weights)

    def forces(params, vectors):
        def energy(v):
            return jnp.sum(readout.apply(weights, module.apply(params, system, species, v)))

        return jax.value_and_grad(energy)(vectors)

    jaxpr = jax.make_jaxpr(forces)(params, vectors)
    doubles = [e for e in equations(jaxpr.jaxpr) if any(_is_double(v) for v in e.outvars)]
    assert not doubles
    assert not [c for c in jaxpr.consts if getattr(c, "dtype", None) == np.float64]


@every_variant
def test_float32_agrees_with_float64(variant, frame, x64):
    double, single = graphs.graph(frame), graphs.graph(frame, dtype=np.float32)
    params = graphs.parameters(variant)
    low = graphs.parameters(variant, np.float32)
    old, new = graphs.features(variant, params, double), graphs.features(variant, low, single)
    for a, b in zip(old, new, strict=True):
        assert b.dtype == np.float32
        np.testing.assert_allclose(b.array, a.array, atol=2e-5 * np.abs(a.array).max())


@every_variant
def test_fields_are_the_configuration_schema(variant):
    cls = BACKBONES[graphs.VARIANTS[variant][0]]
    fields = {f.name: f for f in dataclasses.fields(cls) if f.name not in ("parent", "name")}
    runtime = {name for name, f in fields.items() if f.metadata.get("config") is False}
    assert runtime == {"num_species", "average_neighbors"}
    for name, field in fields.items():
        assert field.metadata["help"], name
        assert field.type in (int, float, str, bool, tuple[int, ...], tuple[str, ...]), name
        assert isinstance(field.default, int | float | str | bool | tuple), name
    assert 0 < fields["cutoff"].metadata["minimum"] < fields["cutoff"].metadata["maximum"]


def _corners():
    frames = [graphs.molecule([[0.0, 0, 0], [0, 0, length]]) for length in (1.0, 1.0, 20.0)]
    capacity = Capacity(nodes=8, edges=7, graphs=4, graph_nodes=2)
    system = graphs.graph(*frames, capacity=capacity)
    positions = np.array(system.positions)
    positions[3] = positions[2]
    return replace(system, positions=positions)


def _emptied(system):
    names = ["node_mask", "edge_mask", "graph_mask"]
    masks = {name: np.zeros_like(getattr(system, name)) for name in names}
    outside = np.full(system.n_edges, system.n_nodes, np.int32)
    return replace(
        system,
        positions=np.zeros_like(system.positions),
        numbers=np.zeros_like(system.numbers),
        node_graph=np.full(system.n_nodes, system.n_graphs, np.int32),
        senders=outside,
        receivers=outside,
        **masks,
    )


def _is_double(variable) -> bool:
    return getattr(variable.aval, "dtype", None) == np.dtype(np.float64)
