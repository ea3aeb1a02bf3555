import struct
import subprocess
import sys

import h5py
import numpy as np
import pytest

from electrojax.data.hdf5_heaps import check_heaps
from electrojax.data.reader import read_frames
from electrojax.errors import DataError


def damaged_file(path, texts: int) -> None:
    """A file whose only heap has free space of no size (HDF5 specification 3.0, III.E)."""
    with h5py.File(path, "w") as file:
        file.create_dataset("texts", data=[f"text {n}" for n in range(texts)])
    content = bytearray(path.read_bytes())
    place = content.index(b"GCOL") + 16
    while index := struct.unpack_from("<H", content, place)[0]:
        assert index <= texts
        (length,) = struct.unpack_from("<Q", content, place + 8)
        place += 16 + -(-length // 8) * 8
    content[place + 8 : place + 16] = bytes(8)
    path.write_bytes(content)


def test_free_space_of_no_size_is_refused_in_place_of_a_hang(tmp_path):
    damaged_file(tmp_path / "set.h5", 5)
    with pytest.raises(DataError, match=r"set\.h5.*heap of texts at byte \d+"):
        read_frames(tmp_path / "set.h5")


def test_libhdf5_would_not_end(tmp_path):
    """What the check is for: once libhdf5 reads such a file, it is needed no more."""
    damaged_file(tmp_path / "set.h5", 5)
    read = f"import h5py; h5py.File({str(tmp_path / 'set.h5')!r})['texts'][()]"
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run([sys.executable, "-c", read], timeout=5, check=False)


def test_good_heaps_of_any_number_of_texts_are_taken(tmp_path):
    for texts in (1, 3, 100, 1000):
        with h5py.File(tmp_path / "good.h5", "w") as file:
            file.create_dataset("texts", data=["x" * n for n in range(1, texts + 1)])
            file.create_dataset("numbers", data=np.zeros(1000))
        check_heaps(tmp_path / "good.h5")


@pytest.mark.parametrize("content", [b"", b"GCOL", b"GCOL\x01\x00\x00\x00", b"no HDF5"])
def test_what_is_no_hdf5_is_left_to_the_reader(tmp_path, content):
    (tmp_path / "odd.h5").write_bytes(content)
    check_heaps(tmp_path / "odd.h5")
