"""The protocol of charge solvers and the table of their kinds."""

from typing import ClassVar, Protocol

import flax.linen as nn

from electrojax.electrostatics.coulomb import CoulombOperator
from electrojax.nn.features import Features
from electrojax.solvers.local import LocalCharges
from electrojax.solvers.none import NoCharges
from electrojax.solvers.state import ChargeGuess, ChargeState
from electrojax.system.types import System


class ChargeSolver(Protocol):
    """A Flax module that decides the charge density; its options are its dataclass fields.

    Attributes:
        provides: the labels that it predicts beside energy, forces and stress.
        uses_coulomb: whether it needs a Coulomb operator at all.
        l_max: the highest multipole order of its density.
        width: Å, the width of its Gaussians.
    """

    provides: ClassVar[tuple[str, ...]]
    uses_coulomb: ClassVar[bool]
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


SOLVERS: dict[str, type[nn.Module]] = {
    "none": NoCharges,
    "local": LocalCharges,
}
"""Kind -> module. A new solver is one file, one line here and one YAML."""
