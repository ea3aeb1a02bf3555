"""Collating: nothing is lost, nothing is mixed, padding is marked."""

import dataclasses

import jax
import numpy as np
import pytest

from electrojax import testing
from electrojax.errors import CapacityError, DataError
from electrojax.system.batching import Capacity, build_sample, capacity_for, collate
from electrojax.system.geometry import cartesian_order, edge_vectors, harmonic_order, volume
from electrojax.system.quantities import LABELS
from electrojax.system.types import Frame, Statistics, System, graph_sum
from electrojax.typing import specs


def labelled(seed, n, rng):
    labels = {
        name: rng.normal(size=((n,) if spec.axis == "nodes" else ()) + spec.shape)
        for name, spec in LABELS.items()
    }
    labels["multipoles"] = labels["multipoles"][:, :4]
    frame = testing.cluster(np.random.default_rng(seed), n=n, total_charge=seed, labels=labels)
    return build_sample(frame, 4.0)


def test_every_field_of_every_structure_survives(rng):
    samples = [labelled(seed, n, rng) for seed, n in ((1, 3), (2, 6), (3, 4))]
    size = Capacity(nodes=20, edges=90, graphs=5, graph_nodes=6)
    batch = collate(samples, size, np.float64)
    nodes = edges = pairs = 0
    for graph, sample in enumerate(samples):
        one = sample.system
        where = {
            "nodes": slice(nodes, nodes + one.n_nodes),
            "edges": slice(edges, edges + one.n_edges),
            "pairs": slice(pairs, pairs + one.n_pairs),
            "graphs": slice(graph, graph + 1),
        }
        offset = {"nodes": nodes, "graphs": graph, None: 0}
        for name, spec in specs(System).items():
            stored = getattr(batch.system, name)[where[spec.axis]]
            np.testing.assert_array_equal(stored - offset[spec.index_of], getattr(one, name), name)
        for name, spec in LABELS.items():
            label, value = getattr(batch.targets, name), sample.labels[name]
            part = where[spec.axis]
            columns = slice(None, 4) if name == "multipoles" else slice(None)
            shape = label.value[part][:, columns] if name == "multipoles" else label.value[part]
            np.testing.assert_array_equal(np.ravel(shape), np.ravel(value), name)
            assert label.mask[part][..., columns].all() if name == "multipoles" else True
            assert label.mask[part].any()
        nodes, edges, pairs = nodes + one.n_nodes, edges + one.n_edges, pairs + one.n_pairs
    assert not batch.targets.multipoles.mask[:, 4:].any()
    system = batch.system
    assert system.node_mask.sum() == nodes and system.edge_mask.sum() == edges
    assert (system.receivers[edges:] == size.nodes).all()
    assert (system.node_graph[nodes:] == size.graphs).all()
    assert np.all(np.diff(system.receivers) >= 0)


def test_coulomb_pairs_of_every_structure_survive(rng):
    """They have their own cutoff, repeat along all vectors of a slab, and are padded like edges."""
    samples = [
        build_sample(testing.crystal(rng, n=n, pbc=(True, True, False)), 2.5, pair_cutoff=4.0)
        for n in (3, 4)
    ]
    fitted = capacity_for(samples)
    first, second = (s.system for s in samples)
    assert fitted.pairs == first.n_pairs + second.n_pairs > fitted.edges
    assert first.pair_shifts[:, 2].any() and not first.shifts[:, 2].any()
    system = collate(samples, dataclasses.replace(fitted, pairs=fitted.pairs + 5)).system
    np.testing.assert_array_equal(system.pair_senders[: first.n_pairs], first.pair_senders)
    rest = slice(first.n_pairs, fitted.pairs)
    np.testing.assert_array_equal(system.pair_receivers[rest], second.pair_receivers + 3)
    np.testing.assert_array_equal(system.pair_shifts[rest], second.pair_shifts)
    assert system.pair_mask.tolist() == [True] * fitted.pairs + [False] * 5
    assert (system.pair_receivers[fitted.pairs :] == fitted.nodes).all()
    assert build_sample(testing.cluster(rng), 4.0, pair_cutoff=4.0).system.n_pairs == 0


def test_a_missing_label_is_a_mask(rng):
    with_energy, without = labelled(1, 3, rng), labelled(2, 3, rng)
    without = dataclasses.replace(without, labels={"forces": without.labels["forces"]})
    batch = collate([without, with_energy], capacity_for([without, with_energy]))
    assert batch.targets.energy.mask.tolist() == [False, True]
    assert batch.targets.charges.mask.tolist() == [False] * 3 + [True] * 3
    assert batch.targets.forces.mask.all()


def test_boundaries_do_not_mix(rng):
    open_, periodic = (
        build_sample(dataclasses.replace(f, source=s), 4.0)
        for f, s in (
            (testing.cluster(rng), "a.xyz frame 0"),
            (testing.crystal(rng), "b.xyz frame 3"),
        )
    )
    with pytest.raises(DataError, match="a.xyz frame 0: open; b.xyz frame 3: periodic"):
        collate([open_, periodic], capacity_for([open_, periodic]))


@pytest.mark.parametrize("axis", ["nodes", "edges", "pairs", "graphs", "graph_nodes"])
def test_what_does_not_fit_is_refused(rng, axis):
    samples = [build_sample(testing.crystal(rng), 4.0, pair_cutoff=4.0) for _ in range(2)]
    exact = capacity_for(samples)
    small = dataclasses.replace(exact, **{axis: getattr(exact, axis) - 1})
    with pytest.raises(CapacityError, match="does not fit"):
        collate(samples, small)


def test_one_periodic_axis_is_refused():
    frame = Frame(np.array([1]), np.zeros((1, 3)), np.eye(3), (False, True, False), source="f 2")
    with pytest.raises(DataError, match="f 2: pbc F T F"):
        build_sample(frame, 4.0)


def test_slab_keeps_its_normal(rng):
    frame = testing.crystal(rng, pbc=(True, False, True))
    system = build_sample(frame, 4.0).system
    assert (system.boundary, system.normal) == ("slab", 1)
    np.testing.assert_array_equal(system.cell[0], frame.cell)


def test_edge_vectors_are_those_of_the_host_list(x64, rng):
    frame = testing.crystal(rng)
    sample = build_sample(frame, 5.0)
    system = collate([sample], Capacity(9, sample.system.n_edges + 4, 2, 9), np.float64).system
    vectors = np.asarray(jax.jit(edge_vectors)(system))
    n = sample.system.n_edges
    one = sample.system
    expected = one.positions[one.receivers] - one.positions[one.senders] + one.shifts @ frame.cell
    np.testing.assert_allclose(vectors[:n], expected, atol=1e-12)
    assert np.linalg.norm(vectors[:n], axis=1).max() < 5.0
    assert np.linalg.norm(vectors[n:], axis=1).min() > 100.0


def test_orders_are_inverse_of_each_other(rng):
    vectors = rng.normal(size=(4, 3))
    np.testing.assert_array_equal(harmonic_order(vectors)[0], vectors[0, [1, 2, 0]])
    np.testing.assert_array_equal(cartesian_order(harmonic_order(vectors)), vectors)


def test_volume_is_positive_for_either_handedness(x64, rng):
    cells = rng.normal(size=(5, 3, 3))
    np.testing.assert_allclose(volume(cells), np.abs(np.linalg.det(cells)), rtol=1e-10)


def test_graph_sums_leave_padding_out(rng):
    sample = build_sample(testing.cluster(rng, n=3), 4.0)
    system = collate([sample, sample], Capacity(9, 40, 3, 3)).system
    values = np.arange(9.0)
    np.testing.assert_allclose(graph_sum(values, system), [3.0, 12.0, 0.0])


def test_the_energy_of_many_atoms_keeps_the_digits_of_its_terms(rng):
    """Terms of one sign added one after the other in float32 would lose two digits more."""
    n = 30_000
    values = (-5.0 + rng.normal(size=n)).astype(np.float32)
    grid = np.stack(np.meshgrid(*[4.0 * np.arange(32)] * 3), -1).reshape(-1, 3)[:n]
    frame = Frame(np.ones(n, int), grid, np.zeros((3, 3)), (False,) * 3)
    samples = [build_sample(frame, 1.0)]
    system = collate(samples, capacity_for(samples), np.float32).system
    found = float(jax.jit(graph_sum)(values, system)[0])
    assert abs(found / values.sum(dtype=np.float64) - 1) < 1e-6


def test_species_table():
    statistics = Statistics((1, 8, 11), (0.0, 0.0, 0.0))
    assert statistics.species([8, 1, 11, 6]).tolist() == [1, 0, 2, -1]
