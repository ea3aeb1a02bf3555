"""Coulomb pairs under jit against the host's, edge for edge, and in the MD of a model."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import electrojax as ej
from electrojax.simulation.jaxmd import force_field
from electrojax.simulation.neighbors import build, plan_for
from electrojax.system.neighbors import coulomb_pairs
from electrojax.testing import crystal
from electrojax.typing import replace
from tests.conformance.coulomb import summed
from tests.conformance.models import potential
from tests.simulation.conftest import atoms_of
from tests.simulation.test_neighbors import rows

CUTOFF, SKIN, REACH = 3.0, 0.5, 5.0


def host(frame, reach=REACH):
    return coulomb_pairs(frame.positions, frame.cell, frame.boundary, reach)


def of_boundary(rng, boundary):
    if boundary == "periodic":
        return crystal(rng, 6, length=4.6)
    frame = crystal(rng, 6, length=4.6, pbc=(True, False, True))
    return dataclasses.replace(frame, cell=frame.cell * np.array([[1.0], [1.5], [1.0]]))


def made(frame, spare=1.3):
    plan = plan_for(frame.cell, frame.pbc, CUTOFF, SKIN, pair_cutoff=REACH)
    pairs = [len(host(frame, r)[0]) for r in (REACH + SKIN, REACH)]
    return jax.jit(build, static_argnums=1)(
        jnp.asarray(frame.positions), plan.grown([500, 500, *pairs], spare)
    )


def pairs_of(found, positions):
    """Pairs as (sender, receiver, shift) with respect to the positions as given, not wrapped."""
    pairs = jax.jit(lambda n, p: n.pairs_within_cutoff(p))(found, jnp.asarray(positions))
    count, wrap = int(pairs.count), np.asarray(found.wrap)
    senders, receivers, shifts = (
        np.asarray(a)[:count] for a in (pairs.senders, pairs.receivers, pairs.shifts)
    )
    assert np.all(np.diff(np.asarray(pairs.receivers)) >= 0)
    return senders, receivers, shifts - wrap[receivers] + wrap[senders]


@pytest.mark.parametrize("boundary", ["periodic", "slab"])
def test_every_pair_of_the_host_and_no_other(x64, rng, boundary):
    """A slab's pairs repeat along its open axis too, where its edges do not."""
    frame = of_boundary(rng, boundary)
    assert frame.boundary == boundary
    found, expected = made(frame), host(frame)
    assert len(expected[0]) > 50
    pairs = pairs_of(found, frame.positions)
    assert len(pairs[0]) == len(expected[0])
    assert rows(pairs) == rows(expected)
    if boundary == "slab":
        assert np.any(pairs[2][:, 1]) and not np.any(np.asarray(found.edges.shifts)[:, 1])


def test_a_kept_list_misses_no_pair_and_a_small_one_says_so(x64, rng):
    frame = of_boundary(rng, "periodic")
    found = made(frame)
    move = rng.normal(size=frame.positions.shape)
    move *= 0.249 / np.linalg.norm(move, axis=1, keepdims=True)
    moved = dataclasses.replace(frame, positions=frame.positions + move)
    kept = jax.jit(lambda n, p: n.update(p))(found, jnp.asarray(moved.positions))
    np.testing.assert_array_equal(kept.reference, frame.positions)
    assert not kept.did_buffer_overflow
    assert rows(pairs_of(kept, moved.positions)) == rows(host(moved))
    candidates, edges, pair_candidates, pairs = found.plan.capacity
    for capacity in ((candidates, edges, 40, pairs), (candidates, edges, pair_candidates, 40)):
        small = build(jnp.asarray(frame.positions), found.plan.sized(capacity))
        full = jax.jit(lambda n, p: n.update(p))(small, jnp.asarray(frame.positions))
        assert full.did_buffer_overflow
        grown = build(small.reference, small.plan.grown(np.asarray(full.needed), 1.0))
        assert len(grown.pairs.senders) >= min(40, len(host(frame)[0]))


def test_a_force_field_with_pairs_has_the_forces_of_predict(x64, rng):
    """Away from where the list was made, with pairs that have come and gone since."""
    model = summed(potential("light", "local", "float64"), method="ewald", accuracy=1e-9)
    atoms = atoms_of(of_boundary(rng, "slab"), total_charge=1.0)
    energy, neighbors = force_field(model, atoms)
    positions = atoms.positions + atoms.cell[0] * np.arange(len(atoms))[:, None]
    found = neighbors.allocate(positions)
    assert found.plan.pairs is not None and len(found.pairs.senders) > 100
    step = rng.uniform(-0.14, 0.14, size=positions.shape)  # less than half the skin
    moved = jnp.asarray(positions + step)
    kept = found.update(moved)
    np.testing.assert_array_equal(kept.reference, found.reference)
    run = jax.jit(jax.value_and_grad(energy))
    value, gradient = run(moved, kept)
    atoms.positions = np.asarray(moved)
    expected = ej.predict(model, atoms)
    np.testing.assert_allclose(-gradient, expected.forces, atol=1e-8)
    shift = model.atomic_energy(atoms.numbers)
    np.testing.assert_allclose(value + shift, expected.energy, rtol=1e-12)
    crowded = replace(kept, needed=kept.needed.at[3].set(kept.plan.capacity[3] + 1))
    assert np.isnan(run(moved, crowded)[0]), "missing pairs are told, never left out"
