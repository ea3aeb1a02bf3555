"""Data sets of an HDF5 file: of declared types and shapes, in the file itself, of bounded size."""

import dataclasses
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from electrojax.data.text import most_bytes
from electrojax.errors import DataError, shown

NUMBERS, INTEGERS, FLAGS, TEXTS = "iuf", "iu", "biu", "text"
"""Kinds of NumPy types that a data set may have."""

CONTROL = re.compile(r"[\x00-\x1f\x7f]")

MOST_NAMES = 10_000
"""Data sets and groups that a file may have: a hundred times what structures need."""

TEXT_ROWS = 64
"""Texts read at once: as many as a hostile file may make as long as the file itself."""


@dataclasses.dataclass
class Columns:
    """The data sets of an open file.

    Attributes:
        file: ``h5py.File``.
        path: of the file, for messages.
        left: bytes that may still be read; a data set that was never written needs none in the
            file, and compressed ones few.
    """

    file: Any
    path: Path
    left: int

    @classmethod
    def of(cls, file: Any, path: Path) -> "Columns":
        """Returns the data sets of a file, to be read within a bound that its size sets."""
        return cls(file, path, most_bytes(path.stat().st_size))

    def __contains__(self, name: str) -> bool:
        """Whether the file has a data set or group; a link to another file is refused."""
        import h5py

        parts = name.split("/")
        for depth in range(1, len(parts) + 1):
            link = self.file.get("/".join(parts[:depth]), getlink=True)
            if link is None:
                return False
            if not isinstance(link, h5py.HardLink):
                raise self._error(name, "is a link; needed a data set of the file itself")
        return True

    def names(self) -> list[str]:
        """Returns the paths of all data sets, and of links to other files, sorted."""
        found: list[str] = []
        groups, seen = [self.file], 0
        while groups:
            for name, entry in self._entries(groups.pop()):
                seen += 1
                if seen > MOST_NAMES:  # or a group that holds itself
                    raise self._error(shown(name), f"is one of more than {MOST_NAMES} names")
                if hasattr(entry, "keys"):
                    groups.append(entry)
                else:
                    found.append(name)
        return sorted(found)

    def _entries(self, group: Any) -> Iterator[tuple[str, Any]]:
        """Path and content of what a group holds; None for the content of links."""
        import h5py

        for key in group:
            hard = isinstance(group.get(key, getlink=True), h5py.HardLink)
            yield f"{group.name}/{key}".lstrip("/"), group[key] if hard else None

    def read(
        self,
        name: str,
        kinds: str,
        shape: tuple[int | None, ...],
        where: slice | None = None,
    ) -> np.ndarray:
        """Returns a data set.

        Args:
            name: its path inside the file.
            kinds: allowed types.
            shape: that it must have; None where any length is good.
            where: the rows to read, of numbers; all where not given.

        Raises:
            DataError: if it is not there, has another type or shape, is kept in another file or is
                larger than the file can hold.
        """
        entry = self._entry(name)
        text = kinds == TEXTS
        if not (_is_text(entry) if text else entry.dtype.kind in kinds):
            wanted = "texts" if text else f"numbers of kind {' or '.join(kinds)}"
            raise self._error(name, f"holds {shown(str(entry.dtype))}; needed {wanted}")
        same = len(entry.shape) == len(shape)
        if not same or any(n not in (None, m) for n, m in zip(shape, entry.shape)):
            wanted = ", ".join("any" if n is None else str(n) for n in shape)
            raise self._error(name, f"has shape {entry.shape}; needed ({wanted})")
        rows = entry.shape if where is None else (len(range(entry.shape[0])[where]), *shape[1:])
        # A chunk is unpacked as a whole, however little of it the shape says.
        size = max(math.prod(rows), math.prod(entry.chunks or (0,)))
        self.left -= size * max(entry.dtype.itemsize, 1)
        if self.left < 0:
            raise self._error(name, "announces more than the file can hold")
        return self._texts(entry) if text else entry[() if where is None else where]

    def _entry(self, name: str) -> Any:
        import h5py

        if name not in self:
            raise self._error(name, "is not there")
        entry = self.file[name]
        if not isinstance(entry, h5py.Dataset):
            raise self._error(name, "is no data set")
        if entry.external or entry.is_virtual:
            raise self._error(name, "lies in another file; needed a data set of the file itself")
        return entry

    def _texts(self, entry: Any) -> np.ndarray:
        texts: list[str] = []
        for start in range(0, len(entry), TEXT_ROWS):
            rows = [str(text) for text in entry.asstr()[start : start + TEXT_ROWS]]
            self.left -= sum(map(len, rows))
            if self.left < 0:
                raise self._error(entry.name, "holds more text than the file")
            if any(map(CONTROL.search, rows)):
                raise self._error(entry.name, "has a text with control characters")
            texts += rows
        return np.array(texts, dtype=object)

    def _error(self, name: str, problem: str) -> DataError:
        return DataError(
            f"{self.path}: is damaged ({name} {problem}); write it again with electrojax data "
            "convert"
        )


def _is_text(entry: Any) -> bool:
    import h5py

    return h5py.check_string_dtype(entry.dtype) is not None
