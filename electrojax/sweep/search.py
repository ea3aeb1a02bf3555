"""Mode search: an Optuna study chooses the points and prunes those that fall behind."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from electrojax.errors import ConfigError
from electrojax.sweep.attempt import Outcome
from electrojax.sweep.axes import Axis, Choice
from electrojax.sweep.coordinator import run_sweep, write_index
from electrojax.sweep.points import LoadedSweep, Point, label
from electrojax.sweep.schema import Search
from electrojax.sweep.state import FAILED, FINISHED, PRUNED, PointFolder
from electrojax.typing import Reporter

JOURNAL = "study.journal"
REASON = "reason"
"""Name under which a trial keeps why it failed."""


def run_search(sweep: LoadedSweep, report: Reporter, command: Sequence[str] | None = None) -> None:
    """Tries as many points as the search asks for, and says which was best.

    Args:
        sweep: in mode search.
        report: receives lines of progress.
        command: what trains a file, for tests.

    Raises:
        ConfigError: if optuna is missing or its database cannot be opened.
        ConvergenceError: at the end, if points failed.
    """
    sweep.folder.mkdir(parents=True, exist_ok=True)
    study = open_study(sweep)
    trials = Trials(sweep, study, report)
    try:
        if trials.pending():
            run_sweep(sweep, trials, report, command)
    finally:
        write_index(sweep, trials.points)
    if trials.complete:
        best, point = study.best_trial, trials.point_of(study.best_trial)
        metric = _search(sweep).metric
        report(f"best of {len(study.trials)} trials: {metric} {best.value:.6g}")
        report(f"{point.name}  {point.label}")


def _search(sweep: LoadedSweep) -> Search:
    assert sweep.config.search is not None
    return sweep.config.search


def open_study(sweep: LoadedSweep) -> Any:
    """Returns the study, which is on disk after every trial; the sampler is TPE.

    Raises:
        ConfigError: if optuna is missing or its database cannot be opened.
    """
    try:
        import optuna
    except ImportError as error:
        message = f"needs the package {error.name}: pip install 'electrojax[sweep]'"
        raise sweep.provenance.error("sweep.mode", message) from None
    search = _search(sweep)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    optuna.logging.disable_default_handler()
    try:
        study = optuna.create_study(
            study_name=sweep.config.sweep.name,
            storage=_storage(search, sweep.folder),
            direction="minimize",
            load_if_exists=True,
        )
    except Exception as error:  # the database's driver decides which
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise sweep.provenance.error("search.storage", f"cannot be opened: {said}") from None
    # Trials of an earlier run are not drawn again from the same random numbers.
    study.sampler = optuna.samplers.TPESampler(
        seed=search.seed + len(study.trials), n_startup_trials=search.startup, constant_liar=True
    )
    # Optuna counts steps from 0 and prunes from the first one after the warm-up.
    warmup = search.warmup_epochs + 1
    study.pruner = optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=warmup)
    return study


def _storage(search: Search, folder: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    if search.storage is not None:
        return search.storage
    path = str(folder / JOURNAL)
    return JournalStorage(JournalFileBackend(path, lock_obj=JournalFileOpenLock(path)))


class Trials:
    """The trials of a study as points to train.

    A trial that was running when its coordinator ended is taken up again. Trials with one
    configuration share its run.

    Args:
        sweep: in mode search.
        study: from :func:`open_study`.
        report: receives a line for every trial that cannot be a point.
    """

    def __init__(self, sweep: LoadedSweep, study: Any, report: Reporter) -> None:
        self._sweep, self._study, self._report = sweep, study, report
        self._search = _search(sweep)
        self._distributions = {axis.key: distribution(axis) for axis in sweep.axes}
        self._interrupted = [t.number for t in study.trials if not t.state.is_finished()]
        self._waiting: dict[str, list[int]] = {}
        self._reported: dict[str, int] = {}
        self.points = [p for t in study.trials if (p := self._try(t)) is not None]

    @property
    def complete(self) -> list[Any]:
        """The trials that have a value."""
        return [trial for trial in self._study.trials if trial.value is not None]

    def pending(self) -> bool:
        """Returns whether trials are left to begin or to go on with."""
        return bool(self._interrupted) or len(self._study.trials) < self._search.trials

    def next(self) -> Point | None:
        """Returns the point of the next trial that needs training, or None after the last."""
        while self.pending():
            if self._interrupted:
                trial = self._study.trials[self._interrupted.pop(0)]
            else:
                trial = self._study.ask(self._distributions)
            point = self._taken(trial)
            if point is not None:
                return point
        return None

    def _taken(self, trial: Any) -> Point | None:
        """The point of a trial, if nobody has trained it yet or is training it."""
        try:
            point = self.point_of(trial)
        except ConfigError as error:
            self._report(f"trial {trial.number} is not possible: {error}")
            self._fail(trial.number, str(error))
            return None
        if point.name not in {known.name for known in self.points}:
            self.points.append(point)
        write_index(self._sweep, self.points)
        running = point.name in self._waiting
        self._waiting.setdefault(point.name, []).append(trial.number)
        if running:
            return None
        state = PointFolder(point.folder).state()
        if state.name in (FINISHED, PRUNED):
            self.told(point, Outcome(state.name))
            return None
        return point

    def told(self, point: Point, outcome: Outcome) -> None:
        """Tells the study how a point ended; one that was stopped stays open."""
        from optuna.trial import TrialState

        for number in self._waiting.pop(point.name, []):
            if outcome.state == FINISHED:
                value = self._value(point)
                if value is None:
                    self._fail(number, f"{self._search.metric} was not measured")
                else:
                    self._study.tell(number, value)
            elif outcome.state == PRUNED:
                self._study.tell(number, state=TrialState.PRUNED)
            elif outcome.state == FAILED:
                self._fail(number, outcome.reason)

    def watch(self, running: Collection[Point]) -> None:
        """Reports new epochs to the study and asks the points that fall behind to stop."""
        if not self._search.prune:
            return
        for point in running:
            for epoch, value in self._new_epochs(point):
                trial = self._open(self._waiting[point.name][0])
                trial.report(value, epoch)
                if trial.should_prune():
                    PointFolder(point.folder).ask_to_stop(PRUNED)

    def _new_epochs(self, point: Point) -> list[tuple[int, float]]:
        seen = self._reported.get(point.name, 0)
        values = self._measured(point)
        new = [(epoch, value) for epoch, _, value in values if epoch > seen]
        if new:
            self._reported[point.name] = new[-1][0]
        return new

    def _measured(self, point: Point) -> list[tuple[int, str, float]]:
        """Epoch, stage and value of the searched metric; epochs done again count once."""
        found: dict[int, tuple[str, float]] = {}
        for record in PointFolder(point.folder).records():
            value = record.get(self._search.metric)
            if value is not None and "stage" in record:
                found[int(record["epoch"])] = (str(record["stage"]), float(value))
        return [(epoch, stage, value) for epoch, (stage, value) in sorted(found.items())]

    def _value(self, point: Point) -> float | None:
        """The lowest value within the last stage; losses of other stages have other weights."""
        values = self._measured(point)
        return min((v for _, stage, v in values if stage == values[-1][1]), default=None)

    def _open(self, number: int) -> Any:
        from optuna import Trial

        return Trial(self._study, self._study.trials[number]._trial_id)

    def _fail(self, number: int, reason: str) -> None:
        from optuna.trial import TrialState

        self._open(number).set_user_attr(REASON, reason)
        self._study.tell(number, state=TrialState.FAIL)

    def unable(self, trial: Any) -> bool:
        """Returns whether the variants of a trial are no valid configuration together."""
        return self._try(trial) is None

    def _try(self, trial: Any) -> Point | None:
        try:
            return self.point_of(trial)
        except ConfigError:
            return None

    def point_of(self, trial: Any) -> Point:
        """Returns the point of a trial.

        Raises:
            ConfigError: its combination of variants is not a valid configuration.
        """
        return self._sweep.point({a.key: _choice(a, trial.params[a.key]) for a in self._sweep.axes})


def impossible(sweep: LoadedSweep) -> list[tuple[str, str, str]]:
    """Returns number, variants and reason of the trials that could not be points."""
    if not sweep.folder.exists():
        return []
    found, trials = [], Trials(sweep, study := open_study(sweep), lambda line: None)
    for trial in study.trials:
        if REASON in trial.user_attrs and trials.unable(trial):
            words = label({key: str(value) for key, value in trial.params.items()})
            found.append((f"trial {trial.number}", words, str(trial.user_attrs[REASON])))
    return found


def distribution(axis: Axis) -> Any:
    """Returns what Optuna draws an axis from: an interval, or the names of its variants."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    drawn = axis.range
    if drawn is None:
        return CategoricalDistribution([choice.name for choice in axis.choices])
    if drawn.whole:
        step = 1 if drawn.step is None else int(drawn.step)
        return IntDistribution(int(drawn.low), int(drawn.high), log=drawn.log, step=step)
    return FloatDistribution(float(drawn.low), float(drawn.high), log=drawn.log, step=drawn.step)


def _choice(axis: Axis, value: Any) -> Choice:
    if axis.range is not None:
        return axis.drawn(value)
    return next(choice for choice in axis.choices if choice.name == value)
