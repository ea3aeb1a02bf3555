"""Densities that minimise an energy: how they are found, and how they are differentiated.

At the minimum of F(p; x) under Σ_{i∈g} q_i = Q_g the Lagrangian L = F + Σ_g μ_g (Σ_{i∈g} q_i − Q_g)
is stationary in p and μ, so that dE/dx = ∂L/∂x at fixed p and μ: forces need no adjoint solve
(the envelope theorem; for forces R. P. Feynman, Phys. Rev. 56, 340 (1939)). What depends on p
itself, and every second derivative, goes through dp/dx = −H⁻¹ ∂g/∂x with g = ∂F/∂p and H = ∂g/∂p
(the implicit function theorem): one linear solve, in forward and in reverse mode.
"""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from electrojax.numerics.cg import Space, conjugate_gradient
from electrojax.numerics.constraint import ChargeConstraint
from electrojax.numerics.dense import cholesky_solve
from electrojax.numerics.report import SolverReport
from electrojax.system.layout import graph_layout
from electrojax.system.types import System
from electrojax.typing import Array

_ROUNDING = 64.0
"""Residuals below this many units of rounding are zero."""


class VariationalProblem(Protocol):
    """An energy of multipoles [N, M], as a pytree of everything that it depends on.

    Attributes:
        system: the batch.
        constraint: which charges are fixed.
        max_steps: the largest number of steps of a linear solve.
        dense: solve with a Cholesky factor instead of conjugate gradients.
    """

    @property
    def system(self) -> System: ...

    @property
    def constraint(self) -> ChargeConstraint: ...

    @property
    def max_steps(self) -> int: ...

    @property
    def dense(self) -> bool: ...

    @property
    def space(self) -> Space:
        """Inner products per structure."""
        ...

    def energies(self, multipoles: Array, levels: Array) -> dict[str, Array]:
        """Returns the terms of the Lagrangian [G] eV by name, at given multipliers [N] eV/e."""
        ...

    def gradient(self, multipoles: Array) -> Array:
        """Returns g = ∂F/∂p [N, M] eV/(e·Å^l)."""
        ...

    def curvature(self, multipoles: Array, direction: Array) -> Array:
        """Returns (∂g/∂p) v [N, M]; on padding rows the curvature is the identity."""
        ...

    def precondition(self, multipoles: Array) -> Callable[[Array], Array]:
        """Returns an approximate inverse of the curvature, symmetric positive definite."""
        ...

    def size(self, residual: Array) -> Array:
        """Returns a residual [N, M] as a charge error per structure [G], in e.

        max_i |r_i| over the diagonal of the curvature, multipoles divided by width^l.
        """
        ...


def quadratic_minimum(problem: Any, start: Array, tolerance: float) -> tuple[Array, SolverReport]:
    """Returns the minimum of a quadratic energy, differentiable, and how it was found.

    Args:
        problem: a VariationalProblem whose curvature does not depend on the multipoles.
        start: [N, M], where to start; it need not obey the constraint.
        tolerance: e, of the residual (see ``size``).
    """
    frozen, start = jax.lax.stop_gradient((problem, start))
    start = frozen.constraint.with_total_charge(start, frozen.constraint.total)
    limit = effective_tolerance(frozen, start, tolerance)
    change, steps = linear_solve(
        frozen, start, -frozen.gradient(start), jnp.zeros_like(frozen.constraint.total), limit
    )
    return finalize_minimum(problem, start + change, steps, tolerance)


def effective_tolerance(problem: Any, multipoles: Array, tolerance: float) -> Array:
    """Returns the tolerance [G] in e, or what rounding leaves of it; a problem has a ``space``."""
    return jnp.maximum(tolerance, rounding_error(multipoles) * problem.space.largest(multipoles))


def finalize_minimum(
    problem: Any, found: Array, steps: Array, tolerance: float
) -> tuple[Array, SolverReport]:
    """Returns a minimum with derivatives and exact charges, and its report.

    What is not finite is replaced by zero, and reported as not converged.
    """
    frozen = jax.lax.stop_gradient(problem)
    found = jnp.where(jnp.isfinite(found), found, 0.0)
    found = frozen.constraint.with_total_charge(found, frozen.constraint.total)
    residual = frozen.size(projected_gradient(frozen, found))
    # The recursion's residual, by which it stops, and the true one differ by rounding.
    converged = residual <= 2.0 * effective_tolerance(frozen, found, tolerance)
    return with_implicit_gradient(found, problem), SolverReport(converged, steps, residual)


def levels(problem: VariationalProblem, multipoles: Array) -> Array:
    """Returns the multipliers μ_g = −∂E/∂Q_g [N] in eV/e, zero where there is no group."""
    return -problem.constraint.mean(problem.gradient(multipoles))


def projected_gradient(problem: VariationalProblem, multipoles: Array) -> Array:
    """Returns the part of the gradient [N, M] that the constraint does not hold in balance."""
    return problem.constraint.project(problem.gradient(multipoles))


def linear_solve(
    problem: VariationalProblem,
    multipoles: Array,
    rhs: Array,
    totals: Array,
    tolerance: Array | None = None,
) -> tuple[Array, Array]:
    """Returns v with H v + Cᵀλ = b and C v = c, and the number of steps [G].

    Not differentiable: :func:`response` is.

    Args:
        problem: gives H at the multipoles, and C.
        multipoles: [N, M] where H is taken.
        rhs: b [N, M].
        totals: c [N].
        tolerance: [G] e, of the residual; None for one relative to b, near rounding.
    """
    constraint = problem.constraint
    precondition = problem.precondition(multipoles)
    # v = v_c + w with C v_c = c; then Π H w = Π (b − H v_c) in the space C w = 0, Π its projection.
    start = constraint.with_total_charge(jnp.zeros_like(rhs), totals)
    lacking = constraint.project(rhs - problem.curvature(multipoles, start))
    if problem.dense:
        change = cholesky_solve(
            lambda v: problem.curvature(multipoles, v),
            constraint,
            graph_layout(problem.system),
            lacking,
        )
        steps = jnp.ones(problem.space.graphs, dtype=jnp.int32)
        return constraint.with_total_charge(start + change, totals), steps
    if tolerance is None:
        tolerance = rounding_error(rhs) * (problem.size(lacking) + problem.size(rhs))
    change, steps = conjugate_gradient(
        lambda v: constraint.project(problem.curvature(multipoles, v)),
        lacking,
        lambda r: constraint.project(precondition(r)),
        problem.size,
        problem.space,
        tolerance,
        problem.max_steps,
    )
    return constraint.with_total_charge(start + change, totals), steps


def response(problem: Any, multipoles: Array, rhs: Array, totals: Array) -> Array:
    """Returns v with H v + Cᵀλ = b and C v = c, differentiable in any mode and to any order."""
    constraint = problem.constraint
    empty = constraint.count == 0

    # Pack v and the multipliers into one vector: the transpose rule of custom_linear_solve fails if
    # part of the right-hand side is a constant.
    def joined(v: Array, multipliers: Array) -> Array:
        return jnp.concatenate([v.ravel(), multipliers])

    def parts(unknown: Array) -> tuple[Array, Array]:
        return unknown[: rhs.size].reshape(rhs.shape), unknown[rhs.size :]

    def matrix(unknown: Array) -> Array:
        v, multipliers = parts(unknown)
        image = problem.curvature(multipoles, v) + constraint.broadcast_to_atoms(multipliers, v)
        return joined(image, constraint.sums(v) + jnp.where(empty, multipliers, 0.0))

    def solve(_: Any, right: Array) -> Array:
        b, c = parts(right)
        v, _ = linear_solve(problem, multipoles, b, jnp.where(empty, 0.0, c))
        # λ from what Π takes away: b − H v is the same for all atoms of a group.
        multipliers = constraint.mean(b - problem.curvature(multipoles, v))
        return joined(v, jnp.where(empty, c, multipliers))

    right = joined(rhs, totals)
    return parts(jax.lax.custom_linear_solve(matrix, right, solve, solve, symmetric=True))[0]


@jax.custom_jvp
def with_implicit_gradient(multipoles: Array, problem: Any) -> Array:
    """Returns a minimum as a function of its problem: the same numbers, with derivatives.

    Args:
        multipoles: [N, M], the minimum, found in any way.
        problem: a VariationalProblem.
    """
    return multipoles


@with_implicit_gradient.defjvp
def _attached_jvp(primals: tuple[Array, Any], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    multipoles, problem = primals
    solution = with_implicit_gradient(multipoles, problem)

    def conditions(problem: Any) -> tuple[Array, Array]:
        return problem.gradient(solution), problem.constraint.total

    # Implicit function theorem: H dp + Cᵀ dμ = −∂g/∂x dx, C dp = dQ.
    moved, totals = jax.jvp(conditions, (problem,), (tangents[1],))[1]
    return solution, response(problem, solution, -moved, totals)


@jax.custom_jvp
def stationary_energies(multipoles: Array, levels: Array, problem: Any) -> dict[str, Array]:
    """Returns the energy terms [G] eV by name at a minimum, whose sum is differentiated there.

    First derivatives are the partial ones at fixed multipoles and multipliers, exact for the sum of
    the terms and not for each alone; second derivatives include the response of both.

    Args:
        multipoles: [N, M], from :func:`with_implicit_gradient`.
        levels: [N] eV/e, from :func:`levels`.
        problem: a VariationalProblem.
    """
    return problem.energies(multipoles, levels)


@stationary_energies.defjvp
def _stationary_jvp(
    primals: tuple[Array, Array, Any], tangents: tuple[Array, Array, Any]
) -> tuple[dict[str, Array], dict[str, Array]]:
    multipoles, multipliers, problem = primals
    value = stationary_energies(multipoles, multipliers, problem)
    # Envelope theorem: ∂L/∂p = ∂L/∂μ = 0 at the minimum, so that their tangents drop out.
    partial = jax.jvp(lambda x: x.energies(multipoles, multipliers), (problem,), (tangents[2],))[1]
    return value, partial


def rounding_error(values: Array) -> float:
    """Returns the share of values that rounding makes of them."""
    return _ROUNDING * float(jnp.finfo(values.dtype).eps)
