"""Runs a command that does not outlive the process which asked for it.

``python -m electrojax.sweep.bound PARENT COMMAND ...`` becomes the command, and the kernel
kills it when the thread of process PARENT that started it is gone, even by kill -9.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1
INTERVAL = 0.5
"""Seconds between looks at the parent, where the kernel does not watch it."""


def bind() -> bool:
    """Has this process killed when its parent ends; returns whether the system can do that."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0)


def watch(command: Sequence[str], parent: int, interval: float = INTERVAL) -> int:
    """Runs a command below this process until it ends or the parent does; returns its exit code."""
    child = subprocess.Popen(command, close_fds=False)
    signal.signal(signal.SIGTERM, lambda number, frame: child.terminate())
    while (code := child.poll()) is None:
        if os.getppid() != parent:
            child.kill()
        time.sleep(interval)
    return code if code >= 0 else 128 - code


def main(arguments: Sequence[str]) -> None:
    """Becomes the command after the number of the parent process."""
    parent, command = int(arguments[0]), list(arguments[1:])
    bound = bind()
    if os.getppid() != parent:  # it ended before the kernel was told
        raise SystemExit(1)
    if not bound:
        raise SystemExit(watch(command, parent))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
