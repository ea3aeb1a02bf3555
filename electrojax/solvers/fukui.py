"""Charge that is missing, or too much, given to atoms by learned Fukui weights."""

from typing import Literal

import jax
import jax.numpy as jnp

from electrojax.solvers.constraint import at_atoms
from electrojax.system.types import System, graph_sum
from electrojax.typing import Array

Fukui = Literal["positive", "signed"]

_CANCELLED = 1e-3
"""Signed weights whose sum is below this share of their magnitudes cannot be divided by it."""


def equilibrated(
    multipoles: Array, raw: Array, totals: Array, system: System, kind: Fukui
) -> Array:
    """Returns multipoles whose charges sum, channel by channel, to given totals.

    q_i ← q_i + f_i (Q − Σ_j q_j) with Σ f = 1. ``positive``: f ∝ softplus(raw). ``signed``: f ∝ raw
    as in MACE-POLAR-1, and even weights where Σ raw cancels.

    Args:
        multipoles: [N, C, M] e·Å^l.
        raw: [N, C], unconstrained weights.
        totals: [G, C] e.
        system: the batch.
        kind: the form of the weights.

    Returns:
        [N, C, M]; padding stays zero.
    """
    mask = jnp.asarray(system.node_mask)[:, None]
    values = jnp.where(mask, jax.nn.softplus(raw) if kind == "positive" else raw, 0.0)
    total, magnitude = graph_sum(values, system), graph_sum(jnp.abs(values), system)
    usable = (jnp.abs(total) > _CANCELLED * magnitude) & (magnitude > 0)
    atoms = jnp.maximum(graph_sum(mask.astype(values.dtype), system), 1.0)
    even = mask / at_atoms(atoms, system)
    share = values / at_atoms(jnp.where(usable, total, 1.0), system)
    fukui = jnp.where(at_atoms(usable, system), share, even)
    missing = totals - graph_sum(multipoles[:, :, 0], system)
    return multipoles.at[:, :, 0].add(fukui * at_atoms(missing, system))


def channel_charges(system: System, channels: int) -> Array:
    """Returns the charge of each density channel [G, C] in e.

    With n_α − n_β = multiplicity − 1 electrons, whose charge is negative, the charges of the up and
    down channels are Q_α = [Q − (2S + 1) + 1]/2 and Q_β = [Q + (2S + 1) − 1]/2.

    Args:
        system: the batch, with total_charge [G] e and multiplicity [G].
        channels: 1, or 2 for spin up and down.
    """
    charge = jnp.asarray(system.total_charge)
    if channels == 1:
        return charge[:, None]
    unpaired = jnp.asarray(system.multiplicity) - 1.0
    # Padding structures have multiplicity 1 and no charge: nothing.
    return jnp.stack([0.5 * (charge - unpaired), 0.5 * (charge + unpaired)], axis=1)
