"""Charge densities in a uniform external field, in every boundary.

The energy is −E·P. In open directions P = Σ_i (q_i r_i + μ_i). Along periodic ones that sum would
jump when an atom is wrapped; there

    P = Σ_i (q⁰_i + m) r_i + Σ_e t_e r_e + Σ_i (q_i − q⁰_i − (div t)_i) x_i + Σ_i μ_i,

with formal charges q⁰, bond transfers t along edges, and coordinates x that see edge vectors only
(:mod:`electrojax.electrostatics.flow`) for the charge that no transfer explains. What the charges
have beyond Σ q⁰ is spread evenly, m = (Σ q − Σ q⁰)/N, so that the force on a charged cell is E Σ q
in all and μ = −∂E/∂Q holds at fixed charge and at fixed potential. Wrapping an atom changes P by
(q⁰_i + m) times a lattice vector and the forces not at all: P is what the modern theory of
polarisation calls a branch (King-Smith and Vanderbilt, Phys. Rev. B 47, 1651 (1993)). With q⁰ = 0,
the default, no charge is tied to its ion: give formal charges where ions travel through the cell.

The counter charge of a slab, −Σ q at the mean height z̄ along the normal n, feels the field too: it
adds −(Σ q) z̄ n to P, which then does not depend on the origin.
"""

from typing import Any

import jax.numpy as jnp

from electrojax.electrostatics.density import (
    ChargeDensity,
    dipole,
    summed_channels,
    total_charge,
)
from electrojax.electrostatics.flow import at_receivers, flow_coordinates
from electrojax.errors import ConfigError
from electrojax.system.geometry import cartesian_order, edge_vectors, places
from electrojax.system.types import System, graph_mean, graph_sum
from electrojax.typing import Array, struct


@struct
class FieldCoupling:
    """The energy of a density in the field, −E·P = Σ_i q_i v_i − Σ_i μ_i·E + c.

    It is affine in the multipoles, with coefficients from geometry alone.

    Attributes:
        potential: [N] V, v: −E·r_i in open directions, −E·(x_i + r̄) along periodic ones with the
            atoms' mean r̄, and E_n z̄ of a counter charge.
        field: [N, 3] V/Å, at every atom.
        offset: [G] eV, c: the part of the formal charges in periodic directions.
    """

    potential: Array
    field: Array
    offset: Array

    def energy(self, multipoles: Array, system: System) -> Array:
        """Returns −E·P [G] in eV of multipoles [N, C, M] or [N, M]."""
        summed = summed_channels(multipoles)
        energies = summed[:, 0] * self.potential
        if summed.shape[1] > 1:
            energies = energies - jnp.sum(cartesian_order(summed[:, 1:4]) * self.field, axis=-1)
        return graph_sum(energies, system) + self.offset


def no_field(system: System) -> FieldCoupling:
    """Returns the coupling of densities to no field at all."""
    at_atoms = jnp.zeros_like(system.positions)
    return FieldCoupling(at_atoms[:, 0], at_atoms, jnp.zeros_like(system.external_field)[:, 0])


def field_coupling(system: System, cutoff: float, coulomb: Any = None) -> FieldCoupling:
    """Returns how charges and dipoles couple to the external field in this geometry.

    Args:
        system: a batch; external_field [G, 3] V/Å, formal_charges [N] e.
        cutoff: Å, of the system's edges; not read for an open boundary.
        coulomb: the operator of this geometry, which says whether there is a counter charge, and
            where.

    Raises:
        ConfigError: for periodic directions without edges (cutoff 0) along which charge flows.
    """
    field = system.external_field
    at_atoms = field[system.node_graph]
    located = places(system)
    moments = jnp.sum(at_atoms * located, axis=-1)
    if system.boundary == "open":
        return FieldCoupling(-moments, at_atoms, jnp.zeros_like(field[:, 0]))
    if cutoff <= 0:
        raise ConfigError(
            f"an external field with boundary {system.boundary!r} and no edges; needed boundary "
            "'open', or edges along which charge flows"
        )
    within = field - _along_normal(field, system)
    flow = flow_coordinates(system, cutoff, within)
    fixed = jnp.sum(within[system.node_graph] * located, axis=-1)
    formal = system.formal_charges
    mean = graph_mean(fixed, system)
    shared = mean + _at_counter_charge(field, coulomb)
    return FieldCoupling(
        potential=-(flow + moments - fixed + shared[system.node_graph]),
        field=at_atoms,
        offset=graph_sum(formal * (flow - fixed + mean[system.node_graph]), system),
    )


def field_energy(
    density: ChargeDensity, system: System, cutoff: float = 0.0, coulomb: Any = None
) -> Array:
    """Returns the energy of every structure in its external field, −E·P.

    E is the physical field: a charge feels the force qE. In open directions the zero of the
    field's potential is at the origin.

    Args:
        density: the charges.
        system: a batch; external_field [G, 3] V/Å.
        cutoff: Å, of the system's edges; needed along periodic directions.
        coulomb: the operator of this geometry, for its counter charge.

    Returns:
        [G] eV.

    Raises:
        ConfigError: for a periodic direction without edges.
    """
    return field_coupling(system, cutoff, coulomb).energy(density.multipoles, system)


def seated_energy(density: ChargeDensity, system: System, coulomb: Any = None) -> Array:
    """Returns the field's energy of charges that stay with their atoms, −E·[Σ (q r + μ) − Σq z̄ n].

    Wrapping an atom changes it by q times the field along a lattice vector: for whole charges.

    Args:
        density: the charges.
        system: a batch; external_field [G, 3] V/Å.
        coulomb: the operator of this geometry, for its counter charge.

    Returns:
        [G] eV.
    """
    field = system.external_field
    charge = total_charge(density, system)
    moment = jnp.sum(field * dipole(density, system), axis=-1)
    return -moment - charge * _at_counter_charge(field, coulomb)


def edge_potentials(system: System) -> Array:
    """Returns −E·r_e [E] V, the field's energy of a unit charge moved along every edge."""
    field = system.external_field[system.node_graph][system.receivers]
    return -jnp.sum(field * edge_vectors(system), axis=-1)


def transfer_energy(transfers: Array, system: System) -> Array:
    """Returns the field's energy of charge moved along edges, −E·Σ_e t_e r_e.

    Args:
        transfers: [E] e, from the sender to the receiver of an edge; zero on padding.
        system: a batch; external_field [G, 3] V/Å.

    Returns:
        [G] eV.
    """
    drop = edge_potentials(system)
    return graph_sum(at_receivers(transfers * drop, system), system)


def _at_counter_charge(field: Array, coulomb: Any) -> Array:
    """−E_n z̄ [G] V at the mean place of a slab's counter charge, zero without one."""
    place = getattr(coulomb, "counter_place", None)
    return jnp.zeros_like(field[:, 0]) if place is None else -jnp.sum(field * place, axis=-1)


def _along_normal(vectors: Array, system: System) -> Array:
    """The part of vectors [G, 3] along the normal of a slab; zero for a periodic cell."""
    if system.boundary == "periodic":
        return jnp.zeros_like(vectors)
    first, second = (axis for axis in range(3) if axis != system.normal)
    cell = system.cell
    normal = jnp.cross(cell[:, first], cell[:, second])
    share = jnp.sum(vectors * normal, axis=-1) / jnp.sum(normal**2, axis=-1)
    return share[:, None] * normal
