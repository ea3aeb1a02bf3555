"""A model as energy function and neighbour list for jax-md's simulations."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from electrojax.models.potential import Potential
from electrojax.models.prediction import Prediction
from electrojax.simulation.forces import MovingSystem, moving_system
from electrojax.simulation.inputs import (
    frame_with_inputs,
    refuse_constraints,
    refuse_unknown,
)
from electrojax.simulation.neighbors import NeighborList
from electrojax.typing import Array

HANDED_ON = ("kT",)
"""Options of jax-md's integrators that they hand on to the energy function, which ignores them."""


class NeighborFunctions(NamedTuple):
    """How a neighbour list is made and kept, as in ``jax_md.partition``.

    Attributes:
        moving: the structure.
        spare: factor of spare room in new lists.
    """

    moving: MovingSystem
    spare: float

    def allocate(self, positions: Any) -> NeighborList:
        """Returns a new list with room for these positions [N, 3] Å; not under jit.

        Needed at the start, and again whenever ``did_buffer_overflow`` is set.
        """
        return self.moving.allocate(jnp.asarray(positions), self.spare)

    def update(self, positions: Array, neighbors: NeighborList) -> NeighborList:
        """Returns the list, rebuilt if an atom has moved too far; under jit."""
        return neighbors.update(positions)


class ForceField(NamedTuple):
    """Energy function and neighbour list of a model; unpacks as ``energy, neighbors``.

    Attributes:
        energy: a function of positions [N, 3] Å and ``neighbor``, differentiable; eV, relative to
            the sum of the atomic energies.
        neighbors: ``allocate(positions)`` and ``update(positions, neighbor)``.
    """

    energy: Any
    neighbors: NeighborFunctions


def force_field(
    model: Potential,
    atoms: Any,
    total_charge: float | None = None,
    multiplicity: float | None = None,
    external_field: Any = None,
    skin: float = 0.5,
    capacity: float = 1.3,
) -> ForceField:
    """Returns a model's energy function and neighbour list for ``jax_md.simulate``.

    Positions may be anywhere: periodic images are found from the cell of ``atoms``, so the
    simulation's shift function is that of ``jax_md.space.free()`` for every boundary. With lengths
    in Å, energies in eV and masses in amu, times are in Å·√(amu/eV): ``0.5 * ase.units.fs``, and a
    temperature is ``300 * ase.units.kB``. Forces come in the model's precision; integrate in
    double precision (``jax.config.update("jax_enable_x64", True)`` at the start of the process)
    where energy must be conserved over long times.

    Args:
        model: from :func:`electrojax.load`.
        atoms: elements, cell and boundary; the cell stays fixed.
        total_charge: e; ``atoms.info["total_charge"]`` where not given.
        multiplicity: 2S + 1, likewise.
        external_field: [3] V/Å, likewise.
        skin: Å; the list is rebuilt when an atom has moved by half of it.
        capacity: spare room of the list's arrays.

    Raises:
        DataError: if the model cannot evaluate these atoms, or needs a charge that is not given,
            or an argument contradicts ``atoms.info``, or the atoms have constraints.
    """
    inputs = {
        "total_charge": total_charge,
        "multiplicity": multiplicity,
        "external_field": external_field,
    }
    refuse_constraints(atoms, "atoms", "jax-md's dynamics")
    moving = moving_system(model, frame_with_inputs(model, atoms, inputs), skin)
    params = jax.tree.map(np.asarray, model.params)

    def energy(positions: Array, neighbor: NeighborList, **unused: Any) -> Array:
        """Returns the energy in eV; NaN, never a wrong number, where the list has overflowed
        or a slab has become too thick for its Coulomb sum."""
        refuse_unknown("energy", unused, HANDED_ON)
        where = jax.lax.stop_gradient(positions.astype(neighbor.reference.dtype))
        # jax-md's integrators move the atoms after the last update: checked again here.
        fresh = neighbor.refresh(where)
        system, needed = moving.at(positions, fresh)
        terms, _ = moving.network.apply({"params": params}, system, None)
        total = jnp.sum(jnp.stack(list(terms.values())))
        overflow = jnp.any(needed > fresh.capacity)
        overflow = overflow | ~moving.fits(where)
        return jnp.where(overflow, jnp.nan, total).astype(positions.dtype)

    return ForceField(energy, NeighborFunctions(moving, capacity))


__all__ = ["ForceField", "NeighborList", "Prediction", "force_field"]
