"""Charge structure factor and dipole correlations against closed forms."""

import numpy as np
import pytest
from ase import units

from electrojax.analysis.dipole_correlations import (
    finite_cell_kirkwood,
    kirkwood_frohlich,
    longitudinal_transverse,
)
from electrojax.analysis.fluctuations import thermal_permittivity
from electrojax.analysis.structure_factor import (
    charge_structure_factor,
    charge_waves,
    reduced,
    structure_factor_limit,
    wave_indices,
)
from electrojax.errors import ConfigError, DataError
from electrojax.units import COULOMB

THERMAL = units.kB * 300.0


def lattice(count, spacing):
    axes = [np.arange(count) * spacing] * 3
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)


def frames_of(covariance):
    """Frames whose second moments are the covariance, without noise."""
    return np.sqrt(len(covariance)) * np.linalg.cholesky(covariance).T


def smeared_lattice_sum(sites, length, width):
    """4πk_e/V Σ_k e^{−k²σ²} cos(k·r)/k² of all pairs."""
    highest = int(6.1 / width * length / (2 * np.pi)) + 1
    n = np.arange(-highest, highest + 1)
    k = 2 * np.pi / length * np.stack(np.meshgrid(n, n, n, indexing="ij"), -1).reshape(-1, 3)
    squared = np.sum(k**2, axis=1)
    k, squared = k[squared > 0], squared[squared > 0]
    weights = np.exp(-squared * width**2) / squared
    k, weights = k[weights > 1e-17], weights[weights > 1e-17]
    waves = np.exp(1j * sites @ k.T)
    return 4 * np.pi * COULOMB / length**3 * np.real((waves * weights) @ waves.conj().T)


def test_boltzmann_charges_of_a_gaussian_lattice():
    sites, length = lattice(6, 2.6), 15.6
    hardness = 2.0 * np.eye(216)
    indices = np.array([[1, 0, 0], [0, 2, 0], [0, 0, 3]])
    where = np.broadcast_to(sites, (216, 216, 3))
    coulomb = hardness + smeared_lattice_sum(sites, length, 1.1)
    charges = frames_of(THERMAL * np.linalg.inv(coulomb))
    got = charge_structure_factor(where, length * np.eye(3), charges, indices)
    np.testing.assert_allclose(np.linalg.norm(got.k, axis=1), 0.40277 * np.arange(1, 4), rtol=2e-5)
    np.testing.assert_allclose(got.value, [2.714921e-5, 1.563099e-4, 3.333739e-4], rtol=1e-6)
    alone = frames_of(THERMAL * np.linalg.inv(hardness))
    flat = charge_structure_factor(where, length * np.eye(3), alone, indices)
    np.testing.assert_allclose(flat.value, 7.354e-4, rtol=1e-4)


def test_uncorrelated_ions():
    random = np.random.default_rng(0)
    cell = np.array([[9.0, 0, 0], [2.0, 10.0, 0], [1.0, -1.0, 11.0]])
    where = random.random((4000, 20, 3)) @ cell
    charges = np.tile([1.0, -1.0, 2.0, -2.0], 5)
    got = charge_structure_factor(where, cell, charges, wave_indices(cell, 1.0))
    expected = np.sum(charges**2) / np.linalg.det(cell)
    assert np.all(np.abs(got.value - expected) < 5 * got.error)
    assert np.all(got.error < 0.05 * expected)


def test_multipoles_are_those_of_displaced_charges():
    k, h = np.array([[0.3, -0.2, 0.1]]), 1e-3
    centre, d = np.array([[1.0, 2.0, 3.0]]), np.array([[0.2, 0.5, -0.4]])
    pair = np.concatenate([centre + h * d, centre - h * d])
    dipole = charge_waves(pair, k, np.array([1.0, -1.0]))
    got = charge_waves(centre, k, np.zeros(1), 2 * h * d)
    np.testing.assert_allclose(got, dipole, rtol=1e-6)
    triple = np.concatenate([pair, centre])
    bent = charge_waves(triple, k, np.array([1.0, 1.0, -2.0]))
    theta = h**2 * d[:, :, None] * d[:, None, :]
    np.testing.assert_allclose(charge_waves(centre, k, np.zeros(1), None, theta), bent, rtol=1e-6)


def test_wave_indices_are_half_of_all_in_the_sphere():
    cell = np.array([[9.0, 0, 0], [4.0, 10.0, 0], [1.0, -3.0, 11.0]])
    n = np.stack(np.meshgrid(*[np.arange(-9, 10)] * 3, indexing="ij"), -1).reshape(-1, 3)
    length = np.linalg.norm(2 * np.pi * n @ np.linalg.inv(cell).T, axis=1)
    inside = {tuple(row) for row in n[(length > 0) & (length <= 2.0)]}
    got = {tuple(row) for row in wave_indices(cell, 2.0)}
    assert got | {tuple(-x for x in row) for row in got} == inside
    assert 2 * len(got) == len(inside)


def test_gaussian_dipoles():
    count, spacing, alpha = 5, 3.0, 0.1
    sites, length = lattice(count, spacing), count * spacing
    n = np.arange(-2, 3)
    k = 2 * np.pi / length * np.stack(np.meshgrid(n, n, n, indexing="ij"), -1).reshape(-1, 3)
    k = k[np.any(k != 0, axis=1)]
    unit = k / np.linalg.norm(k, axis=1, keepdims=True)
    waves = np.einsum("nk,kx->nxk", np.exp(1j * sites @ k.T), unit).reshape(-1, len(k))
    matrix = np.eye(len(waves)) / alpha
    matrix += 4 * np.pi * COULOMB / length**3 * np.real(waves @ waves.conj().T)
    dipoles = frames_of(THERMAL * np.linalg.inv(matrix)).reshape(-1, len(sites), 3)
    where = np.broadcast_to(sites, dipoles.shape)
    cell = length * np.eye(3)
    got = longitudinal_transverse(where, cell, dipoles, [[1, 0, 0], [1, 1, 0]], 300.0)
    density = spacing**-3
    epsilon = 1 + 4 * np.pi * COULOMB * alpha * density
    np.testing.assert_allclose(got.transverse.value, epsilon - 1, rtol=1e-9)
    np.testing.assert_allclose(got.longitudinal.value, 1 - 1 / epsilon, rtol=1e-9)
    np.testing.assert_allclose(got.longitudinal.value / got.transverse.value, 1 / epsilon)


def test_limits_and_scale():
    assert thermal_permittivity(300.0) == pytest.approx(1.4287e-4, rel=1e-4)
    assert thermal_permittivity(1200.0) == pytest.approx(5.715e-4, rel=1e-4)
    assert structure_factor_limit("frozen", np.inf) == 1.0
    assert structure_factor_limit("adiabatic", np.inf, 2.0) == 0.5
    assert structure_factor_limit("born", 4.0, 2.0) == 1.0
    with pytest.raises(ConfigError, match="limit kind"):
        structure_factor_limit("latent", 4.0)
    with pytest.raises(DataError, match="one for each block"):
        charge_structure_factor(np.zeros((3, 2, 3)), np.eye(3), [1.0, -1.0], [[1, 0, 0]])
    with pytest.raises(DataError, match="charges"):
        charge_structure_factor(np.zeros((20, 2, 3)), np.eye(3), [1.0], [[1, 0, 0]])
    with pytest.raises(DataError, match="periodic cell"):
        wave_indices(np.zeros((3, 3)), 1.0)


def test_reduced_structure_factor_of_the_conductor_limit():
    random = np.random.default_rng(1)
    where = random.random((20, 4, 3)) * 8.0
    got = charge_structure_factor(where, 8 * np.eye(3), [1, -1, 1, -1], [[1, 0, 0]])
    scale = 1.4287e-4 * (2 * np.pi / 8) ** 2
    np.testing.assert_allclose(reduced(got, 300.0).value, got.value / scale, rtol=1e-4)


def test_kirkwood_factors():
    aligned = np.broadcast_to([0.0, 0.0, 0.4], (20, 7, 3))
    assert finite_cell_kirkwood(aligned).value == pytest.approx(7.0)
    # By hand for water of 1.85 D: 10.79 · 9 · 1.4193e-4/(0.0334 · 0.148225) = 2.784.
    assert kirkwood_frohlich(78.4, 0.0334, 0.385, 298.0, 1.79) == pytest.approx(2.784, abs=0.002)
