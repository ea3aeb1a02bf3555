"""Charge equilibration: charges that minimise a quadratic energy."""

from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp

from electrojax.electrostatics.coulomb import CoulombOperator
from electrojax.electrostatics.density import of_one_width
from electrojax.errors import ConfigError
from electrojax.nn.features import Features
from electrojax.nn.options import option
from electrojax.nn.readout import MultipoleReadout
from electrojax.numerics.constraint import at_atoms, fermi_level, reservoir
from electrojax.numerics.report import SolverReport
from electrojax.numerics.variational import levels, quadratic_minimum, stationary_energies
from electrojax.solvers.base import ChargeSolver
from electrojax.solvers.charge_control import charge_control_option, check_charges
from electrojax.solvers.problems.quadratic import QuadraticEnergy, quadratic_energy
from electrojax.solvers.problems.transfers import BoundedBonds, SoftBonds, transfer_problem
from electrojax.solvers.readouts.elements import ElementTable
from electrojax.solvers.readouts.fukui import conserve_charge, fukui_weights
from electrojax.solvers.readouts.hardness import Hardness, learned_drive
from electrojax.solvers.readouts.irreps import irreps
from electrojax.solvers.state import LEVEL_LABELS, ChargeGuess, ChargeState
from electrojax.system.types import BOUNDARIES, Boundary, Frame, System, graph_sum
from electrojax.typing import Array


class ChargeEquilibration(ChargeSolver):
    """Charges, and induced dipoles where l_max is 1, that minimise a quadratic energy.

    E[p] = Σ_i (χ_i q_i − d_i·μ_i) + ½ Σ_i (η_i q_i² + κ_i μ_i²) + ½⟨p, A p⟩ − E·P with Σ q = Q
    (A. K. Rappé and W. A. Goddard, J. Phys. Chem. 95, 3358 (1991); environment-dependent
    electronegativities: S. A. Ghasemi et al., Phys. Rev. B 92, 045131 (2015)), with hardnesses that
    are positive by construction, so that one minimum exists. At fixed potential the reservoir's
    μQ is added: the energy is then the grand potential Ω = E + μQ, and Q an output.
    """

    provides: ClassVar[tuple[str, ...]] = LEVEL_LABELS
    field_boundaries: ClassVar[tuple[Boundary, ...]] = BOUNDARIES

    charge_control: Literal["fixed_charge", "fixed_potential"] = charge_control_option()
    hardness: Literal["features", "element"] = option(
        "features", "features: read from the environment; element: one number per element"
    )
    fragments: bool = option(
        False, "keep the charge of every fragment: the sum of its atoms' formal charges"
    )
    transfers: Literal["free", "bounded", "soft_fragments"] = option(
        "free",
        "free: any two atoms exchange charge; bounded: along edges, from formal charges; "
        "soft_fragments: along bonds of a learned smooth connectivity, from learned charges",
    )
    transfer_cutoff: float = option(
        0.0,
        "where bounded and soft transfers end, Å; 0: at the backbone's cutoff",
        minimum=0,
        maximum=100,
    )
    linear_solver: Literal["auto", "dense", "cg"] = option(
        "auto", "dense: Cholesky; cg: preconditioned conjugate gradients; auto: by size"
    )
    hardness_floor: float = option(
        0.1,
        "eV/(e·Å^l)², below which no hardness falls: without it, soft atoms exchange charge freely",
        minimum=0,
        maximum=1e4,
    )
    tolerance: float = option(1.0e-6, "largest residual of a charge, e", minimum=1e-14, maximum=0.1)
    max_steps: int = option(200, "of conjugate gradients", minimum=1, maximum=10**6)

    @property
    def conducts(self) -> bool:
        """Whether charge flows freely, not along bonds of bounded softness."""
        return self.transfers == "free"

    @nn.compact
    def __call__(
        self,
        features: Features,
        system: System,
        coulomb: CoulombOperator,
        guess: ChargeGuess | None,
    ) -> ChargeState:
        """Returns the density at the minimum of the energy, and the terms of that energy."""
        energy = self._energy(features, system, coulomb)
        if self.transfers == "free":
            found = self._minimum(energy, guess)
        else:
            found = self._transferred(energy, features)
        multipoles, energies, level, report = found
        potential = at_atoms(reservoir(system), system) - energy.gradient(multipoles)[:, 0]
        density = of_one_width(multipoles, self.width)
        return ChargeState(density, energies, level, potential, report)

    def check(self, frame: Frame) -> None:
        """Raises an error if a structure or an option lacks what the charges are fixed by."""
        check_charges(frame, self.charge_control, self.fragments or self.transfers == "bounded")
        if self.transfers == "free":
            return
        if self.l_max or self.charge_control == "fixed_potential" or self.fragments:
            raise ConfigError(
                f'model.solver: transfers "{self.transfers}" need density.l_max 0, charge_control '
                f'"fixed_charge" and fragments false; got l_max {self.l_max}, '
                f'"{self.charge_control}" and {str(self.fragments).lower()}'
            )
        if self.transfer_cutoff > self.cutoff:
            raise ConfigError(
                f"model.solver.transfer_cutoff: {self.transfer_cutoff:g} Å is beyond the cutoff of "
                f"the backbone, {self.cutoff:g} Å, whose edges carry the transfers"
            )

    def _minimum(
        self, energy: QuadraticEnergy, guess: ChargeGuess | None
    ) -> tuple[Array, dict[str, Array], Array, SolverReport]:
        start = jnp.zeros_like(energy.drive)
        start = start if guess is None else guess.over(start)
        multipoles, report = quadratic_minimum(energy, start, self.tolerance)
        multipliers = levels(energy, multipoles)
        energies = stationary_energies(multipoles, multipliers, energy)
        level = fermi_level(energy, multipliers)
        return multipoles, energies, level, report

    def _transferred(
        self, energy: QuadraticEnergy, features: Features
    ) -> tuple[Array, dict[str, Array], Array, SolverReport]:
        """The same with transfers as the variables."""
        system = energy.system
        cutoff = self.transfer_cutoff or self.cutoff
        bounded = self.transfers == "bounded"
        bonds = BoundedBonds(cutoff, name="bonds") if bounded else SoftBonds(cutoff, name="bonds")
        compliance = bonds(features, system)
        source, shares = self._source(features, system)
        problem = transfer_problem(energy, source, compliance)
        start = jnp.zeros((system.n_edges, 1), energy.drive.dtype)
        unknown, report = quadratic_minimum(problem, start, self.tolerance)
        energies = stationary_energies(unknown, levels(problem, unknown), problem)
        charges = problem.charges(unknown)
        level = -graph_sum(shares * energy.gradient(charges)[:, 0], system)
        return charges, energies, level, report

    def _source(self, features: Features, system: System) -> tuple[Array, Array]:
        """The charges [N] in e from which transfers start, and how they grow with their sum."""
        if self.transfers == "bounded":  # formal charges, to which more would be added evenly
            formal = system.formal_charges
            even = fukui_weights(jnp.zeros_like(formal)[:, None], system, "positive")
            return formal, even[:, 0]
        charges = MultipoleReadout(irreps(0), name="source")(features)
        charges = charges + ElementTable(0.0, name="source_element")(system, charges.dtype)[:, None]
        logits = MultipoleReadout(irreps(0), name="fukui")(features)[:, 0]
        charges = jnp.where(system.node_mask[:, None], charges, 0.0)
        shares = fukui_weights(logits[:, None], system, "positive")[:, 0]
        return conserve_charge(charges, logits, system)[:, 0], shares

    def _energy(
        self, features: Features, system: System, coulomb: CoulombOperator
    ) -> QuadraticEnergy:
        environment, floor = self.hardness == "features", self.hardness_floor
        hardness = Hardness(self.l_max, environment, floor=floor, name="hardness")
        return quadratic_energy(
            system,
            coulomb,
            hardness(features, system),
            learned_drive(features, system, self.l_max),
            self.width,
            self.cutoff,
            self.fragments,
            self.linear_solver,
            self.max_steps,
        )
