"""Field updates: exact charge and spin, what fields do, and the self-consistent limit."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax import testing
from electrojax.errors import ConfigError, DataError
from electrojax.solvers.non_scf import FieldUpdates, updated
from electrojax.solvers.problems.response_map import AffineResponse
from electrojax.solvers.readouts.field_update import saturate
from electrojax.solvers.readouts.fukui import channel_charges, equilibrate, fukui_weights
from electrojax.typing import replace
from tests.numerics.test_scf_numerics import free_problem, solved
from tests.solvers.systems import CUTOFF, WIDTH, system_of
from tests.solvers.test_scf import cluster, energy_of, features_of, random_params, run_of

COMMON = {
    "l_max": 1,
    "width": WIDTH,
    "cutoff": CUTOFF,
    "steps": 1,
    "channels": 3,
    "hidden": (5,),
    "energy": "coulomb",
}


@pytest.mark.parametrize("kind", ["positive", "signed"])
def test_channels_keep_their_charge_whatever_the_weights(x64, rng, kind):
    frames = [cluster(multiplicity=3.0), cluster(multiplicity=1.0, total_charge=-2.0)]
    system = system_of(frames, nodes=3, graphs=1)
    mask = np.asarray(system.node_mask)
    multipoles = jnp.asarray(rng.normal(size=(13, 2, 4)) * mask[:, None, None])
    totals = channel_charges(system, 2)
    np.testing.assert_allclose(totals, [[-0.7, 1.3], [-1.0, -1.0], [0.0, 0.0]])
    raw = rng.normal(size=(13, 2))
    cancelling = raw - np.repeat([raw[:5].mean(0), raw[5:10].mean(0)], [5, 8], axis=0)
    for weights in (raw, cancelling, np.zeros((13, 2)), np.full((13, 2), -800.0)):
        found = equilibrate(multipoles, jnp.asarray(weights), totals, system, kind)
        assert np.all(np.isfinite(found)) and not np.any(found[10:])
        for graph in range(2):
            sums = np.asarray(found[5 * graph : 5 * graph + 5, :, 0]).sum(axis=0)
            np.testing.assert_allclose(sums, totals[graph], atol=1e-12)
        np.testing.assert_array_equal(found[:, :, 1:], multipoles[:, :, 1:])
    np.testing.assert_allclose(
        fukui_weights(jnp.asarray(raw), system, "positive")[:5],
        np.log1p(np.exp(raw[:5])) / np.log1p(np.exp(raw[:5])).sum(0),
        rtol=1e-12,
    )
    np.testing.assert_allclose(
        fukui_weights(jnp.asarray(raw), system, "signed")[:5], raw[:5] / raw[:5].sum(0), rtol=1e-6
    )
    one = equilibrate(multipoles, jnp.asarray(cancelling), totals, system, "signed")
    shift = np.asarray(one - multipoles)[:5, :, 0]
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:1], shift.shape), atol=1e-12)


@pytest.mark.parametrize("kind", ["positive", "signed"])
def test_weights_and_their_slopes_are_numbers_in_single_precision(rng, kind):
    with jax.enable_x64(True):
        system = jax.tree.map(
            lambda x: np.asarray(x, np.float32) if np.asarray(x).dtype == np.float64 else x,
            system_of([cluster(), cluster()], nodes=3, graphs=1),
        )
    raw = rng.normal(size=(13, 2)).astype(np.float32)

    @jax.jit
    def slope(raw):
        def total(raw):
            return jnp.sum(fukui_weights(raw, system, kind)[:, 0] * jnp.arange(13.0))

        return jax.value_and_grad(total)(raw)

    for factor in (0.0, 1e-30, 1e-10, 1.0, -60.0, 1e6, 1e15):
        value, gradient = slope(jnp.asarray(raw * np.float32(factor)))
        assert np.isfinite(value) and np.all(np.isfinite(gradient)), factor
        assert not np.any(gradient[10:])
    _, gradient = slope(jnp.full((13, 2), -100.0))
    assert np.all(np.isfinite(gradient)) and np.any(gradient[:10])


def test_more_electrons_up_than_down(x64):
    """n_α − n_β = 2S: the up channel is the more negative one; the sum is the charge."""
    features = features_of(5)
    solver = FieldUpdates(receiver_widths=(1.1, 2.0), **COMMON)
    system = system_of([cluster()])
    params = random_params(solver, system, features)
    run = run_of(solver, features)
    for multiplicity in (1.0, 2.0, 5.0):
        state = run(params, replace(system, multiplicity=jnp.array([multiplicity])))
        up, down = np.asarray(state.density.multipoles)[:, :, 0].sum(axis=0)
        np.testing.assert_allclose(down - up, multiplicity - 1.0, atol=1e-12)
        np.testing.assert_allclose(up + down, 0.6, atol=1e-12)
        assert state.density.multipoles.shape == (5, 2, 4)


def test_the_barycentre_makes_a_neutral_structure_independent_of_the_origin(x64):
    """Of absolute potentials; of potential differences nothing depends on it."""
    features = features_of(5)
    frame = cluster(total_charge=0.0)
    moved = dataclasses.replace(frame, positions=frame.positions + np.array([3.0, -2.0, 7.0]))
    systems = [system_of([f]) for f in (frame, moved)]
    for barycentre, potentials in itertools.product((True, False), ("absolute", "local")):
        options = {"barycentre": barycentre, "potentials": potentials, **COMMON}
        solver = FieldUpdates(receiver_widths=(1.1, 2.0), **options)
        params = random_params(solver, systems[0], features)
        run = run_of(solver, features)
        before, after = (energy_of(run(params, system)) for system in systems)
        assert np.allclose(before, after, atol=1e-9) is (barycentre or potentials == "local")


@pytest.mark.conformance
def test_half_a_field_per_channel(x64):
    """Twice the field with halves is the whole field in each channel, field energy aside."""
    features = features_of(5)
    system = system_of([cluster(total_charge=0.0)])
    double = replace(system, external_field=2.0 * jnp.asarray(system.external_field))
    solvers = [
        FieldUpdates(half_field=half, receiver_widths=(1.1, 2.0), **COMMON)
        for half in (True, False)
    ]
    params = random_params(solvers[0], system, features)
    halves = run_of(solvers[0], features)(params, double).density.multipoles
    whole = run_of(solvers[1], features)(params, system).density.multipoles
    np.testing.assert_allclose(halves, whole, atol=1e-12)
    weaker = run_of(solvers[0], features)(params, system).density.multipoles
    assert np.abs(weaker - whole).max() > 1e-3


def test_a_lone_atom_is_polarised_by_a_field(x64):
    """A spherical atom, whose features are scalars, must have a dipole along the field."""
    frame = testing.cluster(
        np.random.default_rng(0), n=1, total_charge=0.0, external_field=np.array([0.0, 0.0, 0.1])
    )
    system = system_of([frame])
    features = jax.tree.map(jnp.zeros_like, features_of(1))
    solver = FieldUpdates(receiver_widths=(1.1, 2.0), spin=False, **COMMON)
    params = random_params(solver, system, features)
    multipoles = np.asarray(run_of(solver, features)(params, system).density.multipoles)[0, 0]
    assert abs(multipoles[2]) > 1e-6 and abs(multipoles[0]) < 1e-13
    np.testing.assert_allclose(multipoles[[1, 3]], 0.0, atol=1e-13)


def test_updates_saturate(x64, rng):
    values = jnp.asarray(rng.normal(size=(7, 3, 2)))
    np.testing.assert_array_equal(saturate(100.0 * values, 0.0), 100.0 * values)
    np.testing.assert_allclose(saturate(1e-4 * values, 10.0), 1e-4 * values, rtol=1e-8)
    large = saturate(1e6 * values, 10.0)
    np.testing.assert_allclose(jnp.linalg.norm(large, axis=1), 10.0, rtol=1e-9)
    np.testing.assert_allclose(jnp.sum(large * values, axis=1) / 10.0,
                               jnp.linalg.norm(values, axis=1), rtol=1e-9)  # fmt: skip


def test_wild_parameters_atoms_at_one_place_and_nothing_leave_numbers(x64):
    """A pair at one place, one atom, padding, then nothing at all: gradients of a force loss."""
    lone = testing.cluster(np.random.default_rng(2), n=1, total_charge=-1.0, multiplicity=2.0)
    system = system_of([cluster(multiplicity=4.0), lone], nodes=2, graphs=1)
    positions = jnp.asarray(system.positions)
    system = replace(system, positions=positions.at[1].set(positions[0]))
    features = features_of(8)
    solver = FieldUpdates(fukui="signed", receiver_widths=(1.1,), **COMMON)
    params = random_params(solver, system, features)
    run = run_of(solver, features)

    # A second derivative of everything: optimised, it compiles for twice as long.
    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def sloped(params, system):
        def energy(positions, params):
            state = run(params, replace(system, positions=positions))
            return jnp.sum(energy_of(state)), state

        def loss(params):
            forces, state = jax.grad(energy, has_aux=True)(jnp.asarray(system.positions), params)
            return jnp.sum(forces**2), state

        return jax.grad(loss, has_aux=True)(params)

    for size in (0.0, 1.0, 30.0):
        slopes, state = sloped(jax.tree.map(lambda x, s=size: s * x, params), system)
        assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((slopes, state)))
        charges = np.asarray(state.density.multipoles)[:, :, 0].sum(axis=1)
        np.testing.assert_allclose(charges[:5].sum(), 0.6, atol=1e-9)
        np.testing.assert_allclose(charges[5:], [-1.0, 0.0, 0.0], atol=1e-9)
        assert np.all(state.report.converged)
    empty = replace(
        system,
        **{name: np.zeros_like(getattr(system, name)) for name in ("node_mask", "edge_mask")},
        graph_mask=np.zeros_like(system.graph_mask),
        node_graph=np.full_like(system.node_graph, system.n_graphs),
    )
    slopes, state = sloped(params, empty)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((slopes, state)))
    assert not np.any(state.density.multipoles) and not np.any(energy_of(state))


def test_many_tied_updates_are_the_self_consistent_field(x64, rng):
    """K → ∞ of one update p ← p + α (F(p) − p), with Fukui weights that are the bare response."""
    system = system_of([cluster()])
    problem = free_problem(system)
    slopes = -0.02 - 0.05 * rng.random((5, 2, 4))
    diagonal = jnp.concatenate([jnp.asarray(s)[:, :, None] * jnp.eye(4) for s in
                                (slopes[:, 0], slopes[:, 1])], axis=2)  # fmt: skip
    problem = replace(problem, response=AffineResponse(diagonal))
    expected, _, report = jax.jit(solved)(problem)
    assert bool(report.converged[0])
    bare = jnp.sum(jnp.asarray(slopes)[:, :, 0] / problem.norms[:, 0], axis=1)[:, None]
    zero = jnp.zeros(5)

    @jax.jit
    def step(multipoles):
        def tied(_, p):
            return 0.4 * (problem.update(p[:, 0], zero)[:, None] - p), bare

        return updated(multipoles, lambda p: p, [tied], jnp.array([[0.6]]), system, "signed")[0]

    multipoles = problem.local[:, None]
    for _ in range(150):
        multipoles = step(multipoles)
    np.testing.assert_allclose(multipoles[:, 0], expected, atol=1e-9)


def test_what_is_refused():
    with pytest.raises(ConfigError, match="none below the width"):
        FieldUpdates(receiver_widths=(0.5,), **COMMON).check(cluster())
    with pytest.raises(ConfigError, match="needed 4 positive"):
        FieldUpdates(receiver_norms=(1.0, -1.0, 1.0, 1.0), **COMMON).check(cluster())
    with pytest.raises(DataError, match="multiplicity 0"):
        FieldUpdates(**COMMON).check(cluster(multiplicity=0.0))
    with pytest.raises(ConfigError, match="needed steps: 1, got 2"):
        FieldUpdates(energy="one_shot", l_max=1).check(cluster())
    with pytest.raises(ConfigError, match=r"receiver_widths: \[1.5, 3.0\], got \[2.0\]"):
        FieldUpdates(energy="one_shot", steps=1, receiver_widths=(2.0,)).check(cluster())
    with pytest.raises(DataError, match="keeps the total_charge"):
        FieldUpdates(**COMMON).check(cluster(charge_control="fixed_potential"))
