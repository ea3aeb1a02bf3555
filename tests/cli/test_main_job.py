"""The main job from the command line: train, evaluate, info, and what they leave on disk."""

import gzip
import json
import re
import subprocess
import sys

import ase.io
import numpy as np
import pytest
import yaml

import electrojax as ej
from electrojax.analysis.plots import epoch_records
from electrojax.data.datasets import builtin_path
from tests.notebooks import code_cells, run_notebook, stored_output
from tests.training.loggers.events import read_events, scalars


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_run_folder_is_complete(trained):
    names = {p.name for p in trained.iterdir()}
    assert {"config.yaml", "resolved.yaml", "environment.json", "metrics.jsonl", "checkpoints",
            "model.ejx", "plots"} <= names  # fmt: skip
    assert not [n for n in names if n.endswith(".tmp")]
    plots = {p.stem for p in (trained / "plots").glob("*.png")}
    assert plots == {"parity_energy", "parity_forces", "parity_charges", "parity_dipole",
                     "parity_multipoles", "learning_curve"}  # fmt: skip
    environment = json.loads((trained / "environment.json").read_text())
    assert len(environment["data"]) == 1 and environment["versions"]["jaxlib"]
    assert yaml.safe_load((trained / "resolved.yaml").read_text())["train"]["stages"]


def test_metrics_record_every_epoch_and_few_programs(trained):
    epochs = [r for r in records(trained) if not r.get("final")]
    assert [r["epoch"] for r in epochs] == [1, 2, 3]
    assert epochs[-1]["train/loss"] < epochs[0]["train/loss"]
    assert epochs[-1]["compiled_programs"] <= 2


def test_trackers_are_told_what_the_log_says(trained):
    events = read_events(trained / "tensorboard")
    *epochs, final = records(trained)
    for name in ("train/loss", "valid/forces_rmse"):
        expected = [(r["epoch"], pytest.approx(r[name])) for r in epochs]
        assert scalars(events, name) == expected
    tests = scalars(events, "test/forces_rmse")
    assert tests == [(final["epoch"], pytest.approx(final["test/forces_rmse"]))]
    tags = {value.tag for event in events for value in event.summary.value}
    assert {"plots/learning_curve", "plots/parity_forces", "configuration/text_summary"} <= tags


def test_test_metrics_equal_an_independent_recomputation(trained, electrojax, tmp_path):
    """From the written predictions and labels alone, by NumPy."""
    resolved = yaml.safe_load((trained / "resolved.yaml").read_text())
    final = records(trained)[-1]
    frames = [a for a in ase.io.read(builtin_path("ion_water"), ":") if a.info["split"] == "test"]
    # the test frames of the run, found by asking the configuration again
    from electrojax.runs.build import open_job

    chosen = open_job(trained / "resolved.yaml", []).frames["test"]
    energies = {round(float(f.labels["energy"]) + 0.0, 6) for f in chosen}
    subset = [a for a in frames if round(a.info["REF_energy"], 6) in energies]
    assert len(subset) == len(chosen) < len(frames)
    ase.io.write(tmp_path / "test.xyz", subset, format="extxyz")
    done = electrojax("evaluate", trained / "model.ejx", tmp_path / "test.xyz",
                      "-o", tmp_path / "out.extxyz", "--metrics", tmp_path / "m.json",
                      "--plots", tmp_path / "plots")  # fmt: skip
    assert done.code == 0, done.err
    out = ase.io.read(tmp_path / "out.extxyz", ":")

    def rmse(pairs):
        return 1e3 * np.sqrt(np.mean(np.concatenate([np.ravel(a - b) for a, b in pairs]) ** 2))

    expected = {
        "energy_rmse": rmse(
            [((a.info["electrojax_energy"] - a.info["REF_energy"]) / len(a), 0.0) for a in out]
        ),
        "forces_rmse": rmse([(a.arrays["electrojax_forces"], a.arrays["REF_forces"]) for a in out]),
        "charges_rmse": rmse(
            [(a.arrays["electrojax_charges"], a.arrays["REF_charges"]) for a in out]
        ),
        "dipole_rmse": rmse([(a.info["electrojax_dipole"], a.info["REF_dipole"]) for a in out]),
        "multipoles_rmse": rmse(
            [(a.arrays["electrojax_multipoles"], a.arrays["REF_multipoles"]) for a in out]
        ),
    }
    reference = np.concatenate([a.arrays["REF_forces"].ravel() for a in out])
    relative = expected["forces_rmse"] / 1e3 / np.sqrt(np.mean(reference**2))
    written = json.loads((tmp_path / "m.json").read_text())
    for name, value in {**expected, "forces_rmse_relative": relative}.items():
        np.testing.assert_allclose(final[f"test/{name}"], value, rtol=2e-4, err_msg=name)
        np.testing.assert_allclose(written[f"test/{name}"], value, rtol=2e-4, err_msg=name)
    assert (tmp_path / "plots" / "parity_dipole.png").stat().st_size > 5000
    assert resolved["run"]["name"] == "tiny"


def test_predict_from_python_equals_evaluate(trained, electrojax, tmp_path):
    with gzip.open(builtin_path("ion_water"), "rt") as file:
        atoms = ase.io.read(file, ":5", format="extxyz")
    ase.io.write(tmp_path / "few.xyz", atoms, format="extxyz")
    electrojax("evaluate", trained / "model.ejx", tmp_path / "few.xyz", "-o", tmp_path / "o.xyz")
    predictions = ej.predict(ej.load(trained / "model.ejx"), atoms)
    for written, prediction in zip(ase.io.read(tmp_path / "o.xyz", ":"), predictions):
        np.testing.assert_allclose(
            written.arrays["electrojax_forces"], prediction.forces, atol=1e-5
        )
        np.testing.assert_allclose(
            written.info["electrojax_energy"], prediction.energy, rtol=0, atol=2e-4
        )
        total = sum(prediction.energies.values())
        np.testing.assert_allclose(total, prediction.energy, rtol=0, atol=1e-4)


def test_labels_of_other_names_are_pointed_out(trained, electrojax, tmp_path):
    with gzip.open(builtin_path("ion_water"), "rt") as file:
        atoms = ase.io.read(file, ":3", format="extxyz")
    for one in atoms:
        energy, forces = one.info.pop("REF_energy"), one.arrays.pop("REF_forces")
        one.info |= {"dft_energy": energy, "long_name_of_energy": 0.0, "electrojax_forces": 0.0}
        one.arrays["Forces"] = forces
    ase.io.write(tmp_path / "per.xyz", atoms, format="extxyz")
    command = ["evaluate", trained / "model.ejx", tmp_path / "per.xyz"]
    done = electrojax(*command)
    assert done.code == 0 and "forces_rmse" not in done.out
    assert done.err.splitlines()[0] == (
        "warning: no energy or forces in per.xyz to compare; other names there: Forces, "
        "composition, dft_energy, long_name_of_energy, origin, temperature; "
        "name them with --key energy=dft_energy --key forces=Forces"
    )
    done = electrojax(*command, "--key", "energy=dft_energy", "--key", "forces=Forces")
    assert done.code == 0 and "forces_rmse" in done.out and "warning" not in done.err


def test_predictions_carry_the_inputs_of_their_structures(trained, electrojax, tmp_path):
    """Zeros too: the calculator and the md verb refuse a file that does not give the charge."""
    with gzip.open(builtin_path("ion_water"), "rt") as file:
        atoms = ase.io.read(file, ":12", format="extxyz")
    atoms[0].info["external_field"] = np.array([0.0, 0.1, 0.0])
    ase.io.write(tmp_path / "few.xyz", atoms, format="extxyz")
    electrojax("evaluate", trained / "model.ejx", tmp_path / "few.xyz", "-o", tmp_path / "o.xyz")
    written = ase.io.read(tmp_path / "o.xyz", ":")
    charges = [one.info["total_charge"] for one in atoms]
    assert 0 in charges and [one.info["total_charge"] for one in written] == charges
    assert all(one.info["multiplicity"] == 1 for one in written)
    np.testing.assert_array_equal(written[0].info["external_field"], [0.0, 0.1, 0.0])
    assert not any("external_field" in one.info for one in written[1:])
    one = written[charges.index(0)]
    one.calc = ej.Calculator(trained / "model.ejx")
    np.testing.assert_allclose(one.get_potential_energy(), one.info["electrojax_energy"], atol=1e-3)


def test_the_notebook_of_predictions_runs(trained, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "quickstart").symlink_to(trained)
    monkeypatch.chdir(tmp_path)
    printed, names = run_notebook("predict")
    shown = [stored_output(cell) for cell in code_cells("predict")]
    assert [text.split()[0] for text in printed] == [text.split()[0] for text in shown]
    assert "the dipole is that of the multipoles: True" in printed[2]
    assert abs(names["force"] - names["difference"]) < 0.02
    assert 0 < names["forces"] < 2 and names["after"][0] < names["before"][0]


def test_evaluate_predicts_the_responses_that_are_labelled(trained, electrojax, tmp_path):
    """Fixed charges answer no field: the error is the label."""
    with gzip.open(builtin_path("ion_water"), "rt") as file:
        atoms = ase.io.read(file, ":2", format="extxyz")
    for one in atoms:
        one.info["REF_polarizability"] = 0.3 * np.eye(3)
    ase.io.write(tmp_path / "a.xyz", atoms, format="extxyz")
    files = ["-o", tmp_path / "o.xyz", "--metrics", tmp_path / "m.json"]
    electrojax("evaluate", trained / "model.ejx", tmp_path / "a.xyz", *files)
    metrics = json.loads((tmp_path / "m.json").read_text())
    np.testing.assert_allclose(metrics["test/polarizability_rmse"], 0.3 / np.sqrt(3), rtol=1e-5)
    assert "test/born_charges_rmse" not in metrics
    for one in ase.io.read(tmp_path / "o.xyz", ":"):
        np.testing.assert_allclose(one.info["electrojax_polarizability"], 0, atol=1e-6)


def test_second_run_needs_resume(trained, electrojax, monkeypatch):
    monkeypatch.chdir(trained.parent.parent)
    before = (trained / "metrics.jsonl").read_bytes()
    refused = electrojax("train", "tiny.yaml")
    assert refused.code == 2 and "--resume auto" in refused.err
    assert (trained / "metrics.jsonl").read_bytes() == before


@pytest.mark.conformance
def test_resume_with_more_epochs_appends(electrojax, tmp_path, monkeypatch):
    from tests.cli.conftest import TINY

    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY)
    assert electrojax("train", "tiny.yaml", "--set", "train.epochs=1").code == 0
    folder = tmp_path / "runs" / "tiny"
    first = (folder / "metrics.jsonl").read_text()
    more = electrojax("train", "tiny.yaml", "--set", "train.epochs=2", "--resume", "auto")
    assert more.code == 0, more.err
    assert (folder / "metrics.jsonl").read_text().startswith(first)
    assert [r["epoch"] for r in epoch_records(records(folder))] == [1, 2]
    assert [r["event"] for r in records(folder) if "event" in r] == ["resume"]
    other = electrojax(
        "train", "tiny.yaml", "--set", "model.backbone.channels=4", "--resume", "auto"
    )
    assert other.code == 2 and "model" in other.err


def test_info_check_schema_init_list(trained, electrojax, tmp_path, monkeypatch):
    info = electrojax("info", trained / "model.ejx", "--json")
    assert json.loads(info.out)["elements"] == ["H", "O", "Na", "Cl"]
    monkeypatch.chdir(tmp_path)
    assert electrojax("init", "--solver", "none", "-o", "new.yaml").code == 0
    kept = electrojax("init", "-o", "new.yaml")
    assert kept.code == 2 and "exists" in kept.err
    checked = electrojax("check", "new.yaml")
    assert checked.code == 0, checked.err
    assert "training step" in checked.out and not (tmp_path / "runs").exists()
    assert "charge_control" in electrojax("schema", "model.solver").out
    assert json.loads(electrojax("schema", "--json").out)["type"] == "object"
    listed = electrojax("data", "list").out
    for name, sizes in (
        ("ion_water", "train 320, valid 40, test 40"),
        ("charged_dimers", "train 346, valid 58, test 174"),
        ("field_clusters", "train 252, valid 36, test 72"),
    ):
        assert re.search(f"builtin:{name} +{sizes}", listed), listed


def test_help_is_quick_and_loads_no_jax():
    code = (
        "import sys; sys.argv = ['electrojax', '--help']\n"
        "from electrojax.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert not {'jax', 'ase', 'numpy', 'pydantic'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout
