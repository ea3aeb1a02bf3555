"""The text of a file, plain or gzipped, within bounds on what compressed data may hold."""

import gzip
import io
import zlib
from pathlib import Path

from electrojax.errors import DataError

SMALLEST = 8 * 2**20
"""Bytes that any compressed file may hold."""

RATIO = 100
"""Bytes that a byte of a larger compressed file may hold. Structures reach about 10."""

PIECE = 2**20
"""Bytes that are unpacked at once."""


def most_bytes(size: int) -> int:
    """Returns how many bytes we accept from a compressed file of a size in bytes."""
    return max(SMALLEST, RATIO * size)


def read_text(path: Path) -> str:
    """Returns the text of a file, unpacked if it is gzipped, without a byte-order mark.

    Raises:
        DataError: if it cannot be read, is damaged, unpacks to more than structures do, or is not
            UTF-8; then with the line.
    """
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path}: is a directory or device; needed a file of structures")
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = _unpacked(content, path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: gzip data damaged or cut short; copy it again ({error})"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read ({reason}); check the path") from None
    return _decoded(content, path)


def _unpacked(content: bytes, path: Path) -> bytes:
    most = most_bytes(len(content))
    pieces, size = [], 0
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        while piece := file.read(PIECE):
            pieces.append(piece)
            size += len(piece)
            if size > most:
                raise DataError(
                    f"{path}: {len(content)} bytes unpack to more than {most}, {RATIO} times as "
                    "many, which no structures do; unpack it with gunzip if you trust it"
                )
    return b"".join(pieces)


def _decoded(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if b"\0" in content:
            raise DataError(
                f"{path}: is not text; needed an extxyz file, plain or gzipped"
            ) from None
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path} line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8 text; "
            "needed UTF-8: convert the file (iconv -f latin1 -t utf-8)"
        ) from None
