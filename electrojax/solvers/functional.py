"""An energy functional of the density, learned and convex, at its minimum."""

from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp

from electrojax.electrostatics.coulomb import CoulombOperator
from electrojax.electrostatics.density import ChargeDensity
from electrojax.electrostatics.field import field_coupling
from electrojax.nn.features import Features
from electrojax.nn.options import option, runtime
from electrojax.nn.readout import MultipoleReadout
from electrojax.solvers.constraint import at_atoms, charge_constraint, check_charges
from electrojax.solvers.convex import ConvexEnergy, ConvexReadout
from electrojax.solvers.hardness import ElementTable, Hardness
from electrojax.solvers.local import irreps
from electrojax.solvers.newton import convex_minimum
from electrojax.solvers.qeq import DENSE_BELOW, fermi_level
from electrojax.solvers.quadratic import QuadraticEnergy, wants_long_waves
from electrojax.solvers.state import ChargeGuess, ChargeState
from electrojax.solvers.variational import levels, quadratic_minimum, stationary_energies
from electrojax.system.types import BOUNDARIES, Boundary, Frame, System


class EnergyFunctional(nn.Module):
    """Multipoles that minimise a learned convex functional of the density.

    F[p] = ½⟨p, (H + A) p⟩ − ⟨d, p⟩ + Σ_i e_i(p_i) − E·P, with a full equivariant positive definite
    block H_i per atom, which couples its charge, dipole and quadrupole, and a convex e_i that grows
    slower than a parabola (:mod:`electrojax.solvers.convex`). The minimum is unique. Without e_i at
    l_max 0, this is charge equilibration. Source of the form: the energy functionals of Baldwin et
    al., arXiv 2603.14700; convexity by construction is ours.
    """

    provides: ClassVar[tuple[str, ...]] = (
        "charges",
        "multipoles",
        "dipole",
        "polarization",
        "fermi_level",
    )
    uses_coulomb: ClassVar[bool] = True
    field_boundaries: ClassVar[tuple[Boundary, ...]] = BOUNDARIES

    charge_control: Literal["fixed_charge", "fixed_potential"] = option(
        "fixed_charge",
        "fixed_charge: charges sum to total_charge; fixed_potential: the frame's fermi_level is "
        "given and the charge is an output",
    )
    terms: int = option(
        8, "planes of the convex energy beyond the quadratic one; 0: quadratic only", minimum=0
    )
    rank: int = option(
        4, "vectors in H that couple an atom's charge with its dipole; 0: diagonal", minimum=0
    )
    fragments: bool = option(
        False, "keep the charge of every fragment: the sum of its atoms' formal charges"
    )
    linear_solver: Literal["auto", "dense", "cg"] = option(
        "auto", "dense: Cholesky; cg: preconditioned conjugate gradients; auto: by size"
    )
    tolerance: float = option(1.0e-6, "largest residual of a charge, e", positive=True)
    max_steps: int = option(200, "of conjugate gradients, in each Newton step", minimum=1)
    max_newton: int = option(30, "Newton steps", minimum=1)
    l_max: int = runtime(0, "highest multipole order of the density")
    width: float = runtime(1.5, "width of the Gaussians, Å")
    cutoff: float = runtime(0.0, "cutoff of the edges, Å")

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
        quadratic = self._quadratic(features, system, coulomb)
        start = jnp.zeros_like(quadratic.drive) if guess is None else guess.multipoles.sum(axis=1)
        problem: QuadraticEnergy | ConvexEnergy = quadratic
        if self.terms:
            readout = ConvexReadout(self.l_max, self.width, self.terms, name="convex")
            problem = ConvexEnergy(quadratic, readout(features, system))
            multipoles, report = convex_minimum(problem, start, self.tolerance, self.max_newton)
        else:
            multipoles, report = quadratic_minimum(problem, start, self.tolerance)
        multipliers = levels(problem, multipoles)
        energies = stationary_energies(multipoles, multipliers, problem)
        width = jnp.full(system.n_nodes, self.width, multipoles.dtype)
        density = ChargeDensity(multipoles[:, None, :], width)
        level = fermi_level(quadratic, multipliers)
        potential = at_atoms(quadratic.reservoir(), system) - problem.gradient(multipoles)[:, 0]
        return ChargeState(density, energies, level, potential, report)

    def _quadratic(
        self, features: Features, system: System, coulomb: CoulombOperator
    ) -> QuadraticEnergy:
        drive = MultipoleReadout(irreps(self.l_max), 1.0, name="drive")(features)
        table = ElementTable(0.0, name="electronegativity")
        drive = drive.at[:, 0].add(-table(system, drive.dtype))
        size = system.graph_nodes * drive.shape[1]
        dense = {"auto": size <= DENSE_BELOW, "dense": True, "cg": False}
        return QuadraticEnergy(
            system=system,
            coulomb=coulomb,
            hardness=Hardness(self.l_max, rank=self.rank, name="hardness")(features, system),
            drive=jnp.where(jnp.asarray(system.node_mask)[:, None], drive, 0.0),
            field=field_coupling(system, self.cutoff),
            constraint=charge_constraint(system, self.fragments),
            width=self.width,
            max_steps=self.max_steps,
            dense=dense[self.linear_solver],
            long_waves=wants_long_waves(system),
        )
