"""Predictions beside labels, entry by entry: the one definition that loss and metrics share.

The functions use arithmetic and indexing only, so that they take JAX arrays under jit (the loss)
and float64 NumPy arrays on the host (the metrics) alike.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from electrojax.models.prediction import Prediction
from electrojax.numerics.constraint import FIXED_CHARGE
from electrojax.system.geometry import nearest_branch, periodic_axes
from electrojax.system.quantities import QUANTITIES
from electrojax.system.types import Batch, Label, System

GraphSum = Callable[[Any], Any]
"""Maps values of atoms [N] to sums over structures [G]."""

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

    How it is compared, and under which boundaries, is written in its row of ``QUANTITIES``. The
    energy is per atom, so that its error does not grow with the structure. The dipole counts
    for open boundaries only, where Σ q r is defined, and the stress for periodic ones only. The
    polarisation is compared with the nearest of the equivalent labels, which differ by multiples of
    e times the periodic lattice vectors. Quadrupoles are traceless on both sides already
    (:func:`electrojax.data.loader.prepare`). Diagnostics of the charge solver are compared with
    zero: how far ∂Q/∂μ is above it, the largest eigenvalue above ``STABLE``, what one more update
    changes, and ∂E/∂Q + μ of structures at fixed charge.

    Args:
        name: a key of ``electrojax.system.quantities.REQUIRES``.
        prediction: of the batch.
        batch: inputs and labels.
        total: sums values of atoms over each structure.
        atoms: [G] number of atoms, at least 1.
    """
    row, system = QUANTITIES[name], batch.system
    if row.compared == "sound":
        return _diagnostic(name, prediction, system)
    if row.compared == "charge_sum":
        label = Label(system.total_charge, system.graph_mask)
        return _flat(name, total(prediction.charges), label)
    predicted, label = prediction.value(name), getattr(batch.targets, name)
    if row.components:
        return _components(predicted, label, row.axis)
    if row.compared == "per_atom":
        predicted, label = predicted / atoms, Label(label.value / atoms, label.mask)
    if row.compared == "branch":
        axes = periodic_axes(system.boundary, system.normal)
        nearest = nearest_branch(label.value, predicted, system.cell, axes)
        label = Label(nearest, label.mask)
    if system.boundary not in row.boundaries:
        label = Label(label.value, label.mask & False)
    return _flat(name, predicted, label)


def per_graph_to(axis: str, values: Any, system: System, append_zero: Callable[[Any], Any]) -> Any:
    """Returns values of structures [G] as a column along an axis; zero for padding atoms.

    Args:
        axis: ``graphs`` leaves them, ``nodes`` hands each atom its structure's value.
        values: [G].
        system: the batch.
        append_zero: returns [G + 1], where padding atoms (which belong to graph G) read a zero.
    """
    return (append_zero(values)[system.node_graph] if axis == "nodes" else values)[:, None]


def _flat(name: str, predicted: Any, label: Label) -> Residual:
    row, size = QUANTITIES[name], len(predicted)
    return Residual(
        predicted.reshape(size, -1),
        label.value.reshape(size, -1),
        label.mask[:, None],
        row.per_atom_loss,
        row.axis,
    )


def _diagnostic(name: str, prediction: Prediction, system: System) -> Residual:
    """How far the map is from sound: zero where it is, for every structure that is meant."""
    value, mask = prediction.value(name), system.graph_mask
    match name:
        case "level_slope":
            value = value * (value > 0)
        case "stability":
            value = (value - STABLE) * (value > STABLE)
        case "last_step":
            mask = system.node_mask
        case "legendre_gap":
            mask = mask & (system.charge_control == FIXED_CHARGE)
    return _flat(name, value, Label(0 * value, mask))


def _components(predicted: Any, label: Label, axis: str) -> Residual:
    """Cuts the label to the components that the model has."""
    size = predicted.shape[1]
    return Residual(predicted, label.value[:, :size], label.mask[:, :size], False, axis)
