"""Terms that a few moments of the density add to a periodic sum: slabs and isolated molecules."""

from collections.abc import Sequence

import jax.numpy as jnp

from electrojax.electrostatics.contract import CoulombOperator, receiver_multipoles
from electrojax.electrostatics.engines.operator import SitesOperator
from electrojax.system.layout import GraphLayout
from electrojax.typing import Array, static, struct


@struct
class CorrectedOperator(SitesOperator):
    """A periodic sum plus ½ mᵀ C m of moments m = Σ_i U_i p_i: symmetric, of low rank.

    Receivers without the self-interaction keep every atom's share in the moments.

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

    def _potential(self, charge: Array) -> Array:
        # ∂/∂p of ½ mᵀ C m with m = U p is Uᵀ C m.
        conjugate = self._conjugate(self.layout.dense(charge))
        return self.bulk.potential(charge) + self._spread_out(conjugate, self.width, self.l_max)

    def _energy(self, charge: Array) -> Array:
        total = self._total(self.layout.dense(charge))
        added = jnp.einsum("gr,grs,gs->g", total, self.coupling, total)
        return self.bulk.energy(charge) + 0.5 * added

    def _receive(
        self, charge: Array, widths: Sequence[float], l_max: int, self_interaction: bool
    ) -> Array:
        bulk = receiver_multipoles(self.bulk).receive(charge, widths, l_max, self_interaction)
        conjugate = self._conjugate(self.layout.dense(charge))
        values = [self._spread_out(conjugate, jnp.asarray(w), l_max) for w in widths]
        return bulk + jnp.stack(values, axis=1)

    def _rows(self, width: Array, l_max: int) -> Array:
        rows = self.moments[..., : (l_max + 1) ** 2]
        width = jnp.asarray(width, rows.dtype)
        # ∫ρ x² of a Gaussian charge is σ² along each direction.
        return rows.at[..., 0].add(self.spread * width[..., None] ** 2)

    def _total(self, dense: Array) -> Array:
        return jnp.einsum("garm,gam->gr", self._rows(self.width, self.l_max), dense)

    def _conjugate(self, dense: Array) -> Array:
        return jnp.einsum("grs,gs->gr", self.coupling, self._total(dense))

    def _spread_out(self, conjugate: Array, width: Array, l_max: int) -> Array:
        added = jnp.einsum("gr,garm->gam", conjugate, self._rows(width, l_max))
        return self.layout.nodes(added)
