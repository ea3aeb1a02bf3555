"""The main job, end to end: fit, save, evaluate on the test set, plot."""

import dataclasses
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from electrojax.analysis import plots
from electrojax.analysis.baseline import baseline_metrics, training_means
from electrojax.analysis.predictions import (
    CURVES,
    PREDICTIONS,
    StoredPredictions,
    gather,
    plotted_pairs,
    write_predictions,
)
from electrojax.config.resolve import resolved
from electrojax.errors import ConfigError
from electrojax.interruption import StartUp
from electrojax.models import bundle
from electrojax.models.potential import Potential
from electrojax.models.predict import StructurePrediction
from electrojax.runs.build import Job, build_loggers, build_training, open_job
from electrojax.runs.folder import run_folder
from electrojax.system.quantities import QUANTITIES
from electrojax.system.types import Frame
from electrojax.training.callbacks import (
    Callback,
    Checkpointer,
    ConvergenceLimit,
    JsonlLogger,
    Progress,
)
from electrojax.training.checkpoints import CheckpointStore
from electrojax.training.evaluation import evaluate
from electrojax.training.loggers.base import RunStart
from electrojax.training.loop import FitResult, Stage, fit
from electrojax.training.position import Selection, Snapshot
from electrojax.training.step import TrainState, make_eval_step
from electrojax.training.tracking import Tracking
from electrojax.typing import Reporter

RESUME = ("auto", "never")


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """What a training run leaves.

    Attributes:
        model: with the parameters that were kept, as in ``model.ejx``.
        metrics: errors on the test set by name, in the units of the run folder's metrics.
        folder: the run folder.
    """

    model: Potential
    metrics: Mapping[str, float]
    folder: Path


def run_training(
    path: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    resume: str = "never",
    report: Reporter = print,
) -> TrainedRun:
    """Trains what a file describes and leaves a complete run folder; ``electrojax train``.

    Args:
        path: the training file, or the name of a shipped one such as configs/quickstart.yaml.
        overrides: ``KEY=VALUE`` texts, such as ``train.stages.0.epochs=2``.
        resume: ``auto`` or ``never``.
        report: receives lines of progress.

    Returns:
        The model, its errors on the test set and the run folder.

    Raises:
        ConfigError, DataError: before anything is written.
        ConvergenceError: if the training fails numerically.
    """
    if resume not in RESUME:
        raise ConfigError(f'--resume: "{resume}" does not exist; choose from {", ".join(RESUME)}')
    started = time.monotonic()
    job = open_job(path, overrides)
    state, stages, selection = build_training(job)
    StartUp.check()
    for warning in job.warnings:
        report(f"warning: {warning}")
    with run_folder(job, resume == "auto") as existed:
        store = CheckpointStore(job.folder / "checkpoints")
        start = store.restore(state) if existed and store.latest is not None else None
        epoch = start.position.epoch if start else 0
        beginning = RunStart(job.run.config.run.name, job.folder, resolved(job.run.config), epoch)
        with Tracking(build_loggers(job.run), beginning, report) as tracking:
            run = _train(job, state, stages, selection, store, start, tracking)
    for name, value in run.metrics.items():
        report(f"{name:<34} {value:.6g}")
    report(f"{job.folder} is complete after {time.monotonic() - started:.0f} s")
    return run


def _train(
    job: Job,
    state: TrainState,
    stages: Sequence[Stage],
    selection: Selection,
    store: CheckpointStore,
    start: Snapshot | None,
    tracking: Tracking,
) -> TrainedRun:
    """Fits, finishes and tells the trackers of it."""
    logger = JsonlLogger(job.folder / "metrics.jsonl")
    eval_step = make_eval_step(job.potential.apply)
    result = fit(
        state,
        stages,
        eval_step,
        job.loaders["train"],
        job.loaders.get("valid"),
        provides=job.potential.provides,
        selection=selection,
        callbacks=_callbacks(job, store, logger, tracking),
        start=start,
        describe=lambda split, indices: _names(job, split, indices),
    )
    model = dataclasses.replace(job.potential, params=result.params)
    metrics = finish(job, model, result, logger, eval_step)
    plotted = sorted((job.folder / "plots").glob("*.png"))
    tracking.results(result.epoch, metrics, [job.folder / "model.ejx", *plotted])
    return TrainedRun(model, metrics, job.folder)


def finish(
    job: Job, model: Potential, result: FitResult, logger: JsonlLogger, eval_step: Any
) -> dict[str, float]:
    """Saves the model, evaluates it on the test set and plots; returns the test metrics."""
    info: dict[str, Any] = {
        "kept": result.kept,
        "kept_epoch": result.epoch,
        "run": job.run.config.run.name,
    }
    split = "test" if "test" in job.loaders else "valid" if "valid" in job.loaders else "train"
    weights = job.run.config.train.stages[-1].loss.model_dump()
    judged = model.with_labelled_responses(job.frames[split])
    if judged.responses != model.responses:
        eval_step = make_eval_step(judged.apply)
    metrics, predictions = evaluate(
        eval_step, model.params, job.loaders[split], judged.provides, split, weights
    )
    stored = keep_predictions(job, judged, split, predictions, eval_step)
    means = training_means(job.frames["train"])
    metrics |= baseline_metrics(stored, means, split)
    info |= {"metrics": metrics, "training_means": means}
    bundle.save(model, job.folder / "model.ejx", info)
    logger.write({"final": True, "epoch": result.epoch, **metrics})
    plot_run(job, judged, split, predictions)
    return metrics


def keep_predictions(
    job: Job,
    model: Potential,
    split: str,
    predictions: Sequence[StructurePrediction],
    eval_step: Any,
) -> StoredPredictions:
    """Writes the predictions of a split into the run folder, and those of curves in all splits.

    Returns the former.

    Args:
        job: the run.
        model: that predicts.
        split: the last evaluation's.
        predictions: of that split.
        eval_step: evaluates the others where they hold points of a curve.
    """
    told = _told(job, split, predictions)
    stored = _gathered(told, model)
    write_predictions(job.folder / PREDICTIONS, stored)
    curves = [row for row in told if row[1].tags]
    for name, frames in job.frames.items():
        if name != split and any(frame.tags for frame in frames):
            _, found = evaluate(eval_step, model.params, job.loaders[name], model.provides, name)
            curves += [row for row in _told(job, name, found) if row[1].tags]
    if curves:
        write_predictions(job.folder / CURVES, _gathered(curves, model))
    return stored


Told = tuple[str, Frame, Mapping[str, np.ndarray], StructurePrediction]


def _gathered(
    told: Sequence[Told], model: Potential, most_atoms: int | None = None
) -> StoredPredictions:
    splits, frames, labels, predictions = zip(*told)
    return gather(splits, frames, labels, predictions, model.provides, most_atoms)


def _told(job: Job, split: str, predictions: Sequence[StructurePrediction]) -> list[Told]:
    """Split, structure, labels (energies relative to the atomic ones) and prediction of each."""
    labels = [sample.labels for sample in job.samples[split]]
    names = [split] * len(labels)
    return list(zip(names, job.frames[split], labels, predictions, strict=True))


def plot_run(
    job: Job, model: Potential, split: str, predictions: Sequence[StructurePrediction]
) -> None:
    """Writes the parity plots of a split and the learning curve into the run folder."""
    name, folder = job.run.config.run.name, job.folder / "plots"
    save_parity_plots(_told(job, split, predictions), model, folder, f"{name}, {split} set")
    records = plots.read_metrics(job.folder / "metrics.jsonl")
    curve = plots.learning_curve(records, name)
    plots.save_figure(curve, folder / "learning_curve.png")


def save_parity_plots(told: Sequence[Told], model: Potential, folder: Path, title: str) -> None:
    """Writes ``parity_QUANTITY.png`` for every quantity that has labels and is predicted.

    Args:
        told: of each structure the split, itself, its labels with the energy relative to the
            atomic energies, and its prediction.
        model: that predicted.
        folder: where the plots go.
        title: of every plot.
    """
    stored = _gathered(told, model, sys.maxsize)
    for name in stored.predicted:
        reference, predicted = plotted_pairs(stored, name)
        if reference.size:
            figure = plots.parity_plot(QUANTITIES[name], reference, predicted, title)
            plots.save_figure(figure, folder / f"parity_{name}.png")


def _callbacks(
    job: Job, store: CheckpointStore, logger: JsonlLogger, tracking: Tracking
) -> tuple[Callback, ...]:
    interval = job.run.config.train.checkpoint
    return (
        logger,
        Progress(),
        Checkpointer(store, interval.every_epochs, interval.every_minutes),
        tracking,
        ConvergenceLimit(job.run.config.train.max_unconverged),
    )


def _names(job: Job, split: str, indices: Sequence[int]) -> str:
    sources = job.sources(split)
    return ", ".join(sources[int(i)] for i in indices)
