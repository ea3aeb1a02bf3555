"""Mode search: trials are asked for, pruned, told, and taken up again."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from electrojax.errors import ConfigError
from electrojax.sweep import verbs
from electrojax.sweep.attempt import Outcome
from electrojax.sweep.points import Point, load_sweep
from electrojax.sweep.search import Trials, open_study
from electrojax.sweep.state import FAILED, FINISHED, PRUNED, STOPPED, PointFolder

from .conftest import FAKE, edited

SEARCH = """\
sweep: {name: search, base: base, mode: search}
axes:
  train.stages.0.learning_rate: {low: 1e-3, high: 1e-1, log: true}
  model.backbone.channels: {low: 8, high: 32, step: 8}
  model.solver: {none: {kind: none}, local: {kind: local}}
search: {trials: 6, startup: 3, warmup_epochs: 2}
executor: {kind: local, workers: 2}
"""


@pytest.fixture
def search_file(sweep_file: Path) -> Path:
    sweep_file.write_text(SEARCH)
    return sweep_file


def opened(path: Path) -> tuple[Trials, Any]:
    sweep = load_sweep(path)
    sweep.folder.mkdir(parents=True, exist_ok=True)
    study = open_study(sweep)
    return Trials(sweep, study, lambda line: None), study


def measured(point: Point, values: list[float], stage: str = "only") -> None:
    """Writes the metrics of a run."""
    folder = PointFolder(point.folder)
    folder.prepare("", {"name": point.name, "values": dict(point.values)})
    lines = [{"epoch": e, "stage": stage, "valid/loss": v} for e, v in enumerate(values, 1)]
    with (point.folder / "metrics.jsonl").open("a") as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines))


def take(trials: Trials) -> Point:
    point = trials.next()
    assert point is not None
    return point


def test_points_are_drawn_within_their_intervals(search_file: Path) -> None:
    trials, study = opened(search_file)
    points = [take(trials) for _ in range(5)]
    rates = [point.run.config.train.stages[0].learning_rate for point in points]
    assert all(1e-3 <= rate <= 1e-1 for rate in rates) and len(set(rates)) == 5
    assert {p.run.config.model.backbone.options()["channels"] for p in points} <= {8, 16, 24, 32}
    assert [t.state.name for t in study.trials] == ["RUNNING"] * 5


def test_the_value_is_the_lowest_of_the_last_stage(search_file: Path) -> None:
    trials, study = opened(search_file)
    point = take(trials)
    measured(point, [0.1, 0.2], "first")
    measured(point, [5.0, 4.0, 3.0, 3.5], "second")
    trials.told(point, Outcome(FINISHED))
    assert study.trials[0].value == 3.0


def test_a_trial_that_falls_behind_is_asked_to_stop(search_file: Path) -> None:
    trials, study = opened(search_file)
    for value in (1.0, 1.1, 0.9):
        point = take(trials)
        measured(point, [value] * 5)
        trials.watch([point])
        assert PointFolder(point.folder).asked_to_stop() is None
        trials.told(point, Outcome(FINISHED))
    point = take(trials)
    measured(point, [9.0, 9.0])
    trials.watch([point])
    assert PointFolder(point.folder).asked_to_stop() is None  # within the first epochs
    measured(point, [9.0] * 4)
    trials.watch([point])
    assert PointFolder(point.folder).asked_to_stop() == PRUNED
    trials.told(point, Outcome(PRUNED))
    assert study.trials[-1].state.name == "PRUNED"


def test_without_pruning_none_is_stopped(search_file: Path) -> None:
    edited(search_file, "startup: 3", "prune: false, startup: 3")
    trials, _ = opened(search_file)
    for value in (1.0, 1.1, 0.9, 9.0):
        point = take(trials)
        measured(point, [value] * 9)
        trials.watch([point])
        assert PointFolder(point.folder).asked_to_stop() is None
        trials.told(point, Outcome(FINISHED))


def test_trials_of_a_lost_coordinator_are_taken_up_again(search_file: Path) -> None:
    trials, _ = opened(search_file)
    first, second, third = (take(trials) for _ in range(3))
    measured(first, [1.0])
    trials.told(first, Outcome(FINISHED))
    trials.told(second, Outcome(STOPPED))
    again, study = opened(search_file)  # with the journal of the first
    assert [take(again).name, take(again).name] == [second.name, third.name]
    fresh = take(again)
    assert fresh.name not in {first.name, second.name, third.name}
    assert len(study.trials) == 4


def test_one_configuration_is_trained_once(search_file: Path) -> None:
    search_file.write_text(
        "sweep: {name: search, base: base, mode: search}\n"
        "axes: {model.solver: [{kind: local}]}\n"
        "search: {trials: 4}\n"
    )
    trials, study = opened(search_file)
    point = take(trials)
    assert trials.next() is None  # the other three are the same configuration
    measured(point, [2.0])
    trials.told(point, Outcome(FINISHED))
    assert [trial.value for trial in study.trials] == [2.0] * 4


def test_a_failed_point_and_an_impossible_combination_fail_alone(search_file: Path) -> None:
    search_file.write_text(
        "sweep: {name: search, base: base, mode: search}\n"
        "axes:\n"
        "  model.solver.kind: [scf, none]\n"
        "  train.stages.0.gradient: [implicit, direct]\n"
        "search: {trials: 20}\n"
    )
    trials, study = opened(search_file)
    while (point := trials.next()) is not None:
        solver, gradient = point.values.values()
        assert (solver, gradient) != ("none", "direct")
        measured(point, [1.0])
        failed = (solver, gradient) == ("scf", "direct")
        trials.told(point, Outcome(FAILED, "exit 3: not finite") if failed else Outcome(FINISHED))
    reasons = {t.user_attrs.get("reason", "")[:40] for t in study.trials if t.value is None}
    assert len(study.trials) == 20
    assert "exit 3: not finite" in reasons
    assert any("train.stages.0.gradient" in reason for reason in reasons)
    lines: list[str] = []
    verbs.status(search_file, [], lines.append)
    assert any(
        line.startswith("trial ") and "gradient=direct  (sweep.yaml:4" in line for line in lines
    )


def test_a_search_end_to_end(search_file: Path) -> None:
    edited(Path("base.yaml"), "epochs: 4", "epochs: 10")
    lines: list[str] = []
    verbs.run(search_file, [], lines.append, FAKE)
    assert lines[-2].startswith("best of 6 trials: valid/loss ")
    states = Counter(state.name for _, _, state in verbs.states(load_sweep(search_file)))
    assert sum(states.values()) == 6 and set(states) <= {FINISHED, PRUNED}
    index = json.loads(Path("runs/search/sweep.json").read_text())
    assert len(index["points"]) == 6
    again: list[str] = []
    verbs.run(search_file, [], again.append, FAKE)
    assert again == lines[-2:]  # nothing is left to try


REFUSED = {
    "an interval upside down": (
        "low: 1e-3, high: 1e-1",
        "low: 1e-1, high: 1e-3",
        "sweep.yaml:3 axes.train.stages.0.learning_rate high must be greater than low",
    ),
    "an unknown end": ("low: 8, high", "lo: 8, high", "sweep.yaml:4 axes.model.backbone.channels"),
    "out of bounds": (
        "{low: 8, high: 32, step: 8}",
        "{low: 0, high: 32}",
        "sweep.yaml:4 model.backbone.channels must be at least 1",
    ),
    "a metric of the test set": (
        "trials: 6,",
        "trials: 6, metric: test/loss,",
        'sweep.yaml:6 search.metric "test/loss" does not fit',
    ),
    "a metric of no run": (
        "trials: 6,",
        "trials: 6, metric: valid/frces_rmse,",
        'sweep.yaml:6 search.metric no run of this sweep could measure "valid/frces_rmse"',
    ),
    "an interval in a grid": (
        ", mode: search}",
        "}",
        "search belongs to mode search, not grid",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_searches_are_answered_at_their_line(case: str, search_file: Path) -> None:
    old, new, start = REFUSED[case]
    with pytest.raises(ConfigError) as caught:
        load_sweep(edited(search_file, old, new))
    lines = [" ".join(line.split()) for line in str(caught.value).splitlines()]
    assert any(start in line for line in lines), lines


def test_a_database_that_cannot_be_opened(search_file: Path) -> None:
    edited(search_file, "trials: 6", "storage: 'sqlite:////nowhere/at/all.db', trials: 6")
    with pytest.raises(ConfigError, match=r"^sweep.yaml:6  search.storage   cannot be opened"):
        opened(search_file)
    edited(search_file, "/nowhere/at/all.db", "study.db")
    trials, _ = opened(search_file)
    assert take(trials) is not None and Path("study.db").exists()
