"""Bad input: one line that names the place, exit code 2, nothing written."""

import gzip
import json
import shutil
import sys
import zipfile

import ase.io
import numpy as np
import pytest

from electrojax.data.datasets import builtin_path
from tests.cli.conftest import TINY


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with gzip.open(builtin_path("ion_water"), "rt") as file:
        frames = ase.io.read(file, ":24", format="extxyz")
    ase.io.write(tmp_path / "data.xyz", frames, format="extxyz")
    text = TINY.replace("path: builtin:ion_water, split: valid", "path: data.xyz")
    text = text.replace("path: builtin:ion_water, split: test,", "path: data.xyz,")
    (tmp_path / "run.yaml").write_text(text)
    return tmp_path


def change(folder, old, new):
    text = (folder / "run.yaml").read_text()
    assert old in text
    (folder / "run.yaml").write_text(text.replace(old, new))


def refused(done, *words, folder=None, lines=1):
    assert done.code == 2, (done.out, done.err)
    assert "Traceback" not in done.err
    assert len(done.err.strip().splitlines()) <= lines, done.err
    for word in words:
        assert word in done.err, done.err
    if folder is not None:
        assert not (folder / "runs").exists(), "a refused run left a folder behind"


def rewrite(folder, edit, name="data.xyz"):
    frames = ase.io.read(folder / name, ":", format="extxyz")
    for index, atoms in enumerate(frames):
        edit(index, atoms)
    ase.io.write(folder / name, frames, format="extxyz")


def test_missing_file(workplace, electrojax):
    (workplace / "data.xyz").unlink()
    refused(electrojax("train", "run.yaml"), "run.yaml:4", "data.xyz", folder=workplace, lines=3)
    refused(electrojax("train", "nowhere.yaml"), "nowhere.yaml", folder=workplace)


@pytest.mark.parametrize(
    ("kind", "package"), [("tensorboard", "tensorboardX"), ("wandb",) * 2, ("mlflow",) * 2]
)
def test_logger_without_its_package(workplace, electrojax, monkeypatch, kind, package):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    change(workplace, "loggers: [jsonl, tensorboard]", f"loggers:\n  - jsonl\n  - {kind}")
    words = (f'run.yaml:16  loggers.1   "{kind}" needs {package}', "electrojax[track]")
    for verb in ("train", "check"):
        refused(electrojax(verb, "run.yaml"), *words, folder=workplace)


def test_misspelt_label_key(workplace, electrojax):
    change(workplace, "data:\n", "data:\n  keys: {forces: REF_force}\n")
    done = electrojax("train", "run.yaml")
    refused(done, "run.yaml:4", '"REF_force" is in 0 of 24 frames', "REF_forces", folder=workplace)


def test_label_that_no_frame_has(workplace, electrojax):
    rewrite(workplace, lambda i, a: a.info.pop("REF_dipole"))
    refused(electrojax("train", "run.yaml"), "loss.dipole", "REF_dipole", folder=workplace)


def test_required_label_missing_in_one_frame(workplace, electrojax):
    def drop(index, atoms):
        if index == 7:
            del atoms.arrays["REF_forces"]

    frames = ase.io.read(workplace / "data.xyz", ":")
    for index, atoms in enumerate(frames):
        drop(index, atoms)
    text = ""
    for atoms in frames:
        ase.io.write(workplace / "one.xyz", atoms, format="extxyz")
        text += (workplace / "one.xyz").read_text()
    (workplace / "data.xyz").write_text(text)
    refused(electrojax("train", "run.yaml"), "frame 7", "REF_forces", folder=workplace)


def test_nan_label(workplace, electrojax):
    def spoil(index, atoms):
        if index == 5:
            atoms.arrays["REF_forces"][2, 1] = np.nan

    rewrite(workplace, spoil)
    refused(electrojax("train", "run.yaml"), "data.xyz frame 5", "atom 2", folder=workplace)


def test_unknown_element_at_evaluation(trained, workplace, electrojax):
    def swap(index, atoms):
        if index == 3:
            atoms.numbers[0] = 16

    rewrite(workplace, swap)
    done = electrojax("evaluate", trained / "model.ejx", "data.xyz", "-o", "out.xyz")
    refused(done, "frame 3", "S", "H, O, Na, Cl")
    assert not (workplace / "out.xyz").exists()


def test_wrong_cell_and_pbc(trained, workplace, electrojax):
    rewrite(workplace, lambda i, a: a.set_pbc([True, False, False]) if i == 2 else None)
    refused(electrojax("evaluate", trained / "model.ejx", "data.xyz"), "frame 2", "pbc T F F")
    rewrite(workplace, lambda i, a: a.set_pbc(i == 4))
    refused(electrojax("evaluate", trained / "model.ejx", "data.xyz"), "frame 4", "cell")


def test_mixed_boundaries_under_a_named_boundary(workplace, electrojax):
    def box(index, atoms):
        if index in (6, 9):
            atoms.set_cell(np.eye(3) * 20)
            atoms.set_pbc(True)

    rewrite(workplace, box)
    done = electrojax("train", "run.yaml", "--set", "model.coulomb.boundary=open")
    refused(done, "model.coulomb.boundary", "--set #1", "pbc T T T", folder=workplace)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.backbone.cutoff=-4", ["cutoff", "--set #1"]),
        ("model.backbone.cutof=4", ["cutof", 'did you mean "cutoff"']),
        ("model.nothing.here=1", ["nothing"]),
        ("train.stages.3.epochs=1", ["stages"]),
        ("run.precision=float16", ["precision"]),
        ("model.solver.kind=magic", ["magic"]),
        ("data.train.path=builtin:ion_watr", ["ion_watr", "ion_water"]),
    ],
)
def test_bad_override(workplace, electrojax, override, words):
    refused(electrojax("train", "run.yaml", "--set", override), *words, folder=workplace, lines=3)


def test_loss_that_the_solver_cannot_predict(workplace, electrojax):
    done = electrojax("train", "run.yaml", "--set", "model.solver={kind: none}")
    refused(done, "multipoles", folder=workplace, lines=4)


def test_corrupt_and_foreign_models(trained, workplace, electrojax):
    (workplace / "text.ejx").write_text("not a model")
    with zipfile.ZipFile(workplace / "foreign.ejx", "w") as archive:
        archive.writestr("something", "else")
    whole = (trained / "model.ejx").read_bytes()
    (workplace / "cut.ejx").write_bytes(whole[: len(whole) // 2])
    for name in ("text.ejx", "foreign.ejx", "cut.ejx", "absent.ejx"):
        refused(electrojax("evaluate", name, "data.xyz"), name)
        refused(electrojax("info", name), name)


def test_model_of_a_newer_format(trained, workplace, electrojax):
    with zipfile.ZipFile(trained / "model.ejx") as archive:
        files = {n: archive.read(n) for n in archive.namelist()}
    manifest = json.loads(files["manifest.json"])
    files["manifest.json"] = json.dumps({**manifest, "format": 99}).encode()
    with zipfile.ZipFile(workplace / "new.ejx", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    refused(electrojax("info", "new.ejx"), "99")


def test_truncated_gz(workplace, electrojax):
    whole = builtin_path("ion_water").read_bytes()
    (workplace / "cut.xyz.gz").write_bytes(whole[: len(whole) // 2])
    done = electrojax("train", "run.yaml", "--set", "data.train.path=cut.xyz.gz")
    refused(done, "cut.xyz.gz", folder=workplace)


def test_output_that_cannot_be_written(trained, workplace, electrojax):
    (workplace / "file").write_text("")
    done = electrojax("evaluate", trained / "model.ejx", "data.xyz", "-o", "file/out.xyz")
    refused(done, "out.xyz")


def test_evaluation_does_not_overwrite_what_it_reads(trained, workplace, electrojax):
    data, model = workplace / "data.xyz", workplace / "model.ejx"
    shutil.copyfile(trained / "model.ejx", model)
    (workplace / "link.xyz").symlink_to(data)
    (workplace / "sub").mkdir()
    before = data.read_bytes(), model.read_bytes()
    for option, name in (
        ("-o", "data.xyz"),
        ("-o", "sub/../data.xyz"),
        ("-o", "link.xyz"),
        ("-o", "model.ejx"),
        ("--metrics", data),
    ):
        refused(electrojax("evaluate", model, "data.xyz", option, name), str(name), "another name")
        assert (data.read_bytes(), model.read_bytes()) == before
    refused(electrojax("evaluate", model, "link.xyz", "-o", "data.xyz"), "data.xyz")
    assert data.read_bytes() == before[0]


def test_disk_full_while_saving_a_model(trained, tmp_path, monkeypatch):
    """The old model stays whole and no temporary file is left."""
    import os

    from electrojax.errors import DataError
    from electrojax.models import bundle

    target = tmp_path / "model.ejx"
    shutil.copy(trained / "model.ejx", target)
    before = target.read_bytes()

    def no_space(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(DataError, match="No space left"):
        bundle.save(bundle.load(target), target)
    assert target.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.ejx"]
