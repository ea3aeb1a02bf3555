"""One process at a time in a run folder."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from electrojax.errors import DataError
from electrojax.files import open_own
from electrojax.text import visible

LOCK = ".lock"

LOOKS, LOOK = 11, 0.02
"""How often a held lock is tried, and every how many seconds: a process that only looks
whether a folder is in use holds its lock for an instant."""


def try_lock(path: str | os.PathLike) -> int | None:
    """Returns the descriptor of a file locked for this process, or None while another holds it.

    A process started with the descriptor holds the lock too: it is free when all have closed it,
    however they ended.

    Raises:
        DataError: if the file cannot be opened.
    """
    return _locked(path, fcntl.LOCK_EX)


def _locked(path: str | os.PathLike, kind: int) -> int | None:
    try:
        handle = open_own(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror})") from error
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def is_locked(path: str | os.PathLike) -> bool:
    """Returns whether some process holds the lock of a file, which need not exist.

    Two that look at the same time do not take each other for a holder.
    """
    if not os.path.lexists(path):
        return False
    handle = _locked(path, fcntl.LOCK_SH)
    if handle is None:
        return True
    os.close(handle)
    return False


@contextmanager
def lock_folder(folder: str | os.PathLike, otherwise: str = "run.name") -> Iterator[None]:
    """Holds a folder for this process; the system frees it when the process ends, however it ends.

    Args:
        folder: the run folder; it must exist.
        otherwise: the key that would choose another folder, for the error.

    Raises:
        DataError: if another process holds it, naming that process, or it cannot be written.
    """
    path = Path(folder) / LOCK
    for _ in range(LOOKS):
        if (handle := try_lock(path)) is not None:
            break
        time.sleep(LOOK)
    else:
        holder = visible(path.read_bytes()[:32].decode(errors="replace").strip()) or "unknown"
        raise DataError(
            f"{folder}: another electrojax process (pid {holder}) is using it; wait for it to end, "
            f"or choose another {otherwise}"
        )
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)
