"""Geometry under jit: edge vectors, strain and volume."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from electrojax.system.slabs import sum_cells
from electrojax.system.types import System
from electrojax.typing import Array, replace

PADDING_DISTANCE = 1.0e3
"""Length in Å of a padding edge: beyond every cutoff, and its derivatives are finite."""


def edge_vectors(system: System) -> Array:
    """Returns the vector r[receiver] − r[sender] + shift · cell of every edge.

    Args:
        system: a batch; positions [N, 3] and cell [G, 3, 3] in Å.

    Returns:
        [E, 3] Å in (x, y, z); padding edges have the length ``PADDING_DISTANCE``.
    """
    positions = system.positions
    vectors = positions[system.receivers] - positions[system.senders]
    if system.boundary != "open":
        cell = system.cell[system.node_graph[system.receivers]]
        shifts = system.shifts.astype(positions.dtype)
        vectors = vectors + jnp.einsum("ei,eij->ej", shifts, cell)
    padding = jnp.array([0.0, 0.0, PADDING_DISTANCE], positions.dtype)
    return jnp.where(system.edge_mask[:, None], vectors, padding)


def places(system: System) -> Array:
    """Returns where the atoms are in space, positions + images · cell + origin, [N, 3] Å."""
    graph = system.node_graph
    moved = system.positions + system.origin[graph]
    if system.boundary == "open":
        return moved
    images = system.images.astype(moved.dtype)
    return moved + jnp.einsum("ni,nij->nj", images, system.cell[graph])


def harmonic_order(vectors: Array) -> Array:
    """Returns Cartesian vectors [..., (x, y, z)] in the order (y, z, x) of real harmonics.

    e3nn's harmonics of permuted vectors come out as m = −l ... l of the unpermuted frame at every
    l, so multipoles need no conversion anywhere.
    """
    return vectors[..., jnp.array([1, 2, 0])]


def cartesian_order(vectors: Array) -> Array:
    """Returns l = 1 components [..., (y, z, x)] as Cartesian [..., (x, y, z)]."""
    return vectors[..., jnp.array([2, 0, 1])]


def traceless(tensors: Any) -> Any:
    """Returns tensors [..., 3, 3] less a third of their trace on the diagonal."""
    trace = tensors[..., 0, 0] + tensors[..., 1, 1] + tensors[..., 2, 2]
    return tensors - trace[..., None, None] * np.eye(3, dtype=tensors.dtype) / 3


def apply_strain(system: System, strain: Array) -> System:
    """Returns the system with positions, origins and cells deformed by r → r (1 + ε), E·a_i kept.

    The work of a field on charge that has crossed the cell, E·a_i along every periodic a_i, does
    not change with the strain, so that wrapping an ion changes no stress: the stress is the proper
    one (D. Vanderbilt, J. Phys. Chem. Solids 61, 147 (2000); I. Souza, J. Íñiguez and D.
    Vanderbilt, Phys. Rev. Lett. 89, 117602 (2002)). Along a slab's normal E·n is kept.

    Args:
        system: a batch.
        strain: [G, 3, 3]; only its symmetric part is used, so that no rotation is applied.
    """
    symmetric = 0.5 * (strain + jnp.swapaxes(strain, 1, 2))
    positions, cell = system.positions, system.cell
    moved = positions + jnp.einsum("ni,nij->nj", positions, symmetric[system.node_graph])
    strained_cell = cell + cell @ symmetric
    field = system.external_field
    if system.boundary != "open":
        along = jnp.einsum("gia,ga->gi", _field_axes(cell, system), field)
        field = jnp.einsum("gi,gia->ga", along, reciprocal(_field_axes(strained_cell, system)))
    origin = system.origin + jnp.einsum("gi,gij->gj", system.origin, symmetric)
    return replace(system, positions=moved, origin=origin, cell=strained_cell, external_field=field)


def _field_axes(cell: Array, system: System) -> Array:
    """The lattice vectors [G, 3, 3], of a slab with the unit normal as the open one."""
    if system.boundary == "periodic":
        return cell
    first, second = (cell[:, (system.normal + i) % 3] for i in (1, 2))
    product = jnp.cross(first, second)
    normal = product / jnp.linalg.norm(product, axis=-1, keepdims=True)
    return cell.at[:, system.normal].set(normal)


def summed_in(system: System) -> System:
    """Returns a batch as its Coulomb sum sees it: slabs in cells with the height of their plan.

    The third vector of a slab's own cell is not read: that axis is open.
    """
    if system.boundary != "slab":
        return system
    cell, plan = sum_cells(system.cell, system.plan_cell, system.normal)
    return replace(system, cell=cell, plan_cell=plan)


def reciprocal(cell: Array) -> Array:
    """Returns A^{−T} [G, 3, 3]: rows b_i in 1/Å with a_i · b_j = δ_ij, for either handedness."""
    a, b, c = cell[:, 0], cell[:, 1], cell[:, 2]
    rows = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)], axis=1)
    return rows / jnp.sum(a * rows[:, 0], axis=-1)[:, None, None]


def volume(cell: Array) -> Array:
    """Returns the volumes [...] in Å³ of cells [..., 3, 3], positive for either handedness."""
    return jnp.abs(
        jnp.einsum("...i,...i", cell[..., 0, :], jnp.cross(cell[..., 1, :], cell[..., 2, :]))
    )


def periodic_axes(boundary: str, normal: int) -> tuple[int, ...]:
    """Returns the indices of the lattice vectors that repeat; ``normal`` is the open one's."""
    repeats = {"open": (), "slab": tuple(axis for axis in range(3) if axis != normal)}
    return repeats.get(boundary, (0, 1, 2))


def nearest_branch(polarization: Any, reference: Any, cell: Any, axes: Sequence[int]) -> Any:
    """Returns polarisations moved by e times lattice vectors to the branches nearest to others.

    Arithmetic only, so that it takes arrays of NumPy and of JAX.

    Args:
        polarization, reference: [G, 3] e·Å.
        cell: [G, 3, 3] Å.
        axes: the lattice vectors that repeat.
    """
    difference, moved = reference - polarization, polarization
    for axis in axes:
        a, b, c = (cell[:, (axis + k) % 3] for k in range(3))
        reciprocal = _cross(b, c)
        quanta = (difference * reciprocal).sum(-1) / (a * reciprocal).sum(-1)
        moved = moved + quanta.round()[:, None] * a
    return moved


def _cross(a: Any, b: Any) -> Any:
    next_, last = [1, 2, 0], [2, 0, 1]
    return a[:, next_] * b[:, last] - a[:, last] * b[:, next_]
