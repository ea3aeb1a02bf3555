"""Sums of charges that a solver keeps: of a structure, or of each of its fragments."""

from typing import Any

import jax
import jax.numpy as jnp

from electrojax.system.types import System, graph_mean
from electrojax.typing import Array, struct

FIXED_CHARGE, FIXED_POTENTIAL = 0, 1
"""Values of ``System.charge_control``."""


@struct
class ChargeConstraint:
    """Groups of atoms whose charge is fixed, each atom in one group or in none.

    Attributes:
        group: [N] index of each atom's group, below N; N where the charge is free (padding, and
            structures at fixed potential).
        total: [N] e, the charge of each group; zero where there is no group.
        count: [N] the number of atoms of each group, zero where there is no group.
    """

    group: Array
    total: Array
    count: Array

    def sums(self, multipoles: Array) -> Array:
        """Returns the charge of each group [N] of multipoles [N, M]."""
        return jax.ops.segment_sum(multipoles[:, 0], self.group, self.total.shape[0])

    def broadcast_to_atoms(self, levels: Array, like: Array) -> Array:
        """Returns multipoles [N, M] whose charges are the value [N] of each atom's group."""
        values = levels.at[self.group].get(mode="fill", fill_value=0)
        return jnp.zeros_like(like).at[:, 0].set(values)

    def mean(self, multipoles: Array) -> Array:
        """Returns the mean charge of each group [N], zero where there is no group."""
        return self.sums(multipoles) / jnp.maximum(self.count, 1)

    def project(self, multipoles: Array) -> Array:
        """Returns multipoles [N, M] without the mean charge of each group."""
        return multipoles - self.broadcast_to_atoms(self.mean(multipoles), multipoles)

    def with_total_charge(self, multipoles: Array, total: Array) -> Array:
        """Returns multipoles with what each group lacks of a total spread over its atoms."""
        missing = (total - self.sums(multipoles)) / jnp.maximum(self.count, 1)
        return multipoles + self.broadcast_to_atoms(missing, multipoles)


def charge_constraint(system: System, fragments: bool) -> ChargeConstraint:
    """Returns the constraint of structures at fixed charge.

    Args:
        system: the batch; structures with ``charge_control`` 1 have no constraint.
        fragments: fix the charge of every fragment, to the sum of its formal charges, instead of
            the total charge of the structure.
    """
    size, graph = system.n_nodes, system.node_graph
    index = jnp.arange(size, dtype=jnp.int32)
    first = jax.ops.segment_min(index, graph, system.n_graphs, indices_are_sorted=True)
    offset = system.fragment if fragments else 0
    fixed = at_atoms(system.charge_control, system) == FIXED_CHARGE
    group = jnp.where(system.node_mask & fixed, at_atoms(first, system) + offset, size)
    count = jax.ops.segment_sum(jnp.ones_like(group), group, size)
    formal = system.formal_charges
    if fragments:
        total = jax.ops.segment_sum(formal, group, size)
    else:
        charges = at_atoms(system.total_charge, system)
        total = jnp.zeros_like(formal).at[group].set(charges, mode="drop")
    return ChargeConstraint(group, total, count)


def reservoir(system: System) -> Array:
    """Returns μ [G] in eV/e where the potential is fixed, 0 elsewhere."""
    fixed = system.charge_control == FIXED_POTENTIAL
    return jnp.where(fixed, system.fermi_level, 0.0)


def fermi_level(problem: Any, multipliers: Array) -> Array:
    """Returns μ = −∂E/∂Q [G] in eV: the given one at fixed potential, the mean over atoms of their
    groups' levels elsewhere.

    Args:
        problem: with a ``system`` and a ``constraint``.
        multipliers: [N] eV/e, of the constraint's groups.
    """
    levels = problem.constraint.broadcast_to_atoms(multipliers, multipliers[:, None])[:, 0]
    return reservoir(problem.system) + graph_mean(levels, problem.system)


def at_atoms(values: Array, system: System) -> Array:
    """Returns the value of each atom's structure [N, ...] of values [G, ...]."""
    return values[jnp.minimum(system.node_graph, system.n_graphs - 1)]
