"""Densities that make the potential they respond to: p = F(p, μ), and how they are differentiated.

At fixed charge Σ_i q_i = Q the level μ is an unknown too. With J = ∂F/∂p and b = ∂F/∂μ, every
linear equation is (1 − J) v − b λ = r with Σ v_q = c. Eliminating v leaves the Schur complement
λ = (c − Q[(1 − J)⁻¹ r]) / Q[(1 − J)⁻¹ b], whose denominator is ∂Q/∂μ with the response of the
whole structure in it, not of its atoms alone. Both are solved together here: it takes one solve
instead of two, and divides by nothing. Derivatives of the solution by anything that F depends on
are one such equation (the implicit function theorem), in forward and reverse mode, to any order.
"""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from electrojax.numerics.cg import Space
from electrojax.numerics.constraint import ChargeConstraint, at_atoms
from electrojax.numerics.gmres import gmres
from electrojax.numerics.report import SolverReport
from electrojax.numerics.response_preconditioner import ResponsePreconditioner
from electrojax.numerics.variational import effective_tolerance, rounding_error
from electrojax.system.types import System
from electrojax.typing import Array

_LEVEL = 10.0
"""eV/e, the unit in which levels are unknowns: of the order of a hardness, so that the columns of
the linear equation are of one size."""


class ResponseProblem(Protocol):
    """A map of multipoles [N, M] to multipoles, as a pytree of everything that it depends on.

    Attributes:
        system: the batch.
        constraint: which charges are fixed.
        max_steps: the largest number of products of a linear solve.
        affine: whether F is affine in p and μ.
    """

    @property
    def system(self) -> System: ...

    @property
    def constraint(self) -> ChargeConstraint: ...

    @property
    def max_steps(self) -> int: ...

    @property
    def affine(self) -> bool: ...

    @property
    def space(self) -> Space:
        """Inner products per structure."""
        ...

    def with_constraint(self, constraint: ChargeConstraint) -> "ResponseProblem":
        """Returns the map with other charges fixed."""
        ...

    @property
    def scale(self) -> Array:
        """Å^l of each component [M], by which multipoles become charges."""
        ...

    def update(self, multipoles: Array, levels: Array) -> Array:
        """Returns F(p, μ) [N, M], with the level [N] eV/e of each group; zero on padding."""
        ...

    def preconditioner(self, multipoles: Array, levels: Array) -> ResponsePreconditioner:
        """Returns an approximate (1 − J)⁻¹ at p and μ; it is not differentiated."""
        ...


def size(problem: ResponseProblem, residual: Array) -> Array:
    """Returns the largest change [G] in e, multipoles divided by width^l."""
    return problem.space.largest(residual / problem.scale)


def balance_charge(problem: Any, multipoles: Array, levels: Array) -> tuple[Array, Array, Array]:
    """Returns F(p, μ + δ) + O(δ²) with the right charges, μ + δ, and what charge lacked.

    δ is found with the bare response ∂F/∂μ at fixed p, exactly where F is affine. Where that sums
    to nothing, the charge is spread evenly and μ stays.

    Args:
        problem: a ResponseProblem.
        multipoles: p [N, M].
        levels: μ [N] of each group.

    Returns:
        [N, M], [N] and the missing charge [G] in e.
    """
    constraint = problem.constraint
    image, slope = jax.jvp(
        lambda x: problem.update(multipoles, x), (levels,), (jnp.ones_like(levels),)
    )
    # Charge that F(p, μ) lacks, then what one eV/e of μ brings at fixed p.
    missing = jnp.where(constraint.count > 0, constraint.total - constraint.sums(image), 0.0)
    bare = constraint.sums(slope)
    usable = jnp.abs(bare) > 1e-6 * jnp.maximum(constraint.count, 1)
    shift = jnp.where(usable, missing / jnp.where(usable, bare, 1.0), 0.0)
    # F(p, μ + δ) to first order; what is left of the charge is spread evenly.
    image = image + slope * constraint.broadcast_to_atoms(shift, image)[:, :1]
    image = constraint.with_total_charge(image, constraint.total)
    return (
        image,
        levels + shift,
        problem.space.largest(constraint.broadcast_to_atoms(missing, image)),
    )


def unrolled_updates(
    problem: Any, start: Array, levels: Array, steps: int, fraction: float
) -> tuple[Array, Array]:
    """Returns the density and the levels after some damped updates, differentiated through them.

    Args:
        problem: a ResponseProblem.
        start: [N, M].
        levels: [N] eV/e of each group, to start from.
        steps: number of updates.
        fraction: how far each goes, p ← p + α (F − p); 1 for the update itself.
    """
    start = problem.constraint.with_total_charge(start, problem.constraint.total)

    @jax.checkpoint
    def advance(carry: tuple[Array, Array], _: Any) -> tuple[tuple[Array, Array], Any]:
        multipoles, levels = carry
        image, levels, _ = balance_charge(problem, multipoles, levels)
        return (multipoles + fraction * (image - multipoles), levels), None

    (multipoles, levels), _ = jax.lax.scan(advance, (start, levels), None, length=steps)
    return multipoles, levels


def level_at_start(problem: ResponseProblem, given: Array) -> Array:
    """Returns levels [N] of each group from those [G] of each structure."""
    return jnp.where(problem.constraint.count > 0, at_atoms(given, problem.system), 0.0)


def residual(problem: ResponseProblem, multipoles: Array, levels: Array) -> Array:
    """Returns F(p, μ) − p and, in a last column, the charge that each group lacks: [N, M + 1]."""
    constraint = problem.constraint
    lacking = jnp.where(constraint.count > 0, constraint.total - constraint.sums(multipoles), 0.0)
    return pack(problem.update(multipoles, levels) - multipoles, lacking)


def pack(multipoles: Array, levels: Array) -> Array:
    """Returns multipoles [N, M] and levels [N] of each group as one array [N, M + 1].

    A group is indexed by an atom of its own structure, so that norms per structure hold for both;
    and the transpose rule of custom_linear_solve fails if part of a right-hand side is a constant.
    """
    return jnp.concatenate([multipoles, levels[:, None]], axis=1)


def jacobian(problem: Any, multipoles: Array, levels: Array, unknown: Array) -> Array:
    """Returns (1 − J) v − b λ, and Σ v_q of each group, of joined v and λ [N, M + 1]."""
    v, shift = unknown[:, :-1], unknown[:, -1]
    groups = problem.constraint.count > 0
    moved = linear_response(problem, multipoles, levels, v, shift)
    return pack(v - moved, jnp.where(groups, problem.constraint.sums(v), shift))


def bordered_solve(
    problem: ResponseProblem,
    matrix: Callable[[Array], Array],
    rhs: Array,
    precondition: Callable[[Array], Array],
    tolerance: Array | None = None,
    transposed: bool = False,
) -> tuple[Array, Array]:
    """Returns joined v and λ [N, M + 1] of one linear equation, and the products [G].

    Args:
        problem: gives the units of the unknowns, and inner products.
        matrix: the :func:`jacobian`, or its transpose.
        rhs: [N, M + 1].
        precondition: an approximate (1 − J)⁻¹, or its transpose, of multipoles [N, M].
        tolerance: [G] e, of the norm of the residual; None for one near rounding.
        transposed: whether it is the transpose.
    """
    # Unknowns in units of charge (Å^l) and of 10 eV/e, equations in charges: entries of one size.
    unit = jnp.full(1, _LEVEL, rhs.dtype)
    right = jnp.concatenate([problem.scale.astype(rhs.dtype), unit])
    left = 1.0 / right.at[-1].set(1.0)
    if transposed:
        left, right = right, left
    rhs = left * rhs
    if tolerance is None:
        tolerance = rounding_error(rhs) * problem.space.largest(rhs)

    def prepared(y: Array) -> Array:
        solved = precondition((y / left)[:, :-1])
        return pack(solved, y[:, -1]) / right.at[-1].set(1.0)

    x, steps = gmres(
        lambda x: left * matrix(right * x),
        rhs,
        problem.space,
        tolerance,
        problem.max_steps,
        prepared,
    )
    return right * x, steps


def response(
    problem: Any, multipoles: Array, levels: Array, rhs: Array, totals: Array
) -> tuple[Array, Array]:
    """Returns v, λ with (1 − J) v − b λ = r and Σ v_q = c, differentiable to any order.

    Args:
        problem: a ResponseProblem, linearised at the multipoles and levels.
        multipoles: p [N, M].
        levels: μ [N].
        rhs: r [N, M].
        totals: c [N], one per group, zero elsewhere.
    """

    def matrix(unknown: Array) -> Array:
        return jacobian(problem, multipoles, levels, unknown)

    prepared = problem.preconditioner(multipoles, levels)

    def solve(product: Callable[[Array], Array], right: Array) -> Array:
        return bordered_solve(problem, product, right, prepared.apply)[0]

    def transpose(product: Callable[[Array], Array], right: Array) -> Array:
        return bordered_solve(problem, product, right, prepared.transposed, transposed=True)[0]

    found = jax.lax.custom_linear_solve(matrix, pack(rhs, totals), solve, transpose)
    return found[:, :-1], found[:, -1]


def linear_response(
    problem: Any, multipoles: Array, levels: Array, direction: Array, shift: Array
) -> Array:
    """Returns J v + b λ [N, M], the change of F with p and μ."""
    shift = jnp.where(problem.constraint.count > 0, shift, 0.0)
    return jax.jvp(problem.update, (multipoles, levels), (direction, shift))[1]


@jax.custom_jvp
def with_implicit_gradient(multipoles: Array, levels: Array, problem: Any) -> tuple[Array, Array]:
    """Returns a fixed point and its levels as functions of their problem, with derivatives.

    Args:
        multipoles: [N, M], found in any way.
        levels: [N].
        problem: a ResponseProblem.
    """
    return multipoles, levels


@with_implicit_gradient.defjvp
def _self_consistent_jvp(
    primals: tuple[Array, Array, Any], tangents: tuple[Array, Array, Any]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    multipoles, levels = with_implicit_gradient(*primals)
    constraint = primals[2].constraint

    def conditions(problem: Any) -> tuple[Array, Array]:
        return problem.update(multipoles, levels), problem.constraint.total

    # Implicit function theorem: (1 − J) dp − b dμ = ∂F/∂x dx at the fixed point, Σ dq = dQ.
    moved, totals = jax.jvp(conditions, (primals[2],), (tangents[2],))[1]
    totals = jnp.where(constraint.count > 0, totals, 0.0)
    return (multipoles, levels), response(primals[2], multipoles, levels, moved, totals)


def finalize_fixed_point(
    problem: Any, found: Array, levels: Array, steps: Array, tolerance: float
) -> tuple[Array, Array, SolverReport]:
    """Returns a fixed point with derivatives and exact charges, its levels and its report.

    What is not finite is replaced by zero, and reported as not converged.
    """
    frozen = jax.lax.stop_gradient(problem)
    found = jnp.where(jnp.isfinite(found), found, 0.0)
    levels = jnp.where(jnp.isfinite(levels), levels, 0.0)
    found = frozen.constraint.with_total_charge(found, frozen.constraint.total)
    # One application of F more: the report holds for the density that is returned.
    left = size(frozen, residual(frozen, found, levels)[:, :-1])
    converged = left <= 2.0 * effective_tolerance(frozen, found, tolerance)
    found, levels = with_implicit_gradient(found, levels, problem)
    return found, levels, SolverReport(converged, steps, left)
