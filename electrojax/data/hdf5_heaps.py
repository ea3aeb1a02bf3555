"""Heaps of texts in HDF5 files: damage that libhdf5 would never return from."""

import contextlib
import mmap
import os
import struct
from pathlib import Path

from electrojax.errors import DataError

SIGNATURE = b"GCOL\x01\x00\x00\x00"
HEADER, OBJECT = 16, struct.Struct("<HHIQ")


def check_heaps(path: str | os.PathLike[str]) -> None:
    """Refuses a file with a heap whose free space is empty, over which libhdf5 steps for ever.

    Layout: HDF5 File Format Specification 3.0, section III.E "Disk Format: Level 1E - Global
    Heap": an object is its index (2 bytes), references (2), four reserved bytes, its size (8) and
    its data padded to eight bytes; index 0 is free space, whose size counts its header.

    Args:
        path: of a file, HDF5 or not; one that cannot be opened is left to the reader.

    Raises:
        DataError: if such a heap is in the file.
    """
    with (
        contextlib.suppress(OSError, ValueError),  # an empty file cannot be mapped: a ValueError
        Path(path).open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        start = content.find(SIGNATURE)
        while start >= 0:
            if _is_endless(content, start):
                raise DataError(
                    f"{path}: is damaged (the heap of texts at byte {start} has free space of "
                    "no size); copy it again"
                )
            start = content.find(SIGNATURE, start + 1)


def _is_endless(content: mmap.mmap, start: int) -> bool:
    """Whether the steps from object to object of a heap come to a standstill."""
    (size,) = struct.unpack_from("<Q", content[start : start + HEADER].ljust(HEADER, b"\0"), 8)
    place, end = start + HEADER, min(start + size, len(content))
    while place + OBJECT.size <= end:
        index, _, _, length = OBJECT.unpack_from(content, place)
        if index == 0 and length == 0:
            return True
        place += length if index == 0 else OBJECT.size + -(-length // 8) * 8
    return False
