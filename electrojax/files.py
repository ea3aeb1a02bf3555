"""Writing files whole or not at all."""

import os
import tempfile
from pathlib import Path

from electrojax.errors import DataError


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
