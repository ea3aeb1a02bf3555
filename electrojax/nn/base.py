"""The contract of a backbone and the table of backbones."""

import dataclasses
import inspect
from typing import Protocol

import flax.linen as nn

from electrojax.nn.features import Features
from electrojax.nn.light import Light
from electrojax.nn.mace import Mace
from electrojax.plugins import KindTable
from electrojax.system.types import System
from electrojax.typing import Array


class Backbone(Protocol):
    """A Flax module that turns a batch into equivariant features of every layer.

    Its data-class fields are its configuration schema; those marked ``config: False`` come from
    the data set. Contract: features are smooth where an edge reaches the cutoff, change with
    rotations, inversion and permutations as their irreps say, and are zero on padding.

    Attributes:
        cutoff: Å, of the neighbour list it needs.
    """

    cutoff: float

    def __call__(self, system: System, species: Array, vectors: Array) -> Features:
        """Returns the features of every layer.

        Args:
            system: a padded batch; its receivers ascend.
            species: [N] index of the element, −1 on padding.
            vectors: [E, 3] Å edge vectors in the order (y, z, x); padding edges are longer than
                every cutoff.
        """
        ...


BACKBONES: dict[str, type[nn.Module]] = {"mace": Mace, "light": Light}
"""Name in the configuration file and class of every backbone."""


def _misfit(module: type) -> str:
    if not issubclass(module, nn.Module):
        return "it is not a Flax module"
    if "cutoff" not in {field.name for field in dataclasses.fields(module)}:
        return "it has no field cutoff"
    arguments = list(inspect.signature(module.__call__).parameters)[1:]
    return "" if len(arguments) == 3 else "its __call__ does not take (system, species, vectors)"


BACKBONE_KINDS = KindTable("backbone", BACKBONES, _misfit)
"""These and the entry points ``electrojax.backbones`` of other packages."""
