"""The long waves of charge that responds to its own potential, for its preconditioner."""

from typing import Any

import jax
import jax.numpy as jnp

from electrojax.electrostatics.long_waves import SOFTEST
from electrojax.electrostatics.precondition import low_k_preconditioner
from electrojax.numerics.response_preconditioner import ResponsePreconditioner
from electrojax.system.types import System
from electrojax.typing import Array

HARDEST = 1.0e3
"""eV/e², taken for charges that hardly respond, or the wrong way."""


def preconditioner_of_charges(
    coulomb: Any, system: System, softness: Array, stiffness: Array, width: float
) -> ResponsePreconditioner:
    """Returns the preconditioner of a response whose charges alone count.

    Args:
        coulomb: the operator A of this geometry.
        system: the batch.
        softness: s [N] e²/eV, −∂q_i/∂v_i of each atom in a constant potential.
        stiffness: t [N], 1 where an atom feels its own charge and 1 − s a where it does not, a its
            potential: 1 − J = t + s A, so that h = t/s. Where that is no positive hardness, 1 − J
            is not definite, and the long waves are left alone.
        width: σ of the density, Å.
    """
    given = (coulomb, system, softness, stiffness)
    coulomb, system, softness, stiffness = jax.lax.stop_gradient(given)
    hardness = stiffness / jnp.where(softness > 0, softness, 1.0)
    usable = (softness > 0) & (hardness >= 0.99 * SOFTEST)
    hardness = jnp.where(usable, jnp.minimum(hardness, HARDEST), HARDEST)
    waves = low_k_preconditioner(coulomb, system, hardness[:, None], width)
    return ResponsePreconditioner(waves, waves.diagonal[:, :, None])
