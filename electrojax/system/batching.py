"""From frames to padded batches: the one door between host and device."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from electrojax.errors import CapacityError, DataError
from electrojax.system.neighbors import (
    check_distances,
    complete_cell,
    coulomb_pairs,
    neighbor_list,
)
from electrojax.system.quantities import LABELS, Quantity
from electrojax.system.slabs import open_axis, with_height
from electrojax.system.types import Batch, Frame, Label, System, Targets
from electrojax.typing import AxisSpec, specs

KPlan = tuple[int, int, int]
T = TypeVar("T")

FARTHEST = 1.0e9
"""Å from the origin; beyond it even float64 coordinates are coarser than 1e-7 Å."""


class CoulombPlan(NamedTuple):
    """What the Coulomb sum of a structure is to be given, as decided by its engine.

    Attributes:
        k_box: largest k-vector index along each reciprocal axis.
        pair_cutoff: Å, of the real-space pairs; 0 for none.
        cell: [3, 3] Å for which the k-vectors are chosen; None stands for the structure's own.
    """

    k_box: KPlan = (0, 0, 0)
    pair_cutoff: float = 0.0
    cell: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Capacity:
    """Array sizes of a batch; one compiled program per (Capacity, boundary).

    Attributes:
        nodes, edges, graphs: padded sizes of the axes.
        graph_nodes: the largest number of atoms in one structure.
        k_box: largest k-vector index along each reciprocal axis.
        pairs: padded number of real-space Coulomb pairs.
    """

    nodes: int
    edges: int
    graphs: int
    graph_nodes: int
    k_box: KPlan = (0, 0, 0)
    pairs: int = 0

    def size(self, axis: str) -> int:
        """Returns the padded size of an axis by its name."""
        sizes = {"nodes": self.nodes, "edges": self.edges, "pairs": self.pairs}
        return (sizes | {"graphs": self.graphs})[axis]


@dataclasses.dataclass(frozen=True)
class Sample:
    """One structure ready to be collated: its unpadded System and its labels, in float64."""

    system: System
    labels: Mapping[str, np.ndarray]
    weight: float = 1.0
    source: str = "structure"


def build_sample(
    frame: Frame,
    cutoff: float,
    k_box: KPlan = (0, 0, 0),
    pair_cutoff: float = 0.0,
    plan_cell: np.ndarray | None = None,
) -> Sample:
    """Returns a frame with its neighbour list, as a one-structure System.

    Args:
        frame: the structure; ``labels["energy"]`` must already be relative to atomic energies.
        cutoff: Å, of the neighbour list.
        k_box: largest k-vector index along each reciprocal axis that its cell needs.
        pair_cutoff: Å, of the pairs of a real-space Coulomb sum; 0 for none.
        plan_cell: [3, 3] Å, for which the k-vectors are chosen, and in whose height a slab is
            summed; the frame's cell where not given.

    Raises:
        DataError: for one periodic axis, a cell without volume, positions that are not finite, or
            atoms on top of each other.
    """
    n = len(frame.numbers)
    positions, images, origin = centred_and_wrapped(frame)
    edges = neighbor_list(positions, frame.cell, frame.pbc, cutoff, frame.source)
    cell, planned, summed = _cells(frame, plan_cell)
    check_distances(positions, cell, edges, frame.source)
    pairs = coulomb_pairs(positions, summed, frame.boundary, pair_cutoff, frame.source)
    formal = np.zeros(n) if frame.formal_charges is None else np.asarray(frame.formal_charges)
    # Any numbers may name the fragments of a frame; a program counts them from 0.
    named = np.zeros(n) if frame.fragment is None else np.asarray(frame.fragment)
    columns: dict[str, Any] = {
        "positions": positions,
        "images": images,
        "numbers": np.asarray(frame.numbers),
        "node_graph": np.zeros(n, dtype=np.int32),
        "formal_charges": formal,
        "fragment": np.unique(named, return_inverse=True)[1],
        "senders": edges[0],
        "receivers": edges[1],
        "shifts": edges[2],
        "pair_senders": pairs[0],
        "pair_receivers": pairs[1],
        "pair_shifts": pairs[2],
        "cell": cell[None],
        "plan_cell": planned[None],
        "origin": origin[None],
        "total_charge": np.array([frame.total_charge]),
        "multiplicity": np.array([frame.multiplicity]),
        "external_field": np.asarray(frame.external_field, dtype=np.float64)[None],
        "charge_control": np.array([frame.charge_control == "fixed_potential"], dtype=np.int32),
        "fermi_level": np.array([frame.reservoir_level or 0.0]),
        "node_mask": np.ones(n, dtype=bool),
        "edge_mask": np.ones(len(edges[0]), dtype=bool),
        "pair_mask": np.ones(len(pairs[0]), dtype=bool),
        "graph_mask": np.ones(1, dtype=bool),
    }
    system = System(
        **columns, boundary=frame.boundary, normal=frame.normal, k_box=k_box, graph_nodes=n
    )
    return Sample(system, frame.labels, frame.weight, frame.source)


def _cells(frame: Frame, plan_cell: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The cell of a frame, the one its k-vectors are chosen for and that of its Coulomb sum."""
    cell = np.eye(3)
    if frame.boundary != "open":
        cell = complete_cell(frame.cell, frame.pbc, frame.source)
    if frame.boundary == "slab" and np.any(frame.cell[frame.normal]):
        cell = np.array(frame.cell, dtype=np.float64)
    planned = cell if plan_cell is None else np.asarray(plan_cell, dtype=np.float64)
    if frame.boundary != "slab":
        return cell, planned, cell
    return cell, planned, with_height(cell, open_axis(planned, frame.normal)[1], frame.normal)


def centred_and_wrapped(frame: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns positions whose digits float32 keeps, and how they are moved back.

    Along periodic axes the atoms are moved into the cell, along open ones to their mean. float32
    has 7 digits: of a molecule 1000 Å from the origin it would keep distances to 1e-4 Å only.

    Args:
        frame: the structure.

    Returns:
        positions [N, 3] Å, images [N, 3] and origin [3] Å, as :class:`System` holds them.

    Raises:
        DataError: if an atom is farther than FARTHEST, or the cell has no volume.
    """
    positions = np.array(frame.positions, dtype=np.float64)
    nowhere = np.zeros(positions.shape, dtype=np.int32)
    if not np.all(np.isfinite(positions)):
        return positions, nowhere, np.zeros(3)  # the neighbour list names the atom
    far = np.abs(positions).max(axis=1)
    if len(far) and far.max() > FARTHEST:
        raise DataError(
            f"{frame.source}: atom {int(far.argmax())} is {far.max():.3g} Å from the origin; "
            f"needed less than {FARTHEST:.0e} Å: correct the file, or move the structure"
        )
    box, periodic = complete_cell(frame.cell, frame.pbc, frame.source), np.asarray(frame.pbc)
    fractions = positions @ np.linalg.inv(box)
    images = np.where(periodic, np.floor(fractions), 0.0)
    origin = np.where(periodic, 0.0, fractions.mean(axis=0)) @ box
    return positions - images @ box - origin, images.astype(np.int32), origin


def capacity_for(
    samples: Sequence[Sample], graphs: int | None = None, round_to: int = 1
) -> Capacity:
    """Returns the smallest capacity that holds these samples in one batch.

    Args:
        samples: the structures of the batch.
        graphs: number of graphs, if more than there are samples.
        round_to: sizes of nodes and edges are rounded up to a multiple of this.
    """
    systems = [s.system for s in samples]
    boxes = np.array([s.k_box for s in systems] or [(0, 0, 0)])
    return Capacity(
        nodes=_round_up(sum(s.n_nodes for s in systems), round_to),
        edges=_round_up(sum(s.n_edges for s in systems), round_to),
        graphs=max(len(systems), graphs or 0),
        graph_nodes=max([s.n_nodes for s in systems], default=1),
        k_box=tuple(int(n) for n in boxes.max(axis=0)),  # type: ignore[arg-type]
        pairs=_round_up(sum(s.n_pairs for s in systems), round_to) if _paired(systems) else 0,
    )


def collate(
    samples: Sequence[Sample], capacity: Capacity, dtype: np.dtype | type = np.float32
) -> Batch:
    """Returns samples stacked and padded to a capacity, as NumPy arrays of the given precision.

    Args:
        samples: structures with one common boundary.
        capacity: the padded sizes.
        dtype: of every real-valued array.

    Raises:
        DataError: if the boundaries differ.
        CapacityError: if they do not fit.
    """
    systems = [s.system for s in samples]
    _check_boundaries(samples)
    _check_fit(systems, capacity)
    columns: dict[str, Any] = {
        name: _stack([getattr(s, name) for s in systems], spec, capacity, systems, dtype)
        for name, spec in specs(System).items()
    }
    system = System(
        **columns,
        boundary=systems[0].boundary,
        normal=systems[0].normal,
        k_box=capacity.k_box,
        graph_nodes=capacity.graph_nodes,
    )
    return Batch(system, _collate_targets(samples, capacity, dtype))


def on_device(inputs: T) -> T:
    """Returns a system or batch with JAX arrays as fields, where collate puts NumPy's.

    Compiled functions get JAX arrays anyway, and there it changes nothing; whoever calls one of
    their parts directly converts once, here.
    """
    return jax.tree.map(jnp.asarray, inputs)


def _paired(systems: Sequence[System]) -> bool:
    return any(s.n_pairs for s in systems)


def _round_up(value: int, multiple: int) -> int:
    return max(multiple, -(-value // multiple) * multiple)


def _check_boundaries(samples: Sequence[Sample]) -> None:
    found = {(s.system.boundary, s.system.normal): s.source for s in samples}
    if len(found) > 1:
        names = "; ".join(f"{source}: {key[0]}" for key, source in found.items())
        raise DataError(f"one batch must have one boundary, got {names}; batch them separately")


def _check_fit(systems: Sequence[System], capacity: Capacity) -> None:
    needed = {
        "nodes": sum(s.n_nodes for s in systems),
        "edges": sum(s.n_edges for s in systems),
        "pairs": sum(s.n_pairs for s in systems),
        "graphs": len(systems),
    }
    over = [
        f"{n} {axis} > {capacity.size(axis)}"
        for axis, n in needed.items()
        if n > capacity.size(axis)
    ]
    over += [
        f"a structure of {s.n_nodes} atoms > {capacity.graph_nodes}"
        for s in systems
        if s.n_nodes > capacity.graph_nodes
    ]
    over += [
        f"k-box {s.k_box} > {capacity.k_box}"
        for s in systems
        if any(a > b for a, b in zip(s.k_box, capacity.k_box))
    ]
    if over:
        raise CapacityError(f"batch does not fit its capacity: {over[0]}; plan a larger one")


def _stack(
    parts: Sequence[np.ndarray],
    spec: AxisSpec,
    capacity: Capacity,
    systems: Sequence[System],
    dtype: np.dtype | type,
) -> np.ndarray:
    """Concatenates one field along its axis, offsets indices and pads to the capacity."""
    pad = capacity.size(spec.index_of) if spec.index_of else spec.pad
    kind = {"float": dtype, "int": np.int32, "bool": np.bool_}[spec.kind]
    out = np.empty((capacity.size(spec.axis), *spec.shape), dtype=kind)
    out[...] = pad
    start = offset = 0
    for part, system in zip(parts, systems):
        stop = start + len(part)
        out[start:stop] = np.asarray(part) + offset if spec.index_of else part
        start = stop
        offset += {"nodes": system.n_nodes, "graphs": 1}[spec.index_of] if spec.index_of else 0
    return out


def _collate_targets(
    samples: Sequence[Sample], capacity: Capacity, dtype: np.dtype | type
) -> Targets:
    labels = {name: _label(samples, row, capacity, dtype) for name, row in LABELS.items()}
    weight = np.zeros(capacity.graphs, dtype=dtype)
    weight[: len(samples)] = [s.weight for s in samples]
    return Targets(**labels, weight=weight)


def _label(
    samples: Sequence[Sample],
    row: Quantity,
    capacity: Capacity,
    dtype: np.dtype | type,
) -> Label:
    """Stacks one label; one of varying components may have fewer than the field."""
    ragged = bool(row.components)
    size = capacity.size(row.axis)
    value = np.zeros((size, *row.shape), dtype=dtype)
    mask = np.zeros(value.shape if ragged else size, dtype=bool)
    start = 0
    for sample in samples:
        length = sample.system.n_nodes if row.axis == "nodes" else 1
        if row.name in sample.labels:
            data = np.asarray(sample.labels[row.name], dtype=np.float64).reshape(length, -1)
            target = value.reshape(size, -1)[start : start + length]
            target[:, : data.shape[1]] = data
            if ragged:
                mask[start : start + length, : data.shape[1]] = True
            else:
                mask[start : start + length] = True
        start += length
    return Label(value, mask)
