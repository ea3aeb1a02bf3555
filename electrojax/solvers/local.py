"""Multipoles read from each atom's environment."""

from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from electrojax.electrostatics.coulomb import CoulombOperator
from electrojax.electrostatics.density import of_one_width
from electrojax.electrostatics.field import field_energy
from electrojax.nn.features import Features
from electrojax.nn.options import option, runtime
from electrojax.nn.readout import MultipoleReadout
from electrojax.numerics.report import closed_form
from electrojax.solvers.readouts.elements import (
    CHARGE_PER_ELECTRONEGATIVITY,
    ELEMENTS,
    electropositivities,
    starting_at,
)
from electrojax.solvers.state import CHARGE_LABELS, ChargeGuess, ChargeState
from electrojax.system.types import BOUNDARIES, Boundary, System, graph_sum
from electrojax.typing import Array


class LocalCharges(nn.Module):
    """Charges and higher multipoles as equivariant linear readouts of every layer's features.

    p_i = q⁰(Z_i) + Σ_s W_s h_i^(s), with E = E_short + ½⟨p, A p⟩ − E_field · D. Trained on energies
    and forces alone the density is latent; trained on charges or multipoles as well it is explicit.
    Charge moves only as far as the features see; the learned charge q⁰ per element is what an
    atom without neighbours has, whose features may be zero. Sources: Baldwin et al., arXiv
    2603.14700 ("LocalCharges"); the weighted redistribution of missing charge is that of Zubatyuk
    et al., Nat. Commun. 12, 4870 (2021), here with weights that are positive by construction.
    """

    provides: ClassVar[tuple[str, ...]] = CHARGE_LABELS
    uses_coulomb: ClassVar[bool] = True
    field_boundaries: ClassVar[tuple[Boundary, ...]] = BOUNDARIES

    charge_control: Literal["none", "total"] = option(
        "total", "none: as read out; total: shifted so that they sum to total_charge"
    )
    l_max: int = runtime(0, "highest multipole order of the density")
    width: float = runtime(1.5, "width of the Gaussians, Å")
    cutoff: float = runtime(5.0, "length of the longest edges, Å")

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
        level = jnp.zeros(system.n_graphs, multipoles.dtype)
        report = closed_form(system, multipoles.dtype)
        return ChargeState(density, energies, level, jnp.zeros_like(multipoles[:, 0]), report)

    def _of_element(
        self, name: str, start: float | tuple[float, ...], like: Array, system: System
    ) -> Array:
        """A learned number per element, at every atom [N]; zero on padding."""
        table = self.param(name, starting_at(start), (ELEMENTS,), like.dtype)
        return jnp.where(system.node_mask, jnp.asarray(table)[system.numbers], 0.0)


def irreps(l_max: int) -> str:
    """Returns one irrep of natural parity per order, such as ``1x0e+1x1o`` for l_max 1."""
    return "+".join(f"1x{l}{'eo'[l % 2]}" for l in range(l_max + 1))


def conserve_charge(multipoles: Array, logits: Array, system: System) -> Array:
    """Returns multipoles whose charges sum to the total charge of each structure.

    q_i ← q_i + f_i (Q − Σ_j q_j) with f_i = softplus(logit_i) / Σ_j softplus(logit_j): positive
    weights, so the denominator cannot vanish.

    Args:
        multipoles: [N, M] e·Å^l.
        logits: [N] unconstrained Fukui weights.
        system: the batch, with ``total_charge`` [G] in e.

    Returns:
        [N, M]; padding stays zero.
    """
    fukui = jax.nn.softplus(logits) * system.node_mask
    missing = system.total_charge - graph_sum(multipoles[:, 0], system)
    total = graph_sum(fukui, system)
    per_graph = missing / jnp.where(total > 0, total, 1.0)
    shift = fukui * per_graph[system.node_graph]
    return multipoles.at[:, 0].add(shift)
