"""From a configuration to objects: the one file that knows everybody."""

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from warnings import warn

import jax

from electrojax.config.resolve import LoadedRun, complete_model, load_run, resolved
from electrojax.config.schema import DataSource
from electrojax.data.dataset import boundary_check, partition, split, stored_split
from electrojax.data.datasets import resolve_source
from electrojax.data.loader import Loader, plan_buckets, prepare
from electrojax.data.reader import read_frames
from electrojax.data.statistics import fit_statistics, isolated_energies
from electrojax.errors import DataError, ElectrojaxError
from electrojax.models.conduction import OF_POLARIZATION, check_defined
from electrojax.models.potential import Potential, assemble
from electrojax.runs.inputs import check_embedded, plausibility_warnings, reading_warnings
from electrojax.runs.labels import check_loss_labels, check_watched, trains_on, watches
from electrojax.solvers.base import consistency_note
from electrojax.system.batching import Sample, capacity_for, collate
from electrojax.system.quantities import AT_NUCLEI, DIAGNOSTICS, LABELS, RESPONSES
from electrojax.system.types import Frame, Statistics
from electrojax.training.guess import label_guess
from electrojax.training.loggers import LOGGERS
from electrojax.training.loggers.base import Logger, is_installed
from electrojax.training.loop import Stage
from electrojax.training.loss import check_loss
from electrojax.training.optimizer import Schedule, make_optimizer
from electrojax.training.position import Selection
from electrojax.training.step import TrainState, TrainStep, init_state, make_train_step
from electrojax.typing import Reporter

SPLITS = ("train", "valid", "test")


@dataclasses.dataclass(frozen=True)
class Job:
    """Everything a training run needs, checked, before anything is written or compiled.

    Attributes:
        run: the configuration and where its values were written.
        frames: the structures of each split that is configured.
        samples: the same, with neighbour lists and energies relative to the atomic energies.
        loaders: batches of each split.
        potential: the model, without parameters.
        warnings: what the user should know.
    """

    run: LoadedRun
    frames: Mapping[str, list[Frame]]
    samples: Mapping[str, list[Sample]]
    loaders: Mapping[str, Loader]
    potential: Potential
    warnings: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """The run folder, ``{run.dir}/{run.name}``."""
        return Path(self.run.config.run.dir) / self.run.config.run.name

    def sources(self, split: str) -> list[str]:
        """Returns where each structure of a split came from."""
        return [frame.source for frame in self.frames[split]]


def open_job(path: str | os.PathLike[str], overrides: Sequence[str]) -> Job:
    """Reads a training file and its data and builds what they describe.

    Args:
        path: the training file.
        overrides: ``KEY=VALUE`` texts of the command line.

    Raises:
        ConfigError, DataError: whatever is wrong, before anything is written.
    """
    return build_job(load_run(path, overrides))


def build_job(run: LoadedRun) -> Job:
    """Reads the data of a checked configuration and builds what it describes.

    Raises:
        ConfigError, DataError: whatever is wrong, before anything is written.
    """
    run.require_data_files()
    _require_loggers(run)
    configure_precision(run.config.run.precision)
    warnings = run.changed_defaults()
    files = _read_files(run)
    frames = _splits(run, files)
    training_file = files[run.config.data.train.path]
    if left := sum(frame.weight == 0 for frame in training_file):
        warnings.append(f"{left} frames of the training file have weight 0: left out of training")
    statistics = _statistics(run, frames["train"], training_file, warnings.append)
    model, named = resolved(run.config)["model"], run.tables.classes()
    potential = assemble(model, statistics, run.config.run.precision, named=named)
    asked = [name for name in RESPONSES if trains_on(run, name) or watches(run, name)]
    asked += _labelled_at_nuclei(potential, frames)
    potential = potential.with_responses(asked)
    potential = potential.with_diagnostics([name for name in DIAGNOSTICS if trains_on(run, name)])
    kind = run.config.model.solver.kind
    warnings += filter(None, [consistency_note(potential.network.solver, kind)])
    _check_against_model(run, frames, potential)
    terms = [name for name in LABELS if trains_on(run, name)]
    warnings += reading_warnings(files, potential, terms) + plausibility_warnings(frames)
    potential = potential.tuned_for([frame for part in frames.values() for frame in part])
    samples = {name: prepare(part, statistics, potential.sample) for name, part in frames.items()}
    _check_defined(run, frames["train"], samples["train"], potential)
    return Job(run, frames, samples, _loaders(run, samples, potential), potential, tuple(warnings))


def build_model(
    section: Mapping[str, Any], frames: Sequence[Frame], precision: str = "float32", seed: int = 0
) -> Potential:
    """Returns an untrained model with fresh parameters, its statistics fitted to structures.

    Args:
        section: the ``model`` section of a training file; what it lacks has its default.
        frames: labelled structures, from :func:`electrojax.read_frames`.
        precision: ``float32`` or ``float64``.
        seed: of the parameters.

    Raises:
        ConfigError: for a key or value that the schema refuses.
        DataError: for structures that the model cannot evaluate, or that lack an input which it
            embeds.
    """
    complete, tables = complete_model(section)
    statistics = fit_statistics(frames, complete["backbone"]["cutoff"], None, "least_squares", warn)
    model = assemble(complete, statistics, precision, named=tables.classes()).tuned_for(frames)
    check_embedded(frames, model)
    with jax.enable_x64(precision == "float64"):
        first = prepare(frames[:1], statistics, model.sample)
        batch = collate(first, capacity_for(first), model.dtype)
        return dataclasses.replace(model, params=model.init(seed, batch.system))


def _require_loggers(run: LoadedRun) -> None:
    """Checks that the packages of the configured loggers are there."""
    loggers = run.tables.loggers
    for index, options in enumerate(run.config.loggers):
        if options.kind in loggers and not is_installed(loggers[options.kind].package):
            package = loggers[options.kind].package
            wanted = "'electrojax[track]'" if options.kind in LOGGERS else package
            raise run.provenance.error(
                f"loggers.{index}",
                f'"{options.kind}" needs {package}, which is not installed; '
                f"run `pip install {wanted}`, or drop it",
            )


def build_loggers(run: LoadedRun) -> dict[str, Logger]:
    """Returns the trackers that the configuration lists, by kind, not yet opened."""
    loggers = run.tables.loggers
    listed = [options for options in run.config.loggers if options.kind in loggers]
    return {options.kind: loggers[options.kind](**options.options()) for options in listed}


def configure_precision(precision: str) -> None:
    """Switches double precision on for the process if the configuration asks for it."""
    if precision == "float64":
        jax.config.update("jax_enable_x64", True)


def _statistics(
    run: LoadedRun, frames: Sequence[Frame], file: Sequence[Frame], warn: Reporter
) -> Statistics:
    """The statistics of the training frames; isolated atoms may stand anywhere in their file."""
    cutoff = run.config.model.backbone.options()["cutoff"]
    energies = run.config.data.atom_energies
    if energies.mode != "isolated":
        return fit_statistics(frames, cutoff, energies.given, energies.mode, warn)
    try:
        given = isolated_energies(file, frames, energies.given)
    except DataError as error:
        raise run.provenance.error("data.atom_energies.mode", str(error)) from None
    return fit_statistics(frames, cutoff, given, "given", warn)


def _sources(run: LoadedRun) -> dict[str, DataSource]:
    data = run.config.data
    return {name: s for name in SPLITS if (s := getattr(data, name)) is not None}


def _read_files(run: LoadedRun) -> dict[str, list[Frame]]:
    """The frames of every data file by its path; each is read once."""
    sources = _sources(run)
    return {s.path: _read(run, f"data.{name}.path", s.path) for name, s in sources.items()}


def _splits(run: LoadedRun, files: Mapping[str, Sequence[Frame]]) -> dict[str, list[Frame]]:
    """The frames of every configured split.

    Held-out shares are drawn first, disjoint from each other; training gets what they leave,
    without frames of weight 0.

    Raises:
        DataError, ConfigError: naming the file, the frame and the line of the configuration.
    """
    sources = _sources(run)
    chosen: dict[str, list[Frame]] = {}
    for name in ("test", "valid", "train"):
        if name not in sources or name in chosen:
            continue
        source = sources[name]
        pool = _of_split(run, name, source, files[source.path])
        mates = _mates(sources, source)
        if name == "train":
            taken = {id(frame) for part in chosen.values() for frame in part}
            pool = [frame for frame in pool if id(frame) not in taken and frame.weight > 0]
            fraction = source.fraction
            chosen[name] = split(pool, fraction, run.config.run.seed)[0] if fraction else pool
        elif name in mates:
            fractions = {n: float(sources[n].fraction or 1.0) for n in mates}
            chosen.update(partition(pool, fractions, run.config.run.seed)[0])
        else:
            chosen[name] = pool
    for name, frames in chosen.items():
        if not frames:
            raise run.provenance.error(f"data.{name}", "has no frames left; change the fractions")
        try:
            boundary_check(frames, run.config.model.coulomb.boundary)
        except ElectrojaxError as error:
            raise run.provenance.error("model.coulomb.boundary", str(error)) from None
    return {name: chosen[name] for name in SPLITS if name in chosen}


def _mates(sources: Mapping[str, DataSource], source: DataSource) -> list[str]:
    """The held-out splits that are shares of the same frames as a source."""
    same = {
        name: s for name, s in sources.items() if (s.path, s.split) == (source.path, source.split)
    }
    return [name for name, s in same.items() if name != "train" and s.fraction is not None]


def _read(run: LoadedRun, key: str, path: str) -> list[Frame]:
    keys = run.config.data.keys
    names = [f"data.keys.{name}" for name in type(keys).model_fields]
    where = {name: run.provenance.where(name) for name in names}
    try:
        file = resolve_source(path)
    except ElectrojaxError as error:
        raise run.provenance.error(key, str(error)) from None
    return read_frames(file, keys.model_dump(), run.config.data.require, where)


def _labelled_at_nuclei(potential: Potential, frames: Mapping[str, Sequence[Frame]]) -> list[str]:
    """What the last evaluation will ask for that needs more k-vectors, planned from the start."""
    every = [frame for part in frames.values() for frame in part]
    found = potential.with_labelled_responses(every).responses
    return [name for name in found if name in AT_NUCLEI]


def build_training(job: Job) -> tuple[TrainState, list[Stage], Selection]:
    """Returns the initial state, the stages and the selection that the configuration describes.

    Stages of one gradient share one compiled step: their loss weights and learning rates are its
    arguments.

    Raises:
        ConfigError: for a loss term that the model does not predict.
    """
    train = job.run.config.train
    optimizer = make_optimizer(
        train.optimizer.name, train.optimizer.clip, train.optimizer.weight_decay
    )
    weights = _checked_weights(job)
    terms = [name for name in weights[0] if any(w[name] for w in weights)]
    steps = {
        gradient: _train_step(job, gradient, optimizer)
        for gradient in dict.fromkeys(stage.gradient for stage in train.stages)
    }
    stages = [
        Stage(
            name=stage.name,
            epochs=stage.epochs,
            learning_rate=Schedule(stage.learning_rate, stage.schedule, stage.warmup, stage.final),
            weights={name: stage_weights[name] for name in terms},
            train_step=steps[stage.gradient],
        )
        for stage, stage_weights in zip(train.stages, weights)
    ]
    first, _ = next(iter(job.loaders["train"].epoch(0)))
    params = job.potential.init(job.run.config.run.seed, first.system)
    stop = train.early_stop
    selection = Selection(stop.metric, stop.patience) if stop else Selection()
    return init_state(params, optimizer), stages, selection


def _checked_weights(job: Job) -> list[dict[str, float]]:
    """The loss weights of every stage, all of which the model can be trained with."""
    weights = [stage.loss.model_dump() for stage in job.run.config.train.stages]
    for index, stage_weights in enumerate(weights):
        try:
            check_loss(stage_weights, job.potential.provides)
        except ElectrojaxError as error:
            raise job.run.provenance.error(f"train.stages.{index}.loss", str(error)) from None
    return weights


def _train_step(job: Job, gradient: str, optimizer: Any) -> TrainStep:
    """The compiled step of the stages with one gradient."""
    train, potential, guess = job.run.config.train, job.potential, None
    solver = potential.network.solver
    losses = [stage.loss for stage in train.stages if stage.gradient == gradient]
    told = tuple(n for n in solver.diagnoses if any(getattr(loss, n) for loss in losses))
    potential = potential.with_solver_options(gradient=gradient, diagnostics=told)
    if gradient != "implicit":  # the solution does not depend on the start
        guess = functools.partial(label_guess, l_max=solver.l_max)
    return make_train_step(potential.apply, optimizer, train.ema, guess)


def _of_split(
    run: LoadedRun, name: str, source: DataSource, frames: Sequence[Frame]
) -> list[Frame]:
    """The frames of a stored split, or all of them."""
    if source.split is None:
        return list(frames)
    try:
        return stored_split(frames, source.split, source.path)
    except ElectrojaxError as error:
        raise run.provenance.error(f"data.{name}.split", str(error)) from None


def _check_against_model(
    run: LoadedRun, frames: Mapping[str, Sequence[Frame]], potential: Potential
) -> None:
    """Every structure must be one that the model can evaluate, before anything is compiled."""
    check_loss_labels(run, frames["train"], potential)
    check_watched(run, frames.get("valid", []), potential)
    for part in frames.values():
        try:
            check_embedded(part, potential)
        except DataError as error:
            raise run.provenance.error("model.backbone.states", str(error)) from None
        for frame in part:
            potential.check(frame)
            if "dipole" in frame.labels and frame.boundary != "open" and trains_on(run, "dipole"):
                raise run.provenance.error(
                    "train.stages",
                    f"a loss on dipole needs open boundaries, but {frame.source} is "
                    f"{frame.boundary}, where the dipole depends on the choice of the cell; "
                    "set its weight to 0",
                )


def _check_defined(
    run: LoadedRun, frames: Sequence[Frame], samples: Sequence[Sample], potential: Potential
) -> None:
    """Refuses to train on the polarisation, or slopes of it, of a conductor without ends."""
    kind = run.config.model.solver.kind
    for frame, sample in zip(frames, samples):
        trained = [n for n in OF_POLARIZATION if n in frame.labels and trains_on(run, n)]
        try:
            check_defined(trained, potential.network.solver, kind, sample, whole=True)
        except DataError as error:
            raise run.provenance.error("train.stages", f"a loss: {error}") from None


def _loaders(
    run: LoadedRun, samples: Mapping[str, list[Sample]], potential: Potential
) -> dict[str, Loader]:
    """Loaders of all splits on one plan, so that evaluation compiles no further shapes."""
    batching = run.config.data.batching
    held_out = [sample for name, part in samples.items() if name != "train" for sample in part]
    plan = plan_buckets(
        samples["train"], batching.edges, batching.graphs, batching.buckets, held_out
    )
    seed = run.config.run.seed
    return {
        name: Loader(part, plan, potential.dtype, seed, shuffle=name == "train")
        for name, part in samples.items()
    }
