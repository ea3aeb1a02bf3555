"""What electrojax wrote is read back, and nothing else."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from electrojax.errors import DataError
from electrojax.files import (
    array_header,
    is_file,
    is_folder,
    read_arrays,
    read_bounded,
    read_mapping,
    read_records,
)
from electrojax.text import cut, hidden_character, visible


def test_arrays_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    kept = {"a": np.arange(6.0).reshape(2, 3), "b/c": np.array(["x", "yz"]), "d": np.array(1)}
    for save in (np.savez, np.savez_compressed):
        save(path, **kept)
        read = read_arrays(path)
        assert read.keys() == kept.keys()
        for name, array in kept.items():
            assert read[name].dtype == array.dtype and np.array_equal(read[name], array)


def test_archives_beyond_measure_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.zeros(2**24))
    with pytest.raises(DataError, match="more than"):
        read_arrays(path)
    np.savez(path, a=np.array([object()]))
    with pytest.raises(DataError, match=r"a\.npz: is damaged"):
        read_arrays(path)
    text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000,), }\n"
    head = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", head + bytes(80))
    with pytest.raises(DataError, match="do not fit its shape"):
        read_arrays(path)
    for content in (b"", b"PK", os.urandom(99)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.npz: is damaged"):
            read_arrays(path)
    with pytest.raises(DataError, match="no such file"):
        read_arrays(tmp_path / "b.npz")


def test_the_head_of_an_array() -> None:
    for array in (np.zeros((2, 3), np.float32), np.asfortranarray(np.zeros((2, 3))), np.array(5)):
        buffer = io.BytesIO()
        np.save(buffer, array)
        assert array_header(buffer.getvalue()) == (array.shape, array.dtype)
        with pytest.raises(ValueError, match="do not fit"):
            array_header(buffer.getvalue() + b"\0")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", "[]"),
        ("a.json", "5"),
        ("a.json", "[" * 100_000),
        ("a.json", "{"),
        ("a.yaml", ""),
        ("a.yaml", "- 1"),
        ("a.yaml", "1: 2"),
        ("a.yaml", "a: &a {b: 1}\nc: *a"),
        ("a.yaml", "a: !!python/object:os.system {}"),
        ("a.yaml", "a: " + "[" * 5000),
        ("a.yaml", "a: 1\n---\nb: 2"),
    ],
)
def test_mappings_that_are_none(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DataError, match="is damaged") as caught:
        read_mapping(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_files_of_no_measure(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(DataError, match="more than 4 bytes"):
        read_bounded(path, 4)
    with pytest.raises(DataError, match="no such file"):
        read_bounded(tmp_path, 4)


def test_records_and_what_is_torn(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    assert read_records(path) == []
    path.write_bytes(b'{"a": 1}\n[2]\n\xff\n' + b"[" * 100_000 + b'\n{"b": 2}\n{"c"')
    assert read_records(path) == [{"a": 1}, {"b": 2}]
    with pytest.raises(DataError, match=r"a\.jsonl:2: is damaged"):
        read_records(path, strict=True)
    path.write_text('{"a": 1}\n{"b"')
    assert read_records(path, strict=True) == [{"a": 1}]


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    for path in (tmp_path / "n", tmp_path / ("n" * 300), "a\x00b", "/" + "n/" * 3000):
        assert not is_file(path) and not is_folder(path)
    assert is_folder(tmp_path) and not is_file(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert not is_file(tmp_path / "loop")


def test_hidden_characters_are_named_and_shown() -> None:
    assert hidden_character("plain Å 水") == "" == hidden_character("")
    assert hidden_character("a\u202eb") == "U+202E" and hidden_character("\n") == "U+000A"
    assert hidden_character("a\nb\t", "\n\t") == ""
    assert visible("a\x1b[1m\u202eb\n", "\n") == r"a\x1b[1m\u202eb" + "\n"
    assert cut("abcdef", 6) == "abcdef" and cut("abcdefg", 6) == "abc..."
