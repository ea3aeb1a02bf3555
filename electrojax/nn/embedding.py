"""What a structure as a whole is, told to each of its atoms."""

import flax.linen as nn
import jax.numpy as jnp

from electrojax.errors import ConfigError
from electrojax.nn.linear import Linear, Perceptron
from electrojax.system.types import System
from electrojax.typing import Array

STATES = ("total_charge", "multiplicity")


class StateEmbedding(nn.Module):
    """Features of the total charge and the multiplicity, mixed by each atom's element.

    A backbone adds them to its embedding of the elements, so that one composition can be learned in
    several charge and spin states (O. T. Unke et al., Nat. Commun. 12, 7273 (2021), who spread
    them by attention; here the element decides). A neutral singlet adds nothing.

    Attributes:
        states: some of total_charge, multiplicity.
        channels: number of features.
    """

    states: tuple[str, ...]
    channels: int

    @nn.compact
    def __call__(self, system: System, one_hot: Array) -> Array:
        """Returns [N, channels] features, zero on padding.

        Args:
            system: a batch; total_charge [G] in e, multiplicity [G] 2S + 1.
            one_hot: [N, S], zero rows on padding.

        Raises:
            ConfigError: for a state that does not exist.
        """
        unknown = sorted(set(self.states) - set(STATES))
        if unknown:
            raise ConfigError(f"states {unknown} do not exist; choose from {list(STATES)}")
        columns = []
        if "total_charge" in self.states:
            charge = system.total_charge
            columns += [charge, charge**2]  # both signs, without a kink
        if "multiplicity" in self.states:
            columns += [system.multiplicity - 1.0]
        state = Perceptron((self.channels,), self.channels, name="state")(jnp.stack(columns, -1))
        at_atoms = state[jnp.minimum(system.node_graph, system.n_graphs - 1)]
        return at_atoms * Linear(self.channels, name="element")(one_hot)
