"""Newton's method with conjugate gradients, for convex energies of the density.

Not one driver with :func:`electrojax.numerics.mixing.newton_krylov`: here the step solves a
symmetric definite system at fixed charge, and its length follows from the slope of the energy along
it; there density and level are solved for together by GMRES, and the residual itself must fall.
What they share, a loop until no structure is active, is three lines, and a driver would take
direction, length, acceptance and size of the residual as arguments.
"""

from typing import Any

import jax
import jax.numpy as jnp

from electrojax.numerics.report import SolverReport
from electrojax.numerics.variational import (
    VariationalProblem,
    effective_tolerance,
    finalize_minimum,
    linear_solve,
    projected_gradient,
)
from electrojax.typing import Array, struct

_FORCING = 0.01
"""Each linear solve ends at this fraction of the gradient: near the minimum every step then gains
two digits, and few products are wasted far from it (R. S. Dembo, S. C. Eisenstat and T. Steihaug,
SIAM J. Numer. Anal. 19, 400 (1982))."""

_SLOPE = 0.9
"""Accept a step t d if g(p + t d)·d <= 0.9 |g(p)·d|; otherwise halve t."""

_HALVINGS = 12


@struct
class NewtonState:
    """Where the iteration stands."""

    multipoles: Array
    gradient: Array
    active: Array
    steps: Array
    count: Array


def convex_minimum(
    problem: Any, start: Array, tolerance: float, max_newton: int
) -> tuple[Array, SolverReport]:
    """Returns the minimum of a convex energy, differentiable, and how it was found.

    The step length is halved until the slope along the step is no steeper, upwards, than it was
    downwards, which convexity guarantees for a short one. Converged structures are frozen.

    Args:
        problem: a VariationalProblem.
        start: [N, M], where to start; it need not obey the constraint.
        tolerance: e, of the residual (see ``size``).
        max_newton: the largest number of Newton steps.

    Returns:
        [N, M], and a report whose steps are products with the curvature.
    """
    frozen, start = jax.lax.stop_gradient((problem, start))
    start = frozen.constraint.with_total_charge(start, frozen.constraint.total)
    gradient = projected_gradient(frozen, start)
    limit = effective_tolerance(frozen, start, tolerance)
    first = NewtonState(
        multipoles=start,
        gradient=gradient,
        active=frozen.size(gradient) > limit,
        steps=jnp.zeros(frozen.space.graphs, dtype=jnp.int32),
        count=jnp.zeros((), dtype=jnp.int32),
    )

    def advance(state: NewtonState) -> NewtonState:
        direction, steps = _direction(frozen, state, limit)
        multipoles = state.multipoles + direction * _length(frozen, state, direction)
        gradient = projected_gradient(frozen, multipoles)
        active = state.active & (frozen.size(gradient) > limit)
        return NewtonState(multipoles, gradient, active, state.steps + steps, state.count + 1)

    def unfinished(state: NewtonState) -> Array:
        return jnp.any(state.active) & (state.count < max_newton)

    end = jax.lax.while_loop(unfinished, advance, first)
    return finalize_minimum(problem, end.multipoles, end.steps, tolerance)


def _direction(
    problem: VariationalProblem, state: NewtonState, limit: Array
) -> tuple[Array, Array]:
    """The Newton step [N, M], zero for converged structures, and its products [G]."""
    active = jnp.asarray(state.active, state.gradient.dtype)
    # H d = −g on changes that keep the charges; frozen structures have no right-hand side.
    rhs = -problem.space.scaled(active, state.gradient)
    target = jnp.maximum(_FORCING * problem.size(rhs), 0.5 * limit)
    zero = jnp.zeros_like(problem.constraint.total)
    return linear_solve(problem, state.multipoles, rhs, zero, target)


def _length(problem: VariationalProblem, state: NewtonState, direction: Array) -> Array:
    """The step length at every atom [N, 1]."""
    # g(p)·d is negative, since d is a descent direction of a convex energy.
    before = problem.space.inner(state.gradient, direction)

    def too_long(length: Array) -> Array:
        moved = state.multipoles + problem.space.scaled(length, direction)
        after = problem.space.inner(problem.gradient(moved), direction)
        return after > -_SLOPE * before

    def halve(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        length, count = carry
        return jnp.where(too_long(length), 0.5 * length, length), count + 1

    def unfinished(carry: tuple[Array, Array]) -> Array:
        length, count = carry
        return jnp.any(too_long(length) & state.active) & (count < _HALVINGS)

    ones = jnp.ones(problem.space.graphs, direction.dtype)
    length, _ = jax.lax.while_loop(unfinished, halve, (ones, jnp.zeros((), dtype=jnp.int32)))
    return problem.space.scaled(length, jnp.ones_like(direction[:, :1]))
