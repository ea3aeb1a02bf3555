"""What the linearised map says of a self-consistent solution: whether iterating it would converge,
and how much charge a change of its level brings."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from electrojax.numerics.constraint import charge_constraint
from electrojax.numerics.fixed_point import balance_charge, linear_response
from electrojax.numerics.gmres import gmres
from electrojax.numerics.variational import rounding_error
from electrojax.system.types import graph_sum
from electrojax.typing import Array, replace

LEGENDRE_GAP = "legendre_gap"
"""∂E/∂Q + μ [G] in eV: zero where the density minimises its energy. It is a derivative of the
model's energy, so the model adds it, in the reverse pass that gives the forces."""

_TINY = 1e-30


def map_diagnostics(
    names: Sequence[str], problem: Any, multipoles: Array, levels: Array
) -> dict[str, Array]:
    """Returns what the map says of itself at a density, by name.

    - level_slope: ∂Q/∂μ [G] e²/eV with the response of all atoms, negative for stable densities;
    - stability: the largest |eigenvalue| [G] of ∂F/∂p;
    - last_step: the change [N, M] in e that one more update makes (l > 0 divided by width^l).

    Args:
        names: any of ``electrojax.system.quantities.DIAGNOSTICS``.
        problem: a ResponseProblem.
        multipoles: [N, M], where the map is linearised.
        levels: [N].
    """
    found = {}
    if "level_slope" in names:
        found["level_slope"] = charge_per_level(problem, multipoles, levels)
    if "stability" in names:
        found["stability"] = spectral_radius(problem, multipoles, levels)
    if "last_step" in names:
        image, _, _ = balance_charge(problem, multipoles, levels)
        found["last_step"] = (image - multipoles) / problem.scale
    return found


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
    start = jnp.cos(multipoles + jnp.arange(1, multipoles.shape[1] + 1, dtype=multipoles.dtype))
    start = jnp.where((space.graph < space.graphs)[:, None], start, 0.0) * problem.scale

    def length(v: Array) -> Array:
        return jnp.sqrt(space.inner(v / problem.scale, v / problem.scale) + _TINY)

    def advance(v: Array, _: Any) -> tuple[Array, Array]:
        image = linear_response(problem, multipoles, levels, v, zeros)
        growth = length(image)
        return image / growth[graph][:, None], growth

    _, growths = jax.lax.scan(advance, start / length(start)[graph][:, None], None, length=steps)
    return jnp.exp(jnp.mean(jnp.log(growths[steps // 2 :]), axis=0))


def charge_per_level(problem: Any, multipoles: Array, levels: Array) -> Array:
    """Returns ∂Q/∂μ of every structure, with the response of all of its atoms to each other.

    The charge of (1 − J)⁻¹ ∂F/∂μ with J = ∂F/∂p. Stable densities have ∂Q/∂μ < 0, as the level is
    that of a positive charge.

    Args:
        problem: a ResponseProblem.
        multipoles: [N, M], a fixed point.
        levels: [N].

    Returns:
        [G] e²/eV.
    """
    # At fixed potential too there is a level that every atom feels; fragments have their own.
    fixed = jnp.zeros_like(problem.system.charge_control)
    held = charge_constraint(replace(problem.system, charge_control=fixed), False)
    own = problem.constraint
    held = replace(
        held,
        group=jnp.where(own.group < len(own.group), own.group, held.group),
        count=jnp.where(own.count > 0, own.count, held.count),
    )
    whole, nothing = problem.with_constraint(held), jnp.zeros_like(multipoles)
    bare = linear_response(whole, multipoles, levels, nothing, jnp.ones_like(levels))

    def matrix(v: Array) -> Array:
        return v - linear_response(whole, multipoles, levels, v, jnp.zeros_like(levels))

    # In units of charge; those of a transposed equation are the inverse.
    prepared = whole.preconditioner(multipoles, levels)
    moved = jax.lax.custom_linear_solve(
        matrix,
        bare,
        _solver(whole, whole.scale, prepared.apply),
        _solver(whole, 1.0 / whole.scale, prepared.transposed),
    )
    return graph_sum(moved[:, 0], problem.system)


def _solver(
    problem: Any, unit: Array, precondition: Callable[[Array], Array]
) -> Callable[[Callable[[Array], Array], Array], Array]:
    """Solves for unknowns [N, M] in the units [M] of each order."""

    def solve(product: Callable[[Array], Array], rhs: Array) -> Array:
        scaled = rhs / unit
        tolerance = rounding_error(scaled) * problem.space.largest(scaled)
        matrix = lambda x: product(unit * x) / unit  # noqa: E731
        prepared = lambda x: precondition(unit * x) / unit  # noqa: E731
        limits = (tolerance, problem.max_steps)
        return unit * gmres(matrix, scaled, problem.space, *limits, prepared)[0]

    return solve
