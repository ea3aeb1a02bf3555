"""No charges at all: the short-ranged control arm."""

from typing import ClassVar

import jax.numpy as jnp

from electrojax.electrostatics.coulomb import CoulombOperator
from electrojax.electrostatics.density import of_one_width
from electrojax.nn.features import Features
from electrojax.solvers.base import ChargeSolver
from electrojax.solvers.state import ChargeGuess, ChargeState, closed_form_state
from electrojax.system.types import System


class NoCharges(ChargeSolver):
    """A density that is zero everywhere, so that the energy is the backbone's alone."""

    uses_coulomb: ClassVar[bool] = False

    def __call__(
        self,
        features: Features,
        system: System,
        coulomb: CoulombOperator | None,
        guess: ChargeGuess | None,
    ) -> ChargeState:
        """Returns a zero density with no energies."""
        dtype = features.layers[-1].array.dtype
        nothing = jnp.zeros((system.n_nodes, (self.l_max + 1) ** 2), dtype)
        return closed_form_state(of_one_width(nothing, self.width), {}, system)
