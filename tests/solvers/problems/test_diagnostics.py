"""What a self-consistent map says of itself, against dense NumPy algebra, and its slopes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax import testing
from electrojax.solvers.problems.diagnostics import map_diagnostics
from electrojax.solvers.problems.response_map import AffineResponse
from electrojax.solvers.state import ChargeGuess
from electrojax.typing import replace
from tests.numerics.test_scf_numerics import cluster, free_problem
from tests.solvers.systems import system_of

ATOMS = 3
NAMES = ("level_slope", "stability", "last_step")


def batch():
    """One structure at fixed charge, one at fixed potential, and padding."""
    frames = [cluster(n=ATOMS), cluster(2, n=ATOMS)]
    system = system_of(frames, nodes=1, graphs=1)
    controls = jnp.zeros(3, dtype=jnp.int32).at[1].set(1)
    return replace(system, charge_control=controls, fermi_level=jnp.array([0.0, 0.3, 0.0]))


def scaled(problem, factor):
    """The same map with a response that is some times as strong."""
    return replace(problem, response=AffineResponse(factor * problem.response.matrix))


@pytest.fixture(scope="module")
def problem():
    with jax.enable_x64(True):
        return free_problem(batch(), strength=0.0)


@pytest.fixture(scope="module")
def run(problem):
    """What is said at the local density, of a map some times as strong; one program."""
    levels = jnp.zeros(problem.local.shape[0])
    with jax.enable_x64(True):
        return jax.jit(lambda x: map_diagnostics(NAMES, scaled(problem, x), problem.local, levels))


def dense(problem, factor):
    """J and b = ∂F/∂μ of the affine map F = p_loc + S R (p, μ), and F, column by column."""
    problem = scaled(problem, factor)
    shape = problem.local.shape
    zero = jnp.zeros(shape[0])

    def update(p):
        return np.asarray(problem.update(jnp.asarray(p).reshape(shape), zero)).ravel()

    constant = update(np.zeros(shape))
    columns = [update(unit) - constant for unit in np.eye(constant.size)]
    # A level adds itself to every potential that is received, in the units of its norm.
    matrix = np.asarray(problem.response.matrix)
    norms = np.asarray(problem.norms)
    unit = np.zeros_like(norms)
    unit[:, 0] = 1.0
    level = matrix @ (unit / norms).ravel()
    return np.array(columns).T, level.ravel(), update(np.asarray(problem.local))


def rows(graph):
    return slice(4 * ATOMS * graph, 4 * ATOMS * (graph + 1))


@pytest.mark.parametrize("factor", [1.0, -0.7])
def test_values_equal_dense_algebra(x64, problem, run, factor):
    found = run(factor)
    jacobian, level, image = dense(problem, factor)
    for graph in range(2):
        block, moved = jacobian[rows(graph), rows(graph)], level[rows(graph)]
        slope = np.linalg.solve(np.eye(len(block)) - block, moved)[::4].sum()
        np.testing.assert_allclose(found["level_slope"][graph], slope, rtol=1e-9)
        assert (slope < 0) == (factor > 0)
        radius = np.abs(np.linalg.eigvals(block)).max()
        np.testing.assert_allclose(found["stability"][graph], radius, rtol=0.03)
    assert float(found["level_slope"][2]) == 0.0 and float(found["stability"][2]) < 1e-9
    # The free one is updated as it is; the other is put right with the bare slope.
    change = (image.reshape(-1, 4) - problem.local) / np.asarray(problem.scale)
    np.testing.assert_allclose(found["last_step"][ATOMS : 2 * ATOMS], change[ATOMS : 2 * ATOMS])
    first = slice(ATOMS)
    bare = level.reshape(-1, 4)[first]
    lacking = 0.6 - image.reshape(-1, 4)[first, 0].sum()
    expected = image.reshape(-1, 4)[first] + bare * lacking / bare[:, 0].sum()
    change = (expected - problem.local[first]) / np.asarray(problem.scale)
    np.testing.assert_allclose(found["last_step"][first], change, rtol=1e-9)


def test_slopes_equal_differences(x64, run):
    def squares(factor):
        found = run(factor)
        return jnp.stack([jnp.sum(found[name][:2] ** 2) for name in NAMES])

    slope = jax.jit(jax.grad(lambda factor: jnp.sum(squares(factor))))(0.8)
    testing.assert_gradient(lambda x: float(jnp.sum(squares(x[0]))), [slope], [0.8], rtol=1e-6)
    assert np.all(np.abs(squares(0.81) - squares(0.79)) > 1e-8)


def test_a_guess_that_knows_a_part_leaves_the_rest(x64):
    start = jnp.arange(8.0).reshape(2, 4)
    given = jnp.full((2, 2, 4), 10.0)
    known = jnp.array([[True, False, False, False], [False, True, True, True]])
    found = ChargeGuess(given, jnp.zeros(1), known).over(start)
    np.testing.assert_array_equal(found, [[20.0, 1.0, 2.0, 3.0], [4.0, 20.0, 20.0, 20.0]])
    np.testing.assert_array_equal(ChargeGuess(given, jnp.zeros(1)).over(start), given.sum(axis=1))
