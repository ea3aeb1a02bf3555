"""Conductivity of Brownian ions."""

import numpy as np
import pytest

from electrojax.analysis.transport import (
    conductivity,
    einstein_conductivity,
    green_kubo_conductivity,
    polarisation,
)
from electrojax.errors import DataError

STEP, VOLUME, TEMPERATURE = 100.0, 1e4, 300.0
WINDOW = (200.0, 1000.0)


def walk(count, frames, seed):
    """D = 1 Å²/ps: ⟨Δx²⟩ = 2DΔt."""
    random = np.random.default_rng(seed)
    return np.cumsum(random.normal(scale=np.sqrt(2e-3 * STEP), size=(frames, count, 3)), axis=0)


def test_brownian_ions_with_bound_pairs():
    frames = 6000
    pairs = walk(20, frames, 1)
    random = np.random.default_rng(2)
    where = np.concatenate([walk(100, frames, 0), pairs, pairs], axis=1)
    where[:, 120:] += random.normal(scale=0.05, size=pairs.shape)
    charges = np.concatenate([np.tile([1, -1], 50), np.ones(20), -np.ones(20)])
    times = STEP * np.arange(frames)
    got = conductivity(where, charges, times, VOLUME, TEMPERATURE, WINDOW)
    for route in (got.einstein, got.green_kubo):
        assert abs(route.value - 619.75) < 4 * route.error
        assert route.error < 0.05 * 619.75
    independent = got.nernst_einstein
    assert independent.value == pytest.approx(1.4 * 619.75, rel=0.03)
    assert got.ratio == pytest.approx(1 / 1.4, rel=0.1)
    assert got.haven * got.ratio == pytest.approx(1.0)


def test_a_bounded_part_of_the_dipole_conducts_nothing():
    frames = 6000
    moment = walk(100, frames, 3).sum(axis=1)
    noise = np.random.default_rng(4).uniform(-1, 1, size=moment.shape)
    times = STEP * np.arange(frames)
    for route in (einstein_conductivity, green_kubo_conductivity):
        plain = route(moment, times, VOLUME, TEMPERATURE, WINDOW)
        noisy = route(moment + noise, times, VOLUME, TEMPERATURE, WINDOW)
        assert abs(noisy.value - plain.value) < 0.02 * plain.value
        assert abs(plain.value - 619.75) < 4 * plain.error


def test_a_cyclic_path_carries_one_charge_through_the_cell():
    where = np.zeros((11, 2, 3))
    where[:, 0, 0] = np.linspace(0, 10.0, 11)
    moment = polarisation(where, [2, -2])
    np.testing.assert_allclose(moment[-1] - moment[0], [20.0, 0, 0])


def test_what_gives_no_conductivity_is_refused():
    where, times = np.zeros((40, 2, 3)), np.arange(40.0)
    with pytest.raises(DataError, match="formal charges by element"):
        polarisation(where, [0.8, -0.8])
    with pytest.raises(DataError, match="the same in all frames"):
        polarisation(where, np.ones((40, 2)))
    with pytest.raises(DataError, match="sum to"):
        polarisation(where, [1, 1])
    times[7] += 0.5
    with pytest.raises(DataError, match="equal time steps"):
        einstein_conductivity(where[:, 0], times, 1.0, 300.0, (1.0, 2.0))
    with pytest.raises(DataError, match="fewer blocks"):
        einstein_conductivity(where[:, 0], np.arange(40.0), 1.0, 300.0, (1.0, 9.0))
