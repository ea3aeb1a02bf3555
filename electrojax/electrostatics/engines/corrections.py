"""Terms that a few moments of the density add to a periodic sum: slabs and isolated molecules."""

from collections.abc import Sequence

import jax.numpy as jnp

from electrojax.electrostatics.contract import CoulombOperator, receiving
from electrojax.electrostatics.density import each_channel, summed_channels
from electrojax.system.layout import GraphLayout
from electrojax.typing import Array, static, struct


@struct
class CorrectedOperator:
    """A periodic sum plus ½ mᵀ C m of moments m = Σ_i U_i p_i: symmetric, of low rank.

    Attributes:
        bulk: the periodic sum.
        layout: places of the atoms in the dense layout.
        moments: [G, A, R, 9] what each unit multipole up to l = 2 adds to each moment, without the
            Gaussians' own second moment (the rows of U).
        spread: [R] what a charge of width 1 Å adds with its second moment.
        width: [] or [G, A] σ in Å.
        coupling: [G, R, R] symmetric, eV over the product of the moments' units.
        l_max: highest multipole order.
        dipoles: which of the moments are components of the dipole; their coupling is diagonal and
            positive, and all that is left when the charge is kept.
    """

    bulk: CoulombOperator
    layout: GraphLayout
    moments: Array
    spread: Array
    width: Array
    coupling: Array
    l_max: int = static()
    dipoles: tuple[int, ...] = static()

    def potential(self, multipoles: Array) -> Array:
        """Returns ∂E/∂p, eV/(e·Å^l), of multipoles [N, M] or [N, C, M] e·Å^l; the same shape."""
        potential = self.bulk.potential(multipoles)
        conjugate = self._conjugate(self.layout.dense(summed_channels(multipoles)))
        added = self._spread_out(conjugate, self.width, self.l_max)
        return potential + (added if multipoles.ndim == 2 else added[:, None])

    def energy(self, multipoles: Array) -> Array:
        """Returns the energy ½⟨p, Ap⟩ [G] in eV of multipoles [N, M] or [N, C, M] e·Å^l."""
        energy = self.bulk.energy(multipoles)
        total = self._total(self.layout.dense(summed_channels(multipoles)))
        return energy + 0.5 * jnp.einsum("gr,grs,gs->g", total, self.coupling, total)

    def receive(
        self,
        multipoles: Array,
        widths: Sequence[float],
        l_max: int,
        self_interaction: bool = True,
    ) -> Array:
        """Returns the potential averaged over unit multipoles of other widths at the atoms.

        The arguments and the result are those of ReceivingOperator; without the self-interaction
        the correction keeps every atom's share in the moments.
        """
        bulk = receiving(self.bulk).receive(multipoles, widths, l_max, self_interaction)

        def one_channel(charge: Array) -> Array:
            conjugate = self._conjugate(self.layout.dense(charge))
            values = [self._spread_out(conjugate, jnp.asarray(w), l_max) for w in widths]
            return jnp.stack(values, axis=1)

        return bulk + each_channel(one_channel, multipoles)

    def _rows(self, width: Array, l_max: int) -> Array:
        rows = self.moments[..., : (l_max + 1) ** 2]
        width = jnp.asarray(width, rows.dtype)
        return rows.at[..., 0].add(self.spread * width[..., None] ** 2)

    def _total(self, dense: Array) -> Array:
        return jnp.einsum("garm,gam->gr", self._rows(self.width, self.l_max), dense)

    def _conjugate(self, dense: Array) -> Array:
        return jnp.einsum("grs,gs->gr", self.coupling, self._total(dense))

    def _spread_out(self, conjugate: Array, width: Array, l_max: int) -> Array:
        added = jnp.einsum("gr,garm->gam", conjugate, self._rows(width, l_max))
        return self.layout.nodes(added)
