"""The one table of quantities: what files label, frames carry and models predict.

A new label is one row here and one field of :class:`electrojax.system.types.Targets`. Keys of the
configuration, loss terms, metrics, early stop, measures of sweeps, plots, tables, readers, writers
and stored predictions follow from the row.
"""

import dataclasses
import re
from typing import Literal

EVERYWHERE = ("open", "periodic", "slab")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantity:
    """One quantity, and all that readers, losses, metrics and plots ask about it.

    Attributes:
        name: in configurations, metrics and ``Targets``.
        role: ``label``: a reference value, a field of ``Targets``; ``form``: another form of one,
            which readers turn into it; ``input``: what a frame carries; ``diagnostic``: what a
            charge solver says of its own map, compared with that of a sound one; ``prediction``:
            an output that is never labelled.
        axis: ``graphs``: one per structure; ``nodes``: one per atom.
        shape: of one value.
        components: for a varying number of components, those that a file may have.
        unit: of data and predictions; empty for a number.
        key: its name in extxyz files by default; empty where files have none.
        meaning: what a file holds under that name, without the unit.
        default: of an input that a file does not give.
        loss: what the loss term is, with its unit; empty for what is not fitted.
        error_unit: of RMSE and MAE.
        error_scale: factor from ``unit`` to ``error_unit``.
        compared: ``value``: as it is; ``per_atom``: over the number of atoms; ``branch``: with the
            nearest label modulo e times lattice vectors; ``charge_sum``: the sum of the charges;
            ``traceless``: without a third of the trace on the diagonal; ``sound``: with the nearest
            value that a sound solver has.
        per_atom_loss: whether the loss divides the difference by the number of atoms.
        boundaries: where it is defined.
        predicted_by: ``energy``: every model; ``solver``: the charge solvers that list it;
            ``field``: models that feel a field, as a second derivative, when asked; ``density``:
            solvers that list charges, when asked.
        needs: the quantity that a model must predict to be compared, if it is another one.
        gauge: whether its zero depends on the boundary.
        plot: label of the axes of a parity plot, with its unit; empty for none.
        synonyms: what else files call it; a name that is not read is compared with these.
    """

    name: str
    role: Literal["label", "form", "input", "diagnostic", "prediction"] = "label"
    axis: Literal["nodes", "graphs"] = "graphs"
    shape: tuple[int, ...] = ()
    components: tuple[int, ...] = ()
    unit: str = ""
    key: str = ""
    meaning: str = ""
    default: float = 0.0
    loss: str = ""
    error_unit: str = ""
    error_scale: float = 1e3
    compared: Literal["value", "per_atom", "branch", "charge_sum", "traceless", "sound"] = "value"
    per_atom_loss: bool = False
    boundaries: tuple[str, ...] = EVERYWHERE
    predicted_by: Literal["energy", "solver", "field", "density"] = "solver"
    needs: str = ""
    gauge: bool = False
    plot: str = ""
    synonyms: tuple[str, ...] = ()

    @property
    def help(self) -> str:
        """What a file holds under its key, with the unit."""
        return f"{self.meaning}, {self.unit}" if self.unit else self.meaning


_TABLE = (
    Quantity(
        name="energy",
        unit="eV",
        key="REF_energy",
        meaning="total energy",
        loss="squared energy error per atom, (eV/atom)²",
        error_unit="meV/atom",
        compared="per_atom",
        predicted_by="energy",
        plot="energy − atomic energies (eV/atom)",
        synonyms=("total_energy", "free_energy", "potential_energy"),
    ),
    Quantity(
        name="forces",
        axis="nodes",
        shape=(3,),
        unit="eV/Å",
        key="REF_forces",
        meaning="forces [N, 3]",
        loss="squared force error, (eV/Å)²",
        error_unit="meV/Å",
        predicted_by="energy",
        plot="force component (eV/Å)",
        synonyms=("force",),
    ),
    Quantity(
        name="stress",
        shape=(3, 3),
        unit="eV/Å³",
        key="REF_stress",
        meaning="stress",
        loss="squared error of the stress of periodic cells, (eV/Å³)²",
        error_unit="meV/Å³",
        boundaries=("periodic", "slab"),
        predicted_by="energy",
        plot="stress component (eV/Å³)",
    ),
    Quantity(
        name="dipole",
        shape=(3,),
        unit="e·Å",
        key="REF_dipole",
        meaning="total dipole [3]",
        loss="squared error of the total dipole, (e·Å)²",
        error_unit="me·Å",
        per_atom_loss=True,
        boundaries=("open",),
        plot="dipole component (e·Å)",
        synonyms=("dipole_moment", "total_dipole"),
    ),
    Quantity(
        name="quadrupole",
        shape=(3, 3),
        unit="e·Å²",
        key="REF_quadrupole",
        meaning="molecular second moments ∫ρ r_a r_b [3, 3] about the origin of the positions, of "
        "which the traceless part is compared (Buckingham's Θ is 3/2 of it)",
        loss="squared error of the traceless quadrupole, (e·Å²)²",
        error_unit="me·Å²",
        compared="traceless",
        per_atom_loss=True,
        boundaries=("open",),
        plot="traceless quadrupole component (e·Å²)",
        synonyms=("quadrupole_moment", "molecular_quadrupole", "total_quadrupole"),
    ),
    Quantity(
        name="polarization",
        shape=(3,),
        unit="e·Å",
        key="REF_polarization",
        meaning="polarisation dipole [3]",
        loss="squared error of the polarisation, modulo e times lattice vectors, (e·Å)²",
        error_unit="me·Å",
        compared="branch",
        per_atom_loss=True,
        plot="polarisation component (e·Å)",
    ),
    Quantity(
        name="polarizability",
        shape=(3, 3),
        unit="e·Å²/V",
        key="REF_polarizability",
        meaning="polarisability",
        loss="squared error of the polarisability, (e·Å²/V)²; costly",
        error_unit="e·Å²/V",
        error_scale=1.0,
        per_atom_loss=True,
        predicted_by="field",
        plot="polarisability component (e·Å²/V)",
    ),
    Quantity(
        name="born_charges",
        axis="nodes",
        shape=(3, 3),
        unit="e",
        key="REF_bec",
        meaning="Born charges dP_a/dr_b [N, 3, 3]",
        loss="squared error of the Born charges, e²; costly",
        error_unit="e",
        error_scale=1.0,
        predicted_by="field",
        plot="Born charge component (e)",
        synonyms=("bec", "born_effective_charges"),
    ),
    Quantity(
        name="charges",
        axis="nodes",
        unit="e",
        key="REF_charges",
        meaning="atomic charges [N]",
        loss="squared error of atomic charges, e²",
        error_unit="me",
        plot="atomic charge (e)",
        synonyms=("atomic_charges", "partial_charges"),
    ),
    Quantity(
        name="multipoles",
        axis="nodes",
        shape=(9,),
        components=(1, 4, 9),
        unit="e·Å^l",
        key="REF_multipoles",
        meaning="atomic multipoles [N, M] as [q, y, z, x, ...]",
        loss="squared error of multipoles, (e·Å^l)²",
        error_unit="me·Å^l",
        plot="atomic dipole component (e·Å)",
    ),
    Quantity(
        name="fermi_level",
        unit="eV",
        key="REF_fermi_level",
        meaning="Fermi level -dE/dQ",
        loss="squared error of the Fermi level, eV²",
        error_unit="meV",
        gauge=True,
        plot="Fermi level (eV)",
    ),
    Quantity(
        name="potential",
        axis="nodes",
        unit="V",
        key="REF_potential",
        meaning="electrostatic potential of the charges at the nuclei [N], an applied field's left "
        "out",
        loss="squared error of the electrostatic potential at the nuclei, V²; costly in cells",
        error_unit="mV",
        predicted_by="density",
        gauge=True,
        plot="electrostatic potential at a nucleus (V)",
    ),
    Quantity(
        name="virial",
        role="form",
        shape=(3, 3),
        unit="eV",
        key="REF_virial",
        meaning="virial, minus the stress times the volume, read as a stress",
        synonyms=("virials",),
    ),
    Quantity(
        name="total_charge",
        role="input",
        unit="e",
        key="total_charge",
        meaning="total charge (an input)",
        loss="squared deviation of the charges' sum from total_charge per atom, (e/atom)²",
        error_unit="me",
        compared="charge_sum",
        per_atom_loss=True,
        needs="charges",
        synonyms=("charge", "q", "net_charge", "tot_charge", "molecular_charge"),
    ),
    Quantity(
        name="multiplicity",
        role="input",
        key="multiplicity",
        meaning="spin multiplicity 2S+1 (an input)",
        default=1.0,
        synonyms=("spin", "mult", "spin_multiplicity"),
    ),
    Quantity(
        name="external_field",
        role="input",
        shape=(3,),
        unit="V/Å",
        key="external_field",
        meaning="applied electric field [3] (an input)",
        synonyms=("field", "efield", "electric_field"),
    ),
    Quantity(
        name="formal_charges",
        role="input",
        axis="nodes",
        unit="e",
        key="formal_charges",
        meaning="formal charges [N] (an input)",
    ),
    Quantity(
        name="fragment",
        role="input",
        axis="nodes",
        key="fragment",
        meaning="number of each atom's fragment [N] (an input)",
    ),
    Quantity(
        name="weight",
        role="input",
        key="config_weight",
        meaning="factor of the frame's squared errors in the loss (an input); 0 leaves it out",
        default=1.0,
        synonyms=("config_weight",),
    ),
    Quantity(
        name="level_slope",
        role="diagnostic",
        unit="e²/eV",
        loss="squared positive part of dQ/dmu, (e²/eV)²; solver scf only",
        error_unit="e²/eV",
        error_scale=1.0,
        compared="sound",
    ),
    Quantity(
        name="stability",
        role="diagnostic",
        loss="squared excess of the largest |eigenvalue| of the linearised map over 0.9; "
        "solver scf only, costly",
        error_unit="1",
        error_scale=1.0,
        compared="sound",
    ),
    Quantity(
        name="last_step",
        role="diagnostic",
        axis="nodes",
        unit="e",
        loss="squared change by one more update, e²; solver scf only",
        error_unit="me",
        compared="sound",
    ),
    Quantity(
        name="legendre_gap",
        role="diagnostic",
        unit="eV",
        loss="(dE/dQ + mu)² at fixed charge, eV²; solver scf only. Zero for energy "
        "functional, which fixed potentials need",
        error_unit="meV",
        compared="sound",
    ),
    Quantity(name="chemical_potential", role="prediction", axis="nodes", unit="eV"),
    Quantity(name="spin_multipoles", role="prediction", axis="nodes", unit="electrons·Å^l"),
    Quantity(name="energy_polarization", role="prediction", unit="e·Å"),
    Quantity(name="energy_born_charges", role="prediction", axis="nodes", unit="e"),
    Quantity(name="energy_polarizability", role="prediction", unit="e·Å²/V"),
)

QUANTITIES: dict[str, Quantity] = {q.name: q for q in _TABLE}
"""Every quantity by its name, in the order of configurations and tables."""

LABELS: dict[str, Quantity] = {q.name: q for q in _TABLE if q.role == "label"}
"""What a frame may be labelled with: the fields of ``Targets``."""

READ_LABELS: dict[str, Quantity] = {q.name: q for q in _TABLE if q.role in ("label", "form")}
"""What files may hold of them: the labels and their other forms."""

INPUTS: dict[str, Quantity] = {q.name: q for q in _TABLE if q.role == "input"}
"""What a frame may carry beside its atoms and labels."""

DEFAULT_KEYS: dict[str, str] = {q.name: q.key for q in _TABLE if q.key}
"""Under which name an extxyz file holds each label and input, unless a key map says otherwise."""

REQUIRES: dict[str, str] = {q.name: q.needs or q.name for q in _TABLE if q.loss}
"""Every quantity that can be fitted, and what a model must predict for it."""

UNLABELLED = tuple(q.name for q in _TABLE if q.loss and q.role != "label")
"""Quantities that are compared with an input, or with what a sound model has: no label needed."""

DIAGNOSTICS = tuple(q.name for q in _TABLE if q.role == "diagnostic")
"""What a charge solver may be asked to say of its own map."""

ALWAYS = tuple(q.name for q in _TABLE if q.role == "label" and q.predicted_by == "energy")
"""What every model predicts."""

FIELD_RESPONSES = tuple(q.name for q in _TABLE if q.predicted_by == "field" and q.role == "label")
"""Second derivatives along an external field, which cost three more derivatives each."""

AT_NUCLEI = tuple(q.name for q in _TABLE if q.predicted_by == "density")
"""What needs a finer Coulomb sum of the density that is there."""

RESPONSES = (*FIELD_RESPONSES, *AT_NUCLEI)
"""Predictions that are made when asked for."""

ERROR_UNITS: dict[str, tuple[str, float]] = {
    q.name: (q.error_unit, q.error_scale) for q in _TABLE if q.error_unit
}
"""Unit of the RMSE and MAE of a quantity, and the factor from its own unit to it."""


def quantity_of(name: str) -> Quantity | None:
    """Returns the quantity of a name in metrics, such as ``multipoles_l1``, or None."""
    return QUANTITIES.get(re.sub(r"_l\d$", "", name))


def metric_names(name: str, l_max: int = 2) -> list[str]:
    """Returns under which names the errors of a quantity are measured: its own, and by order l."""
    orders = range(l_max + 1) if QUANTITIES[name].components else ()
    return [name, *(f"{name}_l{l}" for l in orders)]
