"""Charge that flows along edges: periodic structures' stand-in for the positions of charges.

Wrapping an atom through the cell boundary moves it by a lattice vector, so the dipole Σ q r of a
periodic cell jumps. Charge q − q⁰ that has come to an atom from its neighbours has no such jump: it
came along edges, whose vectors do not change. Without a model of the transfers t_e themselves, take
those that bring it there with the least Σ_e t_e²/w_e (Nistor, Polihronov, Müser and Mosey, J. Chem.
Phys. 125, 094108 (2006) introduce transfers as variables; the minimum norm is that of an electric
circuit with conductances w, Thomson's principle). The dipole Σ_e t_e r_e that this flow carries is
linear in the charges, Σ_i (q_i − q⁰_i) x_i, and x are coordinates that only know edge vectors: the
least-squares solution of x_i − x_j ≈ r_e, one symmetric linear solve per geometry.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from electrojax.numerics.cg import atom_space, conjugate_gradient
from electrojax.system.geometry import edge_vectors
from electrojax.system.types import System, graph_mean
from electrojax.typing import Array

STEEPNESS = 2.0
"""Of the weights: they fade well before the cutoff, so that a last bond breaks gently."""
LEAK = 1.0e-5
"""Small leak to ground (1e-5 of a short edge). It keeps the linear system regular and lets the flow
over a breaking bond go to zero smoothly. Larger, it would shorten the coordinates of loosely bound
parts; smaller, single precision would not resolve the forces on charged parts."""
MAX_ITERATIONS = 1000
LinearMap = Callable[[Array], Array]


def edge_weights(vectors: Array, cutoff: float) -> Array:
    """Returns the conductances of edges, exp(−2 u²/(1 − u²)) with u = r/cutoff.

    Args:
        vectors: [E, 3] Å.
        cutoff: Å.

    Returns:
        [E], from 1 for a short edge to 0 at the cutoff, with all derivatives continuous.
    """
    squared = jnp.sum(vectors**2, axis=-1) / cutoff**2
    inside = squared < 1.0 - 1.0e-4  # the weight is far below any precision from here on
    safe = jnp.where(inside, squared, 0.0)
    return jnp.where(inside, jnp.exp(-STEEPNESS * safe / (1.0 - safe)), 0.0)


def flow_coordinates(system: System, cutoff: float, direction: Array) -> Array:
    """Returns x_i·d, the coordinate of every atom along a direction as its edges see it.

    x minimises Σ_e w_e (x_i − x_j − r_e·d)² + LEAK Σ_i x_i² over the edges e = (j → i). In a
    structure that is connected and nowhere periodic it is r_i·d up to a constant; wrapping atoms
    leaves it as it is. Its mean over each connected component is zero, so that charge which is
    missing from a component is missing evenly from all its atoms.

    Args:
        system: a batch, with every edge in both directions.
        cutoff: Å, of the edges; longer ones do not count.
        direction: [G, 3] d, in any unit; the solve takes no step for a structure where it is zero.

    Returns:
        [N] Å times the unit of d; zero on padding.
    """
    vectors = edge_vectors(system)
    weights = edge_weights(vectors, cutoff)
    along = jnp.sum(direction[system.node_graph][system.receivers] * vectors, axis=-1)
    # Normal equations L x = Σ_e w_e r_e·d, with L the weighted Laplacian and a leak.
    driven = at_receivers(weights * jnp.where(weights > 0, along, 0.0), system)
    diagonal = at_receivers(weights, system) + LEAK

    def conductance(x: Array) -> Array:
        return diagonal * x - at_receivers(weights * x[system.senders], system)

    # Jacobi: the diagonal varies by orders of magnitude where bonds break.
    space, scale = atom_space(system), jax.lax.stop_gradient(diagonal)[:, None]

    def size(residual: Array) -> Array:
        return space.inner(residual, residual / scale)

    def solve(matvec: LinearMap, right: Array) -> Array:
        rhs = right[:, None]
        tolerance = (50 * float(jnp.finfo(right.dtype).eps)) ** 2 * size(rhs)
        x, _ = conjugate_gradient(
            lambda v: matvec(v[:, 0])[:, None],
            rhs,
            lambda residual: residual / scale,
            size,
            space,
            tolerance,
            MAX_ITERATIONS,
        )
        return x[:, 0]

    found = jax.lax.custom_linear_solve(conductance, driven, solve, symmetric=True)
    # The mean is zero but for rounding. Taking it off keeps the transposed solve, whose right-hand
    # side is the charges, from dividing their sum by LEAK.
    return (found - graph_mean(found, system)[system.node_graph]) * system.node_mask


def divergence(transfers: Array, system: System) -> Array:
    """Returns the charge that transfers bring to every atom, Σ_{e→i} t_e − Σ_{e←i} t_e.

    Args:
        transfers: [E] e, from the sender to the receiver of an edge; zero on padding.
        system: a batch.

    Returns:
        [N] e, with the sum zero over each structure to round-off.
    """
    given = jax.ops.segment_sum(transfers, system.senders, system.n_nodes)
    return at_receivers(transfers, system) - given


def at_receivers(values: Array, system: System) -> Array:
    """Returns the sums over the edges that end at every atom, [N, ...] of [E, ...]."""
    return jax.ops.segment_sum(values, system.receivers, system.n_nodes, indices_are_sorted=True)
