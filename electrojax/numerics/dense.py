"""Direct solves of small structures: the curvature as a matrix, and its Cholesky factor."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from electrojax.numerics.constraint import ChargeConstraint
from electrojax.system.layout import GraphLayout
from electrojax.typing import Array


def cholesky_solve(
    curvature: Callable[[Array], Array],
    constraint: ChargeConstraint,
    layout: GraphLayout,
    rhs: Array,
) -> Array:
    """Returns the solution v [N, M] of Π H v = Π b with C v = 0, Π the projection on C v = 0.

    One atom of every group is eliminated, v = Z y, so that ZᵀHZ is positive definite wherever H is
    on changes that keep the charge. The matrix [G, A·M, A·M] is made of A·M products with H.

    Args:
        curvature: v -> H v, of vectors [N, M]; structures do not mix.
        constraint: which charges are fixed.
        layout: the dense layout of the batch, with A atoms per structure.
        rhs: b [N, M].
    """
    basis, absent = elimination(constraint, layout, rhs.shape[1])
    # ZᵀHZ y = Zᵀb, with 1 on the diagonal of columns that are not there.
    reduced = jnp.swapaxes(basis, 1, 2) @ dense_matrix(curvature, layout, rhs) @ basis
    reduced = reduced + jnp.einsum(
        "gi,ij->gij", absent, jnp.eye(absent.shape[1], dtype=absent.dtype)
    )
    flat = layout.dense(rhs).reshape(basis.shape[0], -1, 1)
    factor = jnp.linalg.cholesky(reduced)
    y = jax.scipy.linalg.cho_solve((factor, True), jnp.swapaxes(basis, 1, 2) @ flat)
    return layout.nodes((basis @ y).reshape(*layout.mask.shape, rhs.shape[1]))


def dense_matrix(curvature: Callable[[Array], Array], layout: GraphLayout, like: Array) -> Array:
    """Returns H [G, A·M, A·M] of a batch, zero where there is no atom.

    Args:
        curvature: v -> H v, of vectors [N, M].
        layout: the dense layout of the batch.
        like: [N, M], only its shape and precision are read.
    """
    components = like.shape[1]
    slots = layout.mask.shape[1]
    units = jnp.eye(slots * components, dtype=like.dtype).reshape(-1, slots, components)

    def column(unit: Array) -> Array:
        one = jnp.broadcast_to(unit, (*layout.mask.shape, components))
        return layout.dense(curvature(layout.nodes(one)))

    # One product with H per place and component, for all structures at once.
    columns = jax.vmap(column)(units)
    return jnp.moveaxis(columns.reshape(columns.shape[0], columns.shape[1], -1), 0, 2)


def elimination(
    constraint: ChargeConstraint, layout: GraphLayout, components: int
) -> tuple[Array, Array]:
    """Returns Z [G, n, n] and where its columns are zero [G, n]; n = A·M.

    The column of an atom's charge in a group moves that charge there from the group's first atom;
    that of the first atom, and those of places without an atom, are zero.
    """
    size = constraint.total.shape[0]
    index = jnp.arange(size, dtype=jnp.int32)
    first = jax.ops.segment_min(index, constraint.group, size)
    first = jnp.where(
        constraint.group < size, first[jnp.minimum(constraint.group, size - 1)], index
    )
    place = layout.dense(layout.slot[first])
    slots = jnp.arange(layout.mask.shape[1], dtype=place.dtype)
    grouped = layout.dense(constraint.group < size)
    one = jnp.ones((), constraint.total.dtype)
    source = (place[:, :, None] == slots) & (grouped[:, :, None])
    # Column b: +1 at atom b, −1 at the first atom of its group.
    moved = jnp.eye(slots.shape[0], dtype=one.dtype) - jnp.swapaxes(source, 1, 2) * one
    kept = layout.mask & ~(grouped & (place == slots))
    charges = moved * kept[:, None, :]
    other = jnp.eye(slots.shape[0], dtype=one.dtype) * (layout.mask[:, None, :] * one)
    blocks = [charges] + [other] * (components - 1)
    full = jnp.stack(blocks, axis=-1)[..., :, None] * jnp.eye(components, dtype=one.dtype)
    n = slots.shape[0] * components
    # [G, a, b, m, m'] -> [G, (a m), (b m')]
    basis = jnp.transpose(full, (0, 1, 3, 2, 4)).reshape(-1, n, n)
    present = [kept] + [layout.mask] * (components - 1)
    return basis, 1.0 - jnp.stack(present, axis=-1).reshape(-1, n) * one
