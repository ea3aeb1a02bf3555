"""A run folder as a finished run leaves it, without the run."""

import pytest

from electrojax.analysis import plots
from electrojax.training.loggers.base import RunStart

CONFIG = {
    "run": {"name": "water", "seed": 7},
    "train": {
        "stages": [{"name": "warm", "epochs": 3, "loss": {"energy": 1.0}}],
        "early_stop": None,
    },
    "loggers": [],
}


@pytest.fixture
def start(tmp_path):
    """Returns the start of a run in a folder that holds a model and a plot."""
    (tmp_path / "model.ejx").write_bytes(b"the model")
    records = [{"epoch": n, "train/loss": 1 / n} for n in (1, 2, 3)]
    plots.save_figure(plots.learning_curve(records, "water"), tmp_path / "plots" / "curve.png")
    return RunStart("water", tmp_path, CONFIG)


@pytest.fixture
def files(start):
    """Returns the model and the plot."""
    return [start.folder / "model.ejx", start.folder / "plots" / "curve.png"]


def told(logger, start, epochs, files=(), status="finished"):
    """Tells a logger of a run from start to end; returns the run's id."""
    run_id = logger.start(start)
    for epoch in epochs:
        logger.log(epoch, {"train/loss": 1 / epoch, "valid/forces_rmse": 10.0 * epoch})
    for path in files:
        logger.artifact(path)
    logger.close(status)
    return run_id
