"""The protocol of charge solvers and the table of their kinds."""

from typing import ClassVar, Protocol

import flax.linen as nn
import numpy as np

from electrojax.electrostatics.coulomb import CoulombOperator
from electrojax.errors import DataError
from electrojax.nn.features import Features
from electrojax.solvers.functional import EnergyFunctional
from electrojax.solvers.latent import LatentCharges
from electrojax.solvers.local import LocalCharges
from electrojax.solvers.non_scf import FieldUpdates
from electrojax.solvers.none import NoCharges
from electrojax.solvers.qeq import ChargeEquilibration
from electrojax.solvers.scf import SelfConsistentField
from electrojax.solvers.split import SplitCharges
from electrojax.solvers.state import ChargeGuess, ChargeState
from electrojax.system.types import Boundary, Frame, System


class ChargeSolver(Protocol):
    """A Flax module that decides the charge density; its options are its dataclass fields.

    Attributes:
        provides: the labels that it predicts beside energy, forces and stress.
        uses_coulomb: whether it needs a Coulomb operator at all.
        field_boundaries: where it puts an external field into its energy; open, if it has none.
        consistent: whether −∂E/∂E_field is the polarisation of its density, −∂E/∂Q its Fermi level
            and, at fixed potential, ∂Ω/∂μ its charge; true, if it has none. Where it is false,
            fixed potentials are refused, and responses are those of the density.
        l_max: the highest multipole order of its density.
        width: Å, the width of its Gaussians.
    """

    provides: ClassVar[tuple[str, ...]]
    uses_coulomb: ClassVar[bool]
    field_boundaries: ClassVar[tuple[Boundary, ...]]
    consistent: bool
    l_max: int
    width: float

    def __call__(
        self,
        features: Features,
        system: System,
        coulomb: CoulombOperator,
        guess: ChargeGuess | None,
    ) -> ChargeState:
        """Returns the density and its energies.

        Args:
            features: what the backbone says of every atom, layer by layer.
            system: the batch.
            coulomb: the operator of this geometry, for this density's l_max and width.
            guess: a density to start from, or None for a cold start.
        """
        ...


def check_frame(solver: nn.Module, kind: str, frame: Frame) -> None:
    """Checks on the host that a solver can treat a structure.

    A solver with requirements of its own has a method ``check(frame)``.

    Args:
        solver: the module.
        kind: its name in SOLVERS.
        frame: the structure.

    Raises:
        DataError: if it cannot, such as for an external field that the solver would not feel.
    """
    able: tuple[Boundary, ...] = getattr(solver, "field_boundaries", ("open",))
    if np.any(frame.external_field) and frame.boundary not in able:
        where = f"boundary {' or '.join(able)}" if able else "a solver with charges"
        raise DataError(
            f"{frame.source}: has an external_field, which solver kind {kind} does not feel with "
            f"boundary {frame.boundary}; needed {where}, or no external_field"
        )
    control = frame.charge_control or getattr(solver, "charge_control", "")
    if control == "fixed_potential" and not is_consistent(solver):
        raise DataError(
            f"{frame.source}: charge_control fixed_potential, where the energy is the grand "
            f"potential; that of solver kind {kind} with these options has another slope "
            "than the charge; needed energy functional (scf), kind qeq or functional, or "
            "fixed_charge"
        )
    if hasattr(solver, "check"):
        solver.check(frame)


def is_consistent(solver: nn.Module) -> bool:
    """Returns whether responses of a solver's energy are those of its density."""
    return bool(getattr(solver, "consistent", True))


def consistency_note(solver: nn.Module, kind: str) -> str:
    """Returns what to know of a solver whose energy has other responses than its density, or ""."""
    if is_consistent(solver):
        return ""
    return (
        f'solver kind {kind}, energy "{getattr(solver, "energy", "")}": not stationary in the '
        "density. Polarisation, Born charges (dP/dr) and polarisability (dP/dfield) are those of "
        "the density; -dE/dfield is another number (energy_polarization), -dE/dQ is not the Fermi "
        "level, fixed potentials are refused, and forces between far charged parts deviate from "
        "Coulomb's"
    )


SOLVERS: dict[str, type[nn.Module]] = {
    "none": NoCharges,
    "local": LocalCharges,
    "split": SplitCharges,
    "latent": LatentCharges,
    "qeq": ChargeEquilibration,
    "functional": EnergyFunctional,
    "scf": SelfConsistentField,
    "non_scf": FieldUpdates,
}
"""Kind -> module. A new solver is one file, one line here and one YAML."""
