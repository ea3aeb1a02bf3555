"""What a constant would predict: the mean of the training labels, beside a model's errors."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from electrojax.analysis.predictions import StoredPredictions
from electrojax.errors import DataError
from electrojax.system.geometry import traceless
from electrojax.system.quantities import LABELS, Quantity
from electrojax.system.types import Frame

Means = Mapping[str, Mapping[str, Sequence[float]]]
"""By quantity and element: flat components in the quantity's unit. Quantities of whole structures
have one entry, ``all``; plain data, as a model file keeps it."""

WHOLE = "all"

WITH_MEAN: dict[str, Quantity] = {
    name: row
    for name, row in LABELS.items()
    if row.compared in ("value", "traceless")
    and row.predicted_by != "energy"
    and not row.components
}
"""What is compared with a constant. A polarisation has no mean: each label has its own branch."""


def training_means(frames: Sequence[Frame]) -> dict[str, dict[str, list[float]]]:
    """Returns the mean label of every response over a training set, of atoms by element.

    Args:
        frames: of the training set.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for name, row in WITH_MEAN.items():
        labelled = [frame for frame in frames if name in frame.labels]
        if not labelled:
            continue
        size = int(np.prod(row.shape, dtype=int))
        labels = [np.asarray(f.labels[name], np.float64) for f in labelled]
        if row.compared == "traceless":
            labels = [traceless(label) for label in labels]
        values = np.concatenate([np.reshape(label, (-1, size)) for label in labels])
        groups = _groups(row, [f.numbers for f in labelled])
        means = {key: _mean(values[groups == key]) for key in np.unique(groups)}
        found[name] = {str(key): m for key, m in means.items() if np.all(np.isfinite(m))}
    return found


def checked_means(content: Any) -> Means:
    """Returns the means that a model file holds.

    Args:
        content: what :func:`training_means` returned, as a file gives it back.

    Raises:
        DataError: if it is something else.
    """
    try:
        means = TypeAdapter(dict[str, dict[str, list[float]]]).validate_python(content)
    except ValidationError as error:
        told = error.errors()[0]["msg"]
        raise DataError(f"training_means: needed numbers by quantity; {told}") from error
    for name in means.keys() & WITH_MEAN.keys():
        size = int(np.prod(WITH_MEAN[name].shape, dtype=int))
        if any(len(mean) != size for mean in means[name].values()):
            raise DataError(f"training_means: {name} needs {size} components")
    return means


def baseline_metrics(stored: StoredPredictions, means: Means, prefix: str) -> dict[str, float]:
    """Returns the errors of the training mean, and R² about it, of every response.

    ``{prefix}/dipole_baseline`` is the RMSE √(Σ (y − m)²/n) of the mean m, in the unit of
    ``dipole_rmse``; ``{prefix}/dipole_r2_x`` is 1 − Σ Δ² / Σ (y − m)² over one component, below
    zero where the model is worse than m. Where components differ in size, a pooled R² hides that.

    Args:
        stored: predictions beside their labels.
        means: from :func:`training_means`.
        prefix: of the metric names.
    """
    found: dict[str, float] = {}
    for name in [n for n in WITH_MEAN if n in means and n in stored.predicted]:
        row = WITH_MEAN[name]
        flat = (stored.reference[name], stored.predicted[name])
        reference, predicted = (np.reshape(x, (len(x), -1)).astype(np.float64) for x in flat)
        constant = _constant(row, stored.numbers, means[name], reference.shape)
        there = np.isfinite(reference) & np.isfinite(predicted) & np.isfinite(constant)
        if not there.any():
            continue
        error, spread = (
            np.where(there, reference - other, 0.0) ** 2 for other in (predicted, constant)
        )
        key = f"{prefix}/{name}"
        found[f"{key}_baseline"] = float(np.sqrt(spread.sum() / there.sum()) * row.error_scale)
        for component, e, s in zip(component_names(row), error.sum(axis=0), spread.sum(axis=0)):
            if s > 0:
                found[f"{key}_r2_{component}"] = float(1 - e / s)
    return found


def component_names(row: Quantity) -> list[str]:
    """Returns what the components of a vector or a tensor are called; nothing for a number."""
    return ["".join(axes) for axes in itertools.product("xyz", repeat=len(row.shape)) if axes]


def _groups(row: Quantity, numbers: Sequence[np.ndarray]) -> np.ndarray:
    """The key of every value: the atomic number, or one for all structures."""
    if row.axis == "nodes":
        return np.concatenate(numbers).astype(str)
    return np.full(len(numbers), WHOLE)


def _mean(values: np.ndarray) -> list[float]:
    """Of every component, over the values that are there; NaN where none is."""
    there = np.isfinite(values)
    total = np.where(there, values, 0.0).sum(axis=0)
    counts = there.sum(axis=0)
    return np.divide(total, counts, out=np.full(total.shape, np.nan), where=counts > 0).tolist()


def _constant(
    row: Quantity, numbers: np.ndarray, means: Mapping[str, Sequence[float]], shape: tuple
) -> np.ndarray:
    """The mean of each value's group; NaN for elements that were not trained on."""
    unknown = [np.nan] * shape[1]
    if row.axis == "graphs":
        return np.broadcast_to(np.asarray(means.get(WHOLE, unknown)), shape)
    return np.array([means.get(str(number), unknown) for number in numbers]).reshape(shape)
