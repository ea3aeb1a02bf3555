"""Files that grow record by record, and can be cut back to where a checkpoint saw them."""

import os
from pathlib import Path
from typing import Any, Self

from electrojax.errors import DataError


class GrowingFile:
    """A file to which whole records are appended.

    A record is one write; if it does not fit on the disk, what arrived of it is cut off again.

    Args:
        path: its folder is made if it does not exist.
        size: bytes to keep of an existing file; what follows them is cut off.

    Raises:
        DataError: if it cannot be written, or holds less than it should keep.
    """

    def __init__(self, path: str | os.PathLike, size: int = 0) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            found = os.fstat(self._handle).st_size
            if found < size:
                raise DataError(
                    f"{self.path}: holds {found} bytes, but the checkpoint saw {size}; restore the "
                    "file, or start the run afresh in another folder"
                )
            self._cut(size)
        except OSError as error:
            raise self._failed(error) from error

    def append(self, record: bytes) -> None:
        """Appends one record, whole or not at all.

        Raises:
            DataError: if the disk is full; the file then ends with the record before.
        """
        try:
            written = 0
            while written < len(record):
                written += os.write(self._handle, record[written:])
        except OSError as error:
            self._cut(self.size)
            raise self._failed(error) from error
        self.size += len(record)

    def sync(self) -> None:
        """Sees everything onto the disk."""
        try:
            os.fsync(self._handle)
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Closes the file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _cut(self, size: int) -> None:
        os.ftruncate(self._handle, size)
        os.lseek(self._handle, size, os.SEEK_SET)
        self.size = size

    def _failed(self, error: OSError) -> DataError:
        return DataError(
            f"{self.path}: could not be written ({error.strerror}); whole records are kept, free "
            "some space and resume"
        )
