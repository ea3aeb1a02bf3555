"""A sweep's own index orders, names and explains its points."""

import json

import pytest

from electrojax.analysis.report.report import make_report
from electrojax.analysis.report.sweeps import read_all
from electrojax.errors import DataError

AXES = "model.solver", "run.seed"


@pytest.fixture
def sweep(make_run, tmp_path):
    """A sweep of two kinds and two seeds: three points finished, one failed, one never begun."""
    folder = tmp_path / "runs" / "small"
    points = [("f0", "scf", 1), ("a1", "scf", 2), ("b2", "none", 1), ("c3", "none", 2)]
    for name, kind, seed in points:
        run = make_run(name, folder=folder, kind=kind, seed=seed, finished=name != "c3",
                       finals={"test/forces_rmse": 40.0 + seed})  # fmt: skip
        told = {"name": name, "values": dict(zip(AXES, (kind, str(seed))))}
        (run / "point.json").write_text(json.dumps(told))
        events = [{"event": "begin"}, {"event": "end", "state": "finished"}]
        (run / "attempts.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    index = {
        "name": "small",
        "mode": "grid",
        "axes": {"model.solver": ["scf", "none", "qeq"], "run.seed": ["1", "2"]},
        "report": {"metrics": ["test/forces_rmse", "test/dipole_rmse"], "mean_over": "run.seed"},
        "points": [
            {"name": n, "values": dict(zip(AXES, (k, str(s))))}
            for n, k, s in [*points, ("d4", "qeq", 1)]
        ],
    }
    (folder / "sweep.json").write_text(json.dumps(index))
    return folder


def attempts(folder, *events):
    lines = "".join(json.dumps(event) + "\n" for event in events)
    (folder / "c3" / "attempts.jsonl").write_text(lines)


def test_a_sweep_says_its_columns_order_and_labels(sweep):
    report = make_report([sweep])
    (part,) = report.parts
    assert report.title == "small"
    assert [g.label for g in report.groups] == ["scf", "none"]  # not the order of the hashes
    assert [c.name for c in part.table.columns] == ["test/forces_rmse"]  # measured by now
    assert part.table.counts == [2, 1]
    (asked,) = make_report([sweep], ["time/step_ms"]).parts
    assert [c.name for c in asked.table.columns] == ["time/step_ms"]


def test_points_that_are_not_finished_have_reasons(sweep):
    attempts(sweep, {"event": "begin"}, {"event": "end", "state": "failed", "reason": "no memory"})
    told = dict(make_report([sweep]).unfinished)
    assert told == {
        "c3 (solver=none seed=2)": "failed: no memory",
        "d4 (solver=qeq seed=1)": "waiting: nobody began it",
    }
    attempts(sweep, {"event": "begin"})
    told = dict(make_report([sweep]).unfinished)
    assert told["c3 (solver=none seed=2)"].startswith("under way, or its process was lost")


def test_a_point_that_never_began_to_train(sweep):
    for name in ("resolved.yaml", "environment.json", "metrics.jsonl"):
        (sweep / "c3" / name).unlink()
    attempts(sweep, {"event": "begin"}, {"event": "end", "state": "failed", "reason": "exit 2"})
    assert ("c3 (solver=none seed=2)", "failed: exit 2") in make_report([sweep]).unfinished


def test_without_an_index_the_configurations_tell(sweep):
    (sweep / "sweep.json").unlink()
    for file in sweep.glob("*/point.json"):
        file.unlink()
    report = make_report([sweep])
    assert sorted(g.label for g in report.groups) == ["none", "scf"]
    assert len(report.unfinished) == 1


def test_a_sweep_that_has_not_begun_and_a_damaged_index(tmp_path):
    (tmp_path / "sweep.json").write_text(json.dumps(
        {"name": "s", "points": [{"name": "d4", "values": {"run.seed": "1"}}]}))  # fmt: skip
    with pytest.raises(DataError, match=r"no run is finished \(d4 \(seed=1\): waiting"):
        make_report([tmp_path])
    (tmp_path / "sweep.json").write_text('{"name": "s"}')
    with pytest.raises(DataError, match=r"sweep\.json: is damaged"):
        read_all([tmp_path])


def test_one_point_alone_is_a_run(sweep):
    runs, wishes = read_all([sweep / "f0"])
    assert [run.name for run in runs] == ["f0"] and not wishes.metrics
