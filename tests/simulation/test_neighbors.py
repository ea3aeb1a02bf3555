"""The neighbour list under jit against vesin's on the host, edge for edge."""

import dataclasses
from operator import attrgetter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax.simulation import neighbors as module
from electrojax.simulation.neighbors import build, plan_for
from electrojax.system.neighbors import neighbor_list
from electrojax.testing import cluster, crystal

CUTOFF, SKIN = 4.0, 0.5


def host(frame, reach=CUTOFF):
    return neighbor_list(frame.positions, frame.cell, frame.pbc, reach)


def made(frame, spare=1.3):
    plan = plan_for(frame.cell, frame.pbc, CUTOFF, SKIN)
    plan = plan.grown([len(host(frame, r)[0]) for r in (CUTOFF + SKIN, CUTOFF)], spare)
    return jax.jit(build, static_argnums=1)(jnp.asarray(frame.positions), plan)


def edges_of(found, positions):
    """Edges as (sender, receiver, shift) with respect to the positions as given, not wrapped."""
    edges = jax.jit(lambda n, p: n.within_cutoff(p))(found, jnp.asarray(positions))
    count, wrap = int(edges.count), np.asarray(found.wrap)
    senders, receivers, shifts = (
        np.asarray(a)[:count] for a in (edges.senders, edges.receivers, edges.shifts)
    )
    assert np.all(np.diff(np.asarray(edges.receivers)) >= 0)
    assert np.all(np.asarray(edges.receivers)[count:] == len(positions))
    return senders, receivers, shifts - wrap[receivers] + wrap[senders]


def rows(edges):
    return {(int(j), int(i), *map(int, s)) for j, i, s in zip(*edges)}


CASES = {
    "cell of half a cutoff": (2.3, (True, True, True)),
    "cell below twice the cutoff": (4.6, (True, True, True)),
    "cell of nearest images": (14.0, (True, True, True)),
    "slab with the second axis open": (5.0, (True, False, True)),
}


@pytest.mark.parametrize("case", CASES)
def test_every_edge_of_the_host_list_and_no_other(case, x64, rng):
    length, pbc = CASES[case]
    frame = crystal(rng, 6, length=length, pbc=pbc)
    numbers = np.resize(frame.numbers, 6 if length < 10 else 40)
    shape = (len(numbers), 3)
    fractional = rng.uniform(size=shape) + rng.integers(-3, 4, size=shape) * np.array(pbc)
    frame = dataclasses.replace(frame, numbers=numbers, positions=fractional @ frame.cell)
    found = made(frame)
    expected = host(frame)
    assert len(expected[0]) > 5
    edges = edges_of(found, frame.positions)
    assert len(edges[0]) == len(expected[0])
    assert rows(edges) == rows(expected)


def test_order_is_that_of_the_host_list_inside_the_cell(x64, rng):
    frame = crystal(rng, 6, length=4.6)
    frame = dataclasses.replace(
        frame, positions=(frame.positions @ np.linalg.inv(frame.cell) % 1.0) @ frame.cell
    )
    for mine, theirs in zip(edges_of(made(frame), frame.positions), host(frame)):
        np.testing.assert_array_equal(mine, theirs)


def test_blocks_of_receivers_give_the_same_list(x64, rng, monkeypatch):
    frame = crystal(rng, 7, length=4.6)
    whole = made(frame)
    monkeypatch.setattr(module, "PAIR_BLOCK", 2 * 7 * len(whole.plan.images))
    blocks = made(frame)
    for name in ("edges.senders", "edges.receivers", "edges.shifts", "needed"):
        picked = attrgetter(name)
        np.testing.assert_array_equal(picked(whole), picked(blocks))


def test_an_agreement_with_jax_md(x64, rng):
    from jax_md.custom_partition import neighbor_list_multi_image

    frame = crystal(rng, 6, length=4.6)
    fractional = (frame.positions @ np.linalg.inv(frame.cell)) % 1.0
    frame = dataclasses.replace(frame, positions=fractional @ frame.cell)
    theirs = neighbor_list_multi_image(None, jnp.asarray(frame.cell.T), CUTOFF).allocate(fractional)
    real = np.asarray(theirs.receivers) < 6
    # jax-md shifts the sender, electrojax adds the shift to the vector from sender to receiver.
    found = zip(theirs.senders[real], theirs.receivers[real], -np.asarray(theirs.shifts)[real])
    assert rows(edges_of(made(frame), frame.positions)) == {
        (int(j), int(i), *map(int, s)) for j, i, s in found
    }


def test_the_list_is_kept_within_half_a_skin_and_then_rebuilt(x64, rng):
    frame = cluster(rng, 9, spacing=2.0)
    found = made(frame, spare=2.0)
    update = jax.jit(lambda n, p: n.refresh(p))
    step = np.zeros_like(frame.positions)
    step[4, 1] = 0.249
    kept = update(found, jnp.asarray(frame.positions + step))
    np.testing.assert_array_equal(kept.reference, frame.positions)
    step[4, 1] = 0.251
    rebuilt = update(found, jnp.asarray(frame.positions + step))
    np.testing.assert_array_equal(rebuilt.reference, frame.positions + step)


def test_a_kept_list_misses_no_edge(x64, rng):
    frame = crystal(rng, 8, length=6.0)
    found = made(frame)
    move = rng.normal(size=frame.positions.shape)
    move *= 0.249 / np.linalg.norm(move, axis=1, keepdims=True)
    moved = dataclasses.replace(frame, positions=frame.positions + move)
    kept = jax.jit(lambda n, p: n.refresh(p))(found, jnp.asarray(moved.positions))
    np.testing.assert_array_equal(kept.reference, frame.positions)
    assert rows(edges_of(kept, moved.positions)) == rows(host(moved))


GROWING = {
    "cluster": lambda rng: cluster(rng, 9, spacing=1.6),
    "cell of half a cutoff": lambda rng: crystal(rng, 6, length=2.3),
    "cell below twice the cutoff": lambda rng: crystal(rng, 7, length=4.6),
    "slab": lambda rng: crystal(rng, 6, length=5.0, pbc=(True, False, True)),
}


@pytest.mark.parametrize("case", GROWING)
def test_overflow_is_told_and_growing_helps(case, x64, rng):
    frame = GROWING[case](rng)
    ample = made(frame)
    positions = jnp.asarray(frame.positions)
    small = dataclasses.replace(ample.plan, candidates=4, edges=3)
    fresh = jax.jit(lambda p, plan: build(p, plan).update(p), static_argnums=1)
    found = fresh(positions, small)
    assert int(found.needed[0]) == len(host(frame, CUTOFF + SKIN)[0])
    rounds = 0
    while bool(found.did_buffer_overflow):
        found = fresh(positions, found.plan.grown(np.asarray(found.needed), 1.0))
        rounds += 1
    assert 1 <= rounds <= 2  # missing candidates hide edges, so it may take two
    edges, expected = edges_of(found, frame.positions), host(frame)
    assert len(edges[0]) == len(expected[0])
    assert rows(edges) == rows(expected)
