"""Charge that is missing, or too much, given to atoms by learned Fukui weights."""

from typing import Literal

import jax
import jax.numpy as jnp

from electrojax.numerics.constraint import at_atoms
from electrojax.system.types import System, graph_sum
from electrojax.typing import Array

Fukui = Literal["positive", "signed"]

_CANCELLED = 1e-3
"""Signed weights with a sum of about this share of their magnitude go over into even ones."""

_LINEAR_BELOW = -15.0
"""Below it log softplus(x) is x to single precision."""


def equilibrate(multipoles: Array, raw: Array, totals: Array, system: System, kind: Fukui) -> Array:
    """Returns multipoles whose charges sum, channel by channel, to given totals.

    q_i ← q_i + f_i (Q − Σ_j q_j) with the weights f of :func:`fukui_weights`.

    Args:
        multipoles: [N, C, M] e·Å^l.
        raw: [N, C] unconstrained weights, or [N, 1] for the same of every channel.
        totals: [G, C] e, or [G, 1].
        system: the batch.
        kind: the form of the weights.

    Returns:
        [N, C, M]; padding stays zero.
    """
    weights = fukui_weights(raw, system, kind)
    missing = totals - graph_sum(multipoles[:, :, 0], system)
    return multipoles.at[:, :, 0].add(weights * at_atoms(missing, system))


def conserve_charge(multipoles: Array, logits: Array, system: System) -> Array:
    """Returns multipoles whose charges sum to the total charge of each structure.

    q_i ← q_i + f_i (Q − Σ_j q_j) with the positive weights f of :func:`fukui_weights`; R. Zubatyuk,
    J. S. Smith, B. T. Nebgen, S. Tretiak and O. Isayev, Nat. Commun. 12, 4870 (2021).

    Args:
        multipoles: [N, M] or, of C channels that each have that sum, [N, C, M] e·Å^l.
        logits: [N], unconstrained weights.
        system: the batch, with ``total_charge`` [G] in e.

    Returns:
        Multipoles of the same shape; padding stays zero.
    """
    channels = multipoles if multipoles.ndim == 3 else multipoles[:, None]
    totals = system.total_charge[:, None]
    found = equilibrate(channels, logits[:, None], totals, system, "positive")
    return found.reshape(multipoles.shape)


def fukui_weights(raw: Array, system: System, kind: Fukui) -> Array:
    """Returns weights f [N, C] with Σ_i f_i = 1 in each structure, zero on padding.

    ``positive``: f ∝ softplus(raw), strictly positive. ``signed``: f ∝ raw as in MACE-POLAR-1,
    where the sum does not cancel; where it does, the weights go over into 1/N smoothly.

    Args:
        raw: [N, C], any finite numbers.
        system: the batch.
        kind: the form of the weights.
    """
    mask = system.node_mask[:, None]
    form = _positive if kind == "positive" else _signed
    return form(jnp.where(mask, raw, 0.0), mask, system)


def _positive(raw: Array, mask: Array, system: System) -> Array:
    """softplus(x)/Σ softplus(x), of logarithms: no sum can vanish, however negative x."""
    small = raw < _LINEAR_BELOW
    positive = jax.nn.softplus(jnp.where(small, 0.0, raw))
    logarithms = jnp.where(small, raw, jnp.log(positive))
    graph = system.node_graph
    largest = jax.ops.segment_max(jnp.where(mask, logarithms, -jnp.inf), graph, system.n_graphs)
    largest = jax.lax.stop_gradient(jnp.where(jnp.isfinite(largest), largest, 0.0))
    relative = jnp.where(mask, logarithms - at_atoms(largest, system), 0.0)
    values = jnp.where(mask, jnp.exp(relative), 0.0)
    # At least 1, of the largest weight; padding structures have none.
    return values / at_atoms(jnp.maximum(graph_sum(values, system), 1.0), system)


def _signed(raw: Array, mask: Array, system: System) -> Array:
    """x t³/(t⁴ + ε⁴) + (1/N) ε⁴/(t⁴ + ε⁴) of x = raw/√(N Σ raw²) and t = Σ x, which is within ±1.

    It is raw/Σ raw to a relative (ε/t)⁴, and its own sum is 1 for any t.
    """
    atoms = jnp.maximum(graph_sum(mask.astype(raw.dtype), system), 1.0)
    tiny = jnp.finfo(raw.dtype).tiny ** 0.5
    magnitude = jnp.sqrt(atoms * graph_sum(raw**2, system) + tiny)
    values = raw / at_atoms(magnitude, system)
    total = graph_sum(values, system)
    guard = _CANCELLED**4
    kept = total**3 / (total**4 + guard)
    even = guard / (total**4 + guard) / atoms
    return jnp.where(mask, values * at_atoms(kept, system) + at_atoms(even, system), 0.0)


def channel_charges(system: System, channels: int) -> Array:
    """Returns the charge of each density channel [G, C] in e.

    With n_α − n_β = multiplicity − 1 electrons, whose charge is negative, the charges of the up and
    down channels are Q_α = [Q − (2S + 1) + 1]/2 and Q_β = [Q + (2S + 1) − 1]/2. (MACE-POLAR-1
    counts the excess in charges instead: its first channel is our second.)

    Args:
        system: the batch, with total_charge [G] e and multiplicity [G].
        channels: 1, or 2 for spin up and down.
    """
    charge = system.total_charge
    if channels == 1:
        return charge[:, None]
    unpaired = system.multiplicity - 1.0
    # Padding structures have multiplicity 1 and no charge: nothing.
    return jnp.stack([0.5 * (charge - unpaired), 0.5 * (charge + unpaired)], axis=1)
