"""Ways to a fixed point: linear mixing, Anderson mixing, Newton with Krylov solves.

Newton's method of convex energies is :mod:`electrojax.numerics.newton`, which says why it is apart.
"""

from typing import Any

import jax
import jax.numpy as jnp

from electrojax.numerics.cg import Space
from electrojax.numerics.fixed_point import (
    balance_charge,
    bordered_solve,
    jacobian,
    pack,
    residual,
    size,
)
from electrojax.numerics.response_preconditioner import ResponsePreconditioner
from electrojax.numerics.variational import effective_tolerance
from electrojax.typing import Array, struct

_FORCING = 0.01
"""Each linear solve of a Newton step ends at this fraction of its residual."""

_HALVINGS = 8


@struct
class MixingState:
    """Where the iteration stands, with its last differences.

    Attributes:
        multipoles: p [N, M].
        levels: μ [N].
        residual: r [N, M] of the iterate before.
        before: that iterate.
        changes: [K, N, M] last changes of p, oldest overwritten.
        images: [K, N, M] the changes of r that went with them.
        active: [G].
        steps: [G] updates.
        count: updates of the batch.
    """

    multipoles: Array
    levels: Array
    residual: Array
    before: Array
    changes: Array
    images: Array
    active: Array
    steps: Array
    count: Array


def mixing_iteration(
    problem: Any,
    start: Array,
    levels: Array,
    tolerance: float,
    max_updates: int,
    fraction: float,
    history: int,
) -> tuple[Array, Array, Array]:
    """Returns the fixed point, its levels and the updates [G] it took, by mixing.

    D. G. Anderson, J. ACM 12, 547 (1965), in the form of H.-F. Fang and Y. Saad, Numer. Linear
    Algebra Appl. 16, 197 (2009), eq. 11: p + α r − (ΔP + α ΔR) (ΔRᵀΔR)⁻¹ ΔRᵀ r. Without history it
    is p + α r. r is the residual F − p times an approximate inverse of its slope, which damps the
    long waves as G. P. Kerker's does (Phys. Rev. B 23, 3082 (1981)). Converged structures are
    frozen.

    Args:
        problem: a ResponseProblem; nothing is differentiated.
        start: [N, M].
        levels: [N].
        tolerance: e, of the residual F − p before damping.
        max_updates: the largest number of updates.
        fraction: α.
        history: number of differences kept; 0 for linear mixing.
    """
    start = problem.constraint.with_total_charge(start, problem.constraint.total)
    limit = effective_tolerance(problem, start, tolerance)
    graphs = problem.space.graphs
    kept = jnp.zeros((history, *start.shape), start.dtype)
    first = MixingState(
        multipoles=start,
        levels=levels,
        residual=jnp.zeros_like(start),
        before=start,
        changes=kept,
        images=kept,
        active=jnp.ones(graphs, dtype=bool),
        steps=jnp.zeros(graphs, dtype=jnp.int32),
        count=jnp.zeros((), dtype=jnp.int32),
    )

    def unfinished(state: MixingState) -> Array:
        return jnp.any(state.active) & (state.count < max_updates)

    prepared = problem.preconditioner(start, levels)

    def advance(state: MixingState) -> MixingState:
        return _mixed_once(problem, prepared, state, limit, fraction)

    end = jax.lax.while_loop(unfinished, advance, first)
    return end.multipoles, end.levels, end.steps


def _mixed_once(
    problem: Any,
    prepared: ResponsePreconditioner,
    state: MixingState,
    limit: Array,
    fraction: float,
) -> MixingState:
    image, levels, missing = balance_charge(problem, state.multipoles, state.levels)
    left = image - state.multipoles
    measured = size(problem, left)
    going = state.active & (jnp.maximum(measured, missing) > limit)
    left = problem.constraint.project(prepared.apply(left))
    rows = problem.space.scaled(going.astype(left.dtype), jnp.ones_like(left[:, :1])) > 0
    changes, images = state.changes, state.images
    if len(changes):
        # The oldest difference makes room for that of the last update.
        place = (state.count - 1) % len(changes)
        known = rows & (state.count > 0)
        moved = jnp.where(known, state.multipoles - state.before, 0.0)
        changes = changes.at[place].set(moved)
        images = images.at[place].set(jnp.where(known, left - state.residual, 0.0))
    step = fraction * left
    if len(changes):
        # γ minimises |r − ΔR γ|; the step is α r − (ΔP + α ΔR) γ (Fang and Saad, eq. 11).
        weights = _least_squares(images, left, problem.space)
        per_atom = weights.at[problem.space.graph].get(mode="fill", fill_value=0)
        step = step - jnp.einsum("nk,knm->nm", per_atom, changes + fraction * images)
    # The levels of a structure that has converged at this point belong to it: they are kept too.
    was = problem.space.scaled(state.active.astype(left.dtype), jnp.ones_like(left[:, :1])) > 0
    return MixingState(
        multipoles=state.multipoles + jnp.where(rows, step, 0.0),
        levels=jnp.where(was[:, 0], levels, state.levels),
        residual=left,
        before=state.multipoles,
        changes=changes,
        images=images,
        active=going & jnp.isfinite(measured),
        steps=state.steps + state.active,
        count=state.count + 1,
    )


def _least_squares(images: Array, left: Array, space: Space) -> Array:
    """(ΔRᵀΔR)⁻¹ ΔRᵀ r of every structure [G, K], with a little of the trace on the diagonal."""
    inner = jax.vmap(space.inner, (0, None), 1)
    # Normal equations of a few columns per structure; their condition is bounded by the damping.
    gram = jax.vmap(inner, (None, 0), 2)(images, images)
    trace = jnp.trace(gram, axis1=1, axis2=2)[:, None, None]
    damped = gram + (jnp.finfo(left.dtype).eps * trace + jnp.where(trace > 0, 0.0, 1.0)) * jnp.eye(
        len(images), dtype=left.dtype
    )
    # An empty row of the history, early on, has a tiny diagonal and no right-hand side.
    solved = jnp.linalg.solve(damped, inner(images, left)[..., None])[..., 0]
    return jnp.where(jnp.isfinite(solved), solved, 0.0)


@struct
class NewtonState:
    """Where the Newton iteration stands.

    Attributes:
        unknown: p and μ, joined [N, M + 1].
        residual: of both [N, M + 1].
        size: of the residual [G] in e.
        active: [G].
        steps: [G] products.
        count: Newton steps of the batch.
    """

    unknown: Array
    residual: Array
    size: Array
    active: Array
    steps: Array
    count: Array


def newton_krylov(
    problem: Any, start: Array, levels: Array, tolerance: float, max_newton: int
) -> tuple[Array, Array, Array]:
    """Returns the fixed point, its levels and the products with 1 − J [G], by Newton's method.

    One step is one solve of the linearised equation at fixed charge; for an affine map it is the
    solution. A step that does not lower the residual is halved. Converged structures are frozen.

    Args:
        problem: a ResponseProblem; nothing is differentiated.
        start: [N, M].
        levels: [N].
        tolerance: e, of the residual F − p.
        max_newton: the largest number of steps.
    """
    start = problem.constraint.with_total_charge(start, problem.constraint.total)
    limit = effective_tolerance(problem, start, tolerance)
    left = residual(problem, start, levels)
    first = NewtonState(
        unknown=pack(start, levels),
        residual=left,
        size=_size(problem, left),
        active=_size(problem, left) > limit,
        steps=jnp.zeros(problem.space.graphs, dtype=jnp.int32),
        count=jnp.zeros((), dtype=jnp.int32),
    )

    def unfinished(state: NewtonState) -> Array:
        return jnp.any(state.active) & (state.count < max_newton)

    end = jax.lax.while_loop(unfinished, lambda s: _newton_step(problem, s, limit), first)
    return end.unknown[:, :-1], end.unknown[:, -1], end.steps


@struct
class Trial:
    """A step along a Newton direction: its length [G], the residual there, and its size [G]."""

    length: Array
    residual: Array
    size: Array
    count: Array


def _newton_step(problem: Any, state: NewtonState, limit: Array) -> NewtonState:
    change, steps = _direction(problem, state, limit)

    def shorter(trial: Trial) -> Trial:
        halved = jnp.where(trial.size < state.size, trial.length, 0.5 * trial.length)
        unknown = state.unknown + problem.space.scaled(halved, change)
        left = residual(problem, unknown[:, :-1], unknown[:, -1])
        return Trial(halved, left, _size(problem, left), trial.count + 1)

    def too_long(trial: Trial) -> Array:
        return jnp.any(~(trial.size < state.size) & state.active) & (trial.count < _HALVINGS)

    # The first trial halves this, so that it is the whole step.
    doubled = 2.0 * state.active.astype(change.dtype)
    start = Trial(doubled, state.residual, jnp.full_like(doubled, jnp.inf), state.count * 0)
    trial = jax.lax.while_loop(too_long, shorter, start)
    # A structure that no length improves stops where it is.
    better = state.active & (trial.size < state.size)
    rows = problem.space.scaled(better.astype(change.dtype), jnp.ones_like(change)) > 0
    length = jnp.where(better, trial.length, 0.0)
    return NewtonState(
        unknown=state.unknown + problem.space.scaled(length, change),
        residual=jnp.where(rows, trial.residual, state.residual),
        size=jnp.where(better, trial.size, state.size),
        active=better & (trial.size > limit),
        steps=state.steps + jnp.where(state.active, steps, 0),
        count=state.count + 1,
    )


def _direction(problem: Any, state: NewtonState, limit: Array) -> tuple[Array, Array]:
    left = problem.space.scaled(state.active.astype(state.residual.dtype), state.residual)
    target = 0.25 * limit
    if not problem.affine:
        target = jnp.maximum(_FORCING * state.size, target)
    at = (state.unknown[:, :-1], state.unknown[:, -1])
    prepared = problem.preconditioner(*at).apply
    matrix = lambda x: jacobian(problem, *at, x)  # noqa: E731
    change, steps = bordered_solve(problem, matrix, left, prepared, target)
    return jnp.where(jnp.isfinite(change), change, 0.0), steps


def _size(problem: Any, left: Array) -> Array:
    """The residual [G] in e of density and charge together."""
    return jnp.maximum(size(problem, left[:, :-1]), problem.space.largest(left[:, -1:]))
