"""Charge densities in a uniform external field, in every boundary.

The energy is −E·P. In open directions P = Σ_i (q_i r_i + μ_i). Along periodic ones that sum would
jump when an atom is wrapped; there

    P = Σ_i (q⁰_i + m) r_i + Σ_e t_e r_e + Σ_i (q_i − q⁰_i − (div t)_i) x_i + Σ_i μ_i,

with formal charges q⁰, bond transfers t along edges, and coordinates x that see edge vectors only
(:mod:`electrojax.electrostatics.flow`) for the charge that no transfer explains. What the total
charge has beyond Σ q⁰ is spread evenly, m = (Q − Σ q⁰)/N, so that the force on a charged cell is QE
in all. Wrapping an atom changes P by (q⁰_i + m) times a lattice vector and the forces not at all: P
is what the modern theory of polarisation calls a branch (King-Smith and Vanderbilt, Phys. Rev. B
47, 1651 (1993)). With q⁰ = 0, the default, no charge is tied to its ion: give formal charges
where ions travel through the cell.
"""

import jax.numpy as jnp

from electrojax.electrostatics.density import ChargeDensity, summed_channels
from electrojax.electrostatics.flow import at_receivers, flow_coordinates
from electrojax.errors import ConfigError
from electrojax.system.geometry import cartesian_order, edge_vectors, places
from electrojax.system.types import System, graph_sum
from electrojax.typing import Array, struct


@struct
class FieldCoupling:
    """The energy of a density in the field, −E·P = Σ_i q_i v_i − Σ_i μ_i·E + c.

    It is affine in the multipoles, with coefficients from geometry alone.

    Attributes:
        potential: [N] V, v: −E·r_i in open directions, −E·x_i along periodic ones.
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


def field_coupling(system: System, cutoff: float) -> FieldCoupling:
    """Returns how charges and dipoles couple to the external field in this geometry.

    Args:
        system: a batch; external_field [G, 3] V/Å, formal_charges [N] e, total_charge [G] e.
        cutoff: Å, of the system's edges; not read for an open boundary.

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
    tied = formal + _excess(system)[system.node_graph]
    return FieldCoupling(
        potential=-(flow + moments - fixed),
        field=at_atoms,
        offset=graph_sum(formal * flow - tied * fixed, system),
    )


def field_energy(density: ChargeDensity, system: System, cutoff: float = 0.0) -> Array:
    """Returns the energy of every structure in its external field, −E·P.

    E is the physical field: a charge feels the force qE. In open directions the zero of the
    field's potential is at the origin.

    Args:
        density: the charges.
        system: a batch; external_field [G, 3] V/Å.
        cutoff: Å, of the system's edges; needed along periodic directions.

    Returns:
        [G] eV.

    Raises:
        ConfigError: for a periodic direction without edges.
    """
    return field_coupling(system, cutoff).energy(density.multipoles, system)


def transfer_energy(transfers: Array, system: System) -> Array:
    """Returns the field's energy of charge moved along edges, −E·Σ_e t_e r_e.

    Args:
        transfers: [E] e, from the sender to the receiver of an edge; zero on padding.
        system: a batch; external_field [G, 3] V/Å.

    Returns:
        [G] eV.
    """
    field = system.external_field[system.node_graph]
    along = jnp.sum(field[system.receivers] * edge_vectors(system), axis=-1)
    return -graph_sum(at_receivers(transfers * along, system), system)


def _excess(system: System) -> Array:
    """What the total charge has beyond the formal charges, per atom [G] in e."""
    atoms = graph_sum(jnp.ones_like(system.formal_charges), system)
    formal = graph_sum(system.formal_charges, system)
    return (system.total_charge - formal) / jnp.maximum(atoms, 1.0)


def _along_normal(vectors: Array, system: System) -> Array:
    """The part of vectors [G, 3] along the normal of a slab; zero for a periodic cell."""
    if system.boundary == "periodic":
        return jnp.zeros_like(vectors)
    first, second = (axis for axis in range(3) if axis != system.normal)
    cell = system.cell
    normal = jnp.cross(cell[:, first], cell[:, second])
    share = jnp.sum(vectors * normal, axis=-1) / jnp.sum(normal**2, axis=-1)
    return share[:, None] * normal
