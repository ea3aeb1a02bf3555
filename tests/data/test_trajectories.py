"""HDF5 trajectories as data: read, converted, inspected and evaluated."""

import h5py
import numpy as np
import pytest

from electrojax import testing
from electrojax.data.conversion import convert, read_with_rest
from electrojax.data.hdf5 import read_hdf5
from electrojax.data.reader import read_frames
from electrojax.data.trajectories import is_trajectory, read_trajectory
from electrojax.errors import DataError
from electrojax.simulation.trajectory import Snapshot, Structure, open_trajectory
from electrojax.system.atoms import atoms_from_frame, frame_from_atoms

NUMBERS, MASSES = np.array([8, 1, 1]), np.array([15.999, 2.014, 1.008])
INFO = {
    "total_charge": -1.0,
    "multiplicity": 2.0,
    "external_field": np.array([0.0, 0.1, 0.2]),
    "charge_control": "fixed_potential",
    "fermi_level": -3.25,
}
ARRAYS = {"formal_charges": np.array([-2.0, 1.0, 0.0]), "fragment": np.array([0, 0, 1])}


def values(step):
    rng = np.random.default_rng(step)
    names = ("positions", "velocities", "forces")
    return {n: rng.normal(size=(3, 3)) for n in names} | {"energy": np.float64(-step)}


@pytest.fixture
def trajectory(tmp_path):
    structure = Structure(NUMBERS, MASSES, np.eye(3) * 9, (True,) * 3, INFO, ARRAYS)
    writer = open_trajectory(tmp_path / "t.h5", structure, ["velocities", "forces", "energy"])
    for step in range(4):
        writer.append(Snapshot(step, 0.5 * step, values(step)))
    writer.sync()
    writer.close()
    return tmp_path / "t.h5"


def check(frames):
    for step, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.positions, values(step)["positions"])
        np.testing.assert_allclose(frame.velocities, values(step)["velocities"], rtol=1e-14)
        np.testing.assert_array_equal(frame.masses, MASSES)
        for name, value in {**INFO, **ARRAYS}.items():
            np.testing.assert_array_equal(getattr(frame, name), value, err_msg=name)
        assert frame.pbc == (True,) * 3


def test_everything_but_what_a_model_said_is_read(trajectory):
    assert is_trajectory(trajectory)
    frames = read_frames(trajectory)
    check(frames)
    assert len(frames) == 4 and not any(frame.labels for frame in frames)
    named = read_frames(trajectory, {"energy": "energy", "forces": "forces"}, ["energy"])
    assert [float(f.labels["energy"]) for f in named] == [0, -1, -2, -3]
    np.testing.assert_array_equal(named[3].labels["forces"], values(3)["forces"])
    with pytest.raises(
        DataError, match=r't.h5: "REF_energy" \(energy\) is in no frame; there: pos'
    ):
        read_frames(trajectory, {"energy": "REF_energy"}, ["energy"])
    with pytest.raises(DataError, match='"dipole" .dipole. is in none of 4 frames; other names'):
        read_with_rest(trajectory, {"dipole": "dipole"})


@pytest.mark.parametrize("name", ["o.xyz", "o.xyz.gz", "o.h5"])
def test_conversion_keeps_inputs_masses_and_velocities(trajectory, tmp_path, name):
    _, left = convert(trajectory, tmp_path / name, {"energy": "energy"}, force=False)
    assert left == ["forces"]
    again, rest = read_with_rest(tmp_path / name, {})
    check(again)
    assert not rest and [float(f.labels["energy"]) for f in again] == [0, -1, -2, -3]
    # There and back once more: nothing is lost between the two formats of structures.
    convert(tmp_path / name, tmp_path / "back.h5", {}, force=False)
    check(read_hdf5(tmp_path / "back.h5"))


def test_atoms_and_frames_are_two_forms_of_one_thing(trajectory):
    (frame, *_) = read_frames(trajectory)
    check([frame_from_atoms(atoms_from_frame(frame))])
    plain = atoms_from_frame(testing.cluster(np.random.default_rng(0)))
    assert not plain.info and set(plain.arrays) == {"numbers", "positions"}


def test_a_damaged_or_empty_trajectory_is_named(trajectory):
    with h5py.File(trajectory, "r+") as file:
        file["velocities"][2, 1, 1] = np.nan
    with pytest.raises(DataError, match="t.h5 frame 2: velocities are not three finite numbers"):
        read_frames(trajectory)
    with h5py.File(trajectory, "r+") as file:
        for name in ("step", "positions", "velocities"):
            file[name].resize(0, axis=0)
    with pytest.raises(DataError, match=r"t\.h5: holds no frames"):
        read_trajectory(trajectory)
    with h5py.File(trajectory, "r+") as file:
        del file["masses"]
        file["step"].resize(1, axis=0)
    with pytest.raises(DataError, match=r"t\.h5: is damaged"):
        read_trajectory(trajectory)


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        (
            "positions",
            (4, 2**28, 3),
            r"positions has shape \(4, 268435456, 3\); needed \(any, 3, 3\)",
        ),
        ("numbers", (2**40,), "numbers announces more than the file can hold"),
        ("energy", (2**40,), "energy announces more than the file can hold"),
    ],
)
def test_sizes_that_a_file_only_announces_are_refused(trajectory, name, shape, words):
    with h5py.File(trajectory, "r+") as file:
        kind = file[name].dtype
        del file[name]
        chunks = (1, *shape[1:]) if len(shape) == 1 else (1, 2**10, 3)
        file.create_dataset(name, shape, kind, chunks=chunks, fillvalue=1)
        if name == "energy":
            file["step"].resize(2**40, axis=0)
    with pytest.raises(DataError, match=words):
        read_trajectory(trajectory, {"energy": "energy"})


def test_a_trajectory_without_positions_is_damaged(trajectory):
    with h5py.File(trajectory, "r+") as file:
        del file["positions"]
    with pytest.raises(DataError, match=r"positions is not there"):
        read_trajectory(trajectory)
