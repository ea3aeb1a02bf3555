"""Generalised minimal residuals for many structures at once, each stopping by itself."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from electrojax.numerics.cg import Space
from electrojax.typing import Array, struct

RESTART = 40
"""Vectors kept before the iteration starts anew from its true residual."""

_STALLED = 0.9
"""A cycle that lowers the residual by less than this has met rounding, or a singular matrix."""


Carry = tuple[Array, Array, Array, Array]
"""Between cycles: x and its residual [N, M], which structures go on and their products [G]."""


@struct
class ArnoldiState:
    """One cycle: an orthonormal basis and the triangular least-squares problem in it.

    Attributes:
        basis: [K + 1, N, M] orthonormal per structure; zero beyond what a structure needed.
        triangle: [G, K, K] upper triangular, the unit matrix where nothing has been written.
        rotations: [G, K + 1, K + 1] the product of the plane rotations so far.
        target: [G, K + 1] the rotated right-hand side; its next entry is the residual's norm.
        active: [G] structures that go on.
        steps: [G] products with the matrix.
        column: the next column.
    """

    basis: Array
    triangle: Array
    rotations: Array
    target: Array
    active: Array
    steps: Array
    column: Array


def gmres(
    matrix: Callable[[Array], Array],
    rhs: Array,
    space: Space,
    tolerance: Array | float,
    max_steps: int,
    precondition: Callable[[Array], Array] = lambda x: x,
) -> tuple[Array, Array]:
    """Returns the solution of a square system without symmetry, started at zero.

    Y. Saad and M. H. Schultz, SIAM J. Sci. Stat. Comput. 7, 856 (1986), preconditioned on the
    right, A M⁻¹ y = b and x = M⁻¹ y, so that residuals are those of x. All inner products are per
    structure, and a structure that has converged is frozen, so that its result does not depend on
    its batch-mates.

    Args:
        matrix: x -> A x.
        rhs: b [N, M].
        space: inner products.
        tolerance: [G] or one number, of the norm of the residual.
        max_steps: the largest number of products with A.
        precondition: r -> M⁻¹ r, linear.

    Returns:
        x, and the number of products [G].
    """
    limit = jnp.broadcast_to(jnp.asarray(tolerance, rhs.dtype), (space.graphs,))
    active = norm(space, rhs) > limit
    steps = jnp.zeros(space.graphs, dtype=jnp.int32)

    def unfinished(carry: Carry) -> Array:
        return jnp.any(carry[2]) & (jnp.max(carry[3]) < max_steps)

    def cycle(carry: Carry) -> Carry:
        x, residual, active, steps = carry
        change, steps = _cycle(
            lambda y: matrix(precondition(y)), residual, space, limit, active, steps, max_steps
        )
        change = precondition(change)
        # The true residual: that of the rotations drifts from it by rounding.
        refined = residual - matrix(change)
        before, after = norm(space, residual), norm(space, refined)
        better = active & (after < before)  # false for NaN
        x = x + jnp.where(_rows(space, better), change, 0.0)
        residual = jnp.where(_rows(space, better), refined, residual)
        return x, residual, better & (after > limit) & (after < _STALLED * before), steps

    end = jax.lax.while_loop(unfinished, cycle, (jnp.zeros_like(rhs), rhs, active, steps))
    return end[0], end[3]


def norm(space: Space, unknown: Array) -> Array:
    """Returns √⟨x, x⟩ of every structure [G]."""
    return jnp.sqrt(space.inner(unknown, unknown))


def _cycle(
    matrix: Callable[[Array], Array],
    residual: Array,
    space: Space,
    limit: Array,
    active: Array,
    steps: Array,
    max_steps: int,
) -> tuple[Array, Array]:
    """The change [N, M] that a cycle of Arnoldi steps makes, and all steps [G]."""
    size = min(RESTART, max_steps)
    start = _started(residual, space, active, steps, size)

    def unfinished(state: ArnoldiState) -> Array:
        more = (state.column < size) & (jnp.max(state.steps) < max_steps)
        return jnp.any(state.active) & more

    end = jax.lax.while_loop(unfinished, lambda s: _extended(matrix, s, space, limit), start)
    # min |β e_1 − H y| is a triangular problem after the rotations (Saad and Schultz, section 3).
    weights = jax.scipy.linalg.solve_triangular(end.triangle, end.target[:, :size, None])
    return _combined(end.basis[:size], weights[..., 0], space), end.steps


def _started(residual: Array, space: Space, active: Array, steps: Array, size: int) -> ArnoldiState:
    length = norm(space, residual)
    first = space.scaled(_inverse(length, active), residual)
    basis = jnp.zeros((size + 1, *residual.shape), residual.dtype).at[0].set(first)
    target = jnp.zeros((space.graphs, size + 1), residual.dtype)
    return ArnoldiState(
        basis=basis,
        triangle=_identities(space.graphs, size, residual.dtype),
        rotations=_identities(space.graphs, size + 1, residual.dtype),
        target=target.at[:, 0].set(jnp.where(active, length, 0.0)),
        active=active,
        steps=steps,
        column=jnp.zeros((), dtype=jnp.int32),
    )


def _extended(
    matrix: Callable[[Array], Array], state: ArnoldiState, space: Space, limit: Array
) -> ArnoldiState:
    """One Arnoldi step. Structures that are not active write zero vectors and unit columns."""
    j, active = state.column, state.active
    image, projections = _orthogonalised(matrix(state.basis[j]), state.basis, space)
    length = norm(space, image)
    # Column j of the Hessenberg matrix: ⟨v_i, A v_j⟩, and the norm of the rest below the diagonal.
    column = projections.at[:, j + 1].set(length)
    column = jnp.einsum("gab,gb->ga", state.rotations, column)
    # The plane rotation that takes the entry below the diagonal to zero.
    radius = jnp.hypot(column[:, j], column[:, j + 1])
    usable = active & (radius > 0)
    inverse = _inverse(radius, usable)
    cosine = jnp.where(usable, column[:, j] * inverse, 1.0)
    sine = jnp.where(usable, column[:, j + 1] * inverse, 0.0)
    unit = jnp.zeros_like(column).at[:, j].set(1.0)
    written = jnp.where(usable[:, None], column.at[:, j].set(radius).at[:, j + 1].set(0.0), unit)
    here = state.target[:, j]
    # Where the matrix maps the direction to zero, nothing is gained from it.
    target = (
        state.target.at[:, j + 1]
        .set(-sine * here)
        .at[:, j]
        .set(jnp.where(usable | ~active, cosine * here, 0.0))
    )
    # The next entry of the rotated right-hand side is the norm of the residual.
    going = usable & (jnp.abs(sine * here) > limit)
    following = space.scaled(_inverse(length, going), image)
    return ArnoldiState(
        basis=state.basis.at[j + 1].set(following),
        triangle=state.triangle.at[:, :, j].set(written[:, :-1]),
        rotations=_rotated(state.rotations, j, cosine, sine),
        target=jnp.where(active[:, None], target, state.target),
        active=going,
        steps=state.steps + active,
        column=j + 1,
    )


def _orthogonalised(image: Array, basis: Array, space: Space) -> tuple[Array, Array]:
    """The part of an image outside of the basis, and its projections [G, K + 1] on it.

    Gram-Schmidt twice: once loses the orthogonality in single precision.
    """
    total = jnp.zeros((space.graphs, basis.shape[0]), image.dtype)
    for _ in range(2):
        projections = jax.vmap(space.inner, (0, None), 1)(basis, image)
        image = image - _combined(basis, projections, space)
        total = total + projections
    return image, total


def _combined(basis: Array, weights: Array, space: Space) -> Array:
    """Σ_k w_k v_k with weights [G, K] of each row's structure."""
    rows = weights.at[space.graph].get(mode="fill", fill_value=0)
    return jnp.einsum("nk,knm->nm", rows, basis)


def _rotated(rotations: Array, j: Array, cosine: Array, sine: Array) -> Array:
    upper, lower = rotations[:, j], rotations[:, j + 1]
    c, s = cosine[:, None], sine[:, None]
    return rotations.at[:, j].set(c * upper + s * lower).at[:, j + 1].set(c * lower - s * upper)


def _identities(graphs: int, size: int, dtype: jnp.dtype) -> Array:
    return jnp.broadcast_to(jnp.eye(size, dtype=dtype), (graphs, size, size))


def _inverse(values: Array, where: Array) -> Array:
    usable = where & (values > 0)
    return jnp.where(usable, 1.0 / jnp.where(usable, values, 1.0), 0.0)


def _rows(space: Space, flags: Array) -> Array:
    return flags.at[space.graph].get(mode="fill", fill_value=False)[:, None]
