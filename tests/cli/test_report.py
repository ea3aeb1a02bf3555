"""electrojax report on a real run, and what it refuses."""

import csv
import json

import ase
import numpy as np
import pytest

import electrojax as ej
from electrojax.analysis.predictions import read_predictions
from electrojax.analysis.report.curves import curves
from electrojax.analysis.report.runs import read_run
from electrojax.data.conversion import write_structures
from tests.analysis.report.conftest import dimer, write_run


def test_a_real_run_in_every_format(trained, electrojax, tmp_path):
    outputs = [tmp_path / f"r{suffix}" for suffix in (".html", ".md", ".csv", ".tex")]
    done = electrojax("report", trained, *(x for o in outputs for x in ("-o", o)))
    assert done.code == 0, done.err
    page = outputs[0].read_text()
    for part in ("Errors and costs", "Learning curves", "Parity", "Errors by element"):
        assert f"<h2>{part}</h2>" in page
    final = json.loads((trained / "metrics.jsonl").read_text().splitlines()[-1])
    row = next(csv.DictReader(outputs[2].open()))
    assert float(row["test/forces_rmse (meV/Å) mean"]) == final["test/forces_rmse"]
    assert f"{final['test/forces_rmse']:.4g}" in outputs[1].read_text()
    assert f"{final['test/forces_rmse']:.4g}" in outputs[3].read_text()


def test_stored_predictions_have_the_errors_of_the_metrics(trained):
    kept = read_predictions(trained / "predictions.npz")
    final = json.loads((trained / "metrics.jsonl").read_text().splitlines()[-1])
    for name in ("energy", "forces", "charges", "dipole"):
        delta = (kept.predicted[name] - kept.reference[name]).astype(float)
        delta = delta / kept.sizes if name == "energy" else delta
        error = 1e3 * (delta**2).mean() ** 0.5
        assert error == pytest.approx(final[f"test/{name}_rmse"], rel=1e-4), name
    assert set(kept.split) == {"test"} and (trained / "predictions.npz").stat().st_size < 50_000


CURVES = """\
include: [model/light, solver/local, coulomb/default]
run: {name: curves, seed: 1}
data:
  train: {path: dimers.xyz, split: train}
  test: {path: dimers.xyz, split: test}
  atom_energies: {given: {Na: 0.0, Cl: 0.0}}
model:
  backbone: {kind: light, channels: 4, layers: 1, cutoff: 4.0}
train: {epochs: 1, loss: {energy: 1, forces: 1}}
"""


def test_training_keeps_the_curves_of_all_splits(electrojax, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "curves.yaml").write_text(CURVES)
    splits = {3.0: "train", 5.0: "train", 9.0: "test", 12.0: "test"}
    write_structures(
        tmp_path / "dimers.xyz", [dimer("Na|Cl", r, split=s) for r, s in splits.items()]
    )
    done = electrojax("train", "curves.yaml")
    assert done.code == 0, done.err
    run = read_run(tmp_path / "runs" / "curves")
    assert run.on_curves.distance.tolist() == [9.0, 12.0, 3.0, 5.0]
    assert run.on_curves.split.tolist() == ["test"] * 2 + ["train"] * 2
    assert len(run.predictions.sizes) == 2 and len(curves(run)) == 1
    model = ej.load(tmp_path / "runs" / "curves" / "model.ejx")
    again = ej.predict(model, ase.Atoms("NaCl", [[0, 0, 0], [0, 0, 3.0]], info={"total_charge": 2}))
    kept = run.on_curves.predicted
    assert kept["energy"][2] == pytest.approx(again.energy, abs=1e-5)
    np.testing.assert_allclose(kept["forces"][4:6], again.forces, atol=1e-5)


def refused(done, *words):
    assert done.code == 2 and "Traceback" not in done.err, (done.out, done.err)
    for word in words:
        assert word in done.err, done.err


def test_refusals_write_nothing(electrojax, tmp_path):
    good = write_run(tmp_path / "good", "good")
    cut = write_run(tmp_path / "cut", "cut", finished=False)
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out.html"
    refused(electrojax("report", tmp_path / "empty", "-o", out), "empty", "is no run folder")
    refused(electrojax("report", tmp_path / "absent", "-o", out), "absent", "does not exist")
    refused(electrojax("report", cut, "-o", out), "cut", "no run is finished", "last evaluation")
    unknown = electrojax("report", good, "--metric", "test/force_rmse", "-o", out)
    refused(unknown, "test/force_rmse", "test/forces_rmse")
    refused(electrojax("report", good, "-o", tmp_path / "out.pdf"), "out.pdf", ".html, .md")
    assert not out.exists()
    refused(electrojax("report"))


def test_unfinished_runs_are_told(electrojax, tmp_path):
    write_run(tmp_path / "runs" / "good", "good")
    write_run(tmp_path / "runs" / "cut", "cut", finished=False)
    done = electrojax("report", tmp_path / "runs", "-o", tmp_path / "out.md")
    assert done.code == 0 and "not finished: cut: stopped before" in done.out
    assert "| cut | stopped before" in (tmp_path / "out.md").read_text()
