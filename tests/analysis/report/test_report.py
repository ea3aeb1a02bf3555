"""Errors on different sets of structures are never compared."""

import csv
import io
import json

import pytest

from electrojax.analysis.report import formats
from electrojax.analysis.report.page import html
from electrojax.analysis.report.report import make_report
from electrojax.analysis.report.write import markdown
from electrojax.errors import ConfigError


@pytest.fixture
def two_sets(make_run):
    """Two kinds with two seeds on each of two sets, one much easier than the other."""
    for data, scale in (("easy", 1.0), ("hard", 10.0)):
        for kind, error in (("none", 50.0), ("scf", 40.0)):
            for seed in (1, 2):
                final = {"test/forces_rmse": scale * (error + seed)}
                extra = {"data.test.path": f"/data/{data}.xyz"}
                folder = make_run(f"{data}_{kind}_{seed}", kind=kind, seed=seed, finals=final,
                                  extra=extra)  # fmt: skip
    return folder.parent


def test_each_set_has_its_own_table_and_its_own_best(two_sets):
    report = make_report([two_sets], ["test/forces_rmse"])
    assert [part.name for part in report.parts] == ["easy, test set", "hard, test set"]
    assert [part.table.rows for part in report.parts] == [["none", "scf"]] * 2
    assert [part.table.best(0) for part in report.parts] == [1, 1]
    assert report.labels == ["none", "scf"] and len(report.runs) == 8


def test_each_format_names_the_sets(two_sets):
    report = make_report([two_sets], ["test/forces_rmse"])
    text = markdown(report)
    assert text.count("## Comparison: easy, test set") == 1 and "hard, test set" in text
    tables = [part.table for part in report.parts]
    rows = list(csv.DictReader(io.StringIO(formats.csv(tables))))
    means = {(r["data"], r["label"]): float(r["test/forces_rmse (meV/Å) mean"]) for r in rows}
    assert means == {
        ("easy, test set", "none"): 51.5,
        ("easy, test set", "scf"): 41.5,
        ("hard, test set", "none"): 515.0,
        ("hard, test set", "scf"): 415.0,
    }
    assert formats.latex(tables).count(r"\begin{tabular}") == 2
    page = html(report)
    assert page.count('<h2 class="part">') == 2
    assert page.count("data-group=") == 2 + 4  # two boxes hide the rows of both tables


def test_other_content_under_one_name_is_another_set(make_run):
    folders = [make_run(name, kind=kind) for name, kind in (("a", "none"), ("b", "scf"))]
    file = folders[1] / "environment.json"
    environment = json.loads(file.read_text())
    environment["data"]["/data/set.xyz"] = "cd" * 32
    file.write_text(json.dumps(environment))
    names = [part.name for part in make_report(folders).parts]
    assert names == ["set, test set", "set, test set (2)"]


def test_a_metric_must_be_measured_somewhere_only(two_sets, make_run):
    make_run("more", kind="qeq", finals={"test/dipole_rmse": 3.0},
             extra={"data.test.path": "/data/easy.xyz"})  # fmt: skip
    report = make_report([two_sets], ["test/dipole_rmse"])
    assert [c.name for c in report.parts[0].table.columns] == ["test/dipole_rmse"]
    assert "test/forces_rmse" in [c.name for c in report.parts[1].table.columns]
    with pytest.raises(ConfigError, match="test/charges_rmse"):
        make_report([two_sets], ["test/charges_rmse"])
