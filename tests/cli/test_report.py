"""electrojax report on a real run, and what it refuses."""

import csv
import json

import pytest

from electrojax.analysis.predictions import read_predictions
from tests.analysis.report.conftest import write_run


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
    assert kept.split == "test" and (trained / "predictions.npz").stat().st_size < 50_000


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
