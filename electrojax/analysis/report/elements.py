"""What the stored predictions tell: errors by element, and pairs of reference and prediction."""

from collections.abc import Sequence

import numpy as np

from electrojax.analysis.predictions import StoredPredictions, plotted_pairs
from electrojax.analysis.report.groups import Group
from electrojax.analysis.report.runs import RunRecord
from electrojax.analysis.report.tables import Column, Table, table
from electrojax.system.quantities import ERROR_UNITS, LABELS

BY_ELEMENT = tuple(q.name for q in LABELS.values() if q.axis == "nodes" and not q.components)
"""Quantities of atoms; multipoles of several orders, which have several units, are left out."""

POINTS = 300
"""Values of a run in one parity plot; a tenth are the worst ones, the others evenly spaced."""


def element_table(groups: Sequence[Group], quantity: str) -> Table | None:
    """Returns the RMSE of a quantity by element, None where no run has stored predictions of it.

    Args:
        groups: of runs.
        quantity: one of ``BY_ELEMENT``.
    """
    from ase.data import chemical_symbols

    errors = {id(run): element_errors(run, quantity) for g in groups for run in g.runs}
    elements = sorted({z for error in errors.values() for z in error})
    if not elements:
        return None
    symbols = {z: chemical_symbols[z] for z in elements}
    columns = [Column(symbol, ERROR_UNITS[quantity][0]) for symbol in symbols.values()]

    def measure(run: RunRecord) -> dict[str, float]:
        return {symbols[z]: error for z, error in errors[id(run)].items()}

    return table(groups, columns, f"{quantity}, RMSE by element", measure)


def element_errors(run: RunRecord, quantity: str) -> dict[int, float]:
    """Returns the RMSE of a quantity by atomic number, in the units of ``ERROR_UNITS``."""
    stored = run.predictions
    if stored is None or quantity not in stored.predicted:
        return {}
    delta = stored.predicted[quantity] - stored.reference[quantity]
    found = {}
    for z in np.unique(stored.numbers):
        values = delta[stored.numbers == z].astype(np.float64)
        values = values[np.isfinite(values)]
        if values.size:
            found[int(z)] = float(np.sqrt(np.mean(values**2)) * ERROR_UNITS[quantity][1])
    return found


def parity(
    stored: StoredPredictions, quantity: str, points: int = POINTS
) -> tuple[np.ndarray, np.ndarray]:
    """Returns reference and predicted values that stand for all of them in a plot.

    Of more than ``points`` values a tenth are those with the largest errors
    and the rest evenly spaced ones, so that no outlier hides.

    Args:
        stored: predictions of a run.
        quantity: one of them.
        points: how many at most.
    """
    reference, predicted = plotted_pairs(stored, quantity)
    if reference.size <= points:
        return reference, predicted
    order = np.argsort(-np.abs(predicted - reference), kind="stable")
    worst, others = order[: points // 10], np.sort(order[points // 10 :])
    evenly = np.linspace(0, len(others) - 1, points - len(worst)).round().astype(int)
    chosen = np.concatenate([worst, others[evenly]])
    return reference[chosen], predicted[chosen]
