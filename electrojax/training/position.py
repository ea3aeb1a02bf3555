"""Where a training run stands: plain data that a checkpoint holds beside the arrays."""

import dataclasses
import json
import math
from typing import Any, Literal

from pydantic import TypeAdapter

from electrojax.training.metrics import Sums
from electrojax.training.step import Params


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which parameters a run ends with, and when a stage stops early.

    Attributes:
        metric: the quantity that must fall.
        patience: epochs without improvement that end a stage; None runs every epoch.
        keep: ``best``: the moving average with the lowest metric; ``last``: the final one.
    """

    metric: str = "valid/loss"
    patience: int | None = None
    keep: Literal["best", "last"] = "best"


@dataclasses.dataclass
class Best:
    """The lowest value of the selection's metric so far.

    Attributes:
        value: of the metric; None before the first validation.
        epoch: finished epochs when it was met.
        waiting: epochs since then, within the stage.
    """

    value: float | None = None
    epoch: int = 0
    waiting: int = 0

    def update(self, value: float, epoch: int) -> bool:
        """Returns whether the value is a new best, and counts the wait if it is not."""
        if math.isfinite(value) and (self.value is None or value < self.value):
            self.value, self.epoch, self.waiting = value, epoch, 0
            return True
        self.waiting += 1
        return False


@dataclasses.dataclass
class Position:
    """How far a run has come.

    Attributes:
        stage: index of the current stage; the last one's when the run is complete.
        stage_epoch: finished epochs of the stage.
        epoch: finished epochs of the run.
        batch: finished batches of the current epoch.
        step: steps of the run.
        rate_factor: of the learning rate; below 1 after a loss that was not finite.
        best: the best validation so far.
        sums: what the finished batches of the current epoch reported.
    """

    stage: int = 0
    stage_epoch: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    rate_factor: float = 1.0
    best: Best = dataclasses.field(default_factory=Best)
    sums: Sums = dataclasses.field(default_factory=Sums)

    def plain(self) -> dict[str, Any]:
        """Returns the position as JSON-able data; floats survive the round trip exactly."""
        return dataclasses.asdict(self)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Position":
        """Returns the position that :meth:`plain` described.

        Raises:
            ValueError: if it is none.
        """
        found: Position = TypeAdapter(cls).validate_json(json.dumps(plain), strict=True)
        counts = (found.stage, found.stage_epoch, found.epoch, found.batch, found.step)
        waits = (found.best.epoch, found.best.waiting)
        if min(*counts, *waits) < 0 or not 0 < found.rate_factor <= 1:
            raise ValueError("the position has a negative count or a rate factor outside 0 to 1")
        return found


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """Everything needed to go on as if nothing had happened.

    Attributes:
        state: parameters, moving average, optimizer moments and step, as NumPy arrays.
        best: the best moving average, as NumPy arrays.
        position: where the run stands.
    """

    state: Any
    best: Params
    position: Position
