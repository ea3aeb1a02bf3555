"""What the table of quantities says of a training file: keys, loss terms, metrics to stop by."""

from collections.abc import Iterable
from typing import Any

from pydantic import Field, create_model

from electrojax.sections import Section
from electrojax.system.quantities import Quantity, metric_names


def key_fields(table: Iterable[Quantity]) -> Any:
    """Returns a section with a key for everything that a data file may name."""
    fields: dict[str, Any] = {
        q.name: (str, Field(default=q.key, description=q.help)) for q in table if q.key
    }
    return create_model("Keys", __base__=Section, **fields)


def loss_fields(table: Iterable[Quantity]) -> Any:
    """Returns a section with a weight for everything that can be fitted."""
    fields: dict[str, Any] = {
        q.name: (float, Field(default=0.0, ge=0, le=1e9, description=q.loss))
        for q in table
        if q.loss
    }
    return create_model("Loss", __base__=Section, **fields)


def metric_pattern(table: Iterable[Quantity]) -> str:
    """Returns the regular expression of the validation metrics that training may watch."""
    compared = [q.name for q in table if q.loss and q.role != "diagnostic"]
    names = "|".join(part for name in compared for part in metric_names(name))
    return rf"^valid/(loss|forces_rmse_relative|({names})_(rmse|mae))$"
