"""The energy of charges that is quadratic: hardness, Coulomb interaction and a drive."""

from collections.abc import Callable
from typing import Any, Literal

import jax.numpy as jnp

from electrojax.electrostatics.density import degrees, l_max_of
from electrojax.electrostatics.field import FieldCoupling, field_coupling
from electrojax.electrostatics.kernels.gaussian import self_potential
from electrojax.electrostatics.long_waves import long_waves_matter
from electrojax.electrostatics.precondition import low_k_preconditioner
from electrojax.numerics.cg import Space, atom_space
from electrojax.numerics.constraint import ChargeConstraint, at_atoms, charge_constraint, reservoir
from electrojax.system.geometry import harmonic_order
from electrojax.system.types import System, graph_sum
from electrojax.typing import Array, static, struct


@struct
class QuadraticEnergy:
    """F[p] = ½⟨p, (A + H) p⟩ − ⟨d, p⟩ − E·P[p] + μ Q, the last at fixed potential only.

    A is the Coulomb operator, H_i a symmetric positive definite block per atom and d the learned
    drive (for charges, minus the electronegativity). Charge equilibration is the case M = 1 (A. K.
    Rappé and W. A. Goddard, J. Phys. Chem. 95, 3358 (1991)).

    Attributes:
        system: the batch.
        coulomb: the operator A of this geometry, self-interaction kept.
        hardness: [N, M, M] eV/(e·Å^l)², the unit matrix on padding.
        drive: [N, M] eV/(e·Å^l), zero on padding.
        field: how the multipoles couple to the external field.
        constraint: which charges are fixed.
        width: σ of the density, Å.
        max_steps: the largest number of steps of a linear solve.
        dense: solve with a Cholesky factor instead of conjugate gradients.
        long_waves: precondition with the inverse of the long waves too, where the hardness of a
            structure makes them matter, not of the atoms' own blocks alone.
    """

    system: System
    coulomb: Any
    hardness: Array
    drive: Array
    field: FieldCoupling
    constraint: ChargeConstraint
    width: float = static()
    max_steps: int = static()
    dense: bool = static()
    long_waves: bool = static(False)

    def energies(self, multipoles: Array, levels: Array) -> dict[str, Array]:
        """Returns the terms [G] eV by name; the constraint's, which is zero, is in ``charging``."""
        bent = jnp.sum(multipoles * (0.5 * self._hard(multipoles) - self.drive), axis=1)
        held = self.constraint.sums(multipoles) - self.constraint.total
        # A group is indexed by an atom of its own structure.
        held = jnp.where(self.constraint.count > 0, levels * held, 0.0)
        return {
            "coulomb": self.coulomb.energy(multipoles),
            "charging": graph_sum(bent + held, self.system),
            "field": self.field.energy(multipoles, self.system),
            "reservoir": reservoir(self.system) * graph_sum(multipoles[:, 0], self.system),
        }

    def gradient(self, multipoles: Array) -> Array:
        """Returns ∂F/∂p [N, M], zero on padding."""
        forces = self.coulomb.potential(multipoles) + self._hard(multipoles) - self.drive
        forces = forces + field_potentials(self.field, multipoles)
        forces = forces.at[:, 0].add(at_atoms(reservoir(self.system), self.system))
        return jnp.where(self.system.node_mask[:, None], forces, 0.0)

    def curvature(self, multipoles: Array, direction: Array) -> Array:
        """Returns (A + H) v [N, M]; on padding rows the curvature is the identity."""
        return self.coulomb.potential(direction) + self._hard(direction)

    def precondition(self, multipoles: Array) -> Callable[[Array], Array]:
        """Returns an approximate inverse of A + H, symmetric positive definite."""
        if self.long_waves:
            return self.wave_preconditioner(self.hardness).apply
        return block_inverse(self.diagonal_blocks())

    def wave_preconditioner(self, hardness: Array) -> Any:
        """Returns the inverse of the diagonal of A + H and of the long waves of A.

        Args:
            hardness: H [N, M, M] eV/(e·Å^l)².
        """
        diagonal = jnp.diagonal(hardness, axis1=1, axis2=2)
        return low_k_preconditioner(self.coulomb, self.system, diagonal, self.width)

    def size(self, residual: Array) -> Array:
        """Returns a residual as a charge error per structure [G], in e.

        max_i |r_i| / (H_ii + A_ii), multipoles divided by width^l.
        """
        diagonal = jnp.diagonal(self.hardness, axis1=1, axis2=2) + self._on_site()
        return self.space.largest(residual / (diagonal * self.width ** degrees(residual)))

    def diagonal_blocks(self) -> Array:
        """Returns the blocks of A + H on the diagonal [N, M, M]."""
        return self.hardness + jnp.diag(self._on_site())

    @property
    def space(self) -> Space:
        """Inner products per structure."""
        return atom_space(self.system)

    def _hard(self, multipoles: Array) -> Array:
        if self.hardness.shape[-1] == 1:
            return self.hardness[:, 0] * multipoles
        return jnp.einsum("nij,nj->ni", self.hardness, multipoles)

    def _on_site(self) -> Array:
        l_max = l_max_of(self.drive.shape[1])
        return self_potential(jnp.asarray(self.width, self.drive.dtype), l_max)


DENSE_BELOW = 48
"""Components of a structure (atoms times M) below which a Cholesky factor is cheaper than conjugate
gradients, on two CPU cores."""

LinearSolver = Literal["auto", "dense", "cg"]


def quadratic_energy(
    system: System,
    coulomb: Any,
    hardness: Array,
    drive: Array,
    width: float,
    cutoff: float,
    fragments: bool = False,
    linear_solver: LinearSolver = "auto",
    max_steps: int = 200,
) -> QuadraticEnergy:
    """Returns the quadratic energy of a batch in its external field, with its way to be solved.

    Args:
        system: the batch.
        coulomb: the operator of this geometry, self-interaction kept.
        hardness: [N, M, M] eV/(e·Å^l)², the unit matrix on padding.
        drive: [N, M] eV/(e·Å^l), anything on padding.
        width: σ of the density, Å.
        cutoff: of the system's edges, Å.
        fragments: fix the charge of every fragment, not of the structure.
        linear_solver: dense, cg, or by the size of the structures and their boundary.
        max_steps: the largest number of steps of a linear solve.
    """
    small = system.graph_nodes * drive.shape[1] <= DENSE_BELOW
    return QuadraticEnergy(
        system=system,
        coulomb=coulomb,
        hardness=hardness,
        drive=jnp.where(system.node_mask[:, None], drive, 0.0),
        field=field_coupling(system, cutoff, coulomb),
        constraint=charge_constraint(system, fragments),
        width=width,
        max_steps=max_steps,
        dense={"auto": small, "dense": True, "cg": False}[linear_solver],
        long_waves=long_waves_matter(coulomb, system, width),
    )


def field_potentials(field: FieldCoupling, multipoles: Array) -> Array:
    """Returns ∂E/∂p [N, M] eV/(e·Å^l) of the field's energy; it does not depend on p."""
    rows = jnp.concatenate([field.potential[:, None], -harmonic_order(field.field)], axis=1)
    components = multipoles.shape[1]
    return jnp.pad(rows, [(0, 0), (0, max(components - 4, 0))])[:, :components]


def block_inverse(blocks: Array) -> Callable[[Array], Array]:
    """Returns r -> B_i⁻¹ r_i of every atom, for blocks [N, M, M]."""
    if blocks.shape[-1] == 1:
        return lambda r: r / blocks[:, 0]
    inverse = jnp.linalg.inv(blocks)
    return lambda r: jnp.einsum("nij,nj->ni", inverse, r)
