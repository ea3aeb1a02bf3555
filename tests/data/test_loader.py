"""Batches: every structure once, repeatable, well filled, prepared ahead without losing errors."""

import dataclasses
import threading

import numpy as np
import pytest

from electrojax.data import loader as loader_module
from electrojax.data.datasets import atom_energies, resolve_source
from electrojax.data.extxyz import read_frames
from electrojax.data.loader import Loader, plan_buckets, prepare
from electrojax.data.statistics import fit_statistics
from electrojax.errors import CapacityError, DataError
from electrojax.system.batching import build_sample
from electrojax.system.types import Frame, Statistics
from electrojax.testing import cluster, crystal


def clusters(rng, sizes, cutoff=9.0):
    """One sample per size; the cutoff is long, so that most pairs are edges."""
    return [
        build_sample(cluster(rng, int(n), source=f"set.xyz frame {i}"), cutoff)
        for i, n in enumerate(sizes)
    ]


def seen(loader, epoch=0):
    return [i for _, indices in loader.epoch(epoch) for i in indices]


def orders(loader, epoch=0):
    return [tuple(indices) for _, indices in loader.epoch(epoch)]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(
    "plan",
    [{"graphs": 4}, {"edges": 600}, {"edges": 300, "graphs": 3}, {"graphs": 5, "buckets": 3}, {}],
)
def test_every_structure_once_within_bounds(rng, plan, shuffle):
    samples = clusters(rng, rng.integers(2, 15, 47))
    planned = plan_buckets(samples, **plan)
    loader = Loader(samples, planned, seed=5, shuffle=shuffle)
    for epoch in range(3):
        assert sorted(seen(loader, epoch)) == list(range(47))
        assert len(orders(loader, epoch)) == len(loader)
    for batch, indices in loader.epoch(0):
        edges = sum(samples[i].system.n_edges for i in indices)
        assert edges == np.sum(batch.system.edge_mask)
        assert edges <= plan.get("edges", np.inf)
        assert len(indices) <= plan.get("graphs", 8 if "edges" not in plan else np.inf)
    assert len(planned.buckets) <= plan.get("buckets", 1)


def test_a_batch_holds_the_structures_that_it_names(rng):
    samples = clusters(rng, rng.integers(2, 9, 20))
    for batch, indices in Loader(samples, plan_buckets(samples, graphs=6)).epoch(0):
        expected = np.concatenate([samples[i].system.positions for i in indices])
        found = np.asarray(batch.system.positions)[np.asarray(batch.system.node_mask)]
        np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_one_shape_per_bucket(rng):
    samples = clusters(rng, rng.integers(2, 15, 60))
    plan = plan_buckets(samples, graphs=4, buckets=3)
    systems = [
        batch.system
        for epoch in range(3)
        for batch, _ in Loader(samples, plan, seed=1, shuffle=True).epoch(epoch)
    ]
    shapes = {(s.n_nodes, s.n_edges, s.n_graphs, s.graph_nodes) for s in systems}
    assert 2 <= len(shapes) == len(plan.buckets) <= 3


def test_seed_and_epoch_decide_the_order(rng):
    samples = clusters(rng, rng.integers(2, 9, 30))
    plan = plan_buckets(samples, graphs=4)
    loader = Loader(samples, plan, seed=1, shuffle=True)
    again = Loader(samples, plan, seed=1, shuffle=True)
    other = Loader(samples, plan, seed=2, shuffle=True)
    assert orders(loader, 3) == orders(again, 3)
    assert orders(loader, 3) != orders(loader, 4)
    assert orders(loader, 3) != orders(other, 3)
    fixed = Loader(samples, plan)
    assert orders(fixed, 0) == orders(fixed, 1)


def test_batches_change_their_company(rng):
    """Any two structures of different size may meet, over many epochs."""
    samples = clusters(rng, rng.integers(2, 15, 24))
    loader = Loader(samples, plan_buckets(samples, graphs=6), seed=1, shuffle=True)
    met = {
        (a, b)
        for epoch in range(60)
        for batch in orders(loader, epoch)
        for a in batch
        for b in batch
        if a < b
    }
    assert len(met) > 0.8 * 24 * 23 / 2


def test_ion_clusters_fill_their_batches():
    frames = read_frames(resolve_source("builtin:ion_water"))
    statistics = fit_statistics(frames, 5.0, atom_energies("ion_water"), "given", print)
    samples = prepare(frames, statistics, lambda frame: build_sample(frame, 5.0))
    for graphs, least in ((8, 0.85), (16, 0.9), (32, 0.93)):
        loader = Loader(samples, plan_buckets(samples, graphs=graphs), seed=1, shuffle=True)
        systems = [batch.system for batch, _ in loader.epoch(0)]
        real, padded = sum(s.edge_mask.sum() for s in systems), sum(s.n_edges for s in systems)
        atoms, room = sum(s.node_mask.sum() for s in systems), sum(s.n_nodes for s in systems)
        assert real / padded > least and atoms / room > 0.8
        np.testing.assert_allclose(loader.efficiency, real / padded)


def test_more_buckets_waste_less(rng):
    samples = clusters(rng, np.repeat([3, 30], 20))
    waste = [
        1 - Loader(samples, plan_buckets(samples, graphs=1, buckets=n)).efficiency for n in (1, 2)
    ]
    assert waste[1] < 0.5 * waste[0]


def test_structures_of_one_size_are_told_apart_by_their_edges(rng):
    sparse = [build_sample(cluster(rng, 12, spacing=2.0), 4.0) for _ in range(20)]
    dense = [build_sample(cluster(rng, 12, spacing=0.6), 4.0) for _ in range(20)]
    plan = plan_buckets(sparse + dense, graphs=1, buckets=2)
    chosen = [plan.bucket_of(sample) for sample in sparse + dense]
    assert chosen == [0] * 20 + [1] * 20


def test_held_out_structures_with_a_finer_k_box_fit(rng):
    coarse, fine = (build_sample(crystal(rng), 3.0, box) for box in ((2, 2, 2), (2, 5, 3)))
    plan = plan_buckets([coarse], held_out=[fine])
    ((batch, _),) = Loader([coarse, fine], plan_buckets([coarse, fine])).epoch(0)
    assert plan.buckets[0].capacity.k_box == batch.system.k_box == (2, 5, 3)
    assert seen(Loader([fine], plan)) == [0]


def test_held_out_structures_share_the_shapes(rng):
    train = clusters(rng, rng.integers(2, 9, 32))
    valid = clusters(rng, [3, 25, 4, 8])
    plan = plan_buckets(train, graphs=8, held_out=valid)
    assert len(plan.buckets) == 1
    assert sorted(seen(Loader(valid, plan))) == [0, 1, 2, 3]
    assert len(Loader(train, plan)) == 4


def test_boundaries_are_batched_apart(rng):
    frames = [cluster(rng, 4) for _ in range(5)] + [crystal(rng) for _ in range(5)]
    frames += [crystal(rng, pbc=pbc) for pbc in ((True, True, False), (False, True, True))]
    samples = [build_sample(f, 3.0, (2, 2, 2)) for f in frames]
    loader = Loader(samples, plan_buckets(samples, graphs=3, buckets=2), seed=1, shuffle=True)
    kinds = [
        ({(frames[i].boundary, frames[i].normal) for i in indices}, batch.system.boundary)
        for batch, indices in loader.epoch(0)
    ]
    assert all(len(found) == 1 for found, _ in kinds)
    assert {boundary for _, boundary in kinds} == {"open", "periodic", "slab"}
    assert len(loader.plan.buckets) == 4


def test_a_foreign_structure_is_named(rng):
    samples = clusters(rng, [3, 4, 5])
    foreign = build_sample(cluster(rng, 30, source="big.xyz frame 7"), 3.0)
    with pytest.raises(CapacityError, match=r"big.xyz frame 7: 30 atoms"):
        Loader([*samples, foreign], plan_buckets(samples, graphs=2))
    boxed = dataclasses.replace(samples[0].system, k_box=(9, 0, 0))
    with pytest.raises(CapacityError, match="set.xyz frame 0"):
        Loader([dataclasses.replace(samples[0], system=boxed)], plan_buckets(samples))


def test_a_structure_over_the_edge_limit_is_named(rng):
    samples = clusters(rng, [3, 30, 5])
    with pytest.raises(CapacityError, match=r"set.xyz frame 1: .*a batch may have 100"):
        plan_buckets(samples, edges=100)


def test_prepare_makes_energies_relative(rng):
    labels = {"energy": np.array(-1.0e6 - 0.125), "forces": np.ones((2, 3))}
    frame = dataclasses.replace(cluster(rng, 2), labels=labels)
    statistics = Statistics((1, 8), (-4.0e5, -6.0e5))
    (sample,) = prepare([frame], statistics, lambda frame: build_sample(frame, 3.0, (1, 2, 3)))
    assert sample.labels["energy"] == -0.125
    np.testing.assert_array_equal(sample.labels["forces"], 1.0)
    assert sample.system.k_box == (1, 2, 3)
    assert frame.labels["energy"] == -1.0e6 - 0.125


@pytest.mark.parametrize("periodic", [False, True])
def test_atoms_on_top_of_each_other_are_refused(periodic):
    cell = 5.0 * np.eye(3) if periodic else np.zeros((3, 3))
    apart = [0.0, 0.0, 5.0] if periodic else [0.0, 0.0, 0.01]
    positions = np.array([[0.0, 0, 0], [2.0, 0, 0], apart])
    frame = Frame(np.array([1, 1, 1]), positions, cell, (periodic,) * 3, source="set.xyz frame 4")
    with pytest.raises(DataError, match=r"set.xyz frame 4: atoms 0 and 2 are 0"):
        prepare([frame], Statistics((1,), (0.0,)), lambda frame: build_sample(frame, 3.0))


def test_errors_of_the_thread_arrive(rng, monkeypatch):
    samples = clusters(rng, [3] * 10)
    loader = Loader(samples, plan_buckets(samples, graphs=2))
    collate, calls = loader_module.collate, []

    def failing(*arguments):
        calls.append(threading.current_thread())
        if len(calls) == 3:
            raise DataError("frame 5 is broken")
        return collate(*arguments)

    monkeypatch.setattr(loader_module, "collate", failing)
    got = []
    with pytest.raises(DataError, match="frame 5 is broken"):
        got.extend(loader.epoch(0))
    assert len(calls) == 3 and threading.main_thread() not in calls


def test_stopping_early_ends_the_thread(rng):
    samples = clusters(rng, [3] * 40)
    loader = Loader(samples, plan_buckets(samples, graphs=2))
    before = threading.active_count()
    batches = loader.epoch(0)
    next(batches)
    assert threading.active_count() == before + 1
    batches.close()
    assert threading.active_count() == before
    assert len(list(loader.epoch(0))) == 20 and threading.active_count() == before


def test_an_empty_set_has_no_batches(rng):
    plan = plan_buckets(clusters(rng, [3, 4]))
    assert len(Loader([], plan)) == 0 and list(Loader([], plan).epoch(0)) == []
