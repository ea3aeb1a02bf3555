"""Sites that follow the atoms and sites in space, against batches whose atoms they are."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax.electrostatics.coulomb import sum_cell
from electrojax.electrostatics.sites import Pairs, Sites, attached_sites, with_fixed_sites
from electrojax.errors import ConfigError
from electrojax.system.neighbors import coulomb_pairs
from electrojax.testing import assert_gradient
from electrojax.typing import replace
from tests.electrostatics import reference as ref

L_MAX, REACH, ATOMS = 1, 0.2, (4, 2)
KINDS = ["open", "periodic", "slab", "ewald", "mesh"]
each_kind = pytest.mark.parametrize("kind", KINDS)
TURN = np.array([[0.7, -0.2, 0.4], [0.1, 0.9, -0.3], [-0.5, 0.3, 0.6]])
FIXED = ((0.2, 0.5, 0.8), (0.6, 0.1, 0.3), (0.9, 0.7, 0.2))
"""Fractional places of two sites in the first structure and one in the second."""
STRUCTURE = (0, 1, 0)


def displacements(positions):
    """Smooth functions of the positions, shorter than REACH."""
    return REACH / 2 * jnp.sin(positions @ TURN)


def structures(rng):
    made = [ref.random_structure(rng, n, cell, L_MAX) for n, cell in zip(ATOMS, CELLS)]
    return [(r, a) for r, _, a in made]


CELLS = (ref.TRICLINIC, 1.2 * ref.LEFT_HANDED)


def farther(engine):
    """The engine with pairs that hold those of displaced sites."""
    cutoff = engine.pair_cutoff(L_MAX)
    reach = cutoff + 2 * REACH if cutoff else 0.0
    return SimpleNamespace(k_box=engine.k_box, pair_cutoff=lambda l_max: reach)


def roomy_batch(structures, kind, engine):
    """A batch with pairs for displaced sites; Coulomb cells of slabs are high enough for them."""
    frames = [ref.frame(r, a, kind) for r, a in structures]
    plans = [sum_cell(engine, f.cell, f.positions, f.normal, 0.9, 4 * REACH) for f in frames]
    return ref.batch(structures, kind, farther(engine), 0.9, L_MAX, extra=(2, 1), plans=plans)


def numbers(padded, extra):
    """Of each structure its atoms, then sites numbered after the padded atoms."""
    first, second = np.arange(ATOMS[0]), ATOMS[0] + np.arange(ATOMS[1])
    return [
        np.concatenate([a, padded + np.array(x)])
        for a, x in zip((first, second), extra(first, second))
    ]


def widths_of(kind, count):
    """Widths that differ where an engine takes them, as [S]; one number elsewhere."""
    return np.linspace(0.7, 1.0, count) if kind in ("open", "ewald") else 0.9


def check(kind, engine, sites, order, rng):
    """Energies, potentials and their padding are those of a batch with these sites as atoms."""
    width = widths_of(kind, len(sites.mask))
    p = rng.normal(size=(len(sites.mask), 4))
    operator = ref.prepare(engine, L_MAX, width, sites)
    found = ref.energy(operator, p), np.asarray(ref.potential(operator, p))
    positions = np.asarray(sites.positions)
    alone = [(positions[i], a) for i, a in zip(order, CELLS)]
    alone = ref.batch(alone, kind, engine, 0.9, L_MAX, plans=sites.plan_cell)
    taken = np.concatenate(order)
    known = ref.prepare(engine, L_MAX, width if np.ndim(width) == 0 else width[taken], alone)
    expected = ref.energy(known, p[taken]), ref.potential(known, p[taken])
    np.testing.assert_allclose(found[0][:2], expected[0], rtol=1e-11)
    np.testing.assert_allclose(found[1][taken], expected[1], rtol=1e-10, atol=1e-11)
    others = np.setdiff1d(np.arange(len(p)), taken)
    assert len(others) and np.all(found[1][others] == 0) and np.all(np.asarray(found[0])[2:] == 0)
    return p


def check_slopes(engine, place, p, kind, *points):
    """Derivatives by what the sites are functions of match finite differences."""
    width = widths_of(kind, len(p))

    @jax.jit
    def total(*points):
        return engine.prepare(place(*points), L_MAX, width).energy(jnp.asarray(p)).sum()

    slopes = jax.jit(jax.grad(total, argnums=tuple(range(len(points)))))(*points)
    for i, slope in enumerate(slopes):
        moved = lambda x, i=i: float(total(*points[:i], x, *points[i + 1 :]))  # noqa: E731
        assert_gradient(moved, slope, points[i], rtol=1e-8, step=0.1)


@each_kind
def test_sites_that_follow_the_atoms(kind, rng, x64):
    """r_i and r_i + Δ_i(r), as cores and Wannier centres are."""
    engine = ref.engine_of(kind)
    system = roomy_batch(structures(rng), kind, engine)

    def place(positions):
        offsets = jnp.stack([jnp.zeros_like(positions), displacements(positions)], axis=1)
        return attached_sites(replace(system, positions=positions), offsets)

    sites = jax.jit(place)(system.positions)
    p = check(kind, engine, sites, numbers(system.n_nodes, lambda *atoms: atoms), rng)
    check_slopes(engine, place, p, kind, system.positions)
    ones = jnp.where(sites.mask, 1.0, jnp.nan)
    np.testing.assert_array_equal(sites.at_atoms(ones), 2.0 * system.node_mask)


@each_kind
def test_fixed_sites_of_no_atom(kind, rng, x64):
    """Charges in space, with padding among them; forces on atoms and on the charges."""
    engine = ref.engine_of(kind)
    placed = structures(rng)
    system = ref.batch(placed, kind, engine, 0.9, L_MAX, extra=(2, 1))
    points = np.array([*(np.dot(f, CELLS[g]) for f, g in zip(FIXED, STRUCTURE)), np.zeros(3)])
    order = numbers(system.n_nodes, lambda *_: ([0, 2], [1]))
    at = np.asarray(system.positions)
    listed = [
        coulomb_pairs(
            np.concatenate([at[i[: len(r)]], points[i[len(r) :] - system.n_nodes] - origin]),
            a,
            kind,
            engine.pair_cutoff(L_MAX),
        )
        for (r, a), i, origin in zip(placed, order, np.asarray(system.origin))
    ]
    ends = [np.concatenate([i[pair[end]] for i, pair in zip(order, listed)]) for end in (0, 1)]
    shifts = np.concatenate([pair[2] for pair in listed])
    pairs = Pairs(*(jnp.asarray(x) for x in (*ends, shifts, np.ones(len(shifts), bool))))

    def place(positions, points):
        atoms = replace(system, positions=positions)
        graph, mask = jnp.asarray([*STRUCTURE, 0]), jnp.asarray([True] * 3 + [False])
        return with_fixed_sites(atoms, points, graph, mask, pairs, room=2)

    sites = jax.jit(place)(system.positions, points)
    p = check(kind, engine, sites, order, rng)
    check_slopes(engine, place, p, kind, system.positions, jnp.asarray(points))
    np.testing.assert_array_equal(sites.at_atoms(jnp.ones(len(p))), 1.0 * system.node_mask)


def test_sites_are_returned_as_they_are(rng, x64):
    engine = ref.engine_of("open")
    sites = Sites.of(ref.batch(structures(rng), "open", engine, 0.9, L_MAX))
    assert Sites.of(sites) is sites


def test_a_split_sum_refuses_sites_without_pairs(rng, x64):
    engine = ref.engine_of("ewald")
    system = ref.batch(structures(rng), "ewald", engine, 0.9, L_MAX)
    graph, mask = jnp.zeros(1, jnp.int32), jnp.ones(1, bool)
    sites = with_fixed_sites(system, np.zeros((1, 3)), graph, mask)
    with pytest.raises(ConfigError, match="without pairs"):
        engine.prepare(sites, L_MAX, 0.9)
