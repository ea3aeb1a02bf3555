"""Parity plots and learning curves as PNG files."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from electrojax.errors import DataError
from electrojax.files import read_records, write_whole
from electrojax.system.quantities import ERROR_UNITS, Quantity

INK, FILL, MUTED = "#1f2933", "#2f6f9f", "#8a94a0"
MANY_POINTS = 4000
"""Above this many points a parity plot shows counts in hexagons."""


def parity_plot(
    quantity: Quantity, reference: np.ndarray, predicted: np.ndarray, title: str
) -> Figure:
    """Returns a scatter of predicted against reference values with its RMSE and R².

    Args:
        quantity: what is plotted.
        reference: flat values of the labels.
        predicted: flat predictions, in the same order.
        title: such as the name of the run and of the data set.

    Raises:
        DataError: if there is nothing to plot or the lengths differ.
    """
    reference, predicted = np.ravel(reference), np.ravel(predicted)
    if reference.shape != predicted.shape or reference.size == 0:
        raise DataError(
            f"parity plot of {quantity.name}: needed two arrays of one length above zero, got "
            f"{reference.size} and {predicted.size}"
        )
    figure = Figure(figsize=(4.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    low, high = _limits(reference, predicted)
    axes.plot([low, high], [low, high], color=MUTED, linewidth=1, zorder=1)
    if reference.size > MANY_POINTS:
        axes.hexbin(
            reference, predicted, gridsize=70, bins="log", mincnt=1, cmap="Blues", linewidths=0.1
        )
    else:
        axes.scatter(reference, predicted, s=9, color=FILL, alpha=0.5, linewidths=0, zorder=2)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal", title=title)
    axes.set_xlabel(f"reference {quantity.plot}")
    axes.set_ylabel("predicted")
    axes.text(0.04, 0.96, _caption(quantity, reference, predicted), va="top",
              transform=axes.transAxes, color=INK)  # fmt: skip
    return figure


def learning_curve(records: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Returns loss and validation errors against the epoch, one point per metrics record.

    Args:
        records: the lines of a metrics.jsonl; of an epoch that was done again, the last one counts.
        title: such as the name of the run.
    """
    records = epoch_records(records)
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    losses, errors = figure.subplots(1, 2)
    for name, color in (("train/loss", MUTED), ("valid/loss", FILL)):
        _curve(losses, records, name, color, name)
    for name, color in (("forces", FILL), ("energy", "#c4622d"), ("charges", "#4b8b3b")):
        label = f"{name} ({ERROR_UNITS[name][0]})"
        _curve(errors, records, f"valid/{name}_rmse", color, label)
    losses.set(title=f"{title}: loss", xlabel="epoch", yscale="log")
    errors.set(title="validation RMSE", xlabel="epoch", yscale="log")
    for axes in (losses, errors):
        axes.grid(alpha=0.25)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
    return figure


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Returns the records of a metrics.jsonl.

    Raises:
        DataError: if the file is missing or a line of it is not JSON.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such metrics file; needed the one that training writes")
    return read_records(path, strict=True)


def epoch_records(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns the metrics of each epoch, in order, without events and final metrics.

    Epochs that a run did again, after it was killed or rolled back, count once: the last time.
    """
    epochs = [r for r in records if "epoch" in r and not r.get("final") and "event" not in r]
    by_epoch = {r["epoch"]: r for r in epochs}
    return [by_epoch[epoch] for epoch in sorted(by_epoch)]


def save_figure(figure: Figure, path: Path) -> Path:
    """Writes a figure as PNG, whole or not at all, and returns its path."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=140)
    write_whole(path, buffer.getvalue())
    return path


def _limits(*values: np.ndarray) -> tuple[float, float]:
    low = min(float(v.min()) for v in values)
    high = max(float(v.max()) for v in values)
    margin = 0.04 * (high - low) or 0.5
    return low - margin, high + margin


def _caption(quantity: Quantity, reference: np.ndarray, predicted: np.ndarray) -> str:
    error = np.sqrt(np.mean((predicted - reference) ** 2))
    lines = [f"RMSE {error * quantity.error_scale:.3g} {quantity.error_unit}"]
    spread = np.sum((reference - reference.mean()) ** 2)
    if spread > 0:
        lines.append(f"R² {1 - np.sum((predicted - reference) ** 2) / spread:.4f}")
    return "\n".join([*lines, f"{reference.size} values"])


def _curve(
    axes: Any, records: Sequence[Mapping[str, Any]], name: str, color: str, label: str
) -> None:
    points = [(r["epoch"], r[name]) for r in records if r.get(name) is not None and "epoch" in r]
    if points:
        axes.plot(*zip(*points), color=color, label=label, linewidth=1.4)
