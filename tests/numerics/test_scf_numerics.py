"""GMRES, mixing and Newton-Krylov against dense algebra, and derivatives of fixed points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax import testing
from electrojax.electrostatics.contract import receivers
from electrojax.electrostatics.coulomb import engine_for
from electrojax.electrostatics.field import field_coupling
from electrojax.numerics.cg import Space
from electrojax.numerics.constraint import charge_constraint
from electrojax.numerics.fixed_point import finalize_fixed_point, unrolled_updates
from electrojax.numerics.gmres import gmres
from electrojax.numerics.mixing import mixing_iteration, newton_krylov
from electrojax.solvers.problems.response_map import AffineResponse, OneBodyResponse
from electrojax.solvers.problems.self_consistent import FreeResponse
from electrojax.typing import replace
from tests.solvers.systems import CUTOFF, WIDTH, system_of

WIDTHS = (1.1, 2.0)


def cluster(seed=1, n=5, **inputs):
    inputs = {"total_charge": 0.6, "external_field": np.array([0.1, 0.0, -0.2]), **inputs}
    return testing.cluster(np.random.default_rng(seed), n=n, **inputs)


def free_problem(system, seed=3, strength=0.02, nonlinear=False):
    """A signed response of two receivers without the atom's own potential."""
    rng = np.random.default_rng(seed)
    n, real = system.n_nodes, np.asarray(system.node_mask)[:, None, None]
    matrix = strength * rng.normal(size=(n, 4, 8)) - np.concatenate([0.05 * np.eye(4)] * 2, 1)
    response = AffineResponse(jnp.asarray(real * matrix))
    if nonlinear:  # weak enough for one solution
        inward, outward = 0.3 * rng.normal(size=(n, 3, 8)), real * 0.05 * rng.normal(size=(n, 3, 4))
        weights = (rng.normal(size=(3, 6)), rng.normal(size=(6, 3)))
        response = OneBodyResponse(response, *map(jnp.asarray, (inward, outward, *weights)))
    coulomb = engine_for(system.boundary, 1e-12).prepare(system, 1, WIDTH)
    return FreeResponse(
        system=system,
        coulomb=coulomb,
        receive=receivers(coulomb, WIDTHS, 1, False),
        local=jnp.asarray(real[:, 0] * 0.4 * rng.normal(size=(n, 4))),
        response=response,
        field=field_coupling(system, CUTOFF),
        constraint=charge_constraint(system, False),
        norms=jnp.asarray(1.0 + rng.random((2, 4))),
        width=WIDTH,
        max_steps=200,
    )


def solved(problem, tolerance=1e-12, start=None):
    start = jnp.zeros_like(problem.local) if start is None else start
    levels = jnp.zeros(problem.system.n_nodes)
    frozen = jax.lax.stop_gradient(problem)
    found = newton_krylov(frozen, start, levels, tolerance, 20)
    return finalize_fixed_point(problem, *found, tolerance)


def dense_solution(problem):
    """The bordered equations of an affine map, column by column, by NumPy."""
    shape, (n, m) = problem.local.shape, problem.local.shape
    zero = jnp.zeros(n)
    constant = np.asarray(problem.update(jnp.zeros(shape), zero)).ravel()
    units = jnp.eye(n * m).reshape(-1, n, m)
    columns = np.asarray(jax.vmap(lambda p: problem.update(p, zero))(units)).reshape(n * m, -1)
    matrix = np.eye(n * m) - (columns - constant).T
    group = int(problem.constraint.group[0])
    level = np.asarray(problem.update(jnp.zeros(shape), zero.at[group].set(1.0))).ravel() - constant
    row = np.tile([1.0, 0, 0, 0], n)
    bordered = np.block([[matrix, -level[:, None]], [row[None], np.zeros((1, 1))]])
    total = float(problem.constraint.total[group])
    found = np.linalg.solve(bordered, np.append(constant, total))
    return found[:-1].reshape(shape), found[-1]


@pytest.mark.parametrize("restart", [40, 4])
def test_gmres_solves_every_structure_by_itself(x64, rng, monkeypatch, restart):
    monkeypatch.setattr("electrojax.numerics.gmres.RESTART", restart)
    graph = np.repeat([0, 1, 2, 3], [3, 5, 1, 2])  # the last are padding
    space = Space(jnp.asarray(graph), 3)
    blocks = [0.15 * rng.normal(size=(2 * k,) * 2) + np.eye(2 * k) for k in (3, 5, 1)]
    matrix = jax.scipy.linalg.block_diag(*blocks, np.zeros((4, 4)))
    rhs = jnp.asarray(rng.normal(size=(11, 2)) * (graph < 3)[:, None])
    run = jax.jit(
        lambda b: gmres(lambda x: (matrix @ x.ravel()).reshape(x.shape), b, space, 1e-12, 300)
    )
    x, steps = run(rhs)
    expected = [
        np.linalg.solve(a, b.ravel()) for a, b in zip(blocks, (rhs[:3], rhs[3:8], rhs[8:9]))
    ]
    np.testing.assert_allclose(x[:9].ravel(), np.concatenate(expected), atol=1e-10)
    assert not np.any(x[9:])
    if restart == 40:  # in exact arithmetic as many steps as unknowns
        np.testing.assert_array_equal(steps, [6, 10, 2])
    # Other structures do not count, bit for bit.
    alone, _ = run(rhs.at[3:].set(0.0))
    np.testing.assert_array_equal(alone[:3], x[:3])


def test_gmres_of_a_singular_matrix_ends_with_numbers(x64):
    space = Space(jnp.zeros(2, dtype=jnp.int32), 1)
    matrix = jnp.asarray([[0.0, 1.0], [0.0, 0.0]])
    for rhs in ([1.0, 0.0], [0.0, 1.0], [1.0, 1.0]):
        x, _ = gmres(lambda x: matrix @ x, jnp.asarray(rhs)[:, None], space, 1e-12, 50)
        assert np.all(np.isfinite(x))


def test_a_free_affine_response_equals_a_dense_solve(x64):
    problem = free_problem(system_of([cluster()]))
    multipoles, levels, report = jax.jit(solved)(problem)
    expected, level = dense_solution(problem)
    np.testing.assert_allclose(multipoles, expected, atol=1e-10)
    np.testing.assert_allclose(levels[problem.constraint.group[0]], level, atol=1e-9)
    assert abs(float(multipoles[:, 0].sum()) - 0.6) < 1e-13
    assert bool(report.converged[0]) and float(report.residual[0]) < 1e-11


@pytest.mark.conformance_for("True")
@pytest.mark.parametrize("nonlinear", [False, True])
def test_every_way_leads_to_the_same_fixed_point(x64, nonlinear):
    problem = free_problem(system_of([cluster()]), nonlinear=nonlinear)
    expected, levels, _ = jax.jit(solved)(problem)
    zero, taken = jnp.zeros(5), []
    for history in (0, 4):
        run = jax.jit(lambda p, h=history: mixing_iteration(p, p.local, zero, 1e-11, 400, 0.3, h))
        found, level, steps = run(problem)
        np.testing.assert_allclose(found, expected, atol=1e-9)
        np.testing.assert_allclose(level, levels, atol=1e-8)
        taken.append(int(steps[0]))
    assert taken[1] < 0.5 * taken[0] < 200


@pytest.mark.conformance
def test_mixing_leaves_a_converged_structure_alone(x64):
    """Bit for bit, whatever its batch-mate needs, and it counts its own steps."""
    found = []
    for seed, n in ((5, 3), (6, 8)):
        frames = [cluster(), cluster(seed, n)]
        room = {"nodes": 13 - 5 - n, "graph_nodes": 8 - max(5, n)}
        system = system_of(frames, **room)
        one = free_problem(system_of([cluster()], nodes=8))
        problem = free_problem(system, strength=0.02)
        for name in ("local", "response"):
            own, other = getattr(one, name), getattr(problem, name)
            merged = jax.tree.map(lambda a, b: jnp.asarray(b).at[:5].set(a[:5]), own, other)
            problem = replace(problem, **{name: merged})
        problem = replace(problem, norms=one.norms)
        zero = jnp.zeros(13)
        newton = jax.jit(lambda p, z=zero: newton_krylov(p, p.local, z, 1e-10, 20))(problem)
        anderson = jax.jit(lambda p, z=zero: mixing_iteration(p, p.local, z, 1e-10, 200, 0.3, 4))(
            problem
        )
        found.append((newton, anderson))
    for a, b in zip(found[0], found[1]):
        np.testing.assert_array_equal(a[0][:5], b[0][:5])
        assert a[2][0] == b[2][0] and a[2][1] != b[2][1]


def test_divergence_is_a_value(x64):
    wild = free_problem(system_of([cluster()]), strength=3.0, nonlinear=True)
    zero = jnp.zeros(5)
    found = mixing_iteration(wild, wild.local, zero, 1e-10, 100, 0.3, 0)
    for tolerance, way in (
        (1e-10, found),
        (1e-14, newton_krylov(wild, wild.local, zero, 1e-14, 3)),
    ):
        multipoles, levels, report = finalize_fixed_point(wild, *way, tolerance)
        assert np.all(np.isfinite(multipoles)) and np.all(np.isfinite(levels))
        assert not bool(report.converged[0])


def test_charge_that_does_not_respond_is_reported(x64):
    """Σ ∂q/∂μ = 0: no level gives the charge."""
    problem = free_problem(system_of([cluster()]))
    problem = replace(problem, response=AffineResponse(jnp.zeros((5, 4, 8))))
    multipoles, _, report = jax.jit(solved)(problem)
    assert not bool(report.converged[0]) and abs(float(multipoles[:, 0].sum()) - 0.6) < 1e-13
    system = replace(problem.system, charge_control=jnp.ones(1, dtype=jnp.int32))
    free = replace(problem, system=system, constraint=charge_constraint(system, False))
    multipoles, _, report = jax.jit(solved)(free)
    np.testing.assert_allclose(multipoles, problem.local, atol=1e-14)
    assert bool(report.converged[0])


@pytest.mark.conformance_for("True-1")
@pytest.mark.parametrize(("nonlinear", "control"), [(False, 0), (True, 1)])
def test_derivatives_of_a_fixed_point(x64, nonlinear, control):
    """Reverse, forward, both over reverse; against differences and the unrolled iteration."""
    base = system_of([cluster(n=4)])
    base = replace(base, charge_control=jnp.array([control]), fermi_level=jnp.array([0.3]))
    target = np.random.default_rng(0).normal(size=(4, 4))
    level_weight = 0.3

    def problem_at(positions):
        return free_problem(replace(base, positions=positions), nonlinear=nonlinear)

    def value(multipoles, levels):
        return jnp.sum((multipoles - target) ** 2) + level_weight * jnp.sum(levels) ** 2

    def implicit(positions):
        multipoles, levels, _ = solved(problem_at(positions))
        return value(multipoles, levels)

    def through(positions):
        problem = problem_at(positions)
        return value(*unrolled_updates(problem, problem.local, jnp.zeros(4), 120, 0.5))

    at = np.asarray(base.positions)
    direction = np.random.default_rng(4).normal(size=at.shape)
    reverse = jax.jit(jax.value_and_grad(implicit))
    slope = reverse(at)[1]
    testing.assert_gradient(lambda x: float(reverse(x)[0]), slope, at, rtol=1e-7)
    forward = jax.jit(lambda x: jax.jvp(implicit, (x,), (jnp.asarray(direction),))[1])(at)
    np.testing.assert_allclose(forward, jnp.sum(slope * direction), rtol=1e-9)
    np.testing.assert_allclose(jax.jit(jax.grad(through))(at), slope, rtol=1e-6, atol=1e-8)
    # Reverse over reverse: what force matching needs.
    second = jax.jit(jax.grad(lambda x: jnp.sum(jax.grad(implicit)(x) * direction)))(at)
    testing.assert_gradient(
        lambda x: float(np.sum(reverse(x)[1] * direction)), second, at, rtol=1e-6
    )
