"""The training loop: it builds nothing and receives everything."""

import dataclasses
from collections.abc import Iterable, Sequence

from electrojax.interruption import Interruption
from electrojax.training.evaluation import Loader
from electrojax.training.position import Selection, Snapshot
from electrojax.training.run import Callback, Describe, Record, Run, Stage
from electrojax.training.step import EvalStep, Params, TrainState, to_host


@dataclasses.dataclass(frozen=True)
class FitResult:
    """How a run ended.

    Attributes:
        params: the parameters to evaluate and save, as NumPy arrays: the moving average of the
            best epoch, or the final moving average (see ``kept``).
        kept: ``best`` or ``last``; ``last`` too where nothing was validated.
        epoch: finished epochs when they were taken.
        value: of the selection's metric then; None for ``last``.
        state: the final training state.
        records: the metrics of the epochs that this call ran.
    """

    params: Params
    kept: str
    epoch: int
    value: float | None
    state: TrainState
    records: list[Record]


def fit(
    state: TrainState,
    stages: Sequence[Stage],
    eval_step: EvalStep,
    train_loader: Loader,
    valid_loader: Loader | None = None,
    provides: Sequence[str] = (),
    selection: Selection | None = None,
    callbacks: Iterable[Callback] = (),
    start: Snapshot | None = None,
    describe: Describe | None = None,
) -> FitResult:
    """Returns the parameters that minimise the loss on the training data, stage after stage.

    After every epoch the moving average of the parameters is validated. The best epoch is that
    with the lowest ``selection.metric``; for ``valid/loss``, whose meaning changes with the
    weights, it is sought within the last stage that has other weights than the one before it.
    Optimizer moments and moving average carry over from stage to stage.

    A loss or gradient that is not finite takes the run back to its last checkpoint (or its start),
    from where it goes on with half the learning rate; the second one ends it.

    Args:
        state: from :func:`electrojax.training.step.init_state`; it is consumed.
        stages: what to do, in order.
        eval_step: the compiled prediction.
        train_loader: batches, shuffled by their own seed and the epoch number.
        valid_loader: batches that are never fitted; without them the last parameters are kept.
        provides: the quantities that the model predicts.
        selection: which parameters are kept and when a stage ends early.
        callbacks: hear of every step and epoch, in this order.
        start: where to go on, from a checkpoint; on one device of the same kind the result is then
            bit for bit that of an uninterrupted run.
        describe: names structures of the ``train`` or ``valid`` set by their indices, for errors.

    Raises:
        NonFiniteError: if a loss or gradient is not finite for the second time; names epoch, step
            and structures.
        KeyboardInterrupt: after SIGINT or SIGTERM, once the callbacks have saved.
        ConfigError: if the selection's metric is not measured.
        DataError: if the training loader is empty.
    """
    run = Run(state, stages, eval_step, train_loader, valid_loader, provides,
              selection or Selection(), tuple(callbacks), describe or _frames)  # fmt: skip
    if start is not None:
        run.resume(start)
    with Interruption() as interruption:
        try:
            run.notify("on_start")
            if start is not None:
                at = {"epoch": run.position.epoch, "step": run.position.step}
                run.notify("on_event", {"event": "resume", **at})
            run.train(interruption)
            run.notify("on_complete")
        except KeyboardInterrupt:
            if not interruption.forced:
                run.notify("on_interrupt")
            raise
        finally:
            run.notify("on_close")
    return _result(run)


def _result(run: Run) -> FitResult:
    best = run.position.best
    if run.selection.keep == "best" and best.value is not None:
        return FitResult(run.best, "best", best.epoch, best.value, run.state, run.records)
    params = to_host(run.state.ema)
    return FitResult(params, "last", run.position.epoch, None, run.state, run.records)


def _frames(split: str, indices: Sequence[int]) -> str:
    return f"{split} structures {', '.join(str(int(i)) for i in indices)}"
