"""Charge that moves along bonds only: what no bond reaches keeps its charge.

In charge equilibration any two atoms exchange charge at no cost, however far apart, so that two
separated fragments carry fractions of an electron. With transfers along edges as variables (R. A.
Nistor, J. G. Polihronov, M. H. Müser and N. J. Mosey, J. Chem. Phys. 125, 094108 (2006)), each with
a hardness of its own that grows without bound towards a cutoff, the charge of every connected
component is what its source charges q⁰ add up to, exactly.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from electrojax.electrostatics.field import edge_potentials, no_field
from electrojax.electrostatics.flow import divergence
from electrojax.nn.features import Features
from electrojax.nn.radial import lengths_and_directions, polynomial_cutoff
from electrojax.nn.readout import MultipoleReadout
from electrojax.numerics.cg import Space
from electrojax.numerics.constraint import ChargeConstraint
from electrojax.solvers.problems.quadratic import QuadraticEnergy
from electrojax.solvers.readouts.elements import ElementTable
from electrojax.system.geometry import edge_vectors
from electrojax.system.types import System
from electrojax.typing import Array, replace, struct

ENVELOPE_POWER = 6
SOFTEST = 10.0
"""e/√eV, the largest compliance: bonded atoms then differ in potential by 0.01 V per e moved."""


@struct
class TransferEnergy:
    """The energy of transfers t_e = w_e s_e, F[q⁰ + div t] + ½ Σ_e s_e² − E·(P[q⁰] + Σ_e t_e r_e).

    A bond's hardness is 1/w_e². The unknown is s [E, 1] in √eV, whose curvature is the unit matrix
    where a bond is broken. The field does work on the transfers themselves: along periodic
    directions a uniform current moves no charge, and yet polarises.

    Attributes:
        quadratic: F without field, of charges alone (M = 1).
        source: q⁰ [N] e.
        compliance: w [E] e/√eV, zero on padding.
        seated: [G] eV, the field's energy of the source charges, −E·P[q⁰].
        drop: [E] V, −E·r_e along every edge.
    """

    quadratic: QuadraticEnergy
    source: Array
    compliance: Array
    seated: Array
    drop: Array

    def charges(self, unknown: Array) -> Array:
        """Returns q⁰ + div t [N, 1] e."""
        moved = divergence(self.compliance * unknown[:, 0], self.system)
        return (self.source + moved)[:, None]

    def energies(self, unknown: Array, levels: Array) -> dict[str, Array]:
        """Returns the terms [G] eV by name."""
        charges = self.charges(unknown)
        terms = self.quadratic.energies(charges, jnp.zeros_like(self.source))
        work = self.space.inner((self.compliance * self.drop)[:, None], unknown)
        bonds = 0.5 * self.space.inner(unknown, unknown)
        return {**terms, "field": self.seated + work, "bonds": bonds}

    def gradient(self, unknown: Array) -> Array:
        """Returns ∂F/∂s [E, 1]."""
        pulled = self._pulled(self.quadratic.gradient(self.charges(unknown)))
        return pulled + (self.compliance * self.drop)[:, None] + unknown

    def curvature(self, unknown: Array, direction: Array) -> Array:
        """Returns (∂²F/∂s²) v [E, 1]; padding rows give v."""
        moved = divergence(self.compliance * direction[:, 0], self.system)[:, None]
        return self._pulled(self.quadratic.curvature(moved, moved)) + direction

    def precondition(self, unknown: Array) -> Callable[[Array], Array]:
        """Returns the residual itself: it then stays in the space of what moves charge."""
        return lambda residual: residual

    def size(self, residual: Array) -> Array:
        """Returns the largest change [G] of a transfer in e that would mend a residual."""
        return self.space.largest(residual * (self.compliance / self._diagonal())[:, None])

    @property
    def system(self) -> System:
        """The batch."""
        return self.quadratic.system

    @property
    def constraint(self) -> ChargeConstraint:
        """None: transfers conserve every component's charge by themselves."""
        like = self.compliance
        nowhere = jnp.ones(like.shape[0], dtype=jnp.int32)
        return ChargeConstraint(nowhere, jnp.zeros(1, like.dtype), jnp.zeros(1, dtype=jnp.int32))

    @property
    def space(self) -> Space:
        """Inner products per structure."""
        system = self.system
        graph = system.node_graph.at[system.receivers].get(mode="clip")
        graph = jnp.where(system.edge_mask, graph, system.n_graphs)
        return Space(graph, system.n_graphs)

    @property
    def max_steps(self) -> int:
        """The largest number of steps of a linear solve."""
        return self.quadratic.max_steps

    @property
    def dense(self) -> bool:
        """False: there are more edges than atoms."""
        return False

    def _diagonal(self) -> Array:
        blocks = self.quadratic.diagonal_blocks()[:, 0, 0]
        both = blocks[self.system.receivers] + blocks[self.system.senders]
        return 1.0 + self.compliance**2 * both

    def _pulled(self, potentials: Array) -> Array:
        ends = potentials[self.system.receivers] - potentials[self.system.senders]
        return self.compliance[:, None] * ends


def transfer_problem(energy: QuadraticEnergy, source: Array, compliance: Array) -> TransferEnergy:
    """Returns the energy of charges as one of transfers.

    Args:
        energy: of charges alone (M = 1), with its field.
        source: q⁰ [N] e.
        compliance: w [E] e/√eV, zero on padding.
    """
    system = energy.system
    return TransferEnergy(
        quadratic=replace(energy, field=no_field(system)),
        source=source,
        compliance=compliance,
        seated=energy.field.energy(source[:, None], system),
        drop=edge_potentials(system),
    )


class BoundedBonds(nn.Module):
    """Compliances w_e = softplus(a_i + a_j) f(r_e): hardnesses that diverge at the cutoff.

    Attributes:
        cutoff: Å, where f reaches zero with its first two derivatives.
    """

    cutoff: float

    @nn.compact
    def __call__(self, features: Features, system: System) -> Array:
        """Returns w [E] in e/√eV, zero on padding."""
        softness = _atomic("softness", 0.0, features, system)
        both = softness[system.receivers] + softness[system.senders]
        return jax.nn.softplus(both) * _envelope(system, self.cutoff)


class SoftBonds(nn.Module):
    """Compliances from a smooth bond connectivity c_e = σ((R_i + R_j − r_e)/δ) between 0 and 1.

    w_e = w_max c_e f(r_e): along a bond charge moves almost freely, so that bonded atoms share one
    chemical potential, and without one it hardly moves. R is a covalent radius, an element's with
    a correction from the environment. The idea of fragments as a differentiable function of learned
    connectivity is that of A. R. Peeketi, B. P. Uberuaga and T. E. Jones, arXiv 2604.27910; the
    transfer variables, which need no list of fragments, are ours.

    Attributes:
        cutoff: Å, where f reaches zero with its first two derivatives.
        sharpness: δ, Å.
    """

    cutoff: float
    sharpness: float = 0.1

    @nn.compact
    def __call__(self, features: Features, system: System) -> Array:
        """Returns w [E] in e/√eV, zero on padding."""
        correction = _atomic("radius", 0.0, features, system)
        radius = 1.2 * covalent_radii(correction.dtype)[system.numbers] + 0.1 * jnp.tanh(correction)
        lengths, _ = lengths_and_directions(edge_vectors(system))
        overlap = radius[system.receivers] + radius[system.senders] - lengths
        connected = jax.nn.sigmoid(overlap / self.sharpness)
        return SOFTEST * connected * _envelope(system, self.cutoff)


def covalent_radii(dtype: Any) -> Array:
    """Returns covalent radii by atomic number, Å (B. Cordero et al., Dalton Trans. 2008, 2832).

    They are those of ``ase.data``; elements without a value have 1.5 Å.
    """
    from ase.data import covalent_radii as table

    values = [float(r) if r > 0.2 else 1.5 for r in table]
    return jnp.asarray([*values, 1.5], dtype)


def _atomic(name: str, initial: float, features: Features, system: System) -> Array:
    dtype = features.layers[0].dtype
    table = ElementTable(initial, name=f"{name}_element")(system, dtype)
    return table + MultipoleReadout("1x0e", 1.0, name=name)(features)[:, 0]


def _envelope(system: System, cutoff: float) -> Array:
    """f(r) [E], zero on padding and beyond the cutoff."""
    lengths, _ = lengths_and_directions(edge_vectors(system))
    values = polynomial_cutoff(lengths, cutoff, ENVELOPE_POWER)
    return jnp.where(system.edge_mask, values, 0.0)
