"""Predictions beside labels, entry by entry: the one definition that loss and metrics share.

The functions use arithmetic and indexing only, so that they take JAX arrays under jit (the loss)
and float64 NumPy arrays on the host (the metrics) alike.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from electrojax.models.prediction import Prediction
from electrojax.numerics.constraint import FIXED_CHARGE
from electrojax.solvers.problems.diagnostics import DIAGNOSTICS
from electrojax.system.types import LABELS, Batch, Label, System, Targets

GraphSum = Callable[[Any], Any]
"""Maps values of atoms [N] to sums over structures [G]."""

REQUIRES: dict[str, str] = {
    "energy": "energy",
    "forces": "forces",
    "stress": "stress",
    "dipole": "dipole",
    "polarization": "polarization",
    "polarizability": "polarizability",
    "born_charges": "born_charges",
    "charges": "charges",
    "multipoles": "multipoles",
    "fermi_level": "fermi_level",
    "total_charge": "charges",
    "level_slope": "level_slope",
    "stability": "stability",
    "last_step": "last_step",
    "legendre_gap": "legendre_gap",
}
"""Every quantity that can be fitted, and what a model must provide for it."""


UNLABELLED = ("total_charge", *DIAGNOSTICS)
"""Quantities that are compared with an input, or with what a sound model has: no label needed."""

STABLE = 0.9
"""Largest |eigenvalue| of a linearised map that the loss leaves alone; 1 is where undamped
iteration stops to converge."""


@dataclasses.dataclass(frozen=True)
class Residual:
    """One quantity of a batch: predictions, references and where they count.

    Attributes:
        predicted, reference: [A, K], A being the atoms or the structures of the batch.
        mask: [A, K] or [A, 1], true where there is a label.
        per_atom: whether the loss divides the difference by the number of atoms.
        axis: ``nodes`` or ``graphs``.
    """

    predicted: Any
    reference: Any
    mask: Any
    per_atom: bool
    axis: str


def residual(
    name: str, prediction: Prediction, batch: Batch, total: GraphSum, atoms: Any
) -> Residual:
    """Returns the predictions and labels of one quantity.

    The energy is per atom, so that its error does not grow with the structure. The dipole counts
    for open boundaries only, where Σ q r is defined, and the stress for periodic ones only. The
    polarisation is compared with the nearest of the equivalent labels, which differ by multiples of
    e times the periodic lattice vectors. Diagnostics of the charge solver are compared with zero:
    how far ∂Q/∂μ is above it, the largest eigenvalue above ``STABLE``, what one more update
    changes, and ∂E/∂Q + μ of structures at fixed charge.

    Args:
        name: a key of ``REQUIRES``.
        prediction: of the batch.
        batch: inputs and labels.
        total: sums values of atoms over each structure.
        atoms: [G] number of atoms, at least 1.
    """
    targets, system = batch.targets, batch.system
    match name:
        case "energy":
            label = targets.energy
            reference = label.value / atoms
            return _flat(prediction.energy / atoms, Label(reference, label.mask), "graphs")
        case "dipole":
            label = _only(targets.dipole, system.boundary == "open")
            return _flat(prediction.dipole, label, "graphs", per_atom=True)
        case "polarization":
            return _flat(
                prediction.polarization, _nearest(prediction, batch), "graphs", per_atom=True
            )
        case "polarizability" | "born_charges":
            axis = LABELS[name].axis
            return _flat(
                prediction.responses[name], getattr(targets, name), axis, per_atom=axis == "graphs"
            )
        case "stress":
            label = _only(targets.stress, system.boundary != "open")
            return _flat(prediction.stress, label, "graphs")
        case "multipoles":
            return _multipoles(prediction, targets)
        case "total_charge":
            label = Label(system.total_charge, system.graph_mask)
            return _flat(total(prediction.charges), label, "graphs", per_atom=True)
        case "level_slope" | "stability" | "last_step" | "legendre_gap":
            return _diagnostic(name, prediction, system)
    return _flat(getattr(prediction, name), getattr(targets, name), LABELS[name].axis)


def per_graph_to(axis: str, values: Any, system: System, append_zero: Callable[[Any], Any]) -> Any:
    """Returns values of structures [G] as a column along an axis; zero for padding atoms.

    Args:
        axis: ``graphs`` leaves them, ``nodes`` hands each atom its structure's value.
        values: [G].
        system: the batch.
        append_zero: returns [G + 1], where padding atoms (which belong to graph G) read a zero.
    """
    return (append_zero(values)[system.node_graph] if axis == "nodes" else values)[:, None]


def _flat(predicted: Any, label: Label, axis: str, per_atom: bool = False) -> Residual:
    size = len(predicted)
    return Residual(
        predicted.reshape(size, -1),
        label.value.reshape(size, -1),
        label.mask[:, None],
        per_atom,
        axis,
    )


def _diagnostic(name: str, prediction: Prediction, system: System) -> Residual:
    """How far the map is from sound: zero where it is, for every structure that is meant."""
    value, mask, axis = prediction.diagnostics[name], system.graph_mask, "graphs"
    match name:
        case "level_slope":
            value = value * (value > 0)
        case "stability":
            value = (value - STABLE) * (value > STABLE)
        case "last_step":
            mask, axis = system.node_mask, "nodes"
        case "legendre_gap":
            mask = mask & (system.charge_control == FIXED_CHARGE)
    return _flat(value, Label(0 * value, mask), axis)


def _multipoles(prediction: Prediction, targets: Targets) -> Residual:
    """Contracts the channels and cuts the label to the components that the model has."""
    predicted = prediction.density.multipoles.sum(axis=1)
    components = predicted.shape[1]
    label = targets.multipoles
    return Residual(
        predicted, label.value[:, :components], label.mask[:, :components], False, "nodes"
    )


def _nearest(prediction: Prediction, batch: Batch) -> Label:
    """Moves polarisation labels by multiples of e times lattice vectors towards the predictions."""
    label, system = batch.targets.polarization, batch.system
    if system.boundary == "open":
        return label
    difference = prediction.polarization - label.value
    axes = [axis for axis in range(3) if system.boundary == "periodic" or axis != system.normal]
    value = label.value
    for axis in axes:
        a, b, c = (system.cell[:, (axis + k) % 3] for k in range(3))
        reciprocal = _cross(b, c)
        quanta = (difference * reciprocal).sum(-1) / (a * reciprocal).sum(-1)
        value = value + quanta.round()[:, None] * a
    return Label(value, label.mask)


def _cross(a: Any, b: Any) -> Any:
    next_, last = [1, 2, 0], [2, 0, 1]
    return a[:, next_] * b[:, last] - a[:, last] * b[:, next_]


def _only(label: Label, defined: bool) -> Label:
    return label if defined else Label(label.value, label.mask & False)
