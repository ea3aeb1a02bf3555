"""Runs that differ in their seeds only stand together, under a short name."""

import dataclasses
import json

from electrojax.analysis.report.groups import differences, flatten, group_runs
from electrojax.analysis.report.runs import read_run


def test_only_keys_that_differ(make_run):
    one = {"run": {"name": "a", "seed": 1}, "model": {"solver": {"kind": "scf", "steps": 3}},
           "train": {"stages": [{"epochs": 5}, {"epochs": 6}]}, "same": [1, 2]}  # fmt: skip
    other = {"run": {"name": "b", "seed": 2}, "model": {"solver": {"kind": "none"}},
             "train": {"stages": [{"epochs": 5}, {"epochs": 7}]}, "same": [1, 2]}  # fmt: skip
    assert differences([one, other], ("run",)) == {
        "model.solver.kind": ["scf", "none"],
        "model.solver.steps": ["3", "–"],
        "train.stages.1.epochs": ["6", "7"],
    }
    assert flatten({"a": {"b": []}, "c": {}}) == {"a.b": [], "c": {}}


def runs(make_run, *options):
    return [read_run(make_run(f"r{i}", **o)) for i, o in enumerate(options)]


def labels(found):
    return [group.label for group in group_runs(found)]


def test_seeds_stand_together(make_run):
    found = runs(make_run, *({"kind": k, "seed": s} for s in (1, 2, 3) for k in ("none", "scf")))
    groups = group_runs(found)
    assert [g.label for g in groups] == ["none", "scf"]
    assert [[r.seed for r in g.runs] for g in groups] == [[1, 2, 3]] * 2
    assert dict(groups[1].values) == {"model.solver.kind": "scf"}


def test_averaging_over_another_key(make_run):
    found = runs(
        make_run,
        *({"seed": s, "extra": {"model.density.l_max": l}} for s in (1, 2) for l in (0, 1)),
    )
    assert [len(g.runs) for g in group_runs(found, ["model.density.l_max"])] == [2, 2]
    assert labels(found) == ["l_max 0", "l_max 1"]


def test_labels_take_as_few_keys_as_tell_groups_apart(make_run):
    found = runs(
        make_run,
        {"kind": "none", "extra": {"model.solver.depth": 1}},
        {"kind": "scf", "extra": {"model.solver.tolerance": 1e-5}},
        {"kind": "scf", "extra": {"model.solver.tolerance": 1e-6}},
    )
    assert labels(found) == ["none · tolerance –", "scf · tolerance 1e-05", "scf · tolerance 1e-06"]


def test_keys_with_one_ending_are_told_in_full(make_run):
    pairs = [(4, 4), (4, 5), (5, 4), (5, 5)]
    extra = [{"model.backbone.cutoff": a, "model.pairs.cutoff": b} for a, b in pairs]
    found = runs(make_run, *({"extra": e} for e in extra))
    assert labels(found)[1] == "model.backbone.cutoff 4 · model.pairs.cutoff 5"


def test_one_configuration_run_twice_is_not_a_spread(make_run):
    found = runs(make_run, {"seed": 1}, {"seed": 1})
    assert labels(found) == ["(r0)", "(r1)"]


def test_a_single_run_is_called_by_its_name(make_run):
    assert labels(runs(make_run, {"kind": "qeq"})) == ["r0"]


def test_seeds_of_a_single_configuration_are_called_by_its_kind(make_run):
    found = runs(make_run, {"kind": "qeq", "seed": 1}, {"kind": "qeq", "seed": 2})
    assert labels(found) == ["qeq"]
    axes = [{"model.solver": "soft", "run.seed": s} for s in "12"]
    found = [dataclasses.replace(run, axes=a) for run, a in zip(found, axes)]
    assert labels(found) == ["soft"] and labels(found[:1]) == ["soft · seed 1"]


def test_names_folders_and_logging_are_no_difference(make_run):
    found = runs(
        make_run, {"seed": 1}, {"seed": 2, "extra": {"run.dir": "x", "loggers": ["jsonl", "wandb"]}}
    )
    assert len(group_runs(found)) == 1


def test_other_contents_under_one_file_name_are_a_difference(make_run):
    folder = make_run("b", seed=2)
    environment = json.loads((folder / "environment.json").read_text())
    environment["data"]["/data/set.xyz"] = "cd" * 32
    (folder / "environment.json").write_text(json.dumps(environment))
    groups = group_runs([read_run(make_run("a", seed=1)), read_run(folder)])
    assert [g.values["data sha256"] for g in groups] == ["ab" * 6, "cd" * 6]
