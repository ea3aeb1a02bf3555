"""A run folder is one process's; looking whether it is in use takes it from nobody."""

import os
import threading
import time

import pytest

from electrojax.errors import DataError
from electrojax.files import append
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


def test_a_lock_that_leads_elsewhere_is_refused_and_nothing_is_written(tmp_path):
    victim, lock = tmp_path / "victim", tmp_path / LOCK
    victim.write_text("precious")
    ways = (
        lambda: lock.symlink_to(victim),
        lambda: lock.hardlink_to(victim),
        lambda: lock.symlink_to(tmp_path / "nowhere"),
        lambda: os.mkfifo(lock),
        lambda: lock.mkdir(),
    )
    for way in ways:
        way()
        for look in (try_lock, is_locked):
            with pytest.raises(DataError, match=r"\.lock: cannot be opened"):
                look(lock)
        with pytest.raises(DataError, match=r"\.lock"), lock_folder(tmp_path):
            pass
        assert victim.read_text() == "precious" and not (tmp_path / "nowhere").exists()
        lock.rmdir() if lock.is_dir() else lock.unlink()


def test_nothing_is_appended_through_a_link(tmp_path):
    victim, log = tmp_path / "victim", tmp_path / "metrics.jsonl"
    victim.write_text("precious")
    log.symlink_to(victim)
    with pytest.raises(OSError, match="link"):
        append(log, b"more")
    log.unlink()
    append(log, b"one\n")
    append(log, b"two\n")
    assert log.read_text() == "one\ntwo\n" and victim.read_text() == "precious"
