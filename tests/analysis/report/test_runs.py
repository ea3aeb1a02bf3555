"""Whatever state a run folder is in, it is told what is wrong with it."""

import json

import pytest

from electrojax.analysis.predictions import PREDICTIONS
from electrojax.analysis.report.report import make_report
from electrojax.analysis.report.runs import read_run
from electrojax.analysis.report.sweeps import read_all
from electrojax.errors import DataError
from tests.analysis.report.conftest import cluster


def append(folder, *records):
    with (folder / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def test_a_finished_run(make_run, rng):
    run = read_run(make_run("a", seed=7, epochs=4, frames=[cluster(rng)]))
    assert (run.name, run.seed, run.reason, len(run.epochs)) == ("a", 7, "", 4)
    assert run.predictions.in_all == 1
    metrics = run.metrics
    assert metrics["test/forces_rmse"] == 50.0 and metrics["time/training_s"] == 4.0
    assert metrics["time/compile_s"] == 5.0 and metrics["memory/peak_mib"] == 804.0
    assert metrics["valid/loss"] == run.epochs[-1]["valid/loss"]
    steps = sorted(r["time/step_ms"] for r in run.epochs)
    assert metrics["time/step_ms"] == pytest.approx((steps[1] + steps[2]) / 2)


def test_validation_errors_are_those_of_the_kept_epoch(make_run):
    folder = make_run("a")
    append(folder, {"final": True, "epoch": 2, "test/forces_rmse": 40.0})
    run = read_run(folder)
    assert run.metrics["valid/loss"] == run.epochs[1]["valid/loss"]
    assert run.metrics["test/forces_rmse"] == 40.0  # the last evaluation counts


def test_stopped_runs_and_their_reasons(make_run):
    cut = make_run("cut", epochs=3, finished=False)
    assert "before the last evaluation" in read_run(cut).reason
    lines = (cut / "metrics.jsonl").read_text().splitlines(keepends=True)
    (cut / "metrics.jsonl").write_text(lines[0] + lines[1][:20])
    assert "after epoch 1 of 3" in read_run(cut).reason  # a torn last line does not count
    append(make_run("ill", finished=False) and (cut.parent / "ill"),
           {"event": "stop", "epoch": 2, "reason": "the loss is not finite"})  # fmt: skip
    assert read_run(cut.parent / "ill").reason == "the loss is not finite"
    more = make_run("more")
    append(more, {"event": "resume", "epoch": 3}, {"epoch": 4, "valid/loss": 1.0})
    assert "stopped" in read_run(more).reason  # went on after its evaluation


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("resolved.yaml", "a: [", "resolved.yaml is damaged"),
        ("resolved.yaml", "[1]", "resolved.yaml is damaged"),
        ("environment.json", "{", "environment.json is damaged"),
        ("metrics.jsonl", '{"epoch": 1}\nnonsense\n{}\n', "metrics.jsonl:2 is damaged"),
    ],
)
def test_damage_is_a_reason_and_no_crash(make_run, file, content, reason):
    folder = make_run("a")
    (folder / file).write_text(content)
    assert reason in read_run(folder).reason


def test_damaged_predictions_leave_the_metrics(make_run):
    folder = make_run("a")
    (folder / PREDICTIONS).write_text("nonsense")
    report = make_report([folder])
    ((warning, runs),) = report.warnings
    assert "is damaged" in warning and runs == "all runs" and not report.unfinished


def test_an_absent_file_is_a_reason(make_run):
    folder = make_run("a")
    (folder / "environment.json").unlink()
    assert read_run(folder).reason == "environment.json is missing"


def test_yaml_cannot_make_objects(make_run, tmp_path):
    folder = make_run("a")
    target = tmp_path / "made"
    (folder / "resolved.yaml").write_text(f"!!python/object/apply:os.mkdir ['{target}']")
    assert "damaged" in read_run(folder).reason and not target.exists()


def test_folders_of_runs_each_once(make_run, tmp_path):
    folder = make_run("a")
    make_run("b")
    runs, _ = read_all([tmp_path / "runs", folder, tmp_path])
    assert [run.name for run in runs] == ["a", "b"]


def test_simulations_among_the_runs_are_passed_over(make_run, tmp_path):
    make_run("a")
    simulated = tmp_path / "runs" / "md"
    (simulated / "checkpoints").mkdir(parents=True)
    (simulated / "resolved.yaml").write_text("run: {name: md}\nsteps: 10\n")
    (simulated / "thermo.jsonl").write_text('{"step": 0}\n')
    runs, _ = read_all([tmp_path / "runs"])
    assert [run.name for run in runs] == ["a"]
    with pytest.raises(DataError, match="md: is no run folder and holds none"):
        read_all([simulated])


def test_folders_that_are_no_runs(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="empty: is no run folder and holds none"):
        read_all([tmp_path / "empty"])
    with pytest.raises(DataError, match="file: is a file; needed a run folder"):
        read_all([tmp_path / "file"])
    with pytest.raises(DataError, match="absent: does not exist"):
        read_all([tmp_path / "absent"])


DAMAGED = {
    "run is empty": ("resolved.yaml", "run: null\n"),
    "data is a list": ("resolved.yaml", "run: {name: x}\ndata: [1]\n"),
    "train is text": ("resolved.yaml", "run: {name: x}\ntrain: abc\n"),
    "aliases": ("resolved.yaml", "run: &a {name: x}\nmodel: *a\n"),
    "a tag": ("resolved.yaml", "run: !!python/name:os.system\n"),
    "digests are a list": ("environment.json", '{"data": [1]}'),
    "deep JSON": ("environment.json", "[" * 100_000),
    "an epoch of text": ("metrics.jsonl", '{"epoch": "one"}\n{"epoch": 2}\n'),
    "deep records": ("metrics.jsonl", "[" * 100_000 + "\n{}\n"),
    "records that are lists": ("metrics.jsonl", "[1]\n{}\n"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_the_reason_why_a_run_does_not_count(make_run, name):
    folder = make_run("one")
    file, text = DAMAGED[name]
    (folder / file).write_text(text)
    reason = read_run(folder).reason
    assert reason and "\n" not in reason and len(reason) < 400
    assert file in reason


def test_names_of_runs_hide_nothing(make_run):
    folder = make_run("one")
    text = (folder / "resolved.yaml").read_text()
    (folder / "resolved.yaml").write_text(text.replace("name: one", 'name: "a\\e[31m\\u202eb"', 1))
    assert read_run(folder).name == r"a\x1b[31m\u202eb"
