"""The contract of charge solvers: the base class that every rule derives from."""

import flax.linen as nn
import numpy as np

from electrojax.electrostatics.coulomb import CoulombOperator
from electrojax.errors import DataError
from electrojax.nn.features import Features
from electrojax.nn.options import runtime
from electrojax.solvers.state import ChargeGuess, ChargeState
from electrojax.system.types import Boundary, Frame, System


class ChargeSolver(nn.Module):
    """A Flax module that decides the charge density; its options are its dataclass fields.

    A subclass has a ``__call__``, and says where it differs from the defaults here: by a class
    attribute (``provides: ClassVar[tuple[str, ...]] = CHARGE_LABELS``), or by a property where the
    answer depends on its options. Every option needs a default. Contract, which
    :func:`electrojax.testing.check_solver` checks: energies follow from the density and the inputs
    alone, so that forces are their derivatives; nothing depends on the other structures of a batch
    or on padding; charges and multipoles turn with the atoms and are zero on padding.

    Attributes:
        l_max: the highest multipole order of its density.
        width: Å, the width of its Gaussians.
        cutoff: Å, the length of the longest edges.
        gradient: one of ``gradients``, which a training stage chooses.
        diagnostics: what to say of its own map in ``ChargeState.diagnostics``, any of
            ``diagnoses``.
    """

    l_max: int = runtime(0, "highest multipole order of the density")
    width: float = runtime(1.5, "width of the Gaussians, Å")
    cutoff: float = runtime(5.0, "length of the longest edges, Å")
    gradient: str = runtime("implicit", "how its density is differentiated, any of ``gradients``")
    diagnostics: tuple[str, ...] = runtime((), "what to say of its map, any of ``diagnoses``")

    @property
    def provides(self) -> tuple[str, ...]:
        """The labels that it predicts beside energy, forces and stress; none."""
        return ()

    @property
    def diagnoses(self) -> tuple[str, ...]:
        """What it can say of its own map when asked; nothing."""
        return ()

    @property
    def gradients(self) -> tuple[str, ...]:
        """The ways to differentiate its density in training; one, exactly."""
        return ("implicit",)

    @property
    def uses_coulomb(self) -> bool:
        """Whether it needs a Coulomb operator at all; yes."""
        return True

    @property
    def uses_receivers(self) -> bool:
        """Whether the operator must receive with widths other than the density's; no."""
        return False

    @property
    def field_boundaries(self) -> tuple[Boundary, ...]:
        """Where it puts an external field into its energy; nowhere."""
        return ()

    @property
    def consistent(self) -> bool:
        """Whether −∂E/∂E_field is the polarisation of its density, −∂E/∂Q its Fermi level and, at
        fixed potential, ∂Ω/∂μ its charge; yes. Where not, fixed potentials are refused, and
        responses are those of the density."""
        return True

    @property
    def keeps_total_charge(self) -> bool:
        """Whether charges sum to ``total_charge`` without an option ``charge_control``; no."""
        return False

    @property
    def fragments(self) -> bool:
        """Whether every fragment keeps a charge of its own; no."""
        return False

    @property
    def conducts(self) -> bool:
        """Whether charge flows freely over a whole structure, or fragment, as in a metal, so that
        the polarisation is undefined along which connected atoms meet their images; no."""
        return False

    @property
    def has_spin(self) -> bool:
        """Whether its density's two channels are electrons with spin up and down; no."""
        return False

    def check(self, frame: Frame) -> None:
        """Checks on the host that a structure has what its charges are fixed by; it has.

        Raises:
            DataError: if the structure lacks something.
            ConfigError: if options contradict each other.
        """

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
            coulomb: the operator of this geometry, for this density's l_max and width; None if
                ``uses_coulomb`` is false.
            guess: a density to start from, or None for a cold start.
        """
        raise TypeError(f"{type(self).__name__}: a charge solver needs a method __call__")


def check_frame(solver: ChargeSolver, kind: str, frame: Frame) -> None:
    """Checks on the host that a solver can treat a structure.

    Args:
        solver: the module.
        kind: its name in the configuration.
        frame: the structure.

    Raises:
        DataError: if it cannot, such as for an external field that the solver would not feel.
    """
    felt = solver.field_boundaries
    if np.any(frame.external_field) and frame.boundary not in felt:
        where = f"boundary {' or '.join(felt)}" if felt else "a solver with charges"
        raise DataError(
            f"{frame.source}: has an external_field, which solver kind {kind} does not feel with "
            f"boundary {frame.boundary}; needed {where}, or no external_field"
        )
    control = frame.charge_control or getattr(solver, "charge_control", "")
    if control == "fixed_potential" and not solver.consistent:
        raise DataError(
            f"{frame.source}: charge_control fixed_potential, where the energy is the grand "
            f"potential; that of solver kind {kind} with these options has another slope "
            "than the charge; needed energy functional (scf), kind qeq or functional, or "
            "fixed_charge"
        )
    solver.check(frame)


def consistency_note(solver: ChargeSolver, kind: str) -> str:
    """Returns what to know of a solver whose energy has other responses than its density, or ""."""
    if solver.consistent:
        return ""
    return (
        f'solver kind {kind}, energy "{getattr(solver, "energy", "")}": not stationary in the '
        "density. Polarisation, Born charges (dP/dr) and polarisability (dP/dfield) are those of "
        "the density; -dE/dfield is another number (energy_polarization), -dE/dQ is not the Fermi "
        "level, fixed potentials are refused, and forces between far charged parts deviate from "
        "Coulomb's"
    )
