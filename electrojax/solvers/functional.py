"""An energy functional of the density, learned and convex, at its minimum."""

from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp

from electrojax.electrostatics.coulomb import CoulombOperator
from electrojax.electrostatics.density import of_one_width
from electrojax.nn.features import Features
from electrojax.nn.options import option
from electrojax.numerics.constraint import at_atoms, fermi_level, reservoir
from electrojax.numerics.newton import convex_minimum
from electrojax.numerics.variational import levels, quadratic_minimum, stationary_energies
from electrojax.solvers.base import ChargeSolver
from electrojax.solvers.charge_control import charge_control_option, check_charges
from electrojax.solvers.problems.convex import ConvexEnergy, ConvexReadout
from electrojax.solvers.problems.quadratic import QuadraticEnergy, quadratic_energy
from electrojax.solvers.readouts.hardness import Hardness, learned_drive
from electrojax.solvers.state import LEVEL_LABELS, ChargeGuess, ChargeState
from electrojax.system.types import BOUNDARIES, Boundary, Frame, System


class EnergyFunctional(ChargeSolver):
    """Multipoles that minimise a learned convex functional of the density.

    F[p] = ½⟨p, (H + A) p⟩ − ⟨d, p⟩ + Σ_i e_i(p_i) − E·P, with a full equivariant positive definite
    block H_i per atom, which couples its charge, dipole and quadrupole, and a convex e_i that grows
    slower than a parabola (:mod:`electrojax.solvers.problems.convex`). The minimum is unique.
    Without e_i at l_max 0, this is charge equilibration. Source of the form: the energy functionals
    of Baldwin et al., arXiv 2603.14700; convexity by construction is ours.
    """

    provides: ClassVar[tuple[str, ...]] = LEVEL_LABELS
    field_boundaries: ClassVar[tuple[Boundary, ...]] = BOUNDARIES
    conducts: ClassVar[bool] = True

    charge_control: Literal["fixed_charge", "fixed_potential"] = charge_control_option()
    terms: int = option(
        8,
        "planes of the convex energy beyond the quadratic one; 0: quadratic only",
        minimum=0,
        maximum=1000,
    )
    rank: int = option(
        4,
        "vectors in H that couple an atom's charge with its dipole; 0: diagonal",
        minimum=0,
        maximum=1000,
    )
    fragments: bool = option(
        False, "keep the charge of every fragment: the sum of its atoms' formal charges"
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
    max_steps: int = option(
        200, "of conjugate gradients, in each Newton step", minimum=1, maximum=10**6
    )
    max_newton: int = option(30, "Newton steps", minimum=1, maximum=10_000)

    def check(self, frame: Frame) -> None:
        """Raises a DataError if a structure lacks what its charges are fixed by."""
        check_charges(frame, self.charge_control, self.fragments)

    @nn.compact
    def __call__(
        self,
        features: Features,
        system: System,
        coulomb: CoulombOperator,
        guess: ChargeGuess | None,
    ) -> ChargeState:
        """Returns the density at the minimum of the functional, and the terms of its energy."""
        hardness = Hardness(self.l_max, rank=self.rank, floor=self.hardness_floor, name="hardness")
        quadratic = quadratic_energy(
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
        start = jnp.zeros_like(quadratic.drive)
        start = start if guess is None else guess.over(start)
        problem: QuadraticEnergy | ConvexEnergy = quadratic
        if self.terms:
            readout = ConvexReadout(self.l_max, self.width, self.terms, name="convex")
            problem = ConvexEnergy(quadratic, readout(features, system))
            multipoles, report = convex_minimum(problem, start, self.tolerance, self.max_newton)
        else:
            multipoles, report = quadratic_minimum(problem, start, self.tolerance)
        multipliers = levels(problem, multipoles)
        energies = stationary_energies(multipoles, multipliers, problem)
        density = of_one_width(multipoles, self.width)
        level = fermi_level(quadratic, multipliers)
        potential = at_atoms(reservoir(system), system) - problem.gradient(multipoles)[:, 0]
        return ChargeState(density, energies, level, potential, report)
