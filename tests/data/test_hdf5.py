"""HDF5 files of structures: everything that went in comes out, and what is wrong is named."""

import dataclasses
import os

import h5py
import numpy as np
import pytest

from electrojax.data import hdf5_columns
from electrojax.data.conversion import write_structures
from electrojax.data.hdf5 import read_hdf5
from electrojax.data.hdf5_writer import write_hdf5
from electrojax.data.reader import other_names, read_frames
from electrojax.errors import ConfigError, DataError
from electrojax.system.quantities import DEFAULT_KEYS, LABELS
from electrojax.system.types import Frame


def random_frames(rng, count=5):
    """Frames that have every label in some places and not in others."""
    frames = []
    for index in range(count):
        n = 1 + 2 * index
        labels = {
            name: rng.normal(size=(n, *spec.shape) if spec.axis == "nodes" else spec.shape)
            for k, (name, spec) in enumerate(LABELS.items())
            if (k + index) % 3
        }
        if "multipoles" in labels:
            labels["multipoles"] = labels["multipoles"][:, : (1, 4, 9)[index % 3]]
        if "stress" in labels:
            labels["stress"] = labels["stress"] + labels["stress"].T
        periodic = index % 2 == 1
        frames.append(
            Frame(
                numbers=rng.choice([1, 8, 79], size=n).astype(np.int32),
                positions=rng.normal(size=(n, 3)) / 3,
                cell=rng.normal(size=(3, 3)) + 5 * np.eye(3) if periodic else np.zeros((3, 3)),
                pbc=(periodic,) * 3 if index != 3 else (True, True, False),
                labels={k: np.asarray(v) for k, v in labels.items()},
                total_charge=float(index - 2),
                multiplicity=1.0 + index % 2,
                external_field=rng.normal(size=3) if index == 4 else np.zeros(3),
                formal_charges=rng.normal(size=n) if index in (0, 3) else None,
                fragment=np.arange(n) if index == 2 else None,
                source=f"random {index}",
                split=("", "train", "valid")[index % 3],
                given=frozenset({"total_charge"}),
            )
        )
    return frames


def assert_equal(one, other):
    """Bit for bit, without the names of where they came from."""
    assert len(one) == len(other)
    for a, b in zip(one, other):
        assert (a.pbc, a.total_charge, a.multiplicity, a.split) == (
            b.pbc, b.total_charge, b.multiplicity, b.split)  # fmt: skip
        for name in ("numbers", "positions", "cell", "external_field"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
        for name in ("formal_charges", "fragment"):
            first, second = getattr(a, name), getattr(b, name)
            assert (first is None) == (second is None), name
            if first is not None:
                np.testing.assert_array_equal(first, second, err_msg=name)
        assert set(a.labels) == set(b.labels)
        for name, value in a.labels.items():
            assert np.shape(value) == np.shape(b.labels[name])
            np.testing.assert_array_equal(value, b.labels[name], err_msg=name)


@pytest.fixture
def frames(rng):
    return random_frames(rng)


@pytest.mark.parametrize("suffix", ["h5", "hdf5", "xyz", "extxyz.gz"])
def test_every_bit_comes_back(frames, tmp_path, suffix):
    path = tmp_path / f"set.{suffix}"
    write_structures(path, frames)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    found = read_frames(path)
    assert_equal(found, frames)
    assert [f.source for f in found] == [f"{path.name} frame {i}" for i in range(5)]
    assert "total_charge" in found[2].given  # a zero that was given is not a default
    assert "multiplicity" not in found[2].given


def test_the_layout_is_as_documented(frames, tmp_path):
    write_hdf5(tmp_path / "set.h5", frames)
    with h5py.File(tmp_path / "set.h5") as file:
        assert file.attrs["format"] == "electrojax structures" and file.attrs["version"] == 1
        offsets = file["offsets"][()]
        assert offsets.tolist() == [0, 1, 4, 9, 16, 25]
        np.testing.assert_array_equal(
            file["positions"][offsets[2] : offsets[3]], frames[2].positions
        )
        group = file["labels/forces"]
        present = group["present"][()]
        assert present.tolist() == ["forces" in f.labels for f in frames]
        values = np.concatenate([f.labels["forces"] for f in frames if "forces" in f.labels])
        np.testing.assert_array_equal(group["values"][()], values)
        assert [s.decode() for s in file["source"][()]] == [f.source for f in frames]


def test_required_labels_and_renamed_keys(frames, tmp_path):
    path = tmp_path / "set.h5"
    write_hdf5(path, frames)
    first = next(i for i, f in enumerate(frames) if "energy" not in f.labels)
    count = sum("energy" in f.labels for f in frames)
    with pytest.raises(DataError, match=rf'"energy" is in {count} of 5 frames of set\.h5 '
                       rf"\(first without it: frame {first}\)"):  # fmt: skip
        read_hdf5(path, require=["energy"])
    assert len(read_hdf5(path, require=["total_charge"])) == 5
    with pytest.raises(DataError, match='"multiplicity" is in 2 of 5'):
        read_hdf5(path, require=["multiplicity"])
    assert len(read_frames(path, dict(DEFAULT_KEYS))) == 5
    where = {"data.keys.energy": "run.yaml:4"}
    with pytest.raises(ConfigError, match=r'^run\.yaml:4  data\.keys\.energy   "E" renames energy'):
        read_frames(path, {"energy": "E"}, where=where)


def damaged(path, edit):
    with h5py.File(path, "r+") as file:
        edit(file)
    with pytest.raises(DataError) as caught:
        read_hdf5(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def cut(file, name):
    values = file[name][:-1]
    del file[name]
    file[name] = values


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda f: f.attrs.__setitem__("version", 9), ["version 9", "update"]),
        (lambda f: f.attrs.__setitem__("format", "other"), ['"other"', "data convert"]),
        (
            lambda f: f["positions"].__setitem__((5, 1), np.nan),
            ["frame 2", "the position of atom 1"],
        ),
        (lambda f: f["cell"].__setitem__((3, 0, 0), np.inf), ["frame 3", "cell"]),
        (lambda f: f["numbers"].__setitem__(0, 0), ["frame 0", "element"]),
        (lambda f: f["pbc"].__setitem__(1, [True, False, False]), ["frame 1", "pbc T F F"]),
        (lambda f: f.__delitem__("offsets"), ["damaged", "offsets"]),
        (lambda f: cut(f, "labels/forces/values"), ["damaged", "labels/forces"]),
        (lambda f: cut(f, "labels/energy/present"), ["damaged", "labels/energy"]),
        (lambda f: cut(f, "positions"), ["damaged", "positions has shape (24, 3); needed (25, 3)"]),
    ],
)
def test_damage_is_named(frames, tmp_path, edit, words):
    path = tmp_path / "set.h5"
    write_hdf5(path, frames)
    message = damaged(path, edit)
    assert all(word in message for word in [*words, "set.h5"]), message


def put(file, name, values, **options):
    if name in file:
        del file[name]
    file.create_dataset(name, data=values, **options)


def shaped(file, name, dtype, shape, chunk):
    """A data set of which the file keeps next to nothing."""
    del file[name]
    file.create_dataset(name, shape, dtype, chunks=chunk, compression="gzip")


def linked(file, link):
    del file["labels"]
    file["labels"] = link


def first(file, name, value):
    file[name][(0,) * file[name].ndim] = value


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda f: first(f, "numbers", 119), ["frame 0: atom 0", "number 119"]),
        (lambda f: f["numbers"].__setitem__(6, -1), ["frame 2: atom 2", "number -1"]),
        (lambda f: put(f, "numbers", f["numbers"][()] + 0.5), ["numbers holds float64"]),
        (lambda f: put(f, "numbers", np.ones(25, bool)), ["numbers holds bool"]),
        (lambda f: put(f, "positions", ["x"] * 25), ["positions holds object"]),
        (lambda f: put(f, "positions", f["positions"][()] * 1j), ["positions holds complex128"]),
        (lambda f: put(f, "cell", np.zeros((5, 2, 2))), ["cell has shape (5, 2, 2)", "(5, 3, 3)"]),
        (lambda f: first(f, "cell", 1e300), ["frame 0: the cell is 1e+300"]),
        (lambda f: f["cell"].__setitem__(1, np.ones((3, 3))), ["frame 1", "span no volume"]),
        (lambda f: put(f, "pbc", np.full((5, 3), 7)), ["frame 0: pbc is 7; needed 0 or 1"]),
        (lambda f: put(f, "split", np.zeros(5)), ["split holds float64; needed texts"]),
        (lambda f: put(f, "split", ["a\nb"] * 5), ["split has a text with control characters"]),
        (lambda f: first(f, "labels/multipoles/components", -1), ["frame", "-1 components"]),
        (lambda f: first(f, "labels/multipoles/components", 99), ["frame", "99 components"]),
        (lambda f: first(f, "labels/energy/values", 1e308), ["frame 1: energy is 1e+308"]),
        (lambda f: first(f, "inputs/multiplicity/values", 0.5), ["frame 1: multiplicity is 0.5"]),
        (lambda f: put(f, "labels/energy/present", np.full(5, 2)), ["labels/energy/present is 2"]),
        (lambda f: put(f, "offsets", [0, 1, 1, 9, 16, 25]), ["frame 1: has no atoms"]),
        (lambda f: put(f, "offsets", [0, 1, 2**62, 9, 16, 25]), ["frame 1: has no atoms"]),
        (lambda f: put(f, "offsets", [3, 4, 5, 9, 16, 25]), ["frame 0: has no atoms"]),
        (lambda f: put(f, "offsets", [0]), ["holds no structures"]),
        (lambda f: f.attrs.__setitem__("format", "x" * 10000), ["xxx..."]),
        (lambda f: f.attrs.__setitem__("version", [1, 1]), ["version [1 1]"]),
        (lambda f: linked(f, h5py.ExternalLink("/etc/passwd", "/")), ["labels", "is a link"]),
        (lambda f: linked(f, h5py.SoftLink("/inputs")), ["labels", "is a link"]),
        (lambda f: shaped(f, "offsets", "i8", (2**40,), (2**20,)), ["offsets announces more"]),
        (lambda f: shaped(f, "offsets", "i8", (2**62,), (2**20,)), ["offsets announces more"]),
        (lambda f: put(f, "numbers", np.ones(25, "i4"), chunks=(2**23,), maxshape=(None,),
                       compression="gzip"),
         ["numbers announces more"]),
        (lambda f: shaped(f, "numbers", "i4", (2**40,), (2**20,)), ["numbers has shape"]),
    ],
)  # fmt: skip
def test_foreign_or_hostile_data_sets(frames, tmp_path, edit, words):
    path = tmp_path / "set.h5"
    frames = [
        dataclasses.replace(f, multiplicity=2.0) if i == 1 else f for i, f in enumerate(frames)
    ]
    labels = {**frames[1].labels, "energy": np.float64(1.0)}
    frames[1] = dataclasses.replace(frames[1], labels=labels)
    frames[0].labels.pop("energy", None)
    write_hdf5(path, frames)
    message = damaged(path, edit)
    assert all(word in message for word in [*words, "set.h5"]), message
    assert len(message) < 600


def test_raw_storage_outside_the_file_is_not_read(frames, tmp_path):
    """A data set may lie in any file of the reader: here its values would be another's text."""
    secret, path = tmp_path / "secret", tmp_path / "set.h5"
    secret.write_bytes(bytes(range(200)))
    write_hdf5(path, frames)

    def steal(file):
        del file["cell"]
        external = [(str(secret), 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("cell", (5, 3, 3), "f8", external=external)

    assert "cell lies in another file" in damaged(path, steal)


def test_unknown_data_sets_are_left_alone(frames, tmp_path):
    """4 PB of zeros that the file does not hold, and a group where nothing is declared."""
    write_hdf5(tmp_path / "set.h5", frames)
    with h5py.File(tmp_path / "set.h5", "r+") as file:
        file.create_dataset("other", (2**49,), "f8", chunks=(2**20,), compression="gzip")
        file["labels/other/values"] = np.zeros(3)
    again = read_hdf5(tmp_path / "set.h5")
    assert_equal(again, frames)
    # ... and named, so that nobody takes them for read; predictions are nobody's labels.
    assert again[0].unread == {"other"}
    with h5py.File(tmp_path / "set.h5", "r+") as file:
        file["labels/dft_energy/values"] = np.zeros(3)
        file["predictions/energy/values"] = np.zeros(3)
        file["more/values"] = np.zeros(3)
    assert other_names(tmp_path / "set.h5") == ["dft_energy", "more/values", "other"]


def test_a_crowd_of_names_is_refused(frames, tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5_columns, "MOST_NAMES", 50)
    write_hdf5(tmp_path / "set.h5", frames)
    with h5py.File(tmp_path / "set.h5", "r+") as file:
        for index in range(60):
            file.create_group(f"labels/g{index}")
    with pytest.raises(DataError, match="more than 50 names"):
        read_hdf5(tmp_path / "set.h5")


def test_a_group_that_holds_itself_ends(frames, tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5_columns, "MOST_NAMES", 500)
    write_hdf5(tmp_path / "set.h5", frames)
    with h5py.File(tmp_path / "set.h5", "r+") as file:
        file["labels/again"] = file["labels"]
    with pytest.raises(DataError, match="more than 500 names"):
        read_hdf5(tmp_path / "set.h5")


def test_damaged_bytes_are_one_line(frames, tmp_path, rng):
    """Bits of the file turned over: it is read, or refused in one line."""
    write_hdf5(tmp_path / "set.h5", frames)
    whole = bytearray((tmp_path / "set.h5").read_bytes())
    refused = 0
    for _ in range(60):
        copy = bytearray(whole)
        for place in rng.integers(0, len(whole), size=3):
            copy[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "flip.h5").write_bytes(copy)
        try:
            read_hdf5(tmp_path / "flip.h5")
        except DataError as error:
            refused += 1
            assert "flip.h5" in str(error) and "\n" not in str(error)
    assert refused > 5


def test_a_label_that_is_not_finite_is_named(frames, tmp_path):
    labels = {"forces": np.zeros((7, 3)), "energy": np.float64(0)}
    labels["forces"][4, 2] = np.nan
    frames[3] = dataclasses.replace(frames[3], labels=labels)
    write_hdf5(tmp_path / "set.h5", frames)
    with pytest.raises(DataError, match=r"set\.h5 frame 3: forces of atom 4 is nan"):
        read_hdf5(tmp_path / "set.h5")


def test_files_that_are_no_hdf5(frames, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_hdf5(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("3\nwater\n")
    with pytest.raises(DataError, match=r"text\.h5: not readable"):
        read_hdf5(tmp_path / "text.h5")
    write_hdf5(tmp_path / "set.h5", frames)
    whole = (tmp_path / "set.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.h5"):
        read_hdf5(tmp_path / "cut.h5")
    with pytest.raises(DataError, match="no structures"):
        write_hdf5(tmp_path / "empty.h5", [])


def test_a_full_disk_leaves_the_old_file(frames, tmp_path, monkeypatch):
    path = tmp_path / "set.h5"
    write_hdf5(path, frames)
    before = path.read_bytes()

    def no_space(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(DataError, match="No space left"):
        write_hdf5(path, frames[:2])
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
