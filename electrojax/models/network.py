"""The network of a potential, and its prediction: energies and their derivatives."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from electrojax.electrostatics.coulomb import CoulombEngine, Engines, engines_for
from electrojax.electrostatics.density import dipole, quadrupole
from electrojax.models.prediction import Prediction, spin_multipoles
from electrojax.models.responses import (
    OF_ENERGY,
    density_polarization,
    field_responses,
    moment_responses,
    nuclear_potential,
)
from electrojax.nn.features import Features
from electrojax.nn.readout import EnergyReadout
from electrojax.solvers.base import ChargeSolver
from electrojax.solvers.charge_control import charge_of_structures
from electrojax.solvers.problems.diagnostics import LEGENDRE_GAP
from electrojax.solvers.state import ChargeGuess, ChargeState
from electrojax.system.batching import on_device
from electrojax.system.geometry import apply_strain, edge_vectors, harmonic_order, volume
from electrojax.system.quantities import FIELD_RESPONSES
from electrojax.system.types import Boundary, Statistics, System, graph_sum
from electrojax.typing import Array, replace

Params = Any
"""A Flax parameter pytree."""

MATMUL_PRECISIONS = ("float32", "tensorfloat32", "bfloat16")
"""What matrix products of float32 numbers may be computed in, where the hardware has it."""


class PotentialNetwork(nn.Module):
    """Maps a batch to its energy terms and its charge state.

    Attributes:
        backbone: features of every atom from its environment.
        solver: the rule that decides the charge density.
        statistics: species table and scales.
        engines: how the Coulomb energy is summed under each boundary.
        matmul_precision: of float32 products in backbone and readout, which a GPU or TPU would
            round to fewer digits; charges and their energy keep all.
    """

    backbone: nn.Module
    solver: ChargeSolver
    statistics: Statistics
    engines: Engines = dataclasses.field(default_factory=engines_for)
    matmul_precision: str = MATMUL_PRECISIONS[0]

    @nn.compact
    def __call__(
        self, system: System, guess: ChargeGuess | None = None
    ) -> tuple[dict[str, Array], ChargeState]:
        """Returns the energy terms [G] in eV by name, and the charge state."""
        with jax.default_matmul_precision(self.matmul_precision):
            return self._evaluate(on_device(system), guess)

    def _evaluate(
        self, system: System, guess: ChargeGuess | None
    ) -> tuple[dict[str, Array], ChargeState]:
        species = self._species(system)
        features = self.backbone(system, species, harmonic_order(edge_vectors(system)))
        readout = EnergyReadout(name="readout")(features)
        energy = readout * self.statistics.energy_scale + self.statistics.energy_shift
        # Coarser products would leave residuals that no solver can bring below its tolerance.
        with jax.default_matmul_precision(MATMUL_PRECISIONS[0]):
            state = self._charges(features, system, guess)
        return {"short_range": graph_sum(energy, system), **state.energies}, state

    def _charges(
        self, features: Features, system: System, guess: ChargeGuess | None
    ) -> ChargeState:
        coulomb: Any = None
        if self.solver.uses_coulomb:
            coulomb = self.engine(system.boundary).prepare(
                system, self.solver.l_max, self.solver.width
            )
        state: ChargeState = self.solver(features, system, coulomb, guess)
        return state

    def engine(self, boundary: Boundary) -> CoulombEngine:
        """Returns the Coulomb engine of a boundary."""
        return self.engines.of(boundary)

    def _species(self, system: System) -> Array:
        """Species indices [N], −1 on padding; the host has checked that every element is known."""
        return jnp.asarray(self.statistics.species_table())[system.numbers]


def predict_system(
    network: PotentialNetwork,
    params: Params,
    system: System,
    guess: ChargeGuess | None = None,
    responses: Sequence[str] = (),
) -> Prediction:
    """Returns energies, forces F = −∂E/∂r, stress σ = (1/V) ∂E/∂ε and polarisation of a batch.

    Args:
        network: the Flax module.
        params: its parameters.
        system: a padded batch; every array in the model's precision.
        guess: a density to start the charge solver from.
        responses: what to predict beside, any of ``electrojax.system.quantities.RESPONSES``.
    """
    with jax.default_matmul_precision(network.matmul_precision):
        return _predict(network, params, system, guess, responses)


def _predict(
    network: PotentialNetwork,
    params: Params,
    system: System,
    guess: ChargeGuess | None,
    responses: Sequence[str],
) -> Prediction:
    system = on_device(system)
    positions = system.positions
    strain = jnp.zeros((system.n_graphs, 3, 3), positions.dtype)
    field = system.external_field

    charge = system.total_charge

    def total(
        positions: Array, field: Array, strain: Array, charge: Array = charge
    ) -> tuple[Array, Any]:
        inputs = {"positions": positions, "external_field": field, "total_charge": charge}
        moved = apply_strain(replace(system, **inputs), strain)
        energies, state = network.apply({"params": params}, moved, guess)
        energy = jnp.sum(jnp.stack(list(energies.values())), axis=0)
        return jnp.sum(energy), (energy, energies, state)

    gap = LEGENDRE_GAP in network.solver.diagnostics
    inputs = (0, 1, *((2,) if system.boundary != "open" else ()), *((3,) if gap else ()))
    gradient = jax.grad(total, inputs, has_aux=True)
    found, (energy, energies, state) = gradient(positions, field, strain, charge)
    slopes = dict(zip(inputs, found))
    stress = jnp.zeros_like(strain)
    if 2 in slopes:
        stress = slopes[2] / volume(system.cell)[:, None, None]
    slow = [name for name in responses if name in FIELD_RESPONSES]
    polarization, found_responses = (
        -slopes[1],
        field_responses(lambda r, f: total(r, f, strain)[0], positions, field, slow),
    )
    if not network.solver.consistent:
        polarization = _moment(network, state, system)
        found_responses = {OF_ENERGY + name: x for name, x in found_responses.items()}
        found_responses |= _density_responses(network, params, system, guess, slow)
    if "potential" in responses:
        engine, solver = network.engine(system.boundary), network.solver
        found_responses["potential"] = nuclear_potential(
            state.density, system, engine, solver.l_max, solver.width
        )
    charges = charge_of_structures(network.solver, state.density, system)
    levels = {LEGENDRE_GAP: slopes[3] + state.fermi_level} if gap else {}
    return Prediction(
        energy=energy,
        energies=energies,
        forces=-slopes[0],
        stress=stress,
        density=state.density,
        dipole=dipole(state.density, system, charges),
        quadrupole=quadrupole(state.density, system, charges),
        polarization=polarization,
        energy_polarization=-slopes[1],
        responses=found_responses,
        fermi_level=state.fermi_level,
        chemical_potential=state.chemical_potential,
        spin_multipoles=spin_multipoles(state, network.solver.has_spin),
        report=state.report,
        diagnostics={**state.diagnostics, **levels},
    )


def _density_responses(
    network: PotentialNetwork,
    params: Params,
    system: System,
    guess: ChargeGuess | None,
    responses: Sequence[str],
) -> dict[str, Array]:
    """Derivatives of the density's own polarisation, where those of the energy are others."""

    def moment(positions: Array, field: Array) -> Array:
        moved = replace(system, positions=positions, external_field=field)
        state = network.apply({"params": params}, moved, guess)[1]
        return _moment(network, state, moved)

    return moment_responses(moment, system.positions, system.external_field, responses)


def _moment(network: PotentialNetwork, state: ChargeState, system: System) -> Array:
    """The polarisation of a state's density [G, 3] e·Å."""
    solver, coulomb = network.solver, None
    if system.boundary == "slab" and solver.uses_coulomb:
        coulomb = network.engine("slab").prepare(system, solver.l_max, solver.width)
    return density_polarization(state.density, system, solver.cutoff, coulomb)
