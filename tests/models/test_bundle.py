"""A model file is read whole and right, or refused in one line: faults F6 to F8 of the fuzz."""

import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from electrojax.errors import DataError
from electrojax.models import bundle
from electrojax.models.potential import Potential, assemble
from electrojax.system.types import Statistics

CONFIG = {
    "backbone": {"kind": "light", "cutoff": 4.0, "channels": 4, "layers": 1},
    "density": {"l_max": 1, "width": 1.5},
    "coulomb": {"boundary": "auto"},
    "solver": {"kind": "local"},
}
STATISTICS = Statistics((1, 8), (-13.6, -430.0), 3.0, 0.7, 0.1, ((1.0, -2.0),))


def model() -> Potential:
    bare = assemble(CONFIG, STATISTICS, "float32")
    random = np.random.default_rng(0)
    arrays = {
        name: random.normal(size=shape).astype(np.float32)
        for name, shape in bare.parameter_shapes().items()
    }
    return assemble(CONFIG, STATISTICS, "float32", unflatten_dict(arrays, sep="/"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "model.ejx"
    bundle.save(model(), path, {"note": "kept", "format": "not the format"})
    return path


Members = dict[str, bytes]


def members(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, content: Members) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def refused(path: Path, *words: str) -> None:
    for read in (bundle.load, bundle.describe):
        with pytest.raises(DataError) as caught:
            read(path)
        said = str(caught.value)
        assert said.count("\n") == 0 and len(said) < 1000
        for word in (path.name, *words):
            assert word in said, said


def test_what_was_saved_is_loaded(whole: Path) -> None:
    saved, loaded = model(), bundle.load(whole)
    assert loaded.statistics == saved.statistics and loaded.precision == "float32"
    assert loaded.config["coulomb"]["accuracy"] == 1e-5, "defaults are written out"
    for name, shape in saved.parameter_shapes().items():
        old, new = saved.params, loaded.params
        for part in name.split("/"):
            old, new = old[part], new[part]
        assert new.shape == shape and np.array_equal(old, new)
    told = bundle.describe(whole)
    assert told["note"] == "kept" and told["format"] == 1 and told["elements"] == ["H", "O"]


def without(key: str) -> Callable[[Any], Any]:
    return lambda manifest: {name: value for name, value in manifest.items() if name != key}


def changed(path: str, value: Any) -> Callable[[Any], Any]:
    def change(manifest: Any) -> Any:
        *above, last = path.split(".")
        block = manifest
        for key in above:
            block = block[key]
        block[last] = value
        return manifest

    return change


MANIFESTS = {
    "a list": (lambda m: [m], ""),
    "null": (lambda m: None, ""),
    "a number": (lambda m: 5, ""),
    "no model": (without("model"), "model"),
    "no precision": (without("precision"), "precision"),
    "no statistics": (without("statistics"), "statistics"),
    "a further key": (changed("further", 1), "further"),
    "null parameters": (changed("parameters", None), "parameters"),
    "one parameter less": (lambda m: {**m, "parameters": m["parameters"][1:]}, "is missing"),
    "another parameter": (changed("parameters.0", "solver/other"), ""),
    "info is text": (changed("info", "text"), "info"),
    "null precision": (changed("precision", None), "precision"),
    "half precision": (changed("precision", "float16"), "precision"),
    "kind is a list": (changed("model.solver.kind", ["local"]), "model.solver"),
    "an unknown option": (changed("model.solver.magic", 1), "magic"),
    "cutoff is text": (changed("model.backbone.cutoff", "a"), "model.backbone.cutoff"),
    "negative width": (changed("model.density.width", -1.0), "model.density.width"),
    "more channels": (changed("model.backbone.channels", 8), "shape"),
    "very many channels": (changed("model.backbone.channels", 2**40), "channels"),
    "statistics with another key": (changed("statistics.other", 1), "statistics.other"),
    "an element that is none": (changed("statistics.numbers", [1, 119]), "numbers"),
    "an element twice": (changed("statistics.numbers", [8, 8]), "numbers"),
    "energies of one element": (changed("statistics.atomic_energies", [1.0]), "atomic_energies"),
    "energies that are no numbers": (
        changed("statistics.atomic_energies", [1.0, float("nan")]),
        "atomic_energies",
    ),
    "a short row": (changed("statistics.undetermined", [[1.0]]), "undetermined"),
    "another format": (changed("format", 99), "model format 99"),
    "a long format": (changed("format", "9" * 100_000), "model format"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_wrong_manifests_are_refused(whole: Path, tmp_path: Path, name: str) -> None:
    edit, word = MANIFESTS[name]
    content = members(whole)
    plain = json.loads(content["manifest.json"])
    if name == "another parameter":
        plain["parameters"][0] = "solver/other"
    else:
        plain = edit(plain)
    content["manifest.json"] = json.dumps(plain).encode()
    refused(write(tmp_path / "wrong.ejx", content), word)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=array.dtype.hasobject)
    return buffer.getvalue()


def first_of(content: Members) -> np.ndarray:
    return np.load(io.BytesIO(content["parameters/0.npy"]))


ARRAYS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "another shape": (lambda a: a[:1], "shape"),
    "transposed": (lambda a: a.T.copy(), "shape"),
    "double precision": (lambda a: a.astype(np.float64), "float64"),
    "complex": (lambda a: a.astype(np.complex64), ""),
    "whole numbers": (lambda a: a.astype(np.int32), "int32"),
    "text": (lambda a: a.astype("U4"), ""),
    "objects": (lambda a: a.astype(object), ""),
    "NaN": (lambda a: np.full_like(a, np.nan), "not finite"),
    "infinite": (lambda a: np.where(a == a[0, 0], np.inf, a).astype(a.dtype), "not finite"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_wrong_arrays_are_refused(whole: Path, tmp_path: Path, name: str) -> None:
    edit, word = ARRAYS[name]
    content = members(whole)
    content["parameters/0.npy"] = npy(edit(first_of(content)))
    refused(write(tmp_path / "wrong.ejx", content), word)


def header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


DAMAGED: dict[str, Callable[[Members], Members]] = {
    "a huge shape": lambda c: {**c, "parameters/0.npy": header((10**12,))},
    "a shape beyond 64 bits": lambda c: {**c, "parameters/0.npy": header((10**30, 10**30))},
    "a header that is no dict": lambda c: {**c, "parameters/0.npy": header((1,))[:10] + b"(" * 99},
    "no array": lambda c: {**c, "parameters/0.npy": b""},
    "an array left out": lambda c: {k: v for k, v in c.items() if k != "parameters/0.npy"},
    "a long tail": lambda c: {**c, "parameters/0.npy": c["parameters/0.npy"] + bytes(2**22)},
    "deep JSON": lambda c: {**c, "manifest.json": b"[" * 100_000},
    "JSON that is cut": lambda c: {**c, "manifest.json": c["manifest.json"][:-30]},
    "bytes that are no text": lambda c: {**c, "manifest.json": b"\xff\xfe{}"},
    "a manifest of blanks": lambda c: {**c, "manifest.json": b" " * 2**25 + c["manifest.json"]},
    "no manifest": lambda c: {k: v for k, v in c.items() if k != "manifest.json"},
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_members_are_refused(whole: Path, tmp_path: Path, name: str) -> None:
    refused(write(tmp_path / "damaged.ejx", DAMAGED[name](members(whole))))


def test_flipped_bits_and_cuts_are_refused_or_change_nothing(whole: Path, tmp_path: Path) -> None:
    """A flip in what zip does not read (a date) may leave the model as it is."""
    random, content = np.random.default_rng(3), whole.read_bytes()
    expected, path, refusals = members(whole), tmp_path / "damaged.ejx", 0
    for _ in range(150):
        damaged = bytearray(content)
        if random.random() < 0.3:
            del damaged[random.integers(len(damaged)) :]
        else:
            damaged[random.integers(len(damaged))] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        try:
            with bundle._opened(path) as (manifest, archive):
                for index in range(len(manifest.parameters)):
                    name = f"parameters/{index}.npy"
                    assert archive.read(name) == expected[name]
        except DataError as error:
            refusals += 1
            assert "\n" not in str(error)
    assert refusals > 100


def test_an_archive_that_lies_of_its_sizes_is_refused(whole: Path, tmp_path: Path) -> None:
    """A member of 64 MiB that announces 100 bytes."""
    content = {**members(whole), "parameters/0.npy": npy(np.zeros(2**24, np.float32))}
    path = write(tmp_path / "lie.ejx", content)
    size = len(content["parameters/0.npy"]).to_bytes(4, "little")
    path.write_bytes(re.sub(re.escape(size), (100).to_bytes(4, "little"), path.read_bytes()))
    refused(path)


def test_folders_and_names_that_no_file_has_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / ("n" * 300), Path("a\x00b")):
        with pytest.raises(DataError, match="no such model file"):
            bundle.load(path)


def test_a_kind_that_is_not_here_is_described_and_not_loaded(whole: Path, tmp_path: Path) -> None:
    content = members(whole)
    plain = json.loads(content["manifest.json"])
    plain["model"]["solver"] = {"kind": "magic", "strength": 2.0}
    content["manifest.json"] = json.dumps(plain).encode()
    path = write(tmp_path / "foreign.ejx", content)
    with pytest.raises(DataError, match='"magic" is not installed'):
        bundle.load(path)
    told = bundle.describe(path)
    assert told["solver"]["strength"] == 2.0 and len(told["missing"]) == 1
    assert told["parameters"] == bundle.describe(whole)["parameters"]
    with pytest.raises(DataError, match="damaged"):
        bundle.describe(write(tmp_path / "cut.ejx", {**content, "parameters/0.npy": b""}))
