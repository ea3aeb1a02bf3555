"""Virials, weights and volumes in extxyz and HDF5 files."""

import dataclasses

import h5py
import numpy as np
import pytest

from electrojax.data.conversion import write_structures
from electrojax.data.reader import read_frames
from electrojax.errors import ConfigError, DataError

CELL = np.array([[5.0, 0.3, 0.0], [0.0, 6.0, -0.2], [0.4, 0.0, 4.0]])
VIRIAL = np.array([[-4.2, 0.1, -0.3], [0.1, 1.7, 0.2], [-0.3, 0.2, 0.9]])


def text(*keys, pbc="T T T", cell=CELL):
    lattice = f'Lattice="{" ".join(map(str, np.ravel(cell)))}" ' if cell is not None else ""
    header = f'{lattice}Properties=species:S:1:pos:R:3 pbc="{pbc}" {" ".join(keys)}'
    return f"2\n{header}\nH 0.1 0.2 0.3\nO 1.1 0.0 0.4\n"


def tensor(name, values):
    return f'{name}="{" ".join(map(str, np.ravel(values)))}"'


@pytest.fixture
def read(tmp_path):
    def read(content, keys=None, **options):
        (tmp_path / "set.xyz").write_text(content)
        return read_frames(tmp_path / "set.xyz", keys, **options)

    return read


def test_a_virial_is_read_as_its_stress(read, tmp_path):
    expected = -VIRIAL / abs(np.linalg.det(CELL))
    voigt = [VIRIAL[i, j] for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))]
    content = text(tensor("REF_virial", VIRIAL)) + text(tensor("REF_virial", voigt))
    frames = read(content, require=["stress"])
    for frame in frames:
        assert set(frame.labels) == {"stress"}
        np.testing.assert_allclose(frame.labels["stress"], expected, rtol=1e-12)
    write_structures(tmp_path / "set.h5", frames)
    (back, _) = read_frames(tmp_path / "set.h5", require=["stress"])
    np.testing.assert_array_equal(back.labels["stress"], frames[0].labels["stress"])


def test_a_virial_may_have_another_name(read):
    (frame,) = read(text(tensor("virials", VIRIAL)), {"virial": "virials"})
    np.testing.assert_allclose(
        frame.labels["stress"] * abs(np.linalg.det(CELL)), -VIRIAL, rtol=1e-12
    )


def test_a_virial_in_hdf5_is_read_as_its_stress(read, tmp_path):
    (frame,) = read(text())
    write_structures(tmp_path / "set.h5", [frame])
    with h5py.File(tmp_path / "set.h5", "a") as file:
        file["labels/virial/present"] = np.array([True])
        file["labels/virial/values"] = VIRIAL[None]
    (frame,) = read_frames(tmp_path / "set.h5")
    np.testing.assert_allclose(
        frame.labels["stress"], -VIRIAL / abs(np.linalg.det(CELL)), rtol=1e-12
    )
    with pytest.raises(ConfigError, match="virial"):
        read_frames(tmp_path / "set.h5", {"virial": "virials"})


def test_stress_and_virial_must_agree(read):
    stress = -VIRIAL / abs(np.linalg.det(CELL))
    virial = tensor("REF_virial", VIRIAL)
    (frame,) = read(text(virial, tensor("REF_stress", stress.round(8))))
    np.testing.assert_array_equal(frame.labels["stress"], stress.round(8))
    with pytest.raises(DataError, match=r"set\.xyz frame 0: its stress and −virial/volume differ"):
        read(text(virial, tensor("REF_stress", -stress)))


@pytest.mark.parametrize(
    ("key", "pbc", "cell"),
    [
        ("REF_virial", "F F F", None),
        ("REF_virial", "F F F", CELL),
        ("REF_stress", "T T F", np.diag([5.0, 6.0, 0.0])),
        ("REF_virial", "T T F", np.diag([5.0, 6.0, 0.0])),
    ],
)
def test_what_is_per_volume_needs_a_volume(read, key, pbc, cell):
    name = key.removeprefix("REF_")
    with pytest.raises(DataError, match=rf"set\.xyz frame 1: has a {name} but no volume"):
        read(text() + text(tensor(key, VIRIAL), pbc=pbc, cell=cell))


def test_the_stress_of_an_open_frame_is_kept_and_masked_later(read):
    (frame,) = read(text(tensor("REF_stress", VIRIAL), pbc="F F F", cell=None))
    np.testing.assert_array_equal(frame.labels["stress"], VIRIAL)


def test_weights_are_read_and_kept(read, tmp_path):
    frames = read(text("config_weight=2.5") + text() + text("config_weight=0"))
    assert [frame.weight for frame in frames] == [2.5, 1.0, 0.0]
    assert ["weight" in frame.given for frame in frames] == [True, False, True]
    for name in ("kept.h5", "kept.xyz"):
        write_structures(tmp_path / name, frames)
        assert [frame.weight for frame in read_frames(tmp_path / name)] == [2.5, 1.0, 0.0]
    named = read(text("w=3"), {"weight": "w"})
    assert named[0].weight == 3.0
    with pytest.raises(DataError, match='"w" is in 0 of 1 frames'):
        read(text(), {"weight": "w"})


@pytest.mark.parametrize("value", ["-1.0", "nan", "inf"])
def test_weights_below_zero_and_nan_are_refused(read, value):
    with pytest.raises(DataError, match=r"set\.xyz frame 1: .*weight"):
        read(text() + text(f"config_weight={value}"))
    with pytest.raises(DataError, match="weight"):
        dataclasses.replace(read(text())[0], weight=float(value))


def test_a_virial_mapped_to_stress_is_never_taken_for_one(tmp_path):
    """Its default key reads it as a virial too, and the two contradict each other."""
    path = tmp_path / "virial.xyz"
    path.write_text(
        '1\nLattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3 REF_energy=-1.0 '
        'REF_virial="-4.1 0 0 0 -4.1 0 0 0 -4.1" pbc="T T T"\nNa 0 0 0\n'
    )
    with pytest.raises(DataError, match=r"virial\.xyz frame 0: its stress and −virial/volume"):
        read_frames(path, {"stress": "REF_virial"})
    (frame,) = read_frames(path)
    np.testing.assert_allclose(frame.labels["stress"], 4.1 / 125 * np.eye(3), rtol=1e-12)
