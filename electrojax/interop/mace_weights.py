"""The arrays of a state dict of mace-torch, each of which has to be accounted for."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from electrojax.errors import ConfigError
from electrojax.nn.linear import normalized_sigmoid_scale, normalized_silu_scale

State = Mapping[str, np.ndarray]

SILU_SCALE = 1.6791767923989418
"""e3nn's factor of the normalised SiLU: from 10⁶ normal numbers of torch's generator, seed 0."""

SIGMOID_SCALE = 1.8467055342154763
"""e3nn's factor of the normalised sigmoid, likewise."""

DERIVED = re.compile(r"(\.output_mask|\._w3j_\w+|\.weights_\w+_zeroed)$")
"""Entries of a state dict that follow from its architecture."""


class Weights:
    """The arrays of a state dict, each of which must be asked for by name.

    Attributes:
        state: name and array.
        asked: the names that were asked for.
    """

    def __init__(self, state: State) -> None:
        self.state = {name: np.asarray(array) for name, array in state.items()}
        self.asked: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self.state

    def take(self, name: str, *shape: int) -> np.ndarray:
        """Returns an array in float64 and in a given shape.

        Raises:
            ConfigError: if it is missing or has another number of entries.
        """
        if name not in self.state:
            raise ConfigError(f"the state dict has no {name}, which this architecture needs")
        self.asked.add(name)
        array = self.state[name]
        if array.size != math.prod(shape) and -1 not in shape:
            raise ConfigError(
                f"{name} has {array.size} entries, but the architecture needs {shape}; "
                "the configuration does not belong to this state dict"
            )
        return array.astype(np.float64).reshape(shape)

    def check_constant(self, name: str, expected: Any) -> None:
        """Raises a ConfigError if a constant is there and is another than ours.

        Args:
            name: in the state dict.
            expected: what we have in its place, which single precision may have rounded.
        """
        if name not in self.state:
            return
        self.asked.add(name)
        found = self.state[name].astype(np.float64).ravel()
        wanted = np.asarray(expected, np.float64).ravel()
        if found.shape != wanted.shape or not np.allclose(found, wanted, rtol=1e-6, atol=1e-7):
            raise ConfigError(
                f"{name} is {_short(found)}, but electrojax has the constant {_short(wanted)} in "
                "its place; models in which it was trained are not supported"
            )

    def unaccounted(self) -> list[str]:
        """Returns the names of arrays with content that nothing has asked for."""
        return [
            name
            for name, array in self.state.items()
            if name not in self.asked and array.size and not DERIVED.search(name)
        ]


def activation_ratio() -> float:
    """Returns e3nn's normalised SiLU over ours."""
    return SILU_SCALE / normalized_silu_scale()


def sigmoid_ratio() -> float:
    """Returns e3nn's normalised sigmoid over ours."""
    return SIGMOID_SCALE / normalized_sigmoid_scale()


def scaled(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Returns parameters of our Linear that apply a matrix: it divides by √(fan in)."""
    return {"weights": matrix * math.sqrt(len(matrix))}


def split(flat: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """Returns consecutive parts of given sizes."""
    return np.split(flat, np.cumsum(sizes)[:-1])


def _short(values: np.ndarray) -> str:
    shown = ", ".join(f"{v:.6g}" for v in values[:4])
    return f"[{shown}{', ...' if len(values) > 4 else ''}]"
