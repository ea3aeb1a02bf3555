"""Structures on the host (Frame), padded inputs (System), labels (Targets) and Statistics."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from electrojax.errors import DataError
from electrojax.typing import Array, ArrayLike, array, static, struct

Boundary = Literal["open", "periodic", "slab"]
BOUNDARIES: tuple[Boundary, ...] = ("open", "periodic", "slab")


@struct
class System:
    """Inputs of a model: one structure on the host, or a padded batch of structures.

    Edges run from ``senders`` to ``receivers``; the edge vector is
    r[receiver] − r[sender] + shift · cell. Padding nodes belong to graph G and padding edges end at
    node N, one past the last: JAX drops scatters there, and masks hide what gathers return. On the
    host, before a compiled call or ``on_device``, the fields are NumPy arrays.

    Attributes:
        positions: [N, 3] Å, inside the cell along periodic axes and about the mean along open ones,
            so that float32 keeps the digits of the distances; an atom's place in space is
            positions + images · cell + origin (:func:`electrojax.system.geometry.places`).
        images: [N, 3] lattice vectors by which each atom was moved into the cell.
        numbers: [N] atomic numbers, 0 on padding.
        node_graph: [N] the structure of each atom, ascending.
        formal_charges: [N] e.
        fragment: [N] index of the atom's fragment inside its structure, −1 on padding.
        senders, receivers: [E] atom indices, receivers ascending.
        shifts: [E, 3] integer cell shifts.
        pair_senders, pair_receivers, pair_shifts: [P], [P], [P, 3] the pairs of a real-space
            Coulomb sum, laid out like the edges; their cutoff is the engine's, not the backbone's.
        cell: [G, 3, 3] Å, rows are lattice vectors; the unit matrix where nothing is periodic.
        plan_cell: [G, 3, 3] Å, the cell for which the set of k-vectors was chosen; it stays
            fixed while ``cell`` changes, so that the energy has no steps. Of a slab, its height
            along the normal is the period of the Coulomb sum.
        origin: [G, 3] Å, the mean of the atoms along open axes, zero along periodic ones.
        total_charge: [G] e.
        multiplicity: [G] 2S + 1.
        external_field: [G, 3] V/Å, the physical electric field.
        charge_control: [G] 0 = fixed charge, 1 = fixed potential.
        fermi_level: [G] eV, read only where charge_control is 1.
        node_mask, edge_mask, pair_mask, graph_mask: true on real entries.
        boundary: which directions repeat.
        normal: index of the open axis of a slab.
        k_box: largest k-vector index along each reciprocal axis.
        graph_nodes: the largest number of atoms in one structure.
    """

    positions: Array = array("nodes", (3,))
    images: Array = array("nodes", (3,), kind="int")
    numbers: Array = array("nodes", kind="int")
    node_graph: Array = array("nodes", kind="int", index_of="graphs")
    formal_charges: Array = array("nodes")
    fragment: Array = array("nodes", kind="int", pad=-1)
    senders: Array = array("edges", kind="int", index_of="nodes")
    receivers: Array = array("edges", kind="int", index_of="nodes")
    shifts: Array = array("edges", (3,), kind="int")
    pair_senders: Array = array("pairs", kind="int", index_of="nodes")
    pair_receivers: Array = array("pairs", kind="int", index_of="nodes")
    pair_shifts: Array = array("pairs", (3,), kind="int")
    cell: Array = array("graphs", (3, 3), pad=np.eye(3))
    plan_cell: Array = array("graphs", (3, 3), pad=np.eye(3))
    origin: Array = array("graphs", (3,))
    total_charge: Array = array("graphs")
    multiplicity: Array = array("graphs", pad=1)
    external_field: Array = array("graphs", (3,))
    charge_control: Array = array("graphs", kind="int")
    fermi_level: Array = array("graphs")
    node_mask: Array = array("nodes", kind="bool", pad=False)
    edge_mask: Array = array("edges", kind="bool", pad=False)
    pair_mask: Array = array("pairs", kind="bool", pad=False)
    graph_mask: Array = array("graphs", kind="bool", pad=False)
    boundary: Boundary = static("open")
    normal: int = static(2)
    k_box: tuple[int, int, int] = static((0, 0, 0))
    graph_nodes: int = static(0)

    @property
    def n_nodes(self) -> int:
        """Number of atoms, padding included."""
        return self.positions.shape[0]

    @property
    def n_edges(self) -> int:
        """Number of edges, padding included."""
        return self.senders.shape[0]

    @property
    def n_pairs(self) -> int:
        """Number of real-space Coulomb pairs, padding included."""
        return self.pair_senders.shape[0]

    @property
    def n_graphs(self) -> int:
        """Number of structures, padding included."""
        return self.cell.shape[0]


@struct
class Label:
    """One kind of reference value with the mask that says where it exists.

    Attributes:
        value: the label; zero where it is missing.
        mask: of the label's leading axis (of every component for multipoles), true where given.
    """

    value: ArrayLike
    mask: ArrayLike


@struct
class Targets:
    """Reference values of a batch; each is optional and carries its own mask.

    A label is one field here and one row of :mod:`electrojax.system.quantities`, with its axis.

    Attributes:
        weight: [G] factor of the structure's squared errors in the loss; 0: it does not count, as
            on padding.
        energy: [G] eV, **relative to the sum of the atomic energies** (subtracted on the host in
            float64, so that float32 never sees the large numbers).
        forces: [N, 3] eV/Å.
        stress: [G, 3, 3] eV/Å³, positive = tension.
        dipole: [G, 3] e·Å.
        quadrupole: [G, 3, 3] e·Å², the traceless part of the second moments.
        polarization: [G, 3] e·Å per cell.
        polarizability: [G, 3, 3] e·Å²/V.
        born_charges: [N, 3, 3] e, Z*[i, a, b] = ∂P_a/∂r_ib.
        charges: [N] e.
        multipoles: [N, 9] e·Å^l in the order [q, y, z, x, ...]; the mask is per component.
        fermi_level: [G] eV, μ = −∂E/∂Q.
        potential: [N] V at the nuclei.
    """

    weight: ArrayLike = array("graphs")
    energy: Label
    forces: Label
    stress: Label
    dipole: Label
    quadrupole: Label
    polarization: Label
    polarizability: Label
    born_charges: Label
    charges: Label
    multipoles: Label
    fermi_level: Label
    potential: Label


@dataclasses.dataclass(frozen=True)
class Frame:
    """One structure of a data file, on the host, in float64.

    Attributes:
        numbers: [N] atomic numbers.
        positions: [N, 3] Å.
        cell: [3, 3] Å, rows are lattice vectors (zeros if there is none).
        pbc: which lattice vectors repeat.
        labels: reference values by label name (the names of :class:`Targets`); missing = absent.
        total_charge: e.
        multiplicity: 2S + 1.
        external_field: [3] V/Å.
        formal_charges: [N] e.
        fragment: [N] fragment indices.
        charge_control: ``fixed_charge`` or ``fixed_potential``; empty for the model's choice.
        fermi_level: eV, an input at fixed potential; None where only a label may give it.
        masses: [N] amu; None for the elements' standard masses.
        velocities: [N, 3] Å/fs; None for none. No model reads masses or velocities.
        weight: factor of its squared errors in the loss; 0 leaves it out of the training.
        source: where it came from, such as ``water.xyz frame 12``; used in messages.
        split: the stored split it belongs to, such as ``train``; empty if the file names none.
        given: names of the inputs that the file gave; the others have their defaults.
        tags: of a structure on a curve, the curve's name (``system``), ``distance`` in Å and what
            else the file says of it; empty for others. No model reads them.
        unread: names in its file that stand for nothing of the above.
    """

    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    pbc: tuple[bool, bool, bool]
    labels: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    total_charge: float = 0.0
    multiplicity: float = 1.0
    external_field: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(3))
    formal_charges: np.ndarray | None = None
    fragment: np.ndarray | None = None
    charge_control: str = ""
    fermi_level: float | None = None
    masses: np.ndarray | None = None
    velocities: np.ndarray | None = None
    weight: float = 1.0
    source: str = "structure"
    split: str = ""
    given: frozenset[str] = frozenset()
    tags: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    unread: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Refuses a weight that is negative or not finite."""
        if not 0.0 <= self.weight < float("inf"):
            raise DataError(
                f"{self.source}: its weight is {self.weight}; needed a finite number of at least 0 "
                "(0 leaves the frame out of the training)"
            )

    @property
    def boundary(self) -> Boundary:
        """The boundary that the periodic directions say.

        Raises:
            DataError: if exactly one direction repeats.
        """
        return boundary_of(self.pbc, self.source)

    @property
    def reservoir_level(self) -> float | None:
        """μ in eV that a structure at fixed potential is held at: the input, or the label."""
        if self.fermi_level is None and "fermi_level" in self.labels:
            return float(np.asarray(self.labels["fermi_level"]).reshape(()))
        return self.fermi_level

    @property
    def normal(self) -> int:
        """Index of the open axis of a slab (2 for anything else)."""
        return self.pbc.index(False) if sum(self.pbc) == 2 else 2


def boundary_of(pbc: tuple[bool, bool, bool], source: str = "structure") -> Boundary:
    """Returns open for no, slab for two and periodic for three repeating directions.

    Raises:
        DataError: if exactly one direction repeats.
    """
    match sum(bool(p) for p in pbc):
        case 0:
            return "open"
        case 3:
            return "periodic"
        case 2:
            return "slab"
    flags = " ".join("T" if p else "F" for p in pbc)
    raise DataError(
        f"{source}: pbc {flags} repeats along one axis, which has no Coulomb sum here; "
        "needed none, two or three periodic axes: make the others periodic or open"
    )


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Plain numbers fitted to the training data and stored with the model.

    Attributes:
        numbers: atomic numbers the model knows, ascending; a species is an index into them.
        atomic_energies: eV, one per species.
        average_neighbors: mean number of edges that end at an atom.
        energy_scale: eV, the scale of the learned energies (RMS force component times 1 Å).
        energy_shift: eV per atom, mean energy left after the atomic energies.
        undetermined: directions in composition space, as rows over species, that the training
            compositions leave free; a structure with a component along one cannot be evaluated.
    """

    numbers: tuple[int, ...]
    atomic_energies: tuple[float, ...]
    average_neighbors: float = 1.0
    energy_scale: float = 1.0
    energy_shift: float = 0.0
    undetermined: tuple[tuple[float, ...], ...] = ()

    def species_table(self) -> np.ndarray:
        """Returns the species index of every atomic number, −1 for one that is not known."""
        table = np.full(120, -1, dtype=np.int32)
        table[list(self.numbers)] = np.arange(len(self.numbers), dtype=np.int32)
        return table

    def species(self, numbers: ArrayLike) -> np.ndarray:
        """Returns the species index of each atomic number, −1 for one that is not known."""
        return self.species_table()[np.asarray(numbers)]


@struct
class Batch:
    """What one training step sees."""

    system: System
    targets: Targets


def graph_sum(values: Array, system: System) -> Array:
    """Returns per-structure sums [G, ...] of per-atom values [N, ...]; padding is left out."""
    return masked_sum(values, system.node_mask, system.node_graph, system.n_graphs)


def masked_sum(
    values: Array, mask: Array, graph: Array, graphs: int, ordered: bool = True
) -> Array:
    """Returns per-structure sums [G, ...] of values [N, ...] where a mask [N] is true.

    Args:
        values: [N, ...].
        mask: [N].
        graph: [N] structure of each value.
        graphs: G.
        ordered: structures ascend.
    """
    import jax
    import jax.numpy as jnp

    mask = mask.reshape((-1,) + (1,) * (values.ndim - 1))
    if graphs == 1:
        # In pairs, not one after the other, which loses two digits more for 10⁵ atoms.
        return jnp.sum(jnp.where(mask, values, 0), axis=0, keepdims=True)
    return jax.ops.segment_sum(values * mask, graph, graphs, indices_are_sorted=ordered)


def graph_mean(values: Array, system: System) -> Array:
    """Returns per-structure means [G, ...] of per-atom values [N, ...], zero without atoms."""
    import jax.numpy as jnp

    atoms = graph_sum(jnp.ones_like(values), system)
    return graph_sum(values, system) / jnp.maximum(atoms, 1)
