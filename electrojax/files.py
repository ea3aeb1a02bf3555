"""Looking for files, reading them within limits, writing them whole or not at all."""

import errno
import io
import json
import math
import os
import stat
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from electrojax.errors import DataError
from electrojax.text import cut, visible

IMPOSSIBLE = (errno.ENAMETOOLONG, errno.EINVAL, errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""What the system says of a path that no file has."""


NO_FILE = "it is a link or no file; remove it"


def is_file(path: str | os.PathLike) -> bool:
    """Returns whether a path leads to a file; one that is no path at all leads nowhere.

    Raises:
        DataError: if it cannot be looked up, such as in a folder of somebody else.
    """
    return _looked_up(path, stat.S_ISREG)


def is_folder(path: str | os.PathLike) -> bool:
    """Returns whether a path leads to a folder, likewise.

    Raises:
        DataError: if it cannot be looked up.
    """
    return _looked_up(path, stat.S_ISDIR)


def _looked_up(path: str | os.PathLike, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(os.stat(path).st_mode)
    except ValueError:  # a NUL, or a character that file names cannot hold
        return False
    except OSError as error:
        if error.errno in IMPOSSIBLE:
            return False
        raise DataError(f"{path}: cannot be looked up ({error.strerror})") from error


def open_own(path: str | os.PathLike, flags: int, mode: int = 0o644) -> int:
    """Returns the descriptor of a file that has this name alone, as `os.open` does.

    A link put into a run folder by somebody else would lead what is written into another file, and
    a pipe would wait for ever.

    Raises:
        OSError: also if the path is a link, a second name of a file, or no file.
    """
    try:
        handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, mode)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, a pipe nobody reads
            raise OSError(error.errno, NO_FILE) from error
        raise
    state = os.fstat(handle)
    if stat.S_ISREG(state.st_mode) and state.st_nlink <= 1:
        os.set_blocking(handle, True)
        return handle
    os.close(handle)
    raise OSError(errno.EMLINK, NO_FILE)


def append(path: str | os.PathLike, content: bytes) -> None:
    """Appends to a file and sees it onto the disk; the file is made if it does not exist.

    Raises:
        OSError: if it cannot be written, or is a link.
    """
    with os.fdopen(open_own(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_whole(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file under a temporary name and renames it, so that it is whole or absent.

    Args:
        path: the file to write; its folder is made if it does not exist.
        content: every byte of it.

    Raises:
        DataError: if the disk is full or the folder cannot be written; nothing is left behind.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        raise DataError(
            f"{path}: could not be written ({error.strerror}); nothing was left behind, "
            "free some space or choose another folder"
        ) from error


MOST_RECORDS = 2**29
"""Bytes of a file of JSON lines: a million of them."""

DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    EOFError,
    MemoryError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)
"""What readers of zip, npy, JSON and YAML raise at damaged content; RuntimeError for what they do
not know, such as a password, and where JSON is nested too deeply."""


def read_bounded(path: str | os.PathLike, most: int) -> bytes:
    """Returns the content of a file that may not have more than so many bytes.

    Raises:
        DataError: if it is missing, unreadable, no file, or longer.
    """
    if not is_file(path):
        raise DataError(f"{path}: no such file")
    try:
        with open(path, "rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > most:
        raise DataError(f"{path}: has more than {most} bytes, which no file of its kind has")
    return content


def read_mapping(path: str | os.PathLike, most: int = 2**24) -> dict[str, Any]:
    """Returns what a JSON or YAML file that electrojax wrote holds, by its suffix.

    Aliases and tags of YAML, which electrojax never writes, are refused.

    Raises:
        DataError: if it is missing, damaged or holds something else than keys with values.
    """
    content, name = read_bounded(path, most), Path(path).name
    try:
        text = content.decode()
        plain = json.loads(text) if name.endswith(".json") else _plain_yaml(text)
    except (*DAMAGE, yaml.YAMLError) as error:
        raise DataError(f"{path}: is damaged ({first_line(error)})") from error
    if not isinstance(plain, dict) or not all(isinstance(key, str) for key in plain):
        raise DataError(f"{path}: is damaged (needed keys with values)")
    return plain


def _plain_yaml(text: str) -> Any:
    loader = _PlainLoader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


class _PlainLoader(yaml.SafeLoader):
    """A SafeLoader of YAML without aliases, which share memory here and explode elsewhere."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("has an alias")
        return super().compose_node(parent, index)


def read_records(path: str | os.PathLike, strict: bool = False) -> list[dict[str, Any]]:
    """Returns the objects of a file of JSON lines; what a killed process left torn is left out.

    Args:
        path: the file; one that does not exist has no records.
        strict: whether other lines that are no objects are damage; else they are left out too.

    Raises:
        DataError: if it cannot be read, or for damage.
    """
    if not is_file(path):
        return []
    records = []
    lines = read_bounded(path, MOST_RECORDS).split(b"\n")
    for number, line in enumerate(lines, 1):
        record = _json(line)
        if isinstance(record, dict):
            records.append(record)
        elif strict and number < len(lines):
            raise DataError(f"{path}:{number}: is damaged (no JSON record)")
    return records


def _json(text: bytes) -> Any:
    """The value of a JSON text; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def read_member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """Returns a member of a zip that may not have more than so many bytes.

    What the archive says of the size is not believed: reading stops there.

    Raises:
        ValueError: if it has more.
        KeyError: if there is no such member.
    """
    with archive.open(name) as member:
        content = member.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{name} has more than {most} bytes")
    return content


def array_header(content: bytes) -> tuple[tuple[int, ...], np.dtype]:
    """Returns shape and dtype of an array in the format npy, before memory is taken for it.

    Raises:
        ValueError: if it is none, holds Python objects, or its bytes do not fit its shape.
    """
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"npy format {version} is not known")
    read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    shape, _, dtype = read[version[0]](file)
    if dtype.hasobject or dtype.itemsize == 0 or dtype.names is not None:
        raise ValueError(f"its elements are {dtype}, not numbers")
    if math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise ValueError(f"its bytes do not fit its shape {shape}")
    return shape, dtype


def read_arrays(path: str | os.PathLike, ratio: int = 200) -> dict[str, np.ndarray]:
    """Returns the arrays of an npz archive that electrojax wrote.

    Args:
        path: the file.
        ratio: the largest compression; small archives may unpack to 64 MiB.

    Raises:
        DataError: if it is missing, damaged, holds objects, or unpacks to more.
    """
    if not is_file(path):
        raise DataError(f"{path}: no such file")
    try:
        left = max(2**26, ratio * os.path.getsize(path))
        arrays = {}
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                content = read_member(archive, name, left)
                array_header(content)
                left -= len(content)
                array = np.load(io.BytesIO(content), allow_pickle=False)
                arrays[name.removesuffix(".npy")] = array
    except DAMAGE as error:
        raise DataError(f"{path}: is damaged ({first_line(error)})") from error
    return arrays


def first_line(error: BaseException) -> str:
    """Returns what an error says, in one line of readable length, or the name of its kind."""
    said = " ".join(str(error).split())
    return cut(visible(said)) if said else type(error).__name__
