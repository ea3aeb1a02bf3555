"""A run folder is one process's; looking whether it is in use takes it from nobody."""

import os
import threading
import time

import pytest

from electrojax.errors import DataError
from electrojax.locking import LOCK, is_locked, lock_folder, try_lock


def test_a_held_folder_is_refused_and_seen(tmp_path):
    assert not is_locked(tmp_path / LOCK)
    with lock_folder(tmp_path):
        assert is_locked(tmp_path / LOCK)
        with pytest.raises(DataError, match="another electrojax process"), lock_folder(tmp_path):
            pass
    assert not is_locked(tmp_path / LOCK)


def test_looking_neither_takes_the_folder_nor_is_taken_for_a_holder(tmp_path):
    ended = threading.Event()
    seen = []

    def look():
        while not ended.is_set():
            seen.append(is_locked(tmp_path / LOCK))

    with lock_folder(tmp_path):
        pass
    looking = [threading.Thread(target=look) for _ in range(2)]
    for thread in looking:
        thread.start()
    try:
        while len(seen) < 2000:
            time.sleep(0.001)
        assert not any(seen)
        for _ in range(200):
            with lock_folder(tmp_path):
                pass
    finally:
        ended.set()
        for thread in looking:
            thread.join()
    handle = try_lock(tmp_path / LOCK)
    assert handle is not None
    os.close(handle)
