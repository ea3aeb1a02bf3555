"""A file that changes from one whole state to the next, whatever ends its writer."""

import io
import os
import zlib
from pathlib import Path
from typing import Any

from electrojax.errors import DataError
from electrojax.files import write_whole

PAGE = 16_384
MAGIC = b"electrojax journal 1\n"


class JournaledFile(io.RawIOBase):
    """A random-access file whose writes wait in memory until :meth:`commit`.

    A commit first writes every changed page into a journal beside the file, whole or not at all,
    then into the file, and then removes the journal. A writer that is killed leaves either the old
    state, or a journal from which the next one completes the new state; a full disk leaves the old
    state. Write-ahead logging, as in data bases (J. Gray and A. Reuter, Transaction Processing,
    Morgan Kaufmann 1993, chapter 9).

    h5py accepts it as a file object. HDF5's own writes in place would leave a broken file behind a
    kill, and the library crashes where a write fails; to this file no write fails.

    Args:
        path: the file.
        create: start with an empty file.
        write: False for a reader, which takes a journal into account but changes nothing.
    """

    def __init__(self, path: Path, create: bool = False, write: bool = True) -> None:
        super().__init__()
        self._path, self._write = path, write
        self._pages: dict[int, bytearray] = {}
        self._place = 0
        flags = os.O_RDWR | (os.O_CREAT | os.O_TRUNC if create else 0) if write else os.O_RDONLY
        self._handle = os.open(path, flags | os.O_CLOEXEC, 0o666)
        self._size = os.fstat(self._handle).st_size
        if create:
            journal_of(path).unlink(missing_ok=True)
        elif journal_of(path).is_file():
            self._replay(journal_of(path).read_bytes())

    def commit(self) -> None:
        """Sees every change onto the disk, all of them or none.

        Raises:
            DataError: if the journal cannot be written; the file is as it was.
            OSError: if the file cannot be written; the journal then completes it later.
        """
        self._commit_to(journal_of(self._path))
        self._pages.clear()

    def seekable(self) -> bool:
        """Returns true."""
        return True

    def readable(self) -> bool:
        """Returns true."""
        return True

    def writable(self) -> bool:
        """Returns whether it was opened for writing."""
        return self._write

    def tell(self) -> int:
        """Returns the place of the next read or write, in bytes."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves the place of the next read or write."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = start + offset
        return self._place

    def truncate(self, size: int | None = None) -> int:
        """Cuts or extends the file, with zeros."""
        size = self._place if size is None else size
        if size < self._size:
            self._forget(size)
        self._size = size
        return size

    def readinto(self, buffer: Any) -> int:
        """Reads into a buffer and returns the number of bytes; missing ones are zeros."""
        target = memoryview(buffer).cast("B")
        count = max(0, min(len(target), self._size - self._place))
        for page, begin, end, done in _pieces(self._place, count):
            target[done : done + end - begin] = self._page(page)[begin:end]
        self._place += count
        return count

    def write(self, data: Any) -> int:
        """Writes into memory; nothing reaches the disk before :meth:`commit`."""
        source = memoryview(data).cast("B")
        for page, begin, end, done in _pieces(self._place, len(source)):
            changed = self._pages.setdefault(page, self._page(page))
            changed[begin:end] = source[done : done + end - begin]
        self._place += len(source)
        self._size = max(self._size, self._place)
        return len(source)

    def close(self) -> None:
        """Closes the file; what was not committed is dropped."""
        if not self.closed:
            os.close(self._handle)
        super().close()

    def _page(self, page: int) -> bytearray:
        if page in self._pages:
            return self._pages[page]
        found = os.pread(self._handle, PAGE, page * PAGE)
        return bytearray(found.ljust(PAGE, b"\0"))

    def _forget(self, size: int) -> None:
        """Zeros what lies behind a new, smaller size."""
        last = size // PAGE
        kept = self._page(last)
        kept[size % PAGE :] = bytes(PAGE - size % PAGE)
        for page in range(last + 1, -(-self._size // PAGE)):
            self._pages[page] = bytearray(PAGE)
        self._pages[last] = kept

    def _commit_to(self, journal: Path) -> None:
        last = -(-self._size // PAGE)
        pages = {k: v for k, v in sorted(self._pages.items()) if k < last}
        body = b"".join(k.to_bytes(8, "little") + bytes(v) for k, v in pages.items())
        head = self._size.to_bytes(8, "little") + zlib.crc32(body).to_bytes(4, "little")
        write_whole(journal, MAGIC + head + body)
        for page, content in pages.items():
            _write_at(self._handle, bytes(content), page * PAGE)
        os.ftruncate(self._handle, self._size)
        os.fsync(self._handle)
        journal.unlink()

    def _replay(self, journal: bytes) -> None:
        start = len(MAGIC) + 12
        head, body = journal[len(MAGIC) : start], journal[start:]
        if journal[: len(MAGIC)] != MAGIC or zlib.crc32(body) != int.from_bytes(head[8:], "little"):
            raise DataError(
                f"{journal_of(self._path)}: is damaged, so {self._path.name} may be incomplete; "
                "start the run afresh in another folder"
            )
        self._size = int.from_bytes(head[:8], "little")
        for place in range(0, len(body), PAGE + 8):
            page = int.from_bytes(body[place : place + 8], "little")
            self._pages[page] = bytearray(body[place + 8 : place + 8 + PAGE])


def journal_of(path: Path) -> Path:
    """Returns the journal of a file: a hidden file beside it."""
    return path.with_name(f".{path.name}.journal")


def _pieces(place: int, count: int) -> list[tuple[int, int, int, int]]:
    """The pages of a stretch of bytes: number, first and last byte in it, and bytes before it."""
    found, done = [], 0
    while done < count:
        page, begin = divmod(place + done, PAGE)
        end = min(PAGE, begin + count - done)
        found.append((page, begin, end, done))
        done += end - begin
    return found


def _write_at(handle: int, content: bytes, place: int) -> None:
    done = 0
    while done < len(content):
        done += os.pwrite(handle, content[done:], place + done)
