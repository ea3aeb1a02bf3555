"""Experiment trackers that a run may tell of itself, beside its own metrics.jsonl.

A tracker is a data class that follows the protocol of ``base.Logger``; its fields are its options
in the configuration. Importing this package imports none of theirs.
"""

import dataclasses

from electrojax.plugins import KindTable
from electrojax.training.loggers.base import Logger
from electrojax.training.loggers.mlflow import MLflow
from electrojax.training.loggers.tensorboard import TensorBoard
from electrojax.training.loggers.wandb import WeightsAndBiases

LOGGERS: dict[str, type[Logger]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}
"""Kind -> class. A new tracker is one file and one line here."""


def _misfit(module: type) -> str:
    if not dataclasses.is_dataclass(module):
        return "it is not a data class"
    needed = ("package", "start", "log", "artifact", "close")
    missing = [name for name in needed if not hasattr(module, name)]
    return f"it has no {', '.join(missing)}" if missing else ""


LOGGER_KINDS = KindTable("logger", LOGGERS, _misfit)
"""These and the entry points ``electrojax.loggers`` of other packages."""
