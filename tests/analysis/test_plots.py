"""Plots show the numbers they are given."""

import json

import matplotlib.image
import numpy as np
import pytest

from electrojax.analysis import plots
from electrojax.errors import DataError
from electrojax.system.quantities import QUANTITIES


@pytest.mark.parametrize("n", [50, plots.MANY_POINTS + 1])
def test_parity_plot_states_the_error(rng, n, tmp_path):
    reference = rng.normal(size=n)
    predicted = reference + 0.01 * rng.normal(size=n)
    figure = plots.parity_plot(QUANTITIES["forces"], reference, predicted, "run, test set")
    error = 1e3 * np.sqrt(np.mean((predicted - reference) ** 2))
    text = figure.axes[0].texts[0].get_text()
    assert f"RMSE {error:.3g} meV/Å" in text and f"{n} values" in text
    path = plots.save_figure(figure, tmp_path / "plots" / "parity.png")
    assert matplotlib.image.imread(path).std() > 0.05  # something is drawn


def test_parity_plot_needs_values():
    with pytest.raises(DataError, match="needed two arrays"):
        plots.parity_plot(QUANTITIES["forces"], np.zeros(0), np.zeros(0), "")
    with pytest.raises(DataError, match="got 2 and 3"):
        plots.parity_plot(QUANTITIES["forces"], np.zeros(2), np.zeros(3), "")


def test_learning_curve_draws_every_epoch():
    records = [
        {"epoch": e, "train/loss": 1 / e, "valid/loss": 2 / e, "valid/forces_rmse": 50 / e}
        for e in (1, 2, 3)
    ]
    figure = plots.learning_curve(records, "run")
    losses, errors = figure.axes
    assert [list(line.get_ydata()) for line in losses.lines] == [[1, 1 / 2, 1 / 3], [2, 1, 2 / 3]]
    assert len(errors.lines) == 1


def test_metrics_file(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with pytest.raises(DataError, match="no such metrics file"):
        plots.read_metrics(path)
    path.write_text(json.dumps({"epoch": 1}) + "\n{torn\n")
    with pytest.raises(DataError, match="metrics.jsonl:2"):
        plots.read_metrics(path)
