"""Atomic energies and scales, against energies made from known ones."""

import numpy as np
import pytest

from electrojax.data.statistics import (
    fit_statistics,
    free_directions,
    relative_energy,
)
from electrojax.errors import DataError
from electrojax.system.composition import check_determined, combination
from electrojax.system.types import Frame, Statistics

ENERGIES = {1: -13.6, 6: -1029.5, 8: -2041.3, 11: -1291.2}
SYMBOLS = {1: "H", 6: "C", 8: "O", 11: "Na", 17: "Cl"}


def frame(counts, energy=None, index=0, forces=None, positions=None):
    """A frame with so many atoms of each atomic number; its energy is the sum of ENERGIES."""
    numbers = np.repeat(list(counts), list(counts.values())).astype(np.int32)
    exact = sum(n * ENERGIES.get(z, 0.0) for z, n in counts.items())
    labels = {"energy": np.array(exact if energy is None else energy)}
    if forces is not None:
        labels["forces"] = np.asarray(forces, dtype=np.float64)
    if positions is None:
        positions = 10.0 * np.argwhere(np.ones((9, 9, 9)))[: len(numbers)]
    return Frame(
        numbers, positions, np.zeros((3, 3)), (False,) * 3, labels, source=f"set.xyz frame {index}"
    )


def fit(frames, given=None, mode="least_squares", cutoff=3.0):
    warnings = []
    return fit_statistics(frames, cutoff, given, mode, warnings.append), warnings


WATERS = [frame({1: 2 * n, 8: n}) for n in (1, 2, 5)]
ORGANIC = [frame({1: h, 6: c, 8: o}) for h, c, o in ((4, 1, 0), (2, 0, 1), (4, 1, 1), (6, 2, 1))]


def test_known_energies_are_recovered():
    statistics, warnings = fit(ORGANIC)
    assert statistics.numbers == (1, 6, 8) and not warnings and not statistics.undetermined
    np.testing.assert_allclose(
        statistics.atomic_energies, [ENERGIES[z] for z in (1, 6, 8)], atol=1e-8
    )
    assert abs(statistics.energy_shift) < 1e-8
    assert all(abs(relative_energy(f, statistics)) < 1e-8 for f in ORGANIC)


def test_given_energies_do_not_matter_where_the_data_decide():
    statistics, _ = fit(ORGANIC, {"H": 100.0, "C": -7.0})
    np.testing.assert_allclose(
        statistics.atomic_energies, [ENERGIES[z] for z in (1, 6, 8)], atol=1e-8
    )


def test_frames_weigh_by_their_energy_per_atom(rng):
    frames = [frame({1: h, 8: o}, energy=rng.normal()) for h, o in ((2, 1), (4, 1), (1, 3), (9, 5))]
    found = fit(frames)[0].atomic_energies

    def squares(x):
        return sum(
            ((f.labels["energy"] - np.sum(f.numbers == 1) * x[0] - np.sum(f.numbers == 8) * x[1])
             / len(f.numbers)) ** 2
            for f in frames
        )  # fmt: skip

    steps = 1e-3 * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
    assert all(squares(np.array(found) + step) > squares(found) for step in steps)


def test_waters_leave_a_combination_free():
    statistics, warnings = fit(WATERS)
    assert len(warnings) == 1 and "along H - 2 O;" in warnings[0]
    assert statistics.undetermined == ((1.0, -2.0),)
    # The shortest solution of 2 h + o = E(H2O) is E(H2O) (2, 1)/5.
    water = 2 * ENERGIES[1] + ENERGIES[8]
    np.testing.assert_allclose(statistics.atomic_energies, [0.4 * water, 0.2 * water], atol=1e-8)
    assert all(abs(relative_energy(f, statistics)) < 1e-8 for f in WATERS)
    inside = frame({1: 14, 8: 7})
    check_determined(statistics, inside.numbers, inside.source)
    assert abs(relative_energy(inside, statistics)) < 1e-8


def test_a_structure_outside_the_training_compositions_is_refused():
    statistics, _ = fit(WATERS)
    with pytest.raises(DataError, match=r"oh.xyz frame 3: .* leave H - 2 O free.*energies of H, O"):
        check_determined(statistics, np.array([8, 1]), "oh.xyz frame 3")
    with pytest.raises(DataError, match="H - 2 O"):
        check_determined(statistics, np.repeat([1, 8], [2001, 1000]), "large")


def test_exact_given_energies_need_no_correction():
    given = {SYMBOLS[z]: e for z, e in ENERGIES.items()}
    statistics, warnings = fit(WATERS, given)
    np.testing.assert_allclose(statistics.atomic_energies, [ENERGIES[1], ENERGIES[8]], atol=1e-9)
    assert warnings and statistics.undetermined


def test_the_correction_to_given_energies_is_the_shortest():
    statistics, _ = fit(WATERS, {"H": -10.0, "O": -2000.0})
    correction = np.array(statistics.atomic_energies) - [-10.0, -2000.0]
    assert abs(correction @ [1, -2]) < 1e-8
    np.testing.assert_allclose(correction @ [2, 1], 2 * ENERGIES[1] + ENERGIES[8] + 2020.0)


def test_given_energies_are_taken_as_they_are():
    given = {"H": -10.0, "O": -2000.0, "Xe": 1.0}
    statistics, warnings = fit(WATERS, given, "given")
    assert statistics.atomic_energies == (-10.0, -2000.0)
    assert not warnings and not statistics.undetermined
    left = (2 * ENERGIES[1] + ENERGIES[8] + 2020.0) / 3
    np.testing.assert_allclose(statistics.energy_shift, left)
    check_determined(statistics, np.array([8, 1]), "hydroxide")


def test_given_energies_must_cover_every_element():
    frames = [*WATERS, frame({11: 1}, index=3)]
    with pytest.raises(DataError, match=r"no value for Na \(first in set.xyz frame 3\)"):
        fit(frames, {"H": -10.0, "O": -2000.0}, "given")


def test_several_free_combinations():
    salt = [frame({1: 2 * n, 8: n, 11: m, 17: m}) for n, m in ((5, 1), (4, 2), (7, 1))]
    statistics, warnings = fit(salt)
    assert "along H - 2 O, Na - Cl;" in warnings[0]
    check_determined(statistics, np.array([11, 17]), "pair")
    with pytest.raises(DataError, match="leave Na - Cl free"):
        check_determined(statistics, np.array([11]), "ion")


def test_free_directions_against_singular_values(rng):
    """Random compositions of a planted rank: the directions are integers, annihilate and span."""
    for rank in (1, 2, 3, 5):
        counts = rng.integers(0, 5, (200, rank)) @ rng.integers(1, 9, (rank, 5))
        counts = counts[counts.sum(axis=1) > 0]
        true_rank = np.linalg.matrix_rank(counts)
        free = np.array(free_directions(counts.astype(float))).reshape(-1, 5)
        assert len(free) == 5 - true_rank
        assert np.all(counts @ free.T == 0)
        assert np.linalg.matrix_rank(free) == len(free) if len(free) else true_rank == 5


def test_one_odd_frame_among_many_counts():
    frames = [frame({1: 2 * n, 8: n}) for n in range(1, 9)] * 200 + [frame({1: 1, 8: 1})]
    statistics, warnings = fit(frames)
    assert not warnings
    np.testing.assert_allclose(
        statistics.atomic_energies, [ENERGIES[1], ENERGIES[8]], rtol=0, atol=1e-8
    )


def test_words_of_a_combination():
    assert combination((1, -2, 0), (1, 8, 11)) == "H - 2 O"
    assert combination((0, 3, 1), (1, 8, 11)) == "3 O + Na"


def test_energy_scale_is_the_rms_force_component():
    forces = [[[3.0, 0, 0]], [[0, 4.0, 0]]]
    frames = [frame({1: 1}, forces=f) for f in forces]
    np.testing.assert_allclose(fit(frames)[0].energy_scale, np.sqrt(25 / 6))


def test_energy_scale_without_forces():
    spread = fit([frame({1: 1}, energy=1.0), frame({1: 1}, energy=3.0)])[0]
    np.testing.assert_allclose(spread.energy_scale, 1.0)
    assert fit(WATERS)[0].energy_scale == 1.0, "an exact fit leaves rounding, which is no scale"


def test_average_neighbors():
    line = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]], dtype=float)
    far = 9.0 * line
    frames = [frame({1: 3}, positions=line), frame({1: 3}, positions=far)]
    np.testing.assert_allclose(fit(frames, cutoff=1.5)[0].average_neighbors, 4 / 6)
    assert fit([frames[1]], cutoff=1.5)[0].average_neighbors == 1.0


def test_unknown_element_is_named():
    statistics = Statistics((1, 8), (0.0, 0.0))
    with pytest.raises(DataError, match=r"set.xyz frame 5: contains C, .* known: H, O"):
        relative_energy(frame({1: 4, 6: 1}, index=5), statistics)
    with pytest.raises(DataError, match="contains C, Na"):
        check_determined(statistics, np.array([6, 1, 11]), "x")


def test_training_without_energies():
    bare = Frame(np.array([1, 8]), np.eye(3)[:2], np.zeros((3, 3)), (False,) * 3)
    statistics, warnings = fit([bare], {"H": -1.0})
    assert statistics.atomic_energies == (-1.0, 0.0) and statistics.undetermined == ()
    assert len(warnings) == 1 and "no training frame has an energy" in warnings[0]


def test_no_frames():
    with pytest.raises(DataError, match="empty"):
        fit([])
