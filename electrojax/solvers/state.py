"""What a charge solver is handed and what it returns."""

import dataclasses

import jax.numpy as jnp

from electrojax.electrostatics.density import ChargeDensity
from electrojax.numerics.report import SolverReport, closed_form
from electrojax.system.types import System
from electrojax.typing import Array, struct

CHARGE_LABELS = ("charges", "multipoles", "dipole", "quadrupole", "polarization")
"""What every density with physical charges predicts."""

LEVEL_LABELS = (*CHARGE_LABELS, "fermi_level")
"""The same of a density that exchanges charge at a level."""


@struct
class ChargeGuess:
    """A density to start from, handed in by the caller (last MD steps, or labels).

    Attributes:
        multipoles: [N, C, M] e·Å^l.
        fermi_level: [G] eV; zero where it is not known, as in a cold start.
        known: [N, M] which components, channels summed, the guess tells of; all of them as it
            stands.
    """

    multipoles: Array
    fermi_level: Array
    known: Array | bool = True

    def over(self, start: Array) -> Array:
        """Returns multipoles [N, M], channels summed: the guess, and the start where it has none.

        Args:
            start: [N, M] e·Å^l, where the solver starts without a guess.
        """
        return jnp.where(self.known, self.multipoles.sum(axis=1), start)


@struct
class ChargeState:
    """The density that a solver decided, and the energies that go with it.

    Attributes:
        density: the charge density.
        energies: [G] eV by name; their sum is the solver's part of the energy.
        fermi_level: [G] eV, μ = −∂E/∂Q; zero for kinds that define none.
        chemical_potential: [N] eV, −∂E/∂q of each atom: one number over atoms that exchange charge
            freely, such as those of a fragment; zero for kinds that define none.
        report: how the solver ended.
        diagnostics: by name, what the solver was asked to say of its own map.
    """

    density: ChargeDensity
    energies: dict[str, Array]
    fermi_level: Array
    chemical_potential: Array
    report: SolverReport
    diagnostics: dict[str, Array] = dataclasses.field(default_factory=dict)


def closed_form_state(
    density: ChargeDensity, energies: dict[str, Array], system: System
) -> ChargeState:
    """Returns the state of a density that no iteration decided and that defines no levels.

    Args:
        density: the density.
        energies: [G] eV by name.
        system: the batch.
    """
    charges = density.multipoles[:, 0, 0]
    return ChargeState(
        density=density,
        energies=energies,
        fermi_level=jnp.zeros(system.n_graphs, charges.dtype),
        chemical_potential=jnp.zeros_like(charges),
        report=closed_form(system, charges.dtype),
    )
