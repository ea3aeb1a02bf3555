"""The two responses of the self-consistent solver: one that an energy stands behind, one free."""

from typing import Any

import jax
import jax.numpy as jnp

from electrojax.electrostatics.density import degrees
from electrojax.electrostatics.field import FieldCoupling
from electrojax.electrostatics.kernels.gaussian import on_site_response
from electrojax.electrostatics.long_waves import long_waves_matter
from electrojax.numerics.cg import Space, atom_space
from electrojax.numerics.constraint import ChargeConstraint, at_atoms, reservoir
from electrojax.numerics.response_preconditioner import ResponsePreconditioner
from electrojax.solvers.problems.quadratic import QuadraticEnergy, field_potentials
from electrojax.solvers.problems.response_map import Response
from electrojax.solvers.problems.response_waves import preconditioner_of_charges
from electrojax.system.types import System
from electrojax.typing import Array, replace, static, struct


@struct
class SymmetricResponse:
    """F(p, μ) = p − (H + a)⁻¹ (H (p − p_loc) + A p + v_ext + μ): its fixed point is a minimum.

    a is the diagonal of A, an atom's own potential, which is solved together with H: the fixed
    point of p = p_loc − H⁻¹ (A p + v_ext + μ) is the same, and it is reached sooner.

    Attributes:
        energy: whose drive is d = H p_loc.
        local: p_loc [N, M], zero on padding.
        inverse: (H + a)⁻¹ [N, M, M].
    """

    energy: QuadraticEnergy
    local: Array
    inverse: Array

    def with_constraint(self, constraint: ChargeConstraint) -> "SymmetricResponse":
        """Returns the map with other charges fixed."""
        return replace(self, energy=replace(self.energy, constraint=constraint))

    def update(self, multipoles: Array, levels: Array) -> Array:
        """Returns F(p, μ) [N, M], zero on padding."""
        forces = self.energy.gradient(multipoles)
        forces = forces + self.constraint.broadcast_to_atoms(levels, forces)
        moved = multipoles - jnp.einsum("nij,nj->ni", self.inverse, forces)
        return jnp.where(self.system.node_mask[:, None], moved, 0.0)

    def preconditioner(self, multipoles: Array, levels: Array) -> ResponsePreconditioner:
        """Returns P⁻¹ (H + a), with the preconditioner P of the energy."""
        if not self.energy.long_waves:
            return ResponsePreconditioner()
        energy = jax.lax.stop_gradient(self.energy)
        waves = energy.wave_preconditioner(energy.hardness)
        return ResponsePreconditioner(waves, energy.diagonal_blocks())

    @property
    def affine(self) -> bool:
        """Whether F is affine: it is."""
        return True

    @property
    def system(self) -> System:
        """The batch."""
        return self.energy.system

    @property
    def coulomb(self) -> Any:
        """The operator of this geometry."""
        return self.energy.coulomb

    @property
    def field(self) -> FieldCoupling:
        """How multipoles couple to the external field."""
        return self.energy.field

    @property
    def constraint(self) -> ChargeConstraint:
        """Which charges are fixed."""
        return self.energy.constraint

    @property
    def max_steps(self) -> int:
        """The largest number of products of a linear solve."""
        return self.energy.max_steps

    @property
    def space(self) -> Space:
        """Inner products per structure."""
        return self.energy.space

    @property
    def scale(self) -> Array:
        """Å^l of each component [M]."""
        return self.energy.width ** degrees(self.energy.drive)


def symmetric_response(energy: QuadraticEnergy, local: Array) -> SymmetricResponse:
    """Returns the map whose fixed point is the minimum of an energy.

    Args:
        energy: with the drive H p_loc.
        local: p_loc [N, M].
    """
    return SymmetricResponse(energy, local, jnp.linalg.inv(energy.diagonal_blocks()))


@struct
class FreeResponse:
    """F(p, μ) = p_loc + Δ(R p + v_ext + μ), with Δ of any sign and receivers of several widths.

    Attributes:
        system: the batch.
        coulomb: the operator of this geometry.
        receive: p -> what receivers see [N, W, M] (:func:`receivers`).
        local: p_loc [N, M], zero on padding.
        response: Δ.
        field: how multipoles couple to the external field.
        constraint: which charges are fixed.
        norms: [W, M], by which received potentials are divided.
        width: σ of the density, Å.
        max_steps: the largest number of products of a linear solve.
    """

    system: System
    coulomb: Any
    receive: Any
    local: Array
    response: Response
    field: FieldCoupling
    constraint: ChargeConstraint
    norms: Array
    width: float = static()
    max_steps: int = static()

    def with_constraint(self, constraint: ChargeConstraint) -> "FreeResponse":
        """Returns the map with other charges fixed."""
        return replace(self, constraint=constraint)

    def update(self, multipoles: Array, levels: Array) -> Array:
        """Returns F(p, μ) [N, M], zero on padding."""
        received = self.receive(multipoles) + self.applied(multipoles, levels)[:, None, :]
        moved = self.local + self.response(received / self.norms)
        return jnp.where(self.system.node_mask[:, None], moved, 0.0)

    def applied(self, multipoles: Array, levels: Array) -> Array:
        """Returns what the external field and the level add to a potential [N, M] V/Å^l."""
        values = field_potentials(self.field, multipoles) + self.constraint.broadcast_to_atoms(
            levels, multipoles
        )
        return values.at[:, 0].add(at_atoms(reservoir(self.system), self.system))

    def preconditioner(self, multipoles: Array, levels: Array) -> ResponsePreconditioner:
        """Returns an approximate (1 − J)⁻¹, from what each charge does in a constant potential."""
        if not long_waves_matter(self.coulomb, self.system, self.width):
            return ResponsePreconditioner()
        received = self.receive(multipoles) + self.applied(multipoles, levels)[:, None, :]
        widths = jnp.asarray(self.receive.widths, received.dtype)
        ones = jnp.ones((len(widths), 1), received.dtype)

        def charge_in(potentials: Array) -> Array:
            """The charge that every atom takes up in a potential of its own, the same for all."""
            change = jnp.zeros_like(received).at[:, :, 0].set(potentials) / self.norms
            return jax.jvp(self.response, (received / self.norms,), (change,))[1][:, 0]

        own = jnp.zeros_like(widths)
        if not self.receive.self_interaction:
            own = on_site_response(ones, self.width, widths, 0)[:, 0]
        stiffness = 1.0 + charge_in(own)
        return preconditioner_of_charges(
            self.coulomb, self.system, -charge_in(jnp.ones_like(widths)), stiffness, self.width
        )

    @property
    def affine(self) -> bool:
        """Whether F is affine."""
        return self.response.affine

    @property
    def space(self) -> Space:
        """Inner products per structure."""
        return atom_space(self.system)

    @property
    def scale(self) -> Array:
        """Å^l of each component [M]."""
        return self.width ** degrees(self.local)
