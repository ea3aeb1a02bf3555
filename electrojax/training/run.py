"""A training run in progress: its stages, its epochs and who hears of them."""

import dataclasses
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from electrojax.errors import ConfigError, ConvergenceError, DataError
from electrojax.interruption import Interruption
from electrojax.training.evaluation import IN_FLIGHT, Loader, predict_batches, summary
from electrojax.training.metrics import Sums
from electrojax.training.optimizer import Schedule
from electrojax.training.position import Position, Selection, Snapshot
from electrojax.training.resources import peak_memory
from electrojax.training.step import (
    Controls,
    EvalStep,
    Params,
    Timed,
    TrainState,
    TrainStep,
    read_report,
    to_host,
)

Record = dict[str, Any]
"""The metrics of one epoch, by name."""

LOWERED = 0.5
"""Factor of the learning rate after a loss that was not finite; a second one ends the run."""

Describe = Callable[[str, Sequence[int]], str]
"""Names structures for a message, from their split (train or valid) and their indices in it."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stretch of training with one loss and one learning-rate schedule.

    Attributes:
        name: in logs.
        epochs: passes over the training set.
        learning_rate: over the stage.
        weights: of the loss terms, by name; absent or 0 is off.
        train_step: stages may share one, then nothing is compiled again.
    """

    name: str
    epochs: int
    learning_rate: Schedule
    weights: Mapping[str, float]
    train_step: TrainStep


class NonFiniteError(ConvergenceError):
    """A loss or gradient that is not a finite number.

    Attributes:
        epoch: counted from 1.
        step: counted from 1.
        indices: of the structures of the batch, in the data set.
    """

    def __init__(self, message: str, epoch: int, step: int, indices: Sequence[int]) -> None:
        super().__init__(message)
        self.epoch, self.step, self.indices = epoch, step, tuple(int(i) for i in indices)


class Callback:
    """Hears of a run; every method may be overridden, and none changes the physics."""

    def on_start(self, run: "Run") -> None:
        """Called before the first step."""

    def on_step(self, run: "Run") -> None:
        """Called after every step; the device may still be computing it."""

    def on_epoch(self, run: "Run", record: Record) -> None:
        """Called after every epoch, with its metrics; ``record`` is complete."""

    def on_event(self, run: "Run", record: Record) -> None:
        """Called when the run was resumed, rolled back or stopped; ``event`` says which."""

    def on_interrupt(self, run: "Run") -> None:
        """Called when a signal stops the run, between two steps."""

    def on_complete(self, run: "Run") -> None:
        """Called when the last stage is finished."""

    def on_close(self, run: "Run") -> None:
        """Called last, whatever ended the run."""


class Run:
    """A training run in progress, as callbacks see it.

    Attributes:
        state: the training state; its arrays are donated to the next step.
        position: how far the run has come.
        best: the best moving average so far, as NumPy arrays.
        saved: the last checkpoint, or the start; where a loss that is not finite leads back to.
        stages: what to do.
        batches: per epoch.
        last_loss: of the newest step that the host has heard of.
        records: the metrics of the epochs so far.
    """

    def __init__(
        self,
        state: TrainState,
        stages: Sequence[Stage],
        eval_step: EvalStep,
        train_loader: Loader,
        valid_loader: Loader | None,
        provides: Sequence[str],
        selection: Selection,
        callbacks: tuple[Callback, ...],
        describe: Describe,
    ) -> None:
        self.state, self.stages, self.selection = state, tuple(stages), selection
        self.position = Position()
        self.best: Params = to_host(state.ema)
        self.batches = len(train_loader)
        self.last_loss = float("nan")
        self.records: list[Record] = []
        self._train_loader, self._valid_loader = train_loader, valid_loader
        self._provides, self._callbacks, self._describe = tuple(provides), callbacks, describe
        # One timer per distinct step: stages that share a step share its compiled programs.
        self._steps = {id(s.train_step): Timed(s.train_step) for s in stages}
        self._eval_step = Timed(eval_step)
        self._pending: deque[tuple[int, Sequence[int], Any]] = deque()
        if self.batches == 0:
            raise DataError("training: the training set has no batches; give it some structures")
        self.saved = self.snapshot()

    @property
    def stage(self) -> Stage:
        """The current stage."""
        return self.stages[self.position.stage]

    @property
    def total_epochs(self) -> int:
        """Epochs of the run if no stage ends early, those already finished included."""
        left = sum(s.epochs for s in self.stages[self.position.stage :])
        return self.position.epoch - self.position.stage_epoch + left

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        done = self.position.stage_epoch + self.position.batch / self.batches
        return self.position.rate_factor * self.stage.learning_rate(done / self.stage.epochs)

    @property
    def programs(self) -> int:
        """Number of compiled programs, training and evaluation together."""
        return sum(t.programs for t in (*self._steps.values(), self._eval_step))

    @property
    def compile_s(self) -> float:
        """Seconds spent compiling."""
        return sum(t.compile_s for t in (*self._steps.values(), self._eval_step))

    def snapshot(self) -> Snapshot:
        """Returns the run as it stands, waiting for steps that are still being computed."""
        self.collect()
        return Snapshot(to_host(self.state), self.best, Position.from_plain(self.position.plain()))

    def resume(self, start: Snapshot) -> None:
        """Takes up a run where a snapshot left it.

        Raises:
            DataError: if it stands in a stage that the run has not.
        """
        if start.position.stage >= len(self.stages):
            raise DataError(
                f"the checkpoint stands in stage {start.position.stage + 1}, but the run has "
                f"{len(self.stages)}; resume with the configuration that wrote it"
            )
        self._pending.clear()
        self.saved = start
        self.state = jax.tree.map(jnp.array, start.state)
        self.best = start.best
        self.position = Position.from_plain(start.position.plain())

    def notify(self, event: str, *arguments: Any) -> None:
        """Calls one method of every callback."""
        for callback in self._callbacks:
            getattr(callback, event)(self, *arguments)

    def train(self, interruption: Interruption) -> None:
        """Runs the stages that are left; a first loss that is not finite is trained around.

        Raises:
            NonFiniteError: at the second one.
        """
        while self._epochs_left():
            try:
                record = self._epoch(interruption)
            except NonFiniteError as error:
                self._roll_back(error)
            else:
                self.records.append(record)
                self.notify("on_epoch", record)
            self._stop_if(interruption)

    def _epochs_left(self) -> bool:
        """Moves on to the next stage where one is finished; false after the last."""
        while self.position.stage_epoch >= self.stage.epochs:
            if self.position.stage + 1 == len(self.stages):
                return False  # the position stays here, so that a longer stage can go on from it
            self._next_stage()
        return True

    def _roll_back(self, error: NonFiniteError) -> None:
        """Goes back to the last checkpoint with a lower learning rate, the first time."""
        record = {"epoch": error.epoch, "step": error.step, "reason": str(error)}
        if self.position.rate_factor < 1:
            self.notify("on_event", {"event": "stop", **record})
            raise error
        self.resume(self.saved)
        position = self.position
        position.rate_factor = LOWERED
        self.records = [r for r in self.records if r["epoch"] <= position.epoch]
        back = {"to_epoch": position.epoch, "to_step": position.step}
        self.notify("on_event", {"event": "rollback", **record, **back, "rate_factor": LOWERED})

    def _stop_if(self, interruption: Interruption) -> None:
        if interruption.requested:
            self.collect()  # a bad step must be known before the run is saved
            raise KeyboardInterrupt

    def collect(self, allowed: int = 0) -> None:
        """Takes in what steps reported, until only some are left on the device.

        Raises:
            NonFiniteError: if one of them met a loss or gradient that is not finite.
        """
        while len(self._pending) > allowed:
            step, indices, on_device = self._pending.popleft()
            head, terms = read_report(np.asarray(on_device), self._weights)
            if not math.isfinite(head["loss"]) or not math.isfinite(head["gradient_norm"]):
                raise self._non_finite("loss or its gradient", step, indices)
            self.position.sums.add_step(head, terms)
            self.last_loss = head["loss"]

    def _next_stage(self) -> None:
        position, previous = self.position, self.stage
        position.stage, position.stage_epoch = position.stage + 1, 0
        position.best.waiting = 0
        if _other_loss(previous, self.stage) and self.selection.metric.endswith("/loss"):
            position.best.value = None

    def _epoch(self, interruption: Interruption) -> Record:
        start, compiled = time.perf_counter(), self.compile_s
        first = self.position.step
        self._train_epoch(interruption)
        steps = max(self.position.step - first, 1)
        spent = time.perf_counter() - start - (self.compile_s - compiled)
        record: Record = {
            "epoch": self.position.epoch + 1,
            "stage": self.stage.name,
            "step": self.position.step,
            "learning_rate": self.learning_rate,
            **self._train_metrics(),
            **self._validate(),
            "time/step_ms": 1e3 * spent / steps,
        }
        self._advance(record)
        record["time/epoch_s"] = time.perf_counter() - start
        record["time/compile_s"] = self.compile_s - compiled
        record["memory/peak_mib"] = peak_memory()
        record["compiled_programs"] = self.programs
        return record

    def _train_epoch(self, interruption: Interruption) -> None:
        position = self.position
        step = self._steps[id(self.stage.train_step)]
        dtype = jax.tree.leaves(self.state.params)[0].dtype
        weights = {name: jnp.asarray(w, dtype) for name, w in self._weights.items()}
        batches = iter(self._train_loader.epoch(position.epoch))
        try:
            for number, (batch, indices) in enumerate(batches):
                if number < position.batch:
                    continue  # done before the checkpoint that this run resumed from
                controls = Controls(np.asarray(self.learning_rate, dtype), weights)
                self.state, sums = step(self.state, batch, controls)
                position.batch, position.step = position.batch + 1, position.step + 1
                self._pending.append((position.step, indices, sums))
                self.collect(IN_FLIGHT)
                self.notify("on_step")
                if position.batch < self.batches:
                    self._stop_if(interruption)
        finally:
            close = getattr(batches, "close", None)
            if close is not None:
                close()
        self.collect()

    @property
    def _weights(self) -> dict[str, float]:
        """The stage's weights, with 0 for terms that only other stages of its step have on.

        The terms are part of the compiled program, their weights are not.
        """
        shared = [s for s in self.stages if s.train_step is self.stage.train_step]
        names = sorted({name for s in shared for name, w in s.weights.items() if w})
        return {name: float(self.stage.weights.get(name, 0.0)) for name in names}

    def _train_metrics(self) -> Record:
        sums = self.position.sums
        return {
            **summary(sums, "train", self.stage.weights),
            "train/gradient_norm": sums.gradient_norm / max(sums.steps, 1),
            **sums.solver_metrics(),
        }

    def _validate(self) -> Record:
        if self._valid_loader is None:
            return {}
        sums = Sums()
        batches = self._valid_loader.epoch(0)
        for batch, indices, prediction in predict_batches(self._eval_step, self.state.ema, batches):
            sums.add_prediction(prediction, batch, self._provides)
            if not sums.finite:
                raise self._non_finite("validation error", self.position.step, indices, "valid")
        # What the solver says of itself on the validation set counts, where there is one.
        return summary(sums, "valid", self.stage.weights) | sums.diagnostics()

    def _advance(self, record: Record) -> None:
        """Moves to the next epoch, and to the end of the stage when patience is exhausted."""
        position = self.position
        position.epoch, position.stage_epoch = position.epoch + 1, position.stage_epoch + 1
        position.batch, position.sums = 0, Sums()
        if self._valid_loader is None:
            return
        metric, patience = self.selection.metric, self.selection.patience
        if metric not in record:
            measured = ", ".join(name for name in record if name.startswith("valid/"))
            raise ConfigError(f"{metric} is not measured in validation; measured: {measured}")
        if position.best.update(record[metric], position.epoch):
            self.best = to_host(self.state.ema)
        if patience is not None and position.best.waiting >= patience:
            position.stage_epoch = self.stage.epochs

    def _non_finite(
        self, what: str, step: int, indices: Sequence[int], split: str = "train"
    ) -> NonFiniteError:
        epoch = self.position.epoch + 1
        again = " again, at a lowered learning rate" if self.position.rate_factor < 1 else ""
        message = (
            f"epoch {epoch}, step {step}: the {what} is not a finite number{again}; "
            f"{self._describe(split, indices)}; lower the learning rate or look at these structures"
        )
        return NonFiniteError(message, epoch, step, indices)


def _other_loss(one: Stage, other: Stage) -> bool:
    return dict(one.weights) != dict(other.weights)
