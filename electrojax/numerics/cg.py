"""Conjugate gradients for many structures at once, each stopping by itself."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from electrojax.system.types import System
from electrojax.typing import Array, static, struct


@struct
class Space:
    """Inner products of unknowns [N, M] or [E, M], one per structure.

    Attributes:
        graph: the structure of each row, ascending; G on padding.
        graphs: G.
    """

    graph: Array
    graphs: int = static()

    def inner(self, left: Array, right: Array) -> Array:
        """Returns ⟨left, right⟩ of every structure [G]."""
        rows = jnp.sum(left * right, axis=1)
        return jax.ops.segment_sum(rows, self.graph, self.graphs, indices_are_sorted=True)

    def scaled(self, factors: Array, unknown: Array) -> Array:
        """Returns the unknown times the factor [G] of each row's structure, zero on padding."""
        return factors.at[self.graph].get(mode="fill", fill_value=0)[:, None] * unknown

    def largest(self, unknown: Array) -> Array:
        """Returns the largest absolute entry of every structure [G], zero without atoms."""
        rows = jnp.max(jnp.abs(unknown), axis=1)
        values = jax.ops.segment_max(rows, self.graph, self.graphs, indices_are_sorted=True)
        return jnp.maximum(values, 0.0)


def atom_space(system: System) -> Space:
    """Returns the inner products of unknowns at the atoms of a batch."""
    graph, mask = system.node_graph, system.node_mask
    return Space(jnp.where(mask, graph, system.n_graphs), system.n_graphs)


@struct
class KrylovState:
    """Where the iteration stands: iterate, residual, direction, and what each structure did."""

    x: Array
    residual: Array
    direction: Array
    product: Array
    active: Array
    steps: Array


def conjugate_gradient(
    matrix: Callable[[Array], Array],
    rhs: Array,
    precondition: Callable[[Array], Array],
    measure: Callable[[Array], Array],
    space: Space,
    tolerance: Array | float,
    max_steps: int,
) -> tuple[Array, Array]:
    """Returns the solution of a symmetric positive definite system, started at zero.

    M. R. Hestenes and E. Stiefel, J. Res. Natl. Bur. Stand. 49, 409 (1952), preconditioned. All
    inner products are per structure, and a structure that has converged is frozen, so that its
    result does not depend on its batch-mates.

    Args:
        matrix: x -> A x.
        rhs: b.
        precondition: r -> M⁻¹ r, symmetric positive definite.
        measure: r -> [G], the size of a residual.
        space: inner products.
        tolerance: [G] or one number, of the measured residual.
        max_steps: the largest number of products with A.

    Returns:
        x, and the number of steps [G].
    """
    preconditioned = precondition(rhs)
    start = KrylovState(
        x=jnp.zeros_like(rhs),
        residual=rhs,
        direction=preconditioned,
        product=space.inner(rhs, preconditioned),
        active=measure(rhs) > tolerance,
        steps=jnp.zeros(space.graphs, dtype=jnp.int32),
    )

    def unfinished(state: KrylovState) -> Array:
        return jnp.any(state.active) & (jnp.max(state.steps) < max_steps)

    def advance(state: KrylovState) -> KrylovState:
        image = matrix(state.direction)
        curvature = space.inner(state.direction, image)
        # Hestenes and Stiefel, eq. 3:1b: α = ⟨r, M⁻¹r⟩/⟨d, A d⟩, zero for frozen structures.
        length = _ratio(state.product, curvature, state.active)
        x = state.x + space.scaled(length, state.direction)
        residual = state.residual - space.scaled(length, image)
        refined = precondition(residual)
        product = space.inner(residual, refined)
        # β = ⟨r', M⁻¹r'⟩/⟨r, M⁻¹r⟩ keeps the next direction A-conjugate to this one.
        kept = _ratio(product, state.product, state.active)
        direction = refined + space.scaled(kept, state.direction)
        # A direction without curvature is all rounding: nothing more can be gained.
        active = state.active & (measure(residual) > tolerance) & (curvature > 0)
        steps = state.steps + state.active
        return KrylovState(x, residual, direction, product, active, steps)

    end = jax.lax.while_loop(unfinished, advance, start)
    return end.x, end.steps


def _ratio(above: Array, below: Array, active: Array) -> Array:
    usable = active & (below > 0)
    return jnp.where(usable, above / jnp.where(usable, below, 1.0), 0.0)
