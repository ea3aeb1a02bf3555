"""electrojax data inspect, convert, split and label; HDF5 wherever a data file is taken."""

import gzip
import json

import ase.io
import h5py
import numpy as np
import pytest

from electrojax.data.datasets import builtin_path
from electrojax.data.reader import read_frames
from tests.cli.conftest import TINY
from tests.data.test_hdf5 import assert_equal


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with gzip.open(builtin_path("ion_water"), "rt") as file:
        frames = ase.io.read(file, ":24", format="extxyz")
    ase.io.write(tmp_path / "data.xyz", frames, format="extxyz")
    return tmp_path


def test_inspect_as_text_and_json(electrojax, workplace):
    atoms = ase.io.read("data.xyz", ":")
    ase.io.write("data.xyz", [*atoms, atoms[3]], format="extxyz")
    text = electrojax("data", "inspect", "data.xyz")
    assert text.code == 0, text.err
    assert "frames          25" in text.out and "frames 3 = 24" in text.out
    found = json.loads(electrojax("data", "inspect", "data.xyz", "--json").out)
    assert found["census"]["frames"] == 25 and found["census"]["labels"]["forces"] == 25
    assert found["duplicates"] == [{"frames": [3, 24], "energy_spread": 0.0}]
    assert found["findings"] == []
    # what is neither label nor input is named: a label under another name is seen there
    others = ["composition", "distance", "origin", "temperature"]
    assert set(found["other_names"]) <= set(others) and "composition" in text.out
    wrong = electrojax("data", "inspect", "data.xyz", "--key", "energy=E")
    assert wrong.code == 2 and '"E" (energy) is in none of 25' in wrong.err, wrong.err
    assert "composition" in wrong.err
    missing = electrojax("data", "inspect", "absent.xyz")
    assert missing.code == 2 and "absent.xyz" in missing.err


def test_convert_there_and_back(electrojax, workplace):
    done = electrojax("data", "convert", "data.xyz", "data.h5")
    assert done.code == 0, done.err
    # what is no label or input stays behind, and is named
    assert "left behind" in done.out and "composition" in done.out
    assert electrojax("data", "convert", "data.h5", "back.xyz.gz").code == 0
    assert_equal(read_frames("back.xyz.gz"), read_frames("data.xyz"))
    assert_equal(read_frames("data.h5"), read_frames("data.xyz"))
    again = electrojax("data", "convert", "data.xyz", "data.h5")
    assert again.code == 2 and "--force" in again.err
    assert electrojax("data", "convert", "data.xyz", "data.h5", "--force").code == 0
    odd = electrojax("data", "convert", "data.xyz", "data.json")
    assert odd.code == 2 and ".h5" in odd.err


def test_convert_takes_renamed_labels(electrojax, workplace):
    text = (workplace / "data.xyz").read_text().replace("REF_energy", "E_xtb")
    (workplace / "data.xyz").write_text(text)
    left = electrojax("data", "convert", "data.xyz", "without.h5")
    assert "E_xtb" in left.out
    done = electrojax("data", "convert", "data.xyz", "data.h5", "--key", "energy=E_xtb")
    assert done.code == 0 and "E_xtb" not in done.out
    energy = ase.io.read("data.xyz", 5).info["E_xtb"]
    assert read_frames("data.h5")[5].labels["energy"] == energy
    wrong = electrojax("data", "convert", "data.xyz", "other.h5", "--key", "energy")
    assert wrong.code == 2 and "LABEL=NAME" in wrong.err


def test_split_into_files(electrojax, workplace):
    done = electrojax("data", "split", "data.xyz", "-o", "part", "--seed", 4,
                      "--train", 0.5, "--valid", 0.25, "--test", 0.25)  # fmt: skip
    assert done.code == 0, done.err
    whole = [a.positions.tobytes() for a in ase.io.read("data.xyz", ":")]
    parts = {n: ase.io.read(f"part_{n}.xyz", ":") for n in ("train", "valid", "test")}
    assert {n: len(p) for n, p in parts.items()} == {"train": 12, "valid": 6, "test": 6}
    assert sorted(a.positions.tobytes() for p in parts.values() for a in p) == sorted(whole)
    assert "composition" in parts["valid"][0].info  # the text is copied with all that is in it
    again = electrojax("data", "split", "data.xyz", "-o", "part")
    assert again.code == 2 and "--force" in again.err
    for wrong in ([], ["-o", "a", "--stored", "b.xyz"], ["-o", "a", "--train", "0.5"]):
        assert electrojax("data", "split", "data.xyz", *wrong).code == 2
    assert not list(workplace.glob("a_*"))


@pytest.mark.parametrize("suffix", ["xyz", "h5"])
def test_split_stored_in_one_file(electrojax, workplace, suffix):
    source = f"data.{suffix}"
    if suffix == "h5":
        electrojax("data", "convert", "data.xyz", source)
    done = electrojax("data", "split", source, "--stored", f"split.{suffix}", "--valid", 0.2,
                      "--test", 0)  # fmt: skip
    assert done.code == 0, done.err
    frames = read_frames(f"split.{suffix}")
    assert sorted({f.split for f in frames}) == ["train", "valid"]
    assert sum(f.split == "valid" for f in frames) == 5
    for new, old in zip(frames, read_frames(source)):
        np.testing.assert_array_equal(new.labels["forces"], old.labels["forces"])
    other = electrojax(
        "data", "split", source, "--stored", "x.hdf5" if suffix == "xyz" else "x.xyz"
    )
    assert other.code == 2 and "data convert" in other.err


def test_label_keeps_files_and_refuses_what_a_calculator_is_not_told(electrojax, workplace):
    lennard_jones = ("--calculator", "ase.calculators.lj.LennardJones")
    neutral = ase.io.read("data.xyz", ":4")
    ase.io.write("neutral.xyz", neutral, format="extxyz")
    neutral[2].info["total_charge"] = -1
    ase.io.write("charged.xyz", neutral, format="extxyz")
    done = electrojax("data", "label", "charged.xyz", "-o", "new.xyz", *lennard_jones)
    assert done.code == 2 and "charged.xyz frame 2: has total_charge -1" in done.err, done.err
    assert not (workplace / "new.xyz").exists()
    again = electrojax("data", "label", "neutral.xyz", "-o", "neutral.xyz", *lennard_jones)
    assert again.code == 2 and "--force" in again.err, again.err
    options = ("-o", "neutral.xyz", "--force", *lennard_jones)
    done = electrojax("data", "label", "neutral.xyz", *options)
    assert done.code == 0 and f"kept {len(neutral)}" in done.out, done.err
    assert {*read_frames("neutral.xyz")[0].labels} == {"energy", "forces"}
    (workplace / "recipe.xyz").write_text("before")
    made = electrojax("data", "label", "--recipe", "ion_water", "-o", "recipe.xyz")
    assert made.code == 2 and "recipe.xyz: exists already and is kept" in made.err, made.err


def test_label_tells_of_the_first_frame_that_was_dropped(electrojax, workplace):
    far = ase.Atoms("NaCl", positions=[[10, 0, 0], [0, 0, 0]])
    ase.io.write("two.xyz", [ase.Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.75]]), far])
    done = electrojax("data", "label", "two.xyz", "-o", "out.xyz")
    assert done.code == 0 and "kept 1, dropped {'not_converged': 1}" in done.out, done.err
    assert "first not_converged: frame 1: NaCl: tblite:" in done.out


@pytest.mark.conformance
def test_training_and_evaluation_take_hdf5(trained, electrojax, workplace):
    electrojax("data", "convert", "data.xyz", "data.h5")
    text = TINY.replace("path: builtin:ion_water, split: valid", "path: data.h5")
    text = text.replace("path: builtin:ion_water, split: test,", "path: data.h5,")
    (workplace / "run.yaml").write_text(text)
    checked = electrojax("check", "run.yaml")
    assert checked.code == 0, checked.err
    renamed = electrojax("check", "run.yaml", "--set", "data.keys.energy=E")
    assert renamed.code == 2 and "data.keys.energy" in renamed.err and "HDF5" in renamed.err
    model = trained / "model.ejx"
    done = electrojax("evaluate", model, "data.h5", "-o", "out.xyz")
    assert done.code == 0 and "forces_rmse" in done.out, done.err
    for written, atoms in zip(ase.io.read("out.xyz", ":"), ase.io.read("data.xyz", ":")):
        assert written.info["REF_energy"] == pytest.approx(atoms.info["REF_energy"], abs=1e-9)
    done = electrojax("evaluate", model, "data.h5", "-o", "out.h5")
    assert done.code == 0, done.err
    text, offset = ase.io.read("out.xyz", ":"), 0
    with h5py.File("out.h5") as file:
        for name in ("energy", "dipole"):
            found = file[f"predictions/{name}/values"][:]
            wanted = [atoms.info[f"electrojax_{name}"] for atoms in text]
            np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)
        assert file["predictions/converged/values"][:].all()
        for atoms in text:
            part = slice(offset, offset + len(atoms))
            for name in ("forces", "multipoles"):
                wanted = atoms.arrays[f"electrojax_{name}"]
                found = file[f"predictions/{name}/values"][part, : wanted.shape[1]]
                np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)
            offset += len(atoms)
    for new, old in zip(read_frames("out.h5"), read_frames("data.h5"), strict=True):
        assert new.labels["energy"] == old.labels["energy"]


def test_files_of_one_name_in_two_folders_are_two_files(electrojax, workplace):
    from electrojax.runs.build import open_job

    atoms = ase.io.read("data.xyz", ":")
    for folder, part in (("a", atoms[:16]), ("b", atoms[16:])):
        (workplace / folder).mkdir()
        ase.io.write(workplace / folder / "data.xyz", part, format="extxyz")
    text = TINY.replace(", data/ion_water", "")
    text = text.replace("path: builtin:ion_water, split: valid", "path: a/data.xyz")
    text = text.replace("path: builtin:ion_water, split: test, fraction: 0.3", "path: b/data.xyz")
    text = text.replace("path: builtin:ion_water, split: test,", "path: a/data.xyz,")
    (workplace / "run.yaml").write_text(text.replace("fraction: 0.4", "fraction: 0.25"))
    job = open_job(workplace / "run.yaml", [])
    assert {n: len(f) for n, f in job.frames.items()} == {"train": 12, "valid": 8, "test": 4}
