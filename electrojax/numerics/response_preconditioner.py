"""Approximate inverses of 1 − J for self-consistent maps p = F(p, μ)."""

from typing import Any

import jax.numpy as jnp

from electrojax.typing import Array, struct


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
