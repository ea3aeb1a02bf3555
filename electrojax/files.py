"""Looking for files, reading them within limits, writing them whole or not at all."""

import errno
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from electrojax.errors import DataError

IMPOSSIBLE = (errno.ENAMETOOLONG, errno.EINVAL, errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""What the system says of a path that no file has."""


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
