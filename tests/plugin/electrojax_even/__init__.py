"""A solver, a backbone and a logger for electrojax, in somebody else's package."""

import csv
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp

from electrojax.electrostatics.density import of_one_width
from electrojax.electrostatics.field import field_energy
from electrojax.nn.light import Light
from electrojax.nn.options import option
from electrojax.nn.readout import MultipoleReadout
from electrojax.solvers.base import ChargeSolver
from electrojax.solvers.state import CHARGE_LABELS, closed_form_state
from electrojax.system.types import BOUNDARIES, graph_mean, graph_sum


class EvenCharges(ChargeSolver):
    """Multipoles read from the features; the charge that is missing is spread evenly."""

    provides: ClassVar[tuple[str, ...]] = CHARGE_LABELS
    field_boundaries: ClassVar[tuple[str, ...]] = BOUNDARIES

    scale: float = option(1.0, "of the charges before they are spread", positive=True)
    spread: Literal["evenly", "never"] = option("evenly", "whether charges sum to total_charge")

    @nn.compact
    def __call__(self, features, system, coulomb, guess):
        """Returns the density and its Coulomb and field energies."""
        irreps = "+".join(f"1x{l}{'eo'[l % 2]}" for l in range(self.l_max + 1))
        multipoles = self.scale * MultipoleReadout(irreps, name="multipoles")(features)
        if self.spread == "evenly":
            charge = jnp.where(system.node_mask, multipoles[:, 0], 0.0)
            atoms = jnp.maximum(graph_sum(jnp.ones_like(charge), system), 1.0)
            missing = jnp.asarray(system.total_charge) / atoms - graph_mean(charge, system)
            shift = jnp.where(system.node_mask, missing[system.node_graph], 0.0)
            multipoles = multipoles.at[:, 0].add(shift)
        density = of_one_width(multipoles, self.width)
        energies = {
            "coulomb": coulomb.energy(density.multipoles),
            "field": field_energy(density, system, self.cutoff),
        }
        return closed_form_state(density, energies, system)


class Narrow(Light):
    """The light backbone with four channels."""

    channels: int = option(4, "channels per degree l", positive=True)


@dataclasses.dataclass
class CsvLogger:
    """The training loss of every epoch as a table."""

    package: ClassVar[str] = "csv"

    file: str = option("loss.csv", "its name in the run folder")
    _path: Any = dataclasses.field(default=None, init=False, repr=False)

    def start(self, run) -> str:
        """Names the file."""
        self._path = run.folder / self.file
        return ""

    def log(self, epoch: int, scalars: Mapping[str, float]) -> None:
        """Appends an epoch."""
        with self._path.open("a", newline="") as file:
            csv.writer(file).writerow([epoch, scalars.get("train/loss", "")])

    def artifact(self, path: Path) -> None:
        """Keeps nothing."""

    def close(self, status: str) -> None:
        """Has nothing open."""
