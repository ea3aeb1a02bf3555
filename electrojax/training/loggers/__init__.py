"""Experiment trackers that a run may tell of itself, beside its own metrics.jsonl.

A tracker is a data class that follows the protocol of ``base.Logger``; its fields are its options
in the configuration. Importing this package imports none of theirs.
"""

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
