"""Terms that a few moments of the density add to a periodic sum: slabs and isolated molecules."""

import jax.numpy as jnp

from electrojax.electrostatics.contract import CoulombOperator
from electrojax.electrostatics.density import check_components, l_max_of, summed_channels
from electrojax.electrostatics.layout import GraphLayout
from electrojax.typing import Array, struct


@struct
class CorrectedOperator:
    """A periodic sum plus ½ mᵀ C m of moments m = Σ_i U_i p_i: symmetric, of low rank.

    Attributes:
        bulk: the periodic sum.
        layout: places of the atoms in the dense layout.
        moments: [G, A, R, M] what each unit multipole adds to each moment (the rows of U).
        coupling: [G, R, R] symmetric, eV over the product of the moments' units.
    """

    bulk: CoulombOperator
    layout: GraphLayout
    moments: Array
    coupling: Array

    def potential(self, multipoles: Array) -> Array:
        """Returns ∂E/∂p, eV/(e·Å^l), of multipoles [N, M] or [N, C, M] e·Å^l; the same shape."""
        conjugate = jnp.einsum("grs,gs->gr", self.coupling, self._total(multipoles))
        added = self.layout.nodes(jnp.einsum("gr,garm->gam", conjugate, self.moments))
        return self.bulk.potential(multipoles) + (added if multipoles.ndim == 2 else added[:, None])

    def energy(self, multipoles: Array) -> Array:
        """Returns the energy ½⟨p, Ap⟩ [G] in eV of multipoles [N, M] or [N, C, M] e·Å^l."""
        total = self._total(multipoles)
        added = 0.5 * jnp.einsum("gr,grs,gs->g", total, self.coupling, total)
        return self.bulk.energy(multipoles) + added

    def _total(self, multipoles: Array) -> Array:
        check_components(multipoles, l_max_of(self.moments.shape[-1]))
        dense = self.layout.dense(summed_channels(multipoles))
        return jnp.einsum("garm,gam->gr", self.moments, dense)
