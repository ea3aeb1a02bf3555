"""Files that grow: whole records only, and cut back to where a checkpoint saw them."""

import os
import resource
import subprocess
import sys

import numpy as np
import pytest

from electrojax.errors import ConfigError, DataError
from electrojax.simulation.appending import GrowingFile
from electrojax.simulation.trajectory import (
    Snapshot,
    Structure,
    open_trajectory,
    read_hdf5,
)

STRUCTURE = Structure(
    np.array([8, 1, 1]),
    np.array([16.0, 1.0, 1.0]),
    np.eye(3) * 9,
    (True,) * 3,
    {"total_charge": 0.0},
)


def frame(step):
    rng = np.random.default_rng(step)
    values = {"positions": rng.normal(size=(3, 3)), "energy": np.float64(-step)}
    return Snapshot(step, 0.5 * step, values)


def positions(path):
    if path.suffix == ".h5":
        return read_hdf5(path)["positions"]
    import ase.io

    return np.array([a.positions for a in ase.io.read(path, index=":")])


@pytest.mark.parametrize("name", ["t.h5", "t.xyz"])
def test_a_trajectory_is_cut_back_to_its_mark_and_goes_on(name, tmp_path):
    path = tmp_path / name
    writer = open_trajectory(path, STRUCTURE, ["energy"])
    for step in range(3):
        writer.append(frame(step))
    mark = writer.sync()
    writer.append(frame(99))
    writer.sync()
    writer.close()
    writer = open_trajectory(path, STRUCTURE, ["energy"], mark)
    writer.append(frame(3))
    writer.sync()
    # A reader may look while it is being written.
    expected = np.array([frame(s).values["positions"] for s in range(4)])
    np.testing.assert_allclose(positions(path), expected, atol=1e-8)
    writer.close()
    np.testing.assert_allclose(positions(path), expected, atol=1e-8)
    with pytest.raises(DataError, match="but the checkpoint saw"):
        open_trajectory(path, STRUCTURE, ["energy"], mark + 10_000)


KILLED = """
import os, sys
from pathlib import Path
from tests.simulation.test_trajectory import STRUCTURE, frame
from electrojax.simulation.trajectory import open_trajectory
writer = open_trajectory(Path(sys.argv[1]), STRUCTURE, ["energy"])
for step in range(5):
    writer.append(frame(step))
print(writer.sync())
writer.append(frame(99))
sys.stdout.flush()
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("name", ["t.h5", "t.xyz"])
def test_a_killed_writer_leaves_whole_frames(name, tmp_path):
    path = tmp_path / name
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == -9, done.stderr
    expected = np.array([frame(s).values["positions"] for s in range(5)])
    np.testing.assert_allclose(positions(path)[:5], expected, atol=1e-8)
    writer = open_trajectory(path, STRUCTURE, ["energy"], int(done.stdout))
    writer.append(frame(5))
    writer.sync()
    writer.close()
    np.testing.assert_allclose(positions(path)[5], frame(5).values["positions"], atol=1e-8)
    assert len(positions(path)) == 6
    assert sorted(p.name for p in tmp_path.iterdir()) == [name]


def test_a_full_disk_cuts_off_what_arrived_of_a_record(tmp_path):
    path = tmp_path / "log"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with GrowingFile(path) as file:
        file.append(b"whole\n")
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
        try:
            with pytest.raises(DataError, match=r"could not be written .*whole records are kept"):
                file.append(b"does not fit\n")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert path.read_bytes() == b"whole\n"
        file.append(b"fits\n")
    assert path.read_bytes() == b"whole\nfits\n"


def test_an_unknown_suffix_and_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(ConfigError, match=r"needs the suffix .h5, .hdf5, .xyz or .extxyz"):
        open_trajectory(tmp_path / "t.dcd", STRUCTURE, [])
    (tmp_path / "file").write_bytes(b"")
    for name in ("t.h5", "t.xyz"):
        with pytest.raises(DataError, match="could not be written"):
            open_trajectory(tmp_path / "file" / name, STRUCTURE, [])
    with pytest.raises(DataError, match="is no trajectory"):
        import h5py

        h5py.File(tmp_path / "other.h5", "w").close()
        read_hdf5(tmp_path / "other.h5")
    assert os.listdir(tmp_path / "..")
