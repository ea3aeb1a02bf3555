"""Trackers hear of a run in order, and none of their failures reaches it."""

import dataclasses
import json
from typing import ClassVar

import numpy as np
import pytest

from electrojax.training.loggers.base import RunStart, is_installed
from electrojax.training.loop import fit
from electrojax.training.optimizer import Schedule, make_optimizer
from electrojax.training.run import Stage
from electrojax.training.step import init_state, make_eval_step, make_train_step
from electrojax.training.tracking import IDS, Tracking, scalars
from tests.training import toy


@dataclasses.dataclass
class Recorder:
    """Remembers what it is told, and fails where asked to."""

    package: ClassVar[str] = "json"

    run_id: str = "r1"
    fails: tuple = ()
    heard: list = dataclasses.field(default_factory=list)

    def _hear(self, *what):
        self.heard.append(what)
        if what[0] in self.fails or what[:2] in self.fails:
            raise RuntimeError(f"no room\n for {what[0]}.")

    def start(self, run):
        self._hear("start", run.run_id)
        return run.run_id or self.run_id

    def log(self, epoch, values):
        self._hear("log", epoch, values)

    def artifact(self, path):
        self._hear("artifact", path.name)

    def close(self, status):
        self._hear("close", status)


def tracking(folder, warnings=None, **loggers):
    heard = [] if warnings is None else warnings
    return Tracking(loggers, RunStart("water", folder, {}), heard.append)


def epochs(tracker, *numbers):
    for number in numbers:
        tracker.on_epoch(None, {"epoch": number, "train/loss": 0.5})


def test_a_run_is_told_from_start_to_end(tmp_path):
    recorder = Recorder()
    with tracking(tmp_path, a=recorder) as tracker:
        epochs(tracker, 1)
        tracker.results(1, {"test/loss": 2}, [tmp_path / "model.ejx"])
    assert recorder.heard == [
        ("start", ""),
        ("log", 1, {"train/loss": 0.5}),
        ("log", 1, {"test/loss": 2.0}),
        ("artifact", "model.ejx"),
        ("close", "finished"),
    ]


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt, "interrupted"), (ValueError, "failed")],
)
def test_the_end_is_told_as_it_was(tmp_path, error, status):
    recorder = Recorder()
    with pytest.raises(error), tracking(tmp_path, a=recorder):
        raise error
    assert recorder.heard[-1] == ("close", status)


def test_a_resumed_run_has_the_same_id(tmp_path):
    with tracking(tmp_path, a=Recorder("one"), b=Recorder("two"), c=Recorder("")):
        pass
    assert json.loads((tmp_path / IDS).read_text()) == {"a": "one", "b": "two"}
    again, late = Recorder("other"), Recorder("late")
    with tracking(tmp_path, b=again, d=late):
        pass
    assert again.heard[0] == ("start", "two") and late.heard[0] == ("start", "")
    assert json.loads((tmp_path / IDS).read_text()) == {"a": "one", "b": "two", "d": "late"}


def test_damaged_or_unwritable_ids_only_cost_a_warning(tmp_path):
    (tmp_path / IDS).write_text('{"a": "o')
    recorder, warnings = Recorder(), []
    with tracking(tmp_path, warnings, a=recorder):
        pass
    assert recorder.heard[0] == ("start", "") and not warnings
    (tmp_path / IDS).unlink()
    (tmp_path / IDS).mkdir()
    with tracking(tmp_path, warnings, a=Recorder()) as tracker:
        epochs(tracker, 1)
    [warning] = warnings
    assert IDS in warning and "could not be written" in warning


def test_one_that_cannot_start_is_left_out(tmp_path):
    bad, good, warnings = Recorder(fails=("start",)), Recorder(), []
    with tracking(tmp_path, warnings, bad=bad, good=good) as tracker:
        epochs(tracker, 1, 2)
    assert warnings == [
        "warning: logger bad: no room for start; the run goes on, see metrics.jsonl"
    ]
    assert bad.heard == [("start", "")]
    assert [what[0] for what in good.heard] == ["start", "log", "log", "close"]


def test_one_that_fails_for_a_while_is_told_again(tmp_path):
    away = Recorder(fails=(("log", 2), ("log", 3), ("log", 5), ("log", 6)))
    warnings = []
    with tracking(tmp_path, warnings, a=away) as tracker:
        epochs(tracker, 1, 2, 3, 4, 5, 6)
    assert len(warnings) == 1
    assert [what[1] for what in away.heard if what[0] == "log"] == [1, 2, 3, 4, 5, 6]
    assert away.heard[-1] == ("close", "finished")


def test_one_that_fails_three_times_in_a_row_is_given_up(tmp_path):
    lost, warnings = Recorder(fails=("log",)), []
    with tracking(tmp_path, warnings, a=lost) as tracker:
        epochs(tracker, 1, 2, 3, 4, 5)
    assert len(warnings) == 1
    assert [what[0] for what in lost.heard] == ["start", "log", "log", "log"]


def test_only_finite_numbers_are_sent():
    record = {"epoch": 3, "stage": "warm", "step": 12, "train/loss": 0.25, "final": True,
              "a": float("nan"), "b": float("inf"), "c": None}  # fmt: skip
    assert scalars(record) == {"step": 12.0, "train/loss": 0.25}


def test_a_package_is_found_without_its_namesake_folder(tmp_path, monkeypatch):
    (tmp_path / "wandb_of_nobody").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert (
        is_installed("json")
        and not is_installed("wandb_of_nobody")
        and not is_installed("nowhere_9")
    )


def test_training_goes_on_and_its_metrics_are_those_of_the_log(tmp_path):
    optimizer = make_optimizer()
    step = make_train_step(toy.apply, optimizer, ema=0.9)
    weights = {"energy": 1.0, "forces": 1.0}
    stages = [Stage("main", 2, Schedule(0.03, "cosine"), weights, step)]
    state = init_state(toy.params(), optimizer)
    good, bad, warnings = Recorder(), Recorder(fails=("log", "close")), []
    with tracking(tmp_path, warnings, good=good, bad=bad) as tracker:
        result = fit(state, stages, make_eval_step(toy.apply), toy.Loader(toy.samples(6)),
                     provides=toy.PROVIDES, callbacks=[tracker])  # fmt: skip
    assert len(warnings) == 1 and [r["epoch"] for r in result.records] == [1, 2]
    logged = [what[2] for what in good.heard if what[0] == "log"]
    assert [values["train/loss"] for values in logged] == [r["train/loss"] for r in result.records]
    assert all(np.isfinite(list(values.values())).all() for values in logged)
