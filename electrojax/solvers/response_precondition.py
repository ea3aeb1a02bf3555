"""Approximate inverses of 1 − J for self-consistent maps p = F(p, μ): the long waves of A."""

from typing import Any

import jax
import jax.numpy as jnp

from electrojax.electrostatics.long_waves import SOFTEST
from electrojax.electrostatics.precondition import low_k_preconditioner
from electrojax.system.types import System
from electrojax.typing import Array, struct

HARDEST = 1.0e3
"""eV/e², taken for charges that hardly respond, or the wrong way."""


@struct
class ResponsePreconditioner:
    """K = P⁻¹ B on the first components of a residual F − p, the identity on the others.

    P is the preconditioner of A + H for conjugate gradients. Where 1 − J = B⁻¹ (A + H), K is
    close to (1 − J)⁻¹ for the long waves, by which charge sloshes to and fro in long cells.

    Attributes:
        waves: P⁻¹; None for K = 1.
        blocks: B [N, m, m] eV/(e·Å^l)².
    """

    waves: Any = None
    blocks: Array | None = None

    def apply(self, residual: Array) -> Array:
        """Returns K r [N, M] of a residual [N, M]; zero on padding."""
        return self._changed(residual, lambda head: self.waves.apply(self._times_blocks(head)))

    def transposed(self, residual: Array) -> Array:
        """Returns Kᵀ r [N, M], likewise."""
        return self._changed(residual, lambda head: self._times_blocks(self.waves.apply(head)))

    def _changed(self, residual: Array, change: Any) -> Array:
        if self.waves is None or self.blocks is None:
            return residual
        size = self.blocks.shape[-1]
        head = change(residual[:, :size])
        return jnp.concatenate([head, residual[:, size:]], axis=1)

    def _times_blocks(self, head: Array) -> Array:
        return jnp.einsum("nij,nj->ni", self.blocks, head)


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
