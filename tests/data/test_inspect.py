"""Duplicates, suspicious frames and splits, on structures made to have them."""

import itertools
from collections import Counter

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from electrojax.data.datasets import resolve_source
from electrojax.data.duplicates import duplicate_groups, fingerprint
from electrojax.data.inspection import inspect
from electrojax.data.reader import read_frames
from electrojax.data.splitting import assign_splits
from electrojax.errors import ConfigError, DataError
from electrojax.system.types import Frame
from electrojax.typing import replace


def cluster(rng, n=6, **options):
    """A cluster whose atoms are at least 1 Å apart."""
    grid = np.array(list(itertools.product(range(3), repeat=3)), dtype=float)
    positions = 1.6 * grid[rng.permutation(27)[:n]] + 0.2 * rng.normal(size=(n, 3)).clip(-1, 1)
    base = {"numbers": np.array([1, 8] * n)[:n], "positions": positions, "cell": np.zeros((3, 3)),
            "pbc": (False,) * 3, "labels": {"energy": np.float64(-1.0)}}  # fmt: skip
    return Frame(**{**base, **options})


def box(rng, n=6, skew=0.0):
    cell = np.diag([5.0, 5.5, 6.0])
    cell[1, 0] = skew
    return cluster(rng, n, cell=cell, pbc=(True,) * 3)


def moved(frame, rng, noise=0.0):
    """The same structure elsewhere: rotated, shifted, wrapped and with its atoms reordered."""
    order = rng.permutation(len(frame.numbers))
    rotation = Rotation.random(rng=rng).as_matrix()
    positions = frame.positions + noise * rng.uniform(-1, 1, size=frame.positions.shape)
    positions = positions[order] + rng.normal(size=3)
    if any(frame.pbc):
        images = rng.integers(-2, 3, size=positions.shape) * np.asarray(frame.pbc)
        positions = positions + images @ frame.cell
    return replace(
        frame, numbers=frame.numbers[order], positions=positions @ rotation.T,
        cell=frame.cell @ rotation.T,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["open", "orthorhombic", "skew", "slab"])
def test_equal_structures_are_found_wherever_they_are(rng, kind):
    make = {"open": cluster, "orthorhombic": box, "skew": lambda r: box(r, skew=1.7),
            "slab": lambda r: replace(box(r), pbc=(True, True, False))}[kind]  # fmt: skip
    frames = [make(rng) for _ in range(8)]
    frames += [moved(frames[2], rng), moved(frames[5], rng, noise=1e-4), moved(frames[2], rng)]
    frames.append(moved(frames[0], rng, noise=0.05))  # another structure
    assert duplicate_groups(frames) == [[2, 8, 10], [5, 9]]


def test_distances_of_a_periodic_structure_are_those_of_ase(rng):
    from ase import Atoms

    frame = box(rng, skew=1.7)
    atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
    expected = atoms.get_all_distances(mic=True)[np.triu_indices(6, 1)]
    np.testing.assert_allclose(np.sort(fingerprint(frame)[6:]), np.sort(expected), atol=1e-10)


def test_other_inputs_make_other_structures(rng):
    one = cluster(rng)
    others = [
        replace(one, total_charge=1.0),
        replace(one, multiplicity=3.0),
        replace(one, external_field=np.array([0.0, 0.0, 0.1])),
        replace(one, numbers=one.numbers[::-1]),
        replace(one, cell=np.eye(3) * 30, pbc=(True,) * 3),
    ]
    assert duplicate_groups([one, *others]) == []
    far = [replace(one, positions=one.positions * s) for s in (3.0, 3.01)]
    assert duplicate_groups(far) == []  # a difference between atoms that are far apart counts
    atom = Frame(np.array([11]), np.zeros((1, 3)), np.zeros((3, 3)), (False,) * 3)
    assert duplicate_groups([atom, replace(atom, positions=np.ones((1, 3)))]) == [[0, 1]]


def test_suspicious_frames_are_named(rng):
    frames = [
        replace(cluster(rng), labels={"energy": np.float64(i), "forces": np.zeros((6, 3))})
        for i in range(10)
    ]
    for frame in frames:
        frame.labels["forces"][:2] = [[1.0, 0, 0], [-1.0, 0, 0]]
    frames[1].positions[4] = [20.0, 0, 0]
    frames[2].labels["forces"][:2] *= 31.0
    frames[3] = replace(frames[3], cell=np.eye(3) * 9.0, pbc=(True,) * 3)  # 729 Å³ for 6 atoms
    frames[4].positions[1] = frames[4].positions[0] + [0.3, 0.0, 0.0]
    frames[5].labels["forces"][3, 2] = 0.2
    charged = replace(frames[6], total_charge=2.0, external_field=np.array([0, 0, 0.1]))
    frames[6] = charged
    frames[6].labels["forces"][3, 2] = 0.2  # the field's force on the charge
    frames[7] = moved(frames[0], rng)
    frames[7] = replace(frames[7], labels={**frames[0].labels, "energy": np.float64(0.5)})
    found = inspect(frames)
    named = [(f.kind, f.frame) for f in found.findings]
    assert named == [("isolated atoms", 1), ("huge forces", 2), ("low density", 3),
                     ("overlaps", 4), ("net force", 5)]  # fmt: skip
    assert "atom 4" in found.findings[0].detail
    assert "atoms 0 and 1 at 0.3 Å" in found.findings[3].detail
    assert "121.5 Å³" in found.findings[2].detail
    assert [(d.frames, d.energy_spread) for d in found.duplicates] == [([0, 7], 0.5)]
    text = str(found)
    assert "frames 0 = 7 (energies differ by 0.5 eV)" in text and "frame 4 (frame 4: atoms" in text


def test_a_clean_set_has_nothing_to_report(rng):
    found = inspect([cluster(rng) for _ in range(3)])
    assert found.duplicates == [] and found.findings == []
    assert str(found).count("none") >= 6


def test_splits_are_stratified_and_never_part_duplicates(rng):
    frames = read_frames(resolve_source("builtin:ion_water"))
    doubled = [*frames, *(moved(frame, rng) for frame in frames[:40])]
    fractions = {"train": 0.7, "valid": 0.2, "test": 0.1}
    splits = assign_splits(doubled, fractions, seed=3)
    assert splits[:40] == splits[400:]
    counts = Counter(splits)
    for name, share in fractions.items():
        assert counts[name] == pytest.approx(440 * share, abs=3)
    strata = Counter((tuple(sorted(f.numbers)), f.total_charge) for f in doubled)
    for key, size in strata.items():
        inside = Counter(
            s for f, s in zip(doubled, splits)
            if (tuple(sorted(f.numbers)), f.total_charge) == key
        )  # fmt: skip
        for name, share in fractions.items():
            assert inside[name] == pytest.approx(size * share, abs=2.5), (key, inside)
    assert assign_splits(doubled, fractions, seed=3) == splits
    assert assign_splits(doubled, fractions, seed=4) != splits


def test_rare_compositions_still_fill_every_split(rng):
    frames = [cluster(rng, n) for n in range(2, 22)]  # twenty compositions, one of each
    counts = Counter(assign_splits(frames, {"train": 0.8, "valid": 0.1, "test": 0.1}, seed=0))
    assert counts == {"train": 16, "valid": 2, "test": 2}


def test_impossible_splits_are_refused(rng):
    frames = [cluster(rng) for _ in range(4)]
    with pytest.raises(ConfigError, match="add up to 1"):
        assign_splits(frames, {"train": 0.8, "valid": 0.1, "test": 0.0}, seed=0)
    with pytest.raises(ConfigError, match="add up to 1"):
        assign_splits(frames, {"train": 1.2, "valid": -0.2, "test": 0.0}, seed=0)
    with pytest.raises(DataError, match="too few"):
        assign_splits(frames[:1] * 4, {"train": 0.5, "valid": 0.5, "test": 0.0}, seed=0)
