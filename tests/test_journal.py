"""The journaled file: the old state or the new one, wherever its writer stops."""

import os

import h5py
import numpy as np
import pytest

from electrojax import journal as module
from electrojax.errors import DataError
from electrojax.journal import PAGE, JournaledFile, journal_of


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


def test_it_behaves_as_a_plain_file(path, tmp_path, rng):
    plain = (tmp_path / "plain").open("w+b", buffering=0)
    with JournaledFile(path, create=True) as mine:
        for _ in range(200):
            place, size = (int(n) for n in rng.integers(0, 3 * PAGE, size=2))
            data = rng.bytes(size)
            action = rng.integers(0, 4)
            results = []
            for file in (mine, plain):
                file.seek(place)
                if action == 0:
                    file.truncate(size)
                elif action == 1:
                    results.append(file.read(size))
                elif action == 2:
                    file.write(data)
                elif file is mine:
                    mine.commit()
            assert results == [] or results[0] == results[1]
        assert mine.seek(0, os.SEEK_END) == plain.seek(0, os.SEEK_END)
        mine.commit()
    plain.close()
    assert path.read_bytes() == (tmp_path / "plain").read_bytes()
    assert not journal_of(path).exists()


def test_what_is_not_committed_is_dropped(path):
    with JournaledFile(path, create=True) as file:
        file.write(b"kept")
        file.commit()
        file.write(b"dropped")
        assert path.read_bytes() == b"kept"
    assert path.read_bytes() == b"kept"


class Stop(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("stop_at", range(6))
def test_a_writer_that_stops_anywhere_leaves_the_old_or_the_new_state(path, stop_at, monkeypatch):
    old, new = os.urandom(3 * PAGE), os.urandom(3 * PAGE + 100)
    with JournaledFile(path, create=True) as file:
        file.write(old)
        file.commit()
    calls = 0

    def stopping(original):
        def call(*arguments):
            nonlocal calls
            calls += 1
            if calls > stop_at:
                raise Stop
            return original(*arguments)

        return call

    file = JournaledFile(path)
    file.write(new)
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_whole", stopping(module.write_whole))
        patch.setattr(module, "_write_at", stopping(module._write_at))
        if stop_at < 5:
            with pytest.raises(Stop):
                file.commit()
        else:
            file.commit()
    file.close()
    with JournaledFile(path, write=False) as reader:
        assert reader.read(10**6) == (new if stop_at else old)
    with JournaledFile(path) as writer:
        writer.commit()
    assert path.read_bytes() == (new if stop_at else old)


def test_hdf5_works_in_it_and_is_readable_without_it(path):
    with JournaledFile(path, create=True) as disk, h5py.File(disk, "w") as file:
        data = file.create_dataset("x", (0, 3), "f8", maxshape=(None, 3), chunks=(16, 3))
        for index in range(100):
            data.resize(index + 1, axis=0)
            data[-1] = index
        file.flush()
        disk.commit()
        with h5py.File(path, "r") as reader:
            np.testing.assert_array_equal(reader["x"][:, 0], np.arange(100))


def test_a_damaged_journal_is_refused(path):
    with JournaledFile(path, create=True) as file:
        file.commit()
    journal_of(path).write_bytes(module.MAGIC + b"\0" * 12 + b"wrong")
    with pytest.raises(DataError, match="is damaged"):
        JournaledFile(path)
