"""The syntax of extxyz: what a header and its rows say is read in full, or refused with its place.

ASE's reader is the independent implementation, for files that it reads as the format says.
"""

import contextlib
import dataclasses
import json
import time

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.io.extxyz import key_val_str_to_dict

from electrojax.data.conversion import extxyz_text, write_stored
from electrojax.data.extxyz import read_frames, unread_names
from electrojax.data.syntax import parse_header, parse_pbc, parse_value
from electrojax.errors import DataError

HEADER = 'Lattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3 REF_energy=-1 pbc="T T T"'
ROWS = "O 0 0 0\nH 0 0 1\n"
DEEP = "[" * 5000 + "]" * 5000


def frame(tmp_path, header=HEADER, rows=ROWS):
    path = tmp_path / "x.xyz"
    path.write_bytes(f"{len(rows.splitlines())}\n{header}\n{rows}".encode())
    (found,) = read_frames(path)
    return found


def refused(tmp_path, header=HEADER, rows=ROWS):
    with pytest.raises(DataError) as caught:
        frame(tmp_path, header, rows)
    message = str(caught.value)
    assert message.startswith("x.xyz frame 0") and "\n" not in message and len(message) < 500
    return message


@pytest.mark.parametrize(
    "header",
    [
        "a=1 b=\"2 3\" c={4 5} d=[6, 7] e='8 9' f flag g=T",
        "a = 1 b= 2 c =3",
        r'name="with \"quotes\" and \\ in it" next="a=b=c" x=a=b',
        'glued="a"b"c d" "two words"=5',
        "time=1.5e-3 step=12 word=abc neg=-.5 inf=inf",
        'array="_JSON [[1, 2], [3, 4]]" text="_JSON {\\"k\\": 1}"',
    ],
)
def test_headers_as_ase_reads_them(header):
    expected = key_val_str_to_dict(header)
    found = {key: parse_value(text) for key, text in parse_header(header, "x").items()}
    assert list(found) == list(expected)
    for key, value in expected.items():
        if np.asarray(value).dtype.kind in "if":
            np.testing.assert_array_equal(found[key], value, err_msg=key)
        elif isinstance(value, dict):
            assert json.loads(found[key].removeprefix("_JSON ")) == value
        else:
            assert found[key] == ("T" if value is True else value)


def test_frames_as_ase_writes_and_reads_them(tmp_path, rng):
    structures = []
    for n in (1, 2, 7):
        atoms = Atoms(
            rng.choice([1, 8, 79], n), rng.normal(size=(n, 3)), cell=rng.normal(size=(3, 3))
        )
        atoms.pbc = (True, True, n > 1)
        atoms.info = {
            "REF_energy": rng.normal(), "REF_stress": np.eye(3) * n,
            "REF_dipole": rng.normal(size=3), "comment": 'a "quoted" {text}',
            "flag": True, "REF_polarizability": np.eye(3),
        }  # fmt: skip
        atoms.arrays["REF_forces"] = rng.normal(size=(n, 3))
        atoms.arrays["label"] = np.array(["a_b"] * n)
        atoms.arrays["fixed"] = np.array([True] * n)
        structures.append(atoms)
    path = tmp_path / "x.xyz"
    ase.io.write(path, structures, format="extxyz")
    for found, expected in zip(read_frames(path), ase.io.read(path, ":"), strict=True):
        np.testing.assert_array_equal(found.numbers, expected.numbers)
        np.testing.assert_array_equal(found.positions, expected.positions)
        np.testing.assert_array_equal(found.cell, expected.cell)
        assert found.pbc == tuple(expected.pbc)
        for name in ("energy", "stress", "dipole", "polarizability"):
            np.testing.assert_array_equal(found.labels[name], expected.info[f"REF_{name}"])
        np.testing.assert_array_equal(found.labels["forces"], expected.arrays["REF_forces"])
    assert unread_names(path) == ["comment", "fixed", "flag", "label"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((t, (False,) * 3) for t in ("F F F", "f f f", "FFF", "[F, F, F]", "F", "false", "0 0 0")),
        *((t, (True,) * 3) for t in ("T T T", "ttt", "TRUE True true", "(1,1,1)", "T")),
        ("t t f", (True, True, False)),
        ("[True, False, True]", (True, False, True)),
    ],
)
def test_periodicity_in_every_spelling(text, expected):
    assert parse_pbc(text, "x") == expected


@pytest.mark.parametrize("text", ["no", "T T", "T T T T", "1 1 2", "", "x y z", "maybe", "TT F"])
def test_other_periodicity_is_refused(tmp_path, text):
    message = refused(tmp_path, HEADER.replace("T T T", text))
    assert "(line 1)" in message and f'pbc is "{text}"' in message


def test_names_of_the_format_in_any_letter_case(tmp_path):
    lower = frame(tmp_path, HEADER.replace("Lattice", "lattice").replace("Prop", "prop"))
    assert lower.pbc == (True,) * 3 and lower.cell[1, 1] == 9
    assert (
        frame(tmp_path, HEADER.replace("pbc", "PBC").replace("T T T", "F F F")).pbc == (False,) * 3
    )
    assert "Lattice, lattice differ" in refused(tmp_path, HEADER + ' lattice="8 0 0 0 8 0 0 0 8"')


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ("Total_charge=1", "total_charge"),
        ("ref_energy=1", "REF_energy"),
        ("MULTIPLICITY=3", "multiplicity"),
        ("Split=train", "split"),
    ],
)
def test_a_known_name_in_another_letter_case_is_refused(tmp_path, given, known):
    header = HEADER.replace(" REF_energy=-1", "")
    message = refused(tmp_path, f"{header} {given}")
    assert given.split("=")[0] in message and f'"{known}" is not there' in message
    both = frame(tmp_path, f"{header} {given} {known}={given.split('=')[1]}")
    assert both.labels or both.given or both.split


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("REF_energy=-1", "REF_energy=-1 REF_energy=-2", ['"REF_energy" is there twice', "-2"]),
        ("REF_energy=-1", 'REF_energy="-1', ["unclosed"]),
        ("REF_energy=-1", "= -1", ["stray ="]),
        ("9 0 0 0 9 0 0 0 9", "9 9 9", ["Lattice", "nine numbers"]),
        ("9 0 0 0 9 0 0 0 9", "nan 0 0 0 9 0 0 0 9", ["the cell is nan"]),
        ("9 0 0 0 9 0 0 0 9", "9 0 0 9 0 0 0 0 9", ["span no volume"]),
        ("9 0 0 0 9 0 0 0 9", "9 0 0 0 9 0 0 0 .01", ["0.01 Å long"]),
        ('Lattice="9 0 0 0 9 0 0 0 9"', "", ["span no volume"]),
        ("pos:R:3", "pos:R", ["needed name:type:columns"]),
        ("pos:R:3", "pos:Q:3", ["needed name:type:columns"]),
        ("pos:R:3", "pos:R:0", ["needed name:type:columns"]),
        ("pos:R:3", "pos:R:1_0", ["needed name:type:columns"]),
        ("pos:R:3", "pos:R:2:x:R:1", ["needed pos:R:3"]),
        ("pos:R:3", "Pos:R:3", ["no pos", "species, Pos"]),
        ("species:S:1", "name:S:1", ["no element"]),
        ("species:S:1", "species:S:1:symbols:S:1", ["species twice"]),
        ("pos:R:3", "pos:R:3:pos:R:3", ["pos twice"]),
        ("pos:R:3", "pos:R:99999999", ["needed pos:R:3"]),
        ("pos:R:3", "pos:R:3:x:R:99999999", ["atom 0 (line 3) has 4 entries", "100000003"]),
        ("REF_energy=-1", "REF_energy=1_0", ['REF_energy has "1_0"']),
        ("REF_energy=-1", "REF_energy=\u0661", ["REF_energy has"]),
        ("REF_energy=-1", "REF_energy=1e308", ["REF_energy is 1e+308", "at most 1e+15"]),
        ("REF_energy=-1", "total_charge=1e308", ["total_charge is 1e+308"]),
        ("REF_energy=-1", 'external_field="0 0 1e300"', ["external_field is 1e+300"]),
        ("REF_energy=-1", "multiplicity=0.5", ["multiplicity is 0.5", "at least 1"]),
        ("REF_energy=-1", "multiplicity=-1", ["multiplicity is -1"]),
        ("REF_energy=-1", f'REF_energy="_JSON {DEEP}"', ["REF_energy has"]),
        ("REF_energy=-1", f"{'n' * 100000}=1 {'n' * 100000}=2", ["nnn...", "twice"]),
    ],
)  # fmt: skip
def test_bad_headers(tmp_path, old, new, words):
    assert old in HEADER
    message = refused(tmp_path, HEADER.replace(old, new))
    assert all(word in message for word in words), message


def test_equal_repeats_and_unknown_nests_are_no_error(tmp_path):
    found = frame(tmp_path, HEADER + f' REF_energy=-1.0 other="_JSON {DEEP}"')
    assert found.labels["energy"] == -1


@pytest.mark.parametrize(
    ("header", "rows", "words"),
    [
        (HEADER, "O 0 0 0\nH 0 0 1 2\n", ["atom 1 (line 4) has 5 entries", "announces 4"]),
        (HEADER, "O 0 0 0\nH 0 0\n", ["atom 1 (line 4) has 3 entries", "announces 4"]),
        (HEADER, "O 0 0 0\nH 0 0 1_0\n", ["pos of atom 1 (line 4)", "1_0", "a number"]),
        (HEADER, "O 0 0 0\nH 0 0 \u0663\n", ["pos of atom 1 (line 4)", "a number"]),
        (HEADER, "O 0 0 0\nH 0 0 1e300\n", ["the position of atom 1 is 1e+300"]),
        ("a comment", "O 0 0 0 5\n", ["atom 0 (line 3) has 5 entries", "announces 4"]),
        ("Properties=Z:I:1:pos:R:3", "8 0 0 0\n119 0 0 1\n", ["atom 1", "number 119"]),
        ("Properties=Z:I:1:pos:R:3", "-1 0 0 0\n", ["atom 0", "number -1"]),
        ("Properties=Z:I:1:pos:R:3", "8.7 0 0 0\n", ["Z of atom 0", "8.7", "an integer"]),
        ("Properties=Z:R:1:pos:R:3", "8.0 0 0 0\n", ["needed Z:I:1"]),
        ("Properties=species:S:1:Z:I:1:pos:R:3", "O 7 0 0 0\n", ["O by species and 7 by Z"]),
        ("Properties=species:S:1:pos:R:3:m:L:1", "O 0 0 0 x\n", ["m of atom 0", "T or F"]),
        ("Properties=species:S:1:pos:R:3:i:I:1", f"O 0 0 0 {2**70}\n", ["i of atom 0"]),
        ("Properties=species:S:1:pos:R:3:REF_forces:R:3", "O 0 0 0 0 1e30 0\n",
         ["REF_forces of atom 0 is 1e+30"]),
    ],
)  # fmt: skip
def test_bad_rows(tmp_path, header, rows, words):
    message = refused(tmp_path, header, rows)
    assert all(word in message for word in words), message


def test_more_rows_than_announced_points_at_the_frame_before(tmp_path):
    path = tmp_path / "x.xyz"
    path.write_text(f"1\n{HEADER}\n{ROWS}")
    with pytest.raises(DataError, match=r"frame 1 \(line 4\).*frame before have as many atoms"):
        read_frames(path)


@pytest.mark.parametrize("count", ["1_0", "\u0661", "9" * 4000, "-1", "2.0", "+2"])
def test_bad_counts(tmp_path, count):
    path = tmp_path / "x.xyz"
    path.write_text(f"{count}\n{HEADER}\n{ROWS}")
    with pytest.raises(DataError, match=r"x\.xyz frame 0 \(line 1\): needed the number") as caught:
        read_frames(path)
    assert len(str(caught.value)) < 200


def test_a_comment_is_no_header(tmp_path):
    found = frame(tmp_path, "Bob's \"water, 300 K")
    assert found.numbers.tolist() == [8, 1] and found.pbc == (False,) * 3


def test_names_of_splits_are_written_as_they_are_read(tmp_path):
    """A comment of words stays one text beside the split; quotes in a name are escaped."""
    source, target = tmp_path / "x.xyz", tmp_path / "y.xyz"
    source.write_text(f"2\nBob's water\n{ROWS}2\n{HEADER}\n{ROWS}")
    write_stored(source, read_frames(source), ["train", "valid"], target, force=False)
    assert [f.split for f in read_frames(target)] == ["train", "valid"]
    assert unread_names(target) == ["comment"]
    odd = dataclasses.replace(read_frames(target)[0], split='a "b" c')
    target.write_text(extxyz_text(odd))
    assert read_frames(target)[0].split == 'a "b" c'


@pytest.mark.parametrize(
    "header",
    [
        "Properties=" + ":".join(f"c{i}:R:1" for i in range(50_000)),
        " ".join(["x"] * 100_000) + " a=1",
        " ".join(f"k{i}={i}" for i in range(50_000)) + " k7=8",
        'a="_JSON ' + "[" * 500_000,
        "a=" + "{" * 200_000,
    ],
    ids=["columns", "words", "names", "nest", "brackets"],
)
def test_long_headers_take_time_in_proportion(tmp_path, header):
    begin = time.process_time()
    with contextlib.suppress(DataError):
        frame(tmp_path, header)
    assert time.process_time() - begin < 5
