"""An energy of an atom's own multipoles that is convex and grows slower than a parabola.

Hardness alone makes the energy quadratic. Here each atom adds

    e_i(p) = Σ_k a_ik c(w_ik·p + b_ik) + Σ_l a'_il c(|p_l|/w^l),  c(x) = √(1 + x²) − 1,

with a > 0: a sum of convex functions of affine maps and of norms, thus convex, an input-convex
network of one layer (B. Amos, L. Xu and J. Z. Kolter, arXiv 1609.07152). The w_ik are equivariant
multipoles, so that the arguments are invariants.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from electrojax.electrostatics.density import degrees, l_max_of
from electrojax.nn.features import Features
from electrojax.nn.readout import MultipoleReadout
from electrojax.solvers.problems.quadratic import QuadraticEnergy, block_inverse
from electrojax.solvers.readouts.elements import ElementTable
from electrojax.solvers.readouts.hardness import MultipoleChannels
from electrojax.system.types import System, graph_sum
from electrojax.typing import Array, struct

INITIAL_WEIGHT = -1.0
"""Before the softplus: 0.3 eV."""


@struct
class ConvexTerms:
    """The coefficients of every atom's convex energy.

    Attributes:
        weights: [N, K + L] eV, positive; zero on padding.
        vectors: [N, K, M] 1/(e·Å^l).
        shifts: [N, K].
        scale: [M] Å^l, by which multipoles of order l become charges.
    """

    weights: Array
    vectors: Array
    shifts: Array
    scale: Array

    def energies(self, multipoles: Array) -> Array:
        """Returns e_i [N] in eV of multipoles [N, M] e·Å^l."""
        arguments = jnp.einsum("nkm,nm->nk", self.vectors, multipoles) + self.shifts
        scaled = jnp.square(multipoles / self.scale)
        orders = range(l_max_of(multipoles.shape[1]) + 1)
        norms = [scaled[:, l * l : (l + 1) ** 2].sum(axis=1) for l in orders]
        squares = jnp.concatenate([arguments**2, jnp.stack(norms, axis=1)], axis=1)
        # √(1 + s) − 1 without the loss of digits at small s.
        values = squares / (1.0 + jnp.sqrt(1.0 + squares))
        return jnp.sum(self.weights * values, axis=1)

    def gradient(self, multipoles: Array) -> Array:
        """Returns ∂e/∂p [N, M]."""
        return jax.grad(lambda p: jnp.sum(self.energies(p)))(multipoles)

    def blocks(self, multipoles: Array) -> Array:
        """Returns ∂²e/∂p² [N, M, M], positive semi-definite."""
        units = jnp.eye(multipoles.shape[1], dtype=multipoles.dtype)
        columns = [
            jax.jvp(self.gradient, (multipoles,), (jnp.broadcast_to(u, multipoles.shape),))[1]
            for u in units
        ]
        return jnp.stack(columns, axis=-1)


class ConvexReadout(nn.Module):
    """Reads the coefficients of the convex energy from the features.

    Attributes:
        l_max: highest multipole order.
        width: Å, of the density.
        units: K, the number of planes.
    """

    l_max: int
    width: float
    units: int

    @nn.compact
    def __call__(self, features: Features, system: System) -> ConvexTerms:
        """Returns the coefficients of every atom."""
        dtype = features.layers[0].dtype
        rows = [self._scalar(f"weight_{k}", features, system) for k in range(self.units)]
        rows += [self._scalar(f"norm_{l}", features, system) for l in range(self.l_max + 1)]
        weights = jax.nn.softplus(jnp.stack(rows, axis=1) + INITIAL_WEIGHT)
        vectors = MultipoleChannels(self.l_max, self.units, name="vectors")(features)
        shifts = [self._scalar(f"shift_{k}", features, system) for k in range(self.units)]
        scale = self.width ** degrees(vectors)
        # An atom whose features vanish has shifts and norms of its element alone.
        return ConvexTerms(
            weights=jnp.where(system.node_mask[:, None], weights, 0.0),
            vectors=vectors / scale,
            shifts=jnp.stack(shifts, axis=1),
            scale=scale.astype(dtype),
        )

    def _scalar(self, name: str, features: Features, system: System) -> Array:
        table = ElementTable(0.0, name=f"{name}_element")(system, features.layers[0].dtype)
        return table + MultipoleReadout("1x0e", 1.0, name=name)(features)[:, 0]


@struct
class ConvexEnergy:
    """A quadratic energy with a convex term of each atom's own multipoles on top.

    Attributes:
        quadratic: everything that is quadratic.
        terms: the convex rest.
    """

    quadratic: QuadraticEnergy
    terms: ConvexTerms

    def energies(self, multipoles: Array, levels: Array) -> dict[str, Array]:
        """Returns the terms [G] eV by name; see :class:`QuadraticEnergy`."""
        values = self.quadratic.energies(multipoles, levels)
        return {**values, "convex": graph_sum(self.terms.energies(multipoles), self.system)}

    def gradient(self, multipoles: Array) -> Array:
        """Returns ∂F/∂p [N, M], zero on padding."""
        return self.quadratic.gradient(multipoles) + self.terms.gradient(multipoles)

    def curvature(self, multipoles: Array, direction: Array) -> Array:
        """Returns (∂²F/∂p²) v [N, M]; on padding rows the curvature is the identity."""
        bent = jnp.einsum("nij,nj->ni", self.terms.blocks(multipoles), direction)
        return self.quadratic.curvature(multipoles, direction) + bent

    def precondition(self, multipoles: Array) -> Callable[[Array], Array]:
        """Returns the inverse of the diagonal blocks of the curvature, or of long waves too."""
        if self.quadratic.long_waves:
            hardness = self.quadratic.hardness + self.terms.blocks(multipoles)
            return self.quadratic.wave_preconditioner(hardness).apply
        return block_inverse(self.quadratic.diagonal_blocks() + self.terms.blocks(multipoles))

    def size(self, residual: Array) -> Array:
        """Returns a residual as a charge error per structure [G], in e, as QuadraticEnergy does."""
        return self.quadratic.size(residual)

    @property
    def system(self) -> System:
        """The batch."""
        return self.quadratic.system

    @property
    def constraint(self) -> Any:
        """Which charges are fixed."""
        return self.quadratic.constraint

    @property
    def max_steps(self) -> int:
        """The largest number of steps of a linear solve."""
        return self.quadratic.max_steps

    @property
    def dense(self) -> bool:
        """Whether linear solves are direct."""
        return self.quadratic.dense

    @property
    def space(self) -> Any:
        """Inner products per structure."""
        return self.quadratic.space
