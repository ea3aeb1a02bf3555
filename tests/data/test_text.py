"""Text of files: byte-order marks, other encodings, and compressed data that unpack without end."""

import gzip
import os
import resource
import subprocess
import sys

import pytest

from electrojax.data.extxyz import frame_texts, read_frames
from electrojax.data.text import SMALLEST, read_text
from electrojax.errors import DataError

FRAME = '2\nProperties=species:S:1:pos:R:3 name="Å" REF_energy=-1.5\nO 0 0 0\nH 0 0 1\n'


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path, pack):
    path = tmp_path / "bom.xyz"
    path.write_bytes(pack(FRAME.encode("utf-8-sig")))
    assert read_frames(path)[0].labels["energy"] == -1.5
    assert frame_texts(path) == [FRAME]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_that_is_not_utf8_is_named_with_its_line(tmp_path, encoding):
    path = tmp_path / "latin.xyz"
    path.write_bytes(FRAME.encode(encoding) + FRAME.encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.xyz line 6: byte 0xc5 is not UTF-8"):
        read_text(path)


def test_compressed_data_that_unpack_without_end_are_refused(tmp_path):
    """2 GB of blank lines in 2 MB: refused at the bound, within the memory that it sets."""
    path = tmp_path / "bomb.xyz.gz"
    piece = gzip.compress(b"\n" * (16 * 2**20), 9)
    path.write_bytes(piece * 128)
    code = (
        "from pathlib import Path; from electrojax.data.text import read_text; "
        f"read_text(Path({str(path)!r}))"
    )
    limit = 2**31  # of address space, of which libraries need a part

    def bounded():
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    single = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], preexec_fn=bounded, capture_output=True, text=True, env=single
    )
    assert done.returncode == 1
    assert "bomb.xyz.gz:" in done.stderr and "unpack to more than" in done.stderr, done.stderr


def test_small_files_and_usual_ratios_are_read(tmp_path):
    path = tmp_path / "same.xyz.gz"
    path.write_bytes(gzip.compress(FRAME.encode() * (SMALLEST // 100), 9))
    assert len(read_text(path)) > SMALLEST // 2


def test_devices_and_folders_are_no_files(tmp_path):
    for path in (tmp_path, "/dev/zero"):
        with pytest.raises(DataError, match="is a directory or device"):
            read_frames(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_frames("a\0b.xyz")
    with pytest.raises(DataError, match="cannot be read"):
        read_frames("n" * 5000)
