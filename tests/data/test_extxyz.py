"""Files of labelled structures: every value arrives, and what is wrong is named."""

import gzip
import os

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from electrojax.data.extxyz import read_frames, write_frames
from electrojax.errors import ConfigError, DataError
from electrojax.system.quantities import DEFAULT_KEYS, LABELS

INFO = "REF_energy=-14.5 total_charge=1"
WATER = f"""3
Properties=species:S:1:pos:R:3:REF_forces:R:3:REF_charges:R:1 pbc="F F F" {INFO}
O 0.0 0.0 0.0 0.1 0.2 0.3 -0.8
H 0.96 0.0 0.0 0.4 0.5 0.6 0.4
H -0.24 0.93 0.0 0.7 0.8 0.9 0.4
"""
UNLABELLED = """1
pbc="F F F"
O 0.0 0.0 0.0
"""


@pytest.fixture
def file(tmp_path):
    def write(text, name="water.xyz"):
        path = tmp_path / name
        content = text.encode() if isinstance(text, str) else text
        path.write_bytes(content)
        return path

    return write


def message(path, *arguments, **options):
    with pytest.raises((DataError, ConfigError)) as caught:
        read_frames(path, *arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_frame_as_written(file):
    (frame,) = read_frames(file(WATER), require=["energy", "forces"])
    assert frame.numbers.tolist() == [8, 1, 1]
    np.testing.assert_array_equal(frame.positions[2], [-0.24, 0.93, 0.0])
    assert frame.labels["energy"] == -14.5 and frame.labels["energy"].dtype == np.float64
    np.testing.assert_array_equal(frame.labels["forces"], np.arange(1, 10).reshape(3, 3) / 10)
    np.testing.assert_array_equal(frame.labels["charges"], [-0.8, 0.4, 0.4])
    assert set(frame.labels) == {"energy", "forces", "charges"}
    assert (frame.total_charge, frame.multiplicity, frame.pbc) == (1.0, 1.0, (False,) * 3)
    assert frame.source == "water.xyz frame 0"


def test_every_file_of_a_folder_is_read(tmp_path, rng):
    """All labels and inputs, plain and gzipped, against the numbers that went in."""
    for index, suffix in enumerate([".xyz", ".extxyz", ".xyz.gz", ".extxyz.gz"]):
        for n in (1, 3, 6, 9):  # 6 and 9 atoms could be taken for components of a tensor
            expected = {
                name: rng.normal(size=(n, *s.shape) if s.axis == "nodes" else s.shape)
                for name, s in LABELS.items()
            }
            symmetric = rng.normal(size=(3, 3))
            expected["stress"] = symmetric + symmetric.T
            atoms = Atoms(["O"] * n, rng.normal(size=(n, 3)), cell=np.eye(3) * 9 + 0.1, pbc=True)
            for name, value in expected.items():
                side = atoms.arrays if LABELS[name].axis == "nodes" else atoms.info
                side[DEFAULT_KEYS[name]] = value
            atoms.info |= {"total_charge": -2, "multiplicity": 3, "split": "valid"}
            atoms.info["external_field"] = np.array([0.1, 0.0, -0.2])
            atoms.arrays["formal_charges"] = np.arange(n) - 1.0
            atoms.arrays["fragment"] = np.arange(n)
            path = tmp_path / f"set{index}_{n}{suffix}"
            write_frames(path, [atoms, atoms])
            frames = read_frames(path, require=list(LABELS))
            assert len(frames) == 2
            for name, value in expected.items():
                np.testing.assert_allclose(frames[1].labels[name], value, atol=6e-9, err_msg=name)
            np.testing.assert_array_equal(frames[1].external_field, [0.1, 0.0, -0.2])
            np.testing.assert_array_equal(frames[1].formal_charges, np.arange(n) - 1.0)
            np.testing.assert_array_equal(frames[1].fragment, np.arange(n))
            np.testing.assert_array_equal(frames[1].cell, np.eye(3) * 9 + 0.1)
            assert (frames[1].total_charge, frames[1].multiplicity) == (-2.0, 3.0)
            assert (frames[1].split, frames[1].boundary) == ("valid", "periodic")
            assert frames[1].source == f"{path.name} frame 1"


def test_plain_names_that_ase_moves_into_a_calculator(tmp_path):
    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 1]], cell=[5, 5, 5], pbc=True)
    stress = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])  # xx yy zz yz xz xy
    forces = np.arange(6.0).reshape(2, 3)
    atoms.calc = SinglePointCalculator(
        atoms, energy=-3.0, forces=forces, stress=stress, dipole=[1, 2, 3], charges=[0.5, -0.5]
    )
    path = tmp_path / "plain.xyz"
    ase.io.write(path, [atoms, atoms], format="extxyz")
    keys = {name: name for name in ("energy", "forces", "stress", "dipole")}
    labels = read_frames(path, {**keys, "charges": "charge"}, require=list(keys))[1].labels
    assert labels["energy"] == -3.0
    np.testing.assert_array_equal(labels["forces"], forces)
    np.testing.assert_array_equal(labels["stress"], [[1, 6, 5], [6, 2, 4], [5, 4, 3]])
    np.testing.assert_array_equal(labels["dipole"], [1, 2, 3])
    np.testing.assert_array_equal(labels["charges"], [0.5, -0.5])


def test_stress_with_six_components_is_in_ases_order(file):
    text = WATER.replace("pbc=", 'REF_stress="1 2 3 4 5 6" pbc=')
    expected = [[1, 6, 5], [6, 2, 4], [5, 4, 3]]
    np.testing.assert_array_equal(read_frames(file(text))[0].labels["stress"], expected)


def test_rows_of_born_charges_are_polarisation(file):
    text = '1\nProperties=species:S:1:pos:R:3:REF_bec:R:9 pbc="F F F"\nO 0 0 0 1 2 3 4 5 6 7 8 9\n'
    born = read_frames(file(text))[0].labels["born_charges"]
    assert born.shape == (1, 3, 3)
    assert born[0, 0, 1] == 2 and born[0, 1, 0] == 4


@pytest.mark.parametrize("components", [1, 4, 9])
def test_multipoles_of_each_order(file, components):
    values = " ".join(str(i) for i in range(components))
    text = f'1\nProperties=species:S:1:pos:R:3:REF_multipoles:R:{components} pbc="F F F"\nO 0 0 0 '
    label = read_frames(file(text + values + "\n"))[0].labels["multipoles"]
    np.testing.assert_array_equal(label, [np.arange(components)])


def test_a_label_of_some_frames_is_absent_in_the_others(file):
    frames = read_frames(file(WATER + UNLABELLED))
    assert "energy" in frames[0].labels and not frames[1].labels


def test_renamed_input(file):
    text = WATER.replace("total_charge=1", "Q=-3 total_charge=1")
    assert read_frames(file(text), {"total_charge": "Q"})[0].total_charge == -3.0
    found = message(file(WATER), {"total_charge": "Q"})
    assert '"Q" is in 0 of 1 frames of water.xyz; info there: REF_energy, total_charge' in found


def test_misspelt_key_is_named_with_what_is_there(file):
    path = file(WATER * 3)
    found = message(path, {"forces": "REF_force"}, ["forces"], {"data.keys.forces": "run.yaml:12"})
    assert found == (
        'run.yaml:12  data.keys.forces   "REF_force" is in 0 of 3 frames of water.xyz; '
        "arrays there: REF_charges, REF_forces"
    )
    found = message(path, {"energy": "energy"}, ["energy"])
    assert found.startswith('water.xyz: energy: "energy" is in 0 of 3 frames of water.xyz')
    assert found.endswith("info there: REF_energy, total_charge")


def test_plain_names_are_listed_when_another_was_asked_for(file):
    text = WATER.replace("REF_energy", "energy").replace("REF_forces", "forces")
    assert "info there: energy, total_charge" in message(file(text), require=["energy"])
    assert "arrays there: REF_charges, forces" in message(file(text), require=["forces"])


def test_required_label_missing_in_one_frame(file):
    found = message(file(WATER * 2 + UNLABELLED + WATER), require=["forces"])
    assert '"REF_forces" is in 3 of 4 frames of water.xyz (first without it: frame 2)' in found


def test_unknown_label_gets_a_near_name(file):
    assert 'did you mean "forces"' in message(file(WATER), {"force": "REF_forces"})
    assert 'did you mean "energy"' in message(file(WATER), {}, ["enrgy"])


@pytest.mark.parametrize(
    "old, new, expected",
    [
        ("0.7 0.8 0.9", "0.7 nan 0.9", "water.xyz frame 1: REF_forces of atom 2 is nan"),
        ("0.4 0.5 0.6 0.4", "0.4 0.5 0.6 inf", "water.xyz frame 1: REF_charges of atom 1 is inf"),
        ("=-14.5", "=nan", "water.xyz frame 1: REF_energy is nan"),
        ("=-14.5", "", "REF_energy has"),
        ("=-14.5", '="1 2"', "REF_energy has shape (2,), needed numbers of shape ()"),
        ("=-14.5", "=low", 'REF_energy has "low"'),
        (
            "pbc=",
            'REF_dipole="1 2" pbc=',
            "REF_dipole has shape (2,), needed numbers of shape (3,)",
        ),
        ("pbc=", 'REF_polarizability="1 2 3 4 5 6" pbc=', "needed numbers of shape (3, 3)"),
        ("charge=1", "charge=nan", "total_charge is nan"),
        ("charge=1", 'charge=1 external_field="0 0"', "external_field has shape (2,)"),
        ("REF_forces:R:3:REF_charges:R:1", "REF_forces:R:4", "needed numbers of shape (3, 3)"),
        ("H 0.96 0.0", "Qq 0.96 0.0", 'atom 1 is "Qq", which is no element'),
        ("H 0.96 0.0", "X 0.96 0.0", 'atom 1 is "X", which is no element'),
        ("H 0.96 0.0", "H nan 0.0", "frame 1: the position of atom 1 is nan"),
        (
            "H 0.96 0.0",
            "H 0.96",
            "frame 1 (line 6): atom 1 (line 9) has 7 entries, but the header announces 8",
        ),
        (
            "H 0.96 0.0",
            "H 0.9z6 0.0",
            'pos of atom 1 (line 9) is "0.9z6"; needed a number',
        ),
        ('"F F F"', '"T F F"', "repeats along one axis"),
        ("3\nProp", "0\nProp", "frame 1 (line 6): has 0 atoms"),
        ("3\nProp", "two\nProp", 'frame 1 (line 6): needed the number of atoms, got "two"'),
        ("3\nProp", "4\nProp", "frame 1 (line 6): announces 4 atoms, but only 3 lines follow"),
    ],
)
def test_bad_frames_are_named(file, old, new, expected):
    assert old in WATER
    assert expected in message(file(WATER + WATER.replace(old, new, 1)))


def test_blank_lines_between_frames_lose_nothing(file):
    assert len(read_frames(file(WATER + "\n\n" + WATER + "\n"))) == 2


def test_windows_line_ends(file):
    (frame,) = read_frames(file(WATER.replace("\n", "\r\n")))
    np.testing.assert_array_equal(frame.labels["charges"], [-0.8, 0.4, 0.4])


def test_damaged_files_are_one_line_errors(file, tmp_path):
    assert "No such file" in message(tmp_path / "absent.xyz")
    assert "directory" in message(tmp_path)
    assert "no structures" in message(file("", "empty.xyz"))
    assert "no structures" in message(file(gzip.compress(b""), "empty.xyz.gz"))
    assert "frame 1" in message(file((WATER * 2)[:-60], "cut.xyz"))
    packed = gzip.compress((WATER * 50).encode())
    assert "damaged or cut short" in message(file(packed[:-20], "cut.xyz.gz"))
    broken = packed[:40] + bytes(255 - b for b in packed[40:60]) + packed[60:]
    assert "damaged or cut short" in message(file(broken, "broken.xyz.gz"))
    assert "is not text" in message(file(bytes(range(256)), "image.xyz"))


def test_written_files_read_back_with_ase(tmp_path):
    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 1]])
    atoms.info["energy_predicted"] = -2.0 / 3.0
    atoms.arrays["born"] = np.arange(18.0).reshape(2, 3, 3)
    path = tmp_path / "out.extxyz.gz"
    write_frames(path, [atoms, atoms])
    assert path.read_bytes()[:2] == b"\x1f\x8b"
    back = ase.io.read(path, index=":")
    assert len(back) == 2 and back[1].info["energy_predicted"] == -2.0 / 3.0
    np.testing.assert_array_equal(back[1].arrays["born"], np.arange(18.0).reshape(2, 9))
    assert atoms.arrays["born"].shape == (2, 3, 3)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "out.xyz"
    path.write_text("old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left"):
        write_frames(path, [Atoms("O")])
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.xyz"]
