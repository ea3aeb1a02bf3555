"""The predictions of a run's last evaluation beside their labels, in one compact file."""

import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from electrojax.errors import DataError
from electrojax.files import DAMAGE, first_line, read_arrays, write_whole
from electrojax.models.predict import StructurePrediction
from electrojax.system.geometry import nearest_branch, periodic_axes
from electrojax.system.quantities import LABELS, QUANTITIES
from electrojax.system.types import Frame

PREDICTIONS, CURVES = "predictions.npz", "curves.npz"
"""Names in a run folder: of the last evaluation, and of the structures of all splits that are
points of a curve, if there are any."""

FORMAT = 1
MOST_ATOMS = 200_000
"""Atoms that are kept; of larger sets, every so many-th structure."""


@dataclasses.dataclass(frozen=True)
class StoredPredictions:
    """Labels and predictions of F structures with N atoms in all; what is missing is NaN.

    Attributes:
        in_all: structures of the whole set.
        split: [F] train, valid or test.
        numbers: [N] atomic numbers.
        offsets: [F + 1]; structure f has the atoms ``offsets[f]`` to ``offsets[f + 1]``.
        positions: [N, 3] Å.
        fragment: [N] fragment indices, −1 where not given.
        reference, predicted: by name, [F, ...] or [N, ...] as ``QUANTITIES`` says; energies are
            relative to the atomic energies, polarisation labels on the branch of the prediction.
            ``reference`` has what is labelled somewhere, ``predicted`` what the model predicts of
            that; where the boundary leaves a quantity undefined, both are missing.
        total_charge: [F] e.
        converged: [F] whether the charge solver converged.
        steps: [F] its iterations.
        system: [F] what a structure is on a curve of; empty for none.
        scan: [F] on which of several curves of it.
        distance: [F] Å along it.
        fragment_charges: [F, 2] e of the two parts far from each other.
        image_charge: [F] e of an ion above a conductor.
    """

    in_all: int
    split: np.ndarray
    numbers: np.ndarray
    offsets: np.ndarray
    positions: np.ndarray
    fragment: np.ndarray
    reference: Mapping[str, np.ndarray]
    predicted: Mapping[str, np.ndarray]
    total_charge: np.ndarray
    converged: np.ndarray
    steps: np.ndarray
    system: np.ndarray
    scan: np.ndarray
    distance: np.ndarray
    fragment_charges: np.ndarray
    image_charge: np.ndarray

    def atoms(self, structure: int) -> slice:
        """Returns where the atoms of a structure stand."""
        return slice(int(self.offsets[structure]), int(self.offsets[structure + 1]))

    @property
    def sizes(self) -> np.ndarray:
        """[F] atoms of each structure."""
        return np.diff(self.offsets)


def gather(
    splits: Sequence[str],
    frames: Sequence[Frame],
    labels: Sequence[Mapping[str, np.ndarray]],
    predictions: Sequence[StructurePrediction],
    provides: Sequence[str],
    most_atoms: int | None = None,
) -> StoredPredictions:
    """Returns what is worth keeping of an evaluation.

    Args:
        splits: the split of each structure.
        frames: the structures.
        labels: of each, the energy relative to the atomic energies as in the predictions.
        predictions: of each.
        provides: the quantities that the model predicts.
        most_atoms: atoms to keep at most; ``MOST_ATOMS`` where not given.
    """
    kept = _kept([len(frame.numbers) for frame in frames], most_atoms or MOST_ATOMS)
    chosen = [frames[i] for i in kept]
    told, found = [labels[i] for i in kept], [predictions[i] for i in kept]
    sizes = [len(frame.numbers) for frame in chosen]
    rows = list(zip(chosen, told, found))
    labelled = [n for n in LABELS if any(n in label for label in told)]
    return StoredPredictions(
        in_all=len(frames),
        split=np.array([splits[i] for i in kept], dtype=np.str_),
        numbers=np.concatenate([frame.numbers for frame in chosen]).astype(np.int16),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        positions=np.concatenate([frame.positions for frame in chosen]).astype(np.float32),
        fragment=np.concatenate([_fragment(frame) for frame in chosen]).astype(np.int16),
        reference={n: _column(n, [_label(n, *row) for row in rows], sizes) for n in labelled},
        predicted={
            n: _column(n, [_predicted(n, frame, p) for frame, _, p in rows], sizes)
            for n in labelled
            if n in provides
        },
        total_charge=np.array([frame.total_charge for frame in chosen]),
        converged=np.array([p.converged for p in found], dtype=bool),
        steps=np.array([p.solver_steps for p in found], dtype=np.int32),
        **_curve_columns([frame.tags for frame in chosen]),
    )


def _curve_columns(tags: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    return {
        "system": np.array([t.get("system", "") for t in tags], dtype=np.str_),
        "scan": np.array([t.get("scan", "") for t in tags], dtype=np.str_),
        "distance": np.array([t.get("distance", np.nan) for t in tags]),
        "fragment_charges": np.array([t.get("fragment_charges", (np.nan,) * 2) for t in tags]),
        "image_charge": np.array([t.get("image_charge", np.nan) for t in tags]),
    }


def write_predictions(path: Path, stored: StoredPredictions) -> None:
    """Writes predictions as a compressed archive of plain arrays, whole or not at all.

    Raises:
        DataError: if the file cannot be written.
    """
    plain: dict[str, Any] = {
        f.name: np.asarray(getattr(stored, f.name))
        for f in dataclasses.fields(stored)
        if f.name not in ("reference", "predicted")
    }
    for side in ("reference", "predicted"):
        plain |= {f"{side}/{name}": v for name, v in getattr(stored, side).items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, format=np.array(FORMAT), **plain)
    write_whole(path, buffer.getvalue())


def read_predictions(path: Path) -> StoredPredictions:
    """Returns the predictions of a file.

    Raises:
        DataError: if it is damaged or of a newer format.
    """
    content: dict[str, Any] = dict(read_arrays(path))
    try:
        if content.pop("format") != FORMAT:
            raise DataError(f"{path}: was written by another version of electrojax; update it")
        sides: dict[str, Any] = {"reference": {}, "predicted": {}}
        for name in [n for n in content if "/" in n]:
            side, _, quantity = name.partition("/")
            sides[side][quantity] = content.pop(name)
        in_all = int(content.pop("in_all"))
        return StoredPredictions(in_all=in_all, **sides, **content)
    except DAMAGE as error:
        raise DataError(
            f"{path}: is damaged ({first_line(error)}); remove it, or run electrojax train "
            "--resume auto to write it again"
        ) from error


def plotted_pairs(stored: StoredPredictions, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the flat references and predictions [K] of a parity plot, without missing ones.

    Energies are per atom; of multipoles the dipoles are shown, as every order has another unit.
    """
    row, sides = QUANTITIES[name], [stored.reference[name], stored.predicted[name]]
    if row.compared == "per_atom":
        sides = [side / stored.sizes for side in sides]
    if row.components:
        sides = [side[:, 1:4] for side in sides]
    reference, predicted = (np.ravel(side) for side in sides)
    there = np.isfinite(reference) & np.isfinite(predicted)
    return reference[there], predicted[there]


def _kept(sizes: Sequence[int], most_atoms: int) -> range:
    """Indices of the structures to keep: all, or evenly spaced ones."""
    every = max(1, -(-sum(sizes) // most_atoms))
    return range(0, len(sizes), every)


def _fragment(frame: Frame) -> np.ndarray:
    return np.full(len(frame.numbers), -1) if frame.fragment is None else frame.fragment


def _label(name: str, frame: Frame, labels: Mapping[str, Any], found: StructurePrediction) -> Any:
    """A label as it is compared; None where there is none."""
    if name not in labels or frame.boundary not in QUANTITIES[name].boundaries:
        return None
    label = np.asarray(labels[name], dtype=np.float64)
    if QUANTITIES[name].compared != "branch":
        return label
    axes = periodic_axes(frame.boundary, frame.normal)
    prediction = np.asarray(found.value(name), dtype=np.float64)
    return nearest_branch(label[None], prediction[None], np.asarray(frame.cell)[None], axes)[0]


def _predicted(name: str, frame: Frame, prediction: StructurePrediction) -> Any:
    defined = frame.boundary in QUANTITIES[name].boundaries
    return prediction.value(name) if defined else None


def _column(name: str, values: Sequence[Any], sizes: Sequence[int]) -> np.ndarray:
    """One array over all structures, NaN where a structure or a component has no value."""
    row = QUANTITIES[name]
    lengths = sizes if row.axis == "nodes" else [1] * len(sizes)
    column = np.full((sum(lengths), *row.shape), np.nan)
    flat, stop = column.reshape(len(column), -1), 0
    for value, length in zip(values, lengths):
        start, stop = stop, stop + length
        if value is not None:
            part = np.asarray(value, dtype=np.float64).reshape(length, -1)
            flat[start:stop, : part.shape[1]] = part
    return column.astype(np.float64 if name == "energy" else np.float32)
