"""Multipoles read from each atom's environment."""

from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp

from electrojax.electrostatics.coulomb import CoulombOperator
from electrojax.electrostatics.density import of_one_width
from electrojax.electrostatics.field import field_energy
from electrojax.nn.features import Features
from electrojax.nn.options import option
from electrojax.nn.readout import MultipoleReadout
from electrojax.solvers.base import ChargeSolver
from electrojax.solvers.readouts.elements import (
    CHARGE_PER_ELECTRONEGATIVITY,
    ELEMENTS,
    electropositivities,
    starting_at,
)
from electrojax.solvers.readouts.fukui import conserve_charge
from electrojax.solvers.readouts.irreps import irreps
from electrojax.solvers.state import CHARGE_LABELS, ChargeGuess, ChargeState, closed_form_state
from electrojax.system.types import BOUNDARIES, Boundary, System
from electrojax.typing import Array


class LocalCharges(ChargeSolver):
    """Charges and higher multipoles as equivariant linear readouts of every layer's features.

    p_i = q⁰(Z_i) + Σ_s W_s h_i^(s), with E = E_short + ½⟨p, A p⟩ − E_field · D. Trained on energies
    and forces alone the density is latent; trained on charges or multipoles as well it is explicit.
    Charge moves only as far as the features see; the learned charge q⁰ per element is what an
    atom without neighbours has, whose features may be zero. Sources: Baldwin et al., arXiv
    2603.14700 ("LocalCharges"); the weighted redistribution of missing charge is that of Zubatyuk
    et al., Nat. Commun. 12, 4870 (2021), here with weights that are positive by construction.
    """

    provides: ClassVar[tuple[str, ...]] = CHARGE_LABELS
    field_boundaries: ClassVar[tuple[Boundary, ...]] = BOUNDARIES

    charge_control: Literal["none", "total"] = option(
        "total", "none: as read out; total: shifted so that they sum to total_charge"
    )

    @nn.compact
    def __call__(
        self,
        features: Features,
        system: System,
        coulomb: CoulombOperator,
        guess: ChargeGuess | None,
    ) -> ChargeState:
        """Returns the density read from the features and its Coulomb and field energies."""
        multipoles = MultipoleReadout(irreps(self.l_max), name="multipoles")(features)
        start = electropositivities(CHARGE_PER_ELECTRONEGATIVITY)
        charges = self._of_element("element_charge", start, multipoles, system)
        multipoles = multipoles.at[:, 0].add(charges)
        if self.charge_control == "total":
            logits = MultipoleReadout(irreps(0), name="fukui")(features)[:, 0]
            logits = logits + self._of_element("element_fukui", 0.0, multipoles, system)
            multipoles = conserve_charge(multipoles, logits, system)
        density = of_one_width(multipoles, self.width)
        energies = {
            "coulomb": coulomb.energy(density.multipoles),
            "field": field_energy(density, system, self.cutoff, coulomb),
        }
        return closed_form_state(density, energies, system)

    def _of_element(
        self, name: str, start: float | tuple[float, ...], like: Array, system: System
    ) -> Array:
        """A learned number per element, at every atom [N]; zero on padding."""
        table = self.param(name, starting_at(start), (ELEMENTS,), like.dtype)
        return jnp.where(system.node_mask, jnp.asarray(table)[system.numbers], 0.0)
