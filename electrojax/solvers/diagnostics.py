"""What the linearised map says of a self-consistent solution: whether iterating it would converge,
and how much charge a change of its level brings."""

from typing import Any

import jax
import jax.numpy as jnp

from electrojax.solvers.fixed_point import linearised, response
from electrojax.typing import Array


def spectral_radius(problem: Any, multipoles: Array, levels: Array, steps: int = 30) -> Array:
    """Returns an estimate of the largest |eigenvalue| of ∂F/∂p at fixed levels, by power iteration.

    Undamped iteration converges where it is below 1. Differentiable, for a loss on stability.

    Args:
        problem: a ResponseProblem.
        multipoles: [N, M], where the map is linearised.
        levels: [N].
        steps: products with ∂F/∂p.

    Returns:
        [G], the growth over the last half of the steps, as a geometric mean.
    """
    space, zeros = problem.space, jnp.zeros_like(levels)
    graph = jnp.minimum(space.graph, space.graphs - 1)
    # Any vector without a symmetry of the structure; the same for an atom wherever it stands.
    start = jnp.cos(multipoles + jnp.arange(1.0, multipoles.shape[1] + 1.0))
    start = jnp.where((space.graph < space.graphs)[:, None], start, 0.0) * problem.scale

    def length(v: Array) -> Array:
        return jnp.sqrt(space.inner(v / problem.scale, v / problem.scale) + _TINY)

    def advance(v: Array, _: Any) -> tuple[Array, Array]:
        image = linearised(problem, multipoles, levels, v, zeros)
        growth = length(image)
        return image / growth[graph][:, None], growth

    _, growths = jax.lax.scan(advance, start / length(start)[graph][:, None], None, length=steps)
    return jnp.exp(jnp.mean(jnp.log(growths[steps // 2 :]), axis=0))


def charge_per_level(problem: Any, multipoles: Array, levels: Array) -> Array:
    """Returns ∂Q/∂μ of every structure, with the response of all of its atoms to each other.

    Stable densities have ∂Q/∂μ < 0, as the level is that of a positive charge.

    Args:
        problem: a ResponseProblem.
        multipoles: [N, M], a fixed point.
        levels: [N].

    Returns:
        [G] e²/eV; zero for structures at fixed potential.
    """
    groups = problem.constraint.count > 0
    ones = jnp.where(groups, 1.0, 0.0).astype(multipoles.dtype)
    _, slopes = response(problem, multipoles, levels, jnp.zeros_like(multipoles), ones)
    at_atoms = problem.constraint.spread(slopes, multipoles)[:, :1]
    per_graph = problem.space.largest(jnp.maximum(at_atoms, 0.0)) - problem.space.largest(
        jnp.maximum(-at_atoms, 0.0)
    )
    safe = jnp.where(per_graph != 0, per_graph, 1.0)
    return jnp.where(per_graph != 0, 1.0 / safe, 0.0)


_TINY = 1e-30
