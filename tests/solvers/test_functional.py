"""The convex functional: convex at random points, one minimum, and QEq where it is quadratic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax import testing
from electrojax.numerics.newton import convex_minimum
from electrojax.numerics.variational import (
    levels,
    projected_gradient,
    quadratic_minimum,
    stationary_energies,
)
from electrojax.solvers.problems.convex import ConvexEnergy, ConvexTerms
from electrojax.typing import replace
from tests.solvers.systems import energy_of, system_of

SCALE = np.array([1.0, 1.1, 1.1, 1.1])


def terms_of(rng, n, units=3, strength=1.0):
    return ConvexTerms(
        weights=jnp.asarray(strength * rng.random((n, units + 2))),
        vectors=jnp.asarray(4.0 * rng.normal(size=(n, units, 4))),
        shifts=jnp.asarray(rng.normal(size=(n, units))),
        scale=jnp.asarray(SCALE),
    )


def problem_of(strength, dense=False, seed=4, **changes):
    rng = np.random.default_rng(seed)
    frame = testing.cluster(rng, n=6, total_charge=-0.4, external_field=np.array([0.1, 0.0, -0.2]))
    drive, hard = 2.0 * rng.normal(size=(6, 4)), 0.5 + 4.0 * rng.random((6, 4))
    system = replace(system_of([frame]), **changes)
    quadratic = energy_of(system, drive, hard, dense=dense)
    return ConvexEnergy(quadratic, terms_of(rng, 6, strength=strength))


def test_the_terms_are_convex_and_their_blocks_the_hessian(x64, rng):
    terms = terms_of(rng, 50)
    for size in (1e-6, 0.1, 1.0, 100.0):
        points = jnp.asarray(size * rng.normal(size=(50, 4)))
        blocks = np.asarray(jax.jit(ConvexTerms.blocks)(terms, points))
        np.testing.assert_allclose(blocks, np.swapaxes(blocks, 1, 2), atol=1e-12)
        assert np.linalg.eigvalsh(blocks).min() > -1e-12
        # Convexity itself, without derivatives: the chord lies above the curve.
        other = jnp.asarray(size * rng.normal(size=(50, 4)))
        middle = terms.energies(0.5 * (points + other))
        assert np.all(middle <= 0.5 * (terms.energies(points) + terms.energies(other)) + 1e-12)
    hessian = jax.vmap(jax.hessian(lambda p, t: t.energies(p[None])[0]))
    alone = jax.tree.map(lambda x: x[:, None], terms)
    alone = replace(alone, scale=jnp.broadcast_to(terms.scale, (50, 4)))
    np.testing.assert_allclose(blocks, hessian(points, alone), atol=1e-9)


def test_the_quadratic_functional_is_charge_equilibration(x64):
    problem = problem_of(0.0)
    start = jnp.zeros((6, 4))
    newton, report = jax.jit(lambda p: convex_minimum(p, start, 1e-12, 30))(problem)
    linear, _ = jax.jit(lambda p: quadratic_minimum(p.quadratic, start, 1e-12))(problem)
    np.testing.assert_allclose(newton, linear, atol=1e-9)
    assert bool(report.converged[0])


@pytest.mark.conformance_for("False")
@pytest.mark.parametrize("dense", [False, True])
def test_one_minimum_whatever_the_start(x64, rng, dense):
    problem = problem_of(20.0, dense)
    run = jax.jit(lambda p, start: convex_minimum(p, start, 1e-11, 60))
    found = [run(problem, jnp.asarray(s * rng.normal(size=(6, 4)))) for s in (0.0, 1.0, 30.0)]
    for multipoles, report in found:
        assert bool(report.converged[0])
        np.testing.assert_allclose(multipoles, found[0][0], atol=1e-10)
        assert abs(float(multipoles[:, 0].sum()) + 0.4) < 1e-13
        np.testing.assert_allclose(projected_gradient(problem, multipoles), 0.0, atol=1e-8)
    # And it is the minimum: any change that keeps the charge costs energy.
    best = found[0][0]
    for _ in range(20):
        change = rng.normal(size=(6, 4)) * 1e-2
        change[:, 0] -= change[:, 0].mean()
        energies = [sum(problem.energies(p, jnp.zeros(6)).values()) for p in (best, best + change)]
        assert energies[1] > energies[0]


def test_the_level_is_minus_the_derivative_by_the_charge(x64):
    @jax.jit
    def energy(total):
        problem = problem_of(5.0, total_charge=total)
        multipoles, _ = convex_minimum(problem, jnp.zeros((6, 4)), 1e-12, 60)
        multipliers = levels(problem, multipoles)
        terms = stationary_energies(multipoles, multipliers, problem)
        return sum(terms.values())[0], multipliers[0]

    at = np.array([-0.4])
    level = float(energy(at)[1])
    testing.assert_gradient(lambda q: float(energy(q)[0]), [-level], at, rtol=1e-8)
    # The derivative that JAX takes is the same, and so is the second one.
    slope, curvature = jax.jit(
        lambda q: jax.jvp(jax.grad(lambda x: energy(x)[0]), (q,), (jnp.ones(1),))
    )(at)
    np.testing.assert_allclose(slope, [-level], rtol=1e-9)
    testing.assert_gradient(lambda q: -float(energy(q)[1]), curvature, at, rtol=1e-8)


def test_single_precision_reaches_its_tolerance():
    problem = jax.tree.map(
        lambda x: x.astype(jnp.float32) if x.dtype == jnp.float64 else x,
        jax.device_get(_double(lambda: problem_of(5.0))),
    )
    _, report = jax.jit(lambda p: convex_minimum(p, jnp.zeros((6, 4), jnp.float32), 1e-6, 30))(
        problem
    )
    assert bool(report.converged[0]) and float(report.residual[0]) < 2e-5


def _double(make):
    with jax.enable_x64(True):
        return make()
