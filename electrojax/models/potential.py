"""The potential: backbone, readout, charge solver and Coulomb engine behind pure init/apply."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from electrojax.electrostatics.coulomb import CoulombEngine, engine_for
from electrojax.electrostatics.density import dipole
from electrojax.errors import ConfigError, DataError
from electrojax.models.prediction import Prediction
from electrojax.nn.base import BACKBONES
from electrojax.nn.readout import EnergyReadout
from electrojax.solvers.base import SOLVERS
from electrojax.solvers.state import ChargeGuess, ChargeState
from electrojax.system.batching import Sample, build_sample
from electrojax.system.composition import check_determined
from electrojax.system.geometry import edge_vectors, harmonic_order, strained, volume
from electrojax.system.neighbors import complete_cell
from electrojax.system.types import Boundary, Frame, Statistics, System, graph_sum
from electrojax.typing import Array, replace

Params = Any
"""A Flax parameter pytree."""


class PotentialNetwork(nn.Module):
    """Maps a batch to its energy terms and its charge state.

    Attributes:
        backbone: features of every atom from its environment.
        solver: the rule that decides the charge density.
        statistics: species table and scales.
        accuracy: requested relative RMS force error of the Coulomb sum.
        finite_size: correction of periodic cells, ``none`` or ``makov_payne`` (one molecule each).
    """

    backbone: nn.Module
    solver: nn.Module
    statistics: Statistics
    accuracy: float = 1.0e-5
    finite_size: str = "none"

    @nn.compact
    def __call__(
        self, system: System, guess: ChargeGuess | None = None
    ) -> tuple[dict[str, Array], ChargeState]:
        """Returns the energy terms [G] in eV by name, and the charge state."""
        species = self._species(system)
        features = self.backbone(system, species, harmonic_order(edge_vectors(system)))
        readout = EnergyReadout(name="readout")(features)
        energy = readout * self.statistics.energy_scale + self.statistics.energy_shift
        coulomb = None
        if self.solver.uses_coulomb:
            coulomb = self.engine(system.boundary).prepare(
                system, self.solver.l_max, self.solver.width
            )
        state = self.solver(features, system, coulomb, guess)
        return {"short_range": graph_sum(energy, system), **state.energies}, state

    def engine(self, boundary: Boundary) -> CoulombEngine:
        """Returns the Coulomb engine of a boundary."""
        finite_size = self.finite_size if boundary == "periodic" else "none"
        return engine_for(boundary, self.accuracy, finite_size=finite_size)

    def _species(self, system: System) -> Array:
        """Species indices [N], −1 on padding; the host has checked that every element is known."""
        return jnp.asarray(self.statistics.species_table())[system.numbers]


@dataclasses.dataclass(frozen=True)
class Potential:
    """A model with its parameters.

    Attributes:
        network: the Flax module.
        params: the parameters that were evaluated (the moving average where one is on).
        statistics: species table, atomic energies and scales.
        config: the ``model`` section of the configuration, every default written out.
        precision: ``float32`` or ``float64``.
    """

    network: PotentialNetwork
    params: Params
    statistics: Statistics
    config: Mapping[str, Any]
    precision: str = "float32"

    @property
    def dtype(self) -> np.dtype:
        """Precision of inputs, parameters and outputs."""
        return np.dtype(self.precision)

    @property
    def cutoff(self) -> float:
        """Å, the cutoff of the neighbour list."""
        return float(self.config["backbone"]["cutoff"])

    @property
    def provides(self) -> tuple[str, ...]:
        """The labels that this model predicts."""
        return ("energy", "forces", "stress", *self.network.solver.provides)

    def k_box(self, frame: Frame) -> tuple[int, int, int]:
        """Returns the k-vector box that a frame's cell needs (zeros without a Coulomb sum)."""
        solver = self.network.solver
        if not solver.uses_coulomb:
            return (0, 0, 0)
        engine = self.network.engine(frame.boundary)
        return engine.k_box(frame.cell, solver.width, solver.l_max)

    def sample(self, frame: Frame) -> Sample:
        """Returns a frame as an unpadded one-structure System for this model.

        Raises:
            DataError: for elements that the model does not know, or a boundary against the
                configured one.
        """
        self.check(frame)
        return build_sample(frame, self.cutoff, self.k_box(frame))

    def check(self, frame: Frame) -> None:
        """Raises a DataError if this model cannot evaluate the frame."""
        check_determined(self.statistics, frame.numbers, frame.source)
        complete_cell(frame.cell, frame.pbc, frame.source)  # refuses cells without volume
        wanted = self.config["coulomb"]["boundary"]
        if wanted not in ("auto", frame.boundary):
            flags = " ".join("T" if p else "F" for p in frame.pbc)
            raise DataError(
                f"{frame.source}: has pbc {flags}, but the model has model.coulomb.boundary "
                f'"{wanted}"; change pbc or use a model with boundary "auto"'
            )
        if "dipole" in self.provides and frame.boundary != "open" and np.any(frame.external_field):
            raise DataError(
                f"{frame.source}: an external field needs open boundaries with this solver; "
                "remove external_field or set pbc F F F"
            )

    def atomic_energy(self, numbers: np.ndarray) -> float:
        """Returns the sum of the atomic energies of a composition, in eV, in float64."""
        return float(
            np.sum(np.asarray(self.statistics.atomic_energies)[self.statistics.species(numbers)])
        )

    def init(self, seed: int, system: System) -> Params:
        """Returns fresh parameters for the shapes of a batch."""
        init = jax.jit(self.network.init)
        return init(jax.random.key(seed), system)["params"]

    def apply(self, params: Params, system: System, guess: ChargeGuess | None = None) -> Prediction:
        """Returns the prediction for a batch; pure, differentiable, to be called under jit."""
        return predict_system(self.network, params, system, guess)


def predict_system(
    network: PotentialNetwork, params: Params, system: System, guess: ChargeGuess | None = None
) -> Prediction:
    """Returns energies, forces F = −∂E/∂r and stress σ = (1/V) ∂E/∂ε of a batch.

    Args:
        network: the Flax module.
        params: its parameters.
        system: a padded batch; every array in the model's precision.
        guess: a density to start the charge solver from.
    """
    positions = jnp.asarray(system.positions)
    strain = jnp.zeros((system.n_graphs, 3, 3), positions.dtype)

    def total(positions: Array, strain: Array) -> tuple[Array, Any]:
        moved = strained(replace(system, positions=positions), strain)
        energies, state = network.apply({"params": params}, moved, guess)
        energy = jnp.sum(jnp.stack(list(energies.values())), axis=0)
        return jnp.sum(energy), (energy, energies, state)

    if system.boundary == "open":
        gradient, (energy, energies, state) = jax.grad(total, has_aux=True)(positions, strain)
        stress = jnp.zeros_like(strain)
    else:
        (gradient, virial), (energy, energies, state) = jax.grad(total, (0, 1), has_aux=True)(
            positions, strain
        )
        stress = virial / volume(jnp.asarray(system.cell))[:, None, None]
    return Prediction(
        energy=energy,
        energies=energies,
        forces=-gradient,
        stress=stress,
        density=state.density,
        dipole=dipole(state.density, system),
        fermi_level=state.fermi_level,
        report=state.report,
    )


def assemble(
    config: Mapping[str, Any], statistics: Statistics, precision: str, params: Params = None
) -> Potential:
    """Returns the potential that a complete ``model`` section describes.

    Args:
        config: the section with every default written out: ``backbone``, ``density``, ``coulomb``
            and ``solver``, each table with its ``kind`` where it has one.
        statistics: what was fitted to the training data.
        precision: ``float32`` or ``float64``.
        params: trained parameters, if there are any yet.

    Raises:
        ConfigError: for a kind or an option that does not exist.
    """
    backbone = _construct(
        BACKBONES,
        "model.backbone",
        config["backbone"],
        num_species=len(statistics.numbers),
        average_neighbors=statistics.average_neighbors,
    )
    density = config["density"]
    solver = _construct(
        SOLVERS, "model.solver", config["solver"], l_max=density["l_max"], width=density["width"]
    )
    coulomb = config["coulomb"]
    network = PotentialNetwork(
        backbone=backbone,
        solver=solver,
        statistics=statistics,
        accuracy=coulomb["accuracy"],
        finite_size=coulomb["finite_size"],
    )
    return Potential(network, params, statistics, config, precision)


def _construct(
    table: Mapping[str, type[nn.Module]], where: str, options: Mapping[str, Any], **runtime: Any
) -> nn.Module:
    kind = options["kind"]
    if kind not in table:
        raise ConfigError(f'{where}.kind: "{kind}" does not exist; choose from {sorted(table)}')
    chosen = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items() if k != "kind"}
    try:
        return table[kind](**chosen, **runtime)
    except TypeError as error:
        raise ConfigError(f"{where}: {error} (kind {kind})") from error
