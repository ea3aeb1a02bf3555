"""Reference densities as the start of a charge solver."""

import jax.numpy as jnp

from electrojax.solvers.state import ChargeGuess
from electrojax.system.types import Batch


def label_guess(batch: Batch, l_max: int) -> ChargeGuess:
    """Returns the density and the level that the labels of a batch tell of.

    Multipoles come from their labels, charges where there is no multipole from theirs. What has no
    label is marked as not known: the solver starts it as it would without a guess.

    Args:
        batch: inputs and labels.
        l_max: highest multipole order of the solver's density.
    """
    targets, components = batch.targets, (l_max + 1) ** 2
    known = jnp.asarray(targets.multipoles.mask)[:, :components]
    values = jnp.where(known, jnp.asarray(targets.multipoles.value)[:, :components], 0.0)
    charged = jnp.asarray(targets.charges.mask) & ~known[:, 0]
    values = values.at[:, 0].set(jnp.where(charged, targets.charges.value, values[:, 0]))
    known = known.at[:, 0].set(known[:, 0] | charged)
    level = jnp.where(targets.fermi_level.mask, targets.fermi_level.value, 0.0)
    return ChargeGuess(values[:, None, :], level, known)
