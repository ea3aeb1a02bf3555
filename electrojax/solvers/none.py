"""No charges at all: the short-ranged control arm."""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp

from electrojax.electrostatics.coulomb import CoulombOperator
from electrojax.electrostatics.density import of_one_width
from electrojax.nn.features import Features
from electrojax.nn.options import runtime
from electrojax.numerics.report import closed_form
from electrojax.solvers.state import ChargeGuess, ChargeState
from electrojax.system.types import Boundary, System


class NoCharges(nn.Module):
    """A density that is zero everywhere, so that the energy is the backbone's alone."""

    provides: ClassVar[tuple[str, ...]] = ()
    uses_coulomb: ClassVar[bool] = False
    field_boundaries: ClassVar[tuple[Boundary, ...]] = ()

    l_max: int = runtime(0, "highest multipole order of the density")
    width: float = runtime(1.5, "width of the Gaussians, Å")

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
        density = of_one_width(nothing, self.width)
        level = jnp.zeros(system.n_graphs, dtype)
        nowhere = jnp.zeros(system.n_nodes, dtype)
        return ChargeState(density, {}, level, nowhere, closed_form(system, dtype))
