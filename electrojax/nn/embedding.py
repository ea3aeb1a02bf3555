"""What a structure as a whole is, told to each of its atoms."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from electrojax.errors import ConfigError, DataError
from electrojax.nn.biased import BiasedPerceptron
from electrojax.nn.initial import normal
from electrojax.nn.linear import Linear, Perceptron
from electrojax.numerics.constraint import at_atoms
from electrojax.system.types import Frame, System
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
        check_states(self.states)
        columns = []
        if "total_charge" in self.states:
            charge = system.total_charge
            columns += [charge, charge**2]  # both signs, without a kink
        if "multiplicity" in self.states:
            columns += [system.multiplicity - 1.0]
        state = Perceptron((self.channels,), self.channels, name="state")(jnp.stack(columns, -1))
        return at_atoms(state, system) * Linear(self.channels, name="element")(one_hot)


class TabulatedState(nn.Module):
    """Features SiLU(Σ_s f_s) of the total charge and the multiplicity, the same at every atom.

    f_s is a table with a row per value of state s, or a perceptron of the value: the joint
    embedding of MACE-OMOL-0 (mace-torch 0.3.16), in which a table and the map behind it are two
    factors of ours. A backbone adds them to its embedding of the elements.

    Attributes:
        states: some of total_charge, multiplicity.
        classes: for each of them how many values its table has; 0 for a perceptron.
        lowest: for each the value of the first row.
        hidden: hidden units of the perceptrons.
        channels: number of features.
    """

    states: tuple[str, ...]
    classes: tuple[int, ...]
    lowest: tuple[int, ...]
    hidden: int
    channels: int

    @nn.compact
    def __call__(self, system: System, one_hot: Array) -> Array:
        """Returns [N, channels] features, zero on padding.

        Args:
            system: a batch; total_charge [G] in e, multiplicity [G] 2S + 1.
            one_hot: [N, S], zero rows on padding.

        Raises:
            ConfigError: for a state that does not exist, or not one entry per state.
        """
        check_states(self.states)
        if not len(self.states) == len(self.classes) == len(self.lowest):
            raise ConfigError(
                f"state_classes {self.classes} and state_lowest {self.lowest}: needed one entry "
                f"for each of the states {self.states}"
            )
        parts = [self._part(*each, system) for each in zip(self.states, self.classes, self.lowest)]
        state = jax.nn.silu(sum(parts[1:], start=parts[0]))
        return at_atoms(state, system) * jnp.sum(one_hot, axis=1, keepdims=True)

    def _part(self, state: str, classes: int, lowest: int, system: System) -> Array:
        values: Array = getattr(system, state)
        if not classes:
            network = BiasedPerceptron((self.hidden,), self.channels, name=state)
            return network(values[:, None])
        shape = (classes, self.channels)
        table = self.param(f"{state}_table", normal(len(self.states) ** -0.5), shape, values.dtype)
        # The host has checked that the row exists; padding structures may have any.
        row = jnp.round(values).astype(jnp.int32) - lowest
        return table.astype(values.dtype)[jnp.clip(row, 0, classes - 1)]


def check_states(states: tuple[str, ...]) -> None:
    """Raises a ConfigError for a state that does not exist."""
    unknown = sorted(set(states) - set(STATES))
    if unknown:
        raise ConfigError(f"states {unknown} do not exist; choose from {list(STATES)}")


def check_tabulated(backbone: nn.Module, frame: Frame) -> None:
    """Raises a DataError if a backbone has tables of states and none has a row for a frame."""
    classes = getattr(backbone, "state_classes", ())
    lowest = getattr(backbone, "state_lowest", ())
    for state, count, first in zip(getattr(backbone, "states", ()), classes, lowest):
        value = float(getattr(frame, state))
        if count and not (value.is_integer() and first <= value < first + count):
            raise DataError(
                f"{frame.source}: has {state} {value:g}, but the model knows whole numbers from "
                f"{first} to {first + count - 1}"
            )
