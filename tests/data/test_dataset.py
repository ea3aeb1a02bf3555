"""Counting, splitting and checking sets of structures, and the built-in ones."""

import numpy as np
import pytest

from electrojax.data.dataset import boundary_check, census, partition, split, stored_split
from electrojax.data.datasets import BUILTIN, atom_energies, builtin_path, resolve_source
from electrojax.data.extxyz import read_frames
from electrojax.errors import ConfigError, DataError
from electrojax.system.types import Frame


def frame(index=0, numbers=(8, 1, 1), pbc=(False, False, False), labels=None, **inputs):
    return Frame(
        numbers=np.array(numbers, dtype=np.int32),
        positions=np.arange(3.0 * len(numbers)).reshape(-1, 3),
        cell=np.eye(3) * 9 if any(pbc) else np.zeros((3, 3)),
        pbc=pbc,
        labels=labels or {},
        source=f"set.xyz frame {index}",
        **inputs,
    )


PERIODIC = (True, True, True)


def test_census_counts():
    energy = {"energy": np.array(1.0)}
    found = census(
        [
            frame(labels=energy, total_charge=-0.0, split="train"),
            frame(labels={**energy, "forces": np.zeros((3, 3))}, split="train"),
            frame(numbers=(1, 8, 1), total_charge=1.0, split="test"),
            frame(numbers=(11, 17), pbc=PERIODIC, multiplicity=3.0, external_field=np.ones(3)),
        ]
    )
    assert found.frames == 4 and found.compositions == 2
    assert dict(found.labels) == {"energy": 2, "forces": 1}
    assert list(found.elements.items()) == [("H", 3), ("O", 3), ("Na", 1), ("Cl", 1)]
    assert found.atoms == (2, 2.75, 3)
    assert dict(found.boundaries) == {"open": 3, "periodic": 1}
    assert dict(found.total_charges) == {0.0: 3, 1.0: 1}
    assert dict(found.multiplicities) == {1.0: 3, 3.0: 1}
    assert (found.fields, dict(found.splits)) == (1, {"test": 1, "train": 2})
    text = str(found).splitlines()
    assert "atoms           2 to 3, mean 2.8" in text
    assert "total charge    +0 3, +1 1" in text
    assert "labels          energy 2, forces 1" in text


def test_census_of_nothing():
    with pytest.raises(DataError, match="at least one"):
        census([])


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 1.0])
def test_split_is_disjoint_complete_and_repeatable(fraction):
    frames = [frame(i) for i in range(40)]
    drawn, rest = split(frames, fraction, seed=3)
    numbers = [int(f.source.split()[-1]) for f in drawn + rest]
    assert len(drawn) == 40 * fraction and sorted(numbers) == list(range(40))
    assert [f.source for f in split(frames, fraction, seed=3)[0]] == [f.source for f in drawn]
    if fraction < 1:
        assert [f.source for f in split(frames, fraction, seed=4)[0]] != [f.source for f in drawn]
        assert numbers[: len(drawn)] != list(range(len(drawn))), "a random share, not the first"


def test_partition_gives_disjoint_shares_of_the_whole():
    frames = [frame(i) for i in range(50)]
    parts, rest = partition(frames, {"valid": 0.1, "test": 0.2}, seed=1)
    assert [len(parts["valid"]), len(parts["test"]), len(rest)] == [5, 10, 35]
    assert len({f.source for part in (*parts.values(), rest) for f in part}) == 50


@pytest.mark.parametrize(
    "fractions, expected",
    [
        ({"valid": 0.0}, "must be over 0"),
        ({"valid": 0.6, "test": 0.6}, "together at most 1"),
        ({"valid": 0.5, "test": 0.4}, "too few"),
    ],
)
def test_impossible_shares(fractions, expected):
    with pytest.raises(DataError, match=expected):
        partition([frame(0), frame(1)], fractions, seed=1)


def test_stored_split():
    frames = [frame(0, split="train"), frame(1, split="valid"), frame(2, split="train")]
    assert [f.source for f in stored_split(frames, "train", "set.xyz")] == [
        "set.xyz frame 0",
        "set.xyz frame 2",
    ]
    with pytest.raises(DataError, match=r'"split=test" is in 0 of 3 .* there: train, valid'):
        stored_split(frames, "test", "set.xyz")


def test_boundary_check():
    mixed = [frame(0, pbc=PERIODIC), frame(1), frame(2)]
    boundary_check(mixed, "auto")
    boundary_check(mixed[1:], "open")
    with pytest.raises(DataError) as caught:
        boundary_check(mixed, "periodic")
    assert str(caught.value) == (
        '"periodic" but 2 frames have pbc F F F (first: set.xyz frame 1); '
        'use "auto" or split the data'
    )
    with pytest.raises(DataError, match=r'"open" but 1 frames have pbc T T T \(first: .* 0\)'):
        boundary_check(mixed, "open")
    with pytest.raises(DataError, match="pbc T T F"):
        boundary_check([frame(0, pbc=(True, True, False))], "periodic")


def test_fermi_levels_of_two_boundaries_have_two_zeros():
    level = {"fermi_level": np.array(-4.0)}
    one = [frame(0, labels=level), frame(1, labels=level), frame(2, pbc=PERIODIC)]
    boundary_check(one, "auto")
    with pytest.raises(DataError, match=r"open \(set.xyz frame 0\)"):
        boundary_check([*one, frame(3, pbc=PERIODIC, labels=level)], "auto")


def test_builtin_sets_are_complete():
    for name, entry in BUILTIN.items():
        path = resolve_source(f"builtin:{name}")
        assert path == builtin_path(name) and path.name == entry.file
        frames = read_frames(path, require=["energy", "forces"])
        assert set(census(frames).splits) == {"train", "valid", "test"}
        assert set(census(frames).elements) <= set(atom_energies(name))


def test_ion_water_census():
    found = census(read_frames(resolve_source("builtin:ion_water")))
    labels = ("energy", "forces", "dipole", "charges", "multipoles", "fermi_level")
    assert dict(found.labels) == dict.fromkeys(labels, found.frames)
    assert set(found.total_charges) == {-1.0, 0.0, 1.0}
    assert (found.atoms[0], found.atoms[2]) == (6, 20)
    assert dict(found.boundaries) == {"open": found.frames}


def test_unknown_builtin_set_gets_a_near_name(tmp_path):
    with pytest.raises(ConfigError, match='did you mean "builtin:ion_water"'):
        resolve_source("builtin:ion_watr")
    assert resolve_source(str(tmp_path / "a.xyz")) == tmp_path / "a.xyz"
