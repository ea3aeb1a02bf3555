"""A solver, a backbone and a logger of another package, through every verb, present and absent."""

import json
import os
import sys
import zipfile

import pytest

from electrojax.cli import main
from tests.plugins import MODULE, install, put_on_path, uninstalled

RUN = """\
include: [coulomb/default, data/ion_water]
run: {name: even, seed: 1}
data:
  train: {path: builtin:ion_water, split: valid, fraction: 0.5}
  valid: {path: builtin:ion_water, split: test, fraction: 0.2}
  batching: {graphs: 20, buckets: 1}
model:
  backbone: {kind: narrow, layers: 1, cutoff: 4.0}
  density: {l_max: 0}
  solver:
    kind: even
    scale: 2.0
train: {epochs: 2, learning_rate: 0.01, loss: {energy: 1, forces: 10, charges: 1}}
loggers: [csv]
"""
MD = """\
run: {name: simulated, dir: runs}
model: even/model.ejx
start: builtin:ion_water
ensemble: {kind: nvt_langevin, temperature: 300}
steps: 4
write: {every: 2, path: frames.xyz}
"""
BOTH = ("--plugin", f"{MODULE}:EvenCharges", "--plugin", f"{MODULE}:Narrow")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder where the package is installed."""
    return install(tmp_path_factory.mktemp("plugin"))


@pytest.fixture(scope="module")
def trained(site, tmp_path_factory):
    """The run folder of a training with the package's solver, backbone and logger."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "even.yaml").write_text(RUN)
    before = os.getcwd()
    with pytest.MonkeyPatch.context() as patch:
        put_on_path(patch, site)
        patch.setattr(sys, "argv", ["electrojax", "train", "even.yaml"])
        os.chdir(folder)
        try:
            main()
        except SystemExit as stop:
            assert not stop.code
        finally:
            os.chdir(before)
    sys.modules.pop(MODULE, None)
    return folder / "runs" / "even"


def test_training_leaves_a_model_that_names_the_package_and_no_module(trained):
    records = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    losses = [record["train/loss"] for record in records if not record.get("final")]
    assert losses[1] < losses[0]
    assert len((trained / "loss.csv").read_text().splitlines()) == 3  # and the final evaluation
    with zipfile.ZipFile(trained / "model.ejx") as archive:
        manifest = archive.read("manifest.json").decode()
    package = {"distribution": "electrojax-even", "version": "0.3.0"}
    assert json.loads(manifest)["plugins"] == {
        "solver": {"entry_point": "even", **package},
        "backbone": {"entry_point": "narrow", **package},
    }
    assert MODULE not in manifest


def test_every_verb_knows_the_package(site, trained, electrojax, tmp_path, monkeypatch):
    put_on_path(monkeypatch, site)
    monkeypatch.chdir(tmp_path)
    os.symlink(trained, tmp_path / "even")
    done = electrojax("init", "--solver", "even", "-o", "started.yaml")
    assert done.code == 0, done.err
    assert "scale: 1.0" in (tmp_path / "started.yaml").read_text()
    done = electrojax("schema", "model.solver.even")
    assert "of the charges before they are spread" in done.out
    done = electrojax("info", "even/model.ejx")
    assert done.code == 0 and "electrojax-even" in done.out and "missing            []" in done.out
    (tmp_path / "md.yaml").write_text(MD)
    done = electrojax("md", "md.yaml")
    assert done.code == 0, done.err
    assert (tmp_path / "runs" / "simulated" / "frames.xyz").is_file()


def test_without_the_package_info_and_evaluate_name_it(trained, electrojax, monkeypatch):
    put_on_path(monkeypatch, None)
    told = 'model.solver.kind: "even" of package electrojax-even 0.3.0 is not installed'
    done = electrojax("info", trained / "model.ejx")
    assert done.code == 0 and told in done.out and '"narrow"' in done.out
    done = electrojax("evaluate", trained / "model.ejx", "builtin:ion_water")
    assert done.code == 2 and told in done.err and "--plugin my_module:MyClass" in done.err
    assert MODULE not in sys.modules


def test_a_module_that_is_not_installed_is_imported_only_where_the_user_names_it(
    site, trained, electrojax, tmp_path, monkeypatch
):
    put_on_path(monkeypatch, uninstalled(site, tmp_path))
    command = ("evaluate", trained / "model.ejx", "builtin:ion_water", "--split", "valid")
    assert electrojax(*command).code == 2
    assert MODULE not in sys.modules
    done = electrojax(*command, *BOTH[:2])
    assert done.code == 2 and 'model.backbone.kind: "narrow" of package' in done.err
    done = electrojax(*command, *BOTH)
    assert done.code == 0 and "forces_rmse" in done.out, done.err


def test_a_package_of_another_name_is_not_taken_for_it(
    site, trained, electrojax, tmp_path, monkeypatch
):
    put_on_path(monkeypatch, site)
    other = tmp_path / "other.ejx"
    with zipfile.ZipFile(trained / "model.ejx") as archive, zipfile.ZipFile(other, "w") as copy:
        for name in archive.namelist():
            content = archive.read(name).replace(b"electrojax-even", b"electrojax-odd")
            copy.writestr(name, content)
    done = electrojax("evaluate", other, "builtin:ion_water")
    assert done.code == 2
    assert "of package electrojax-odd 0.3.0 is not that of package electrojax-even" in done.err


@pytest.mark.parametrize(
    ("plugin", "complaint"),
    [
        ("no_such_module:Even", "cannot be imported (ModuleNotFoundError"),
        ("electrojax_even", "is not of the form my_package.my_module:MyClass"),
        ("electrojax_even:CsvLogger", "is neither a solver nor a backbone"),
        ("electrojax_even:Absent", "cannot be imported (AttributeError"),
    ],
)
def test_what_is_no_plugin_is_refused(site, trained, electrojax, plugin, complaint, monkeypatch):
    put_on_path(monkeypatch, site)
    done = electrojax("info", trained / "model.ejx", "--plugin", plugin)
    assert done.code == 2 and complaint in done.err
