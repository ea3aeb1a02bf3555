"""Potential and density at points and averaged over planes, against closed forms."""

import numpy as np
import pytest
from scipy.special import erf

from electrojax.electrostatics.coulomb import engine_for
from electrojax.electrostatics.density import ChargeDensity
from electrojax.electrostatics.profiles.grid import density_at, grid_points, potential_at
from electrojax.electrostatics.profiles.plane_average import (
    plane_averaged_density,
    plane_averaged_potential,
)
from electrojax.errors import ConfigError, DataError
from tests.electrostatics import reference as ref
from tests.electrostatics.engines.test_slab import slab_cell, slab_structure


def in_batch(rng, kind, structure, multipoles, widths):
    """A structure behind another one, padded, with two spin channels."""
    other = ref.random_structure(rng, 3, structure[1], int(np.sqrt(multipoles.shape[1])) - 1)
    engine = ref.engine_of(kind, 1e-10)
    pair = [(other[0] * [1, 1, 0.1], structure[1]), structure]
    system = ref.batch(pair, kind, engine, 1.0, 0, extra=(2, 1))
    rows = np.zeros((system.n_nodes, 2, multipoles.shape[1]))
    rows[:3, 0] = other[1]
    here = slice(3, 3 + len(multipoles))
    rows[here, 0] = 2.0 * multipoles
    rows[here, 1] = -multipoles
    sigma = np.ones(system.n_nodes)
    sigma[here] = widths
    return engine, system, ChargeDensity(rows, sigma)


def by_stencils(positions, multipoles, widths, at):
    """Any quantity that is linear in charges, from displaced charges."""
    return ref.displaced_energy(positions, multipoles, widths, at, step=0.6)


def test_open_boundary(rng, x64):
    """erf(r/√2σ)/r and Gaussians, of displaced charges; at an atom too."""
    positions, multipoles, _ = ref.random_structure(rng, 3, l_max=2)
    widths = np.array([0.7, 1.1, 0.7])
    points = np.concatenate([rng.normal(size=(5, 3)) * 3.0, positions[:1]]).reshape(2, 3, 3)
    engine, system, density = in_batch(rng, "open", (positions, np.eye(3)), multipoles, widths)

    def distances(sites):
        return np.linalg.norm(points[..., None, :] - sites, axis=-1)

    def potential(sites, charges, spreads):
        r = np.maximum(distances(sites), 1e-9)
        return ref.K_E * (erf(r / (np.sqrt(2) * spreads)) / r) @ charges

    def cloud(sites, charges, spreads):
        value = np.exp(-0.5 * (distances(sites) / spreads) ** 2)
        return (value / (np.sqrt(2 * np.pi) * spreads) ** 3) @ charges

    found = potential_at(points, density, system, engine, structure=1)
    assert found.shape == (2, 3) and found.dtype == np.float64
    expected = by_stencils(positions, multipoles, widths, potential)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7 * np.abs(expected).max())
    found = density_at(points, density, system, structure=1)
    expected = by_stencils(positions, multipoles, widths, cloud)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7 * np.abs(expected).max())


def plane_waves(points, positions, multipoles, widths, cell, box=14):
    """Potential and density as complex Fourier sums, k = 0 in the density only."""
    grid = np.stack(np.meshgrid(*[np.arange(-box, box + 1)] * 3, indexing="ij"), -1)
    k = 2 * np.pi * grid.reshape(-1, 3) @ np.linalg.inv(cell).T
    k2 = (k * k).sum(1)
    charges, dipoles = ref.cartesian(multipoles)
    form = charges - 1j * k @ dipoles.T - ref.solid_harmonics(k) @ multipoles[:, 4:9].T / 3
    waves = np.exp(-1j * k @ positions.T - 0.5 * np.outer(k2, widths**2)) * form
    factors = waves.sum(axis=1) / abs(np.linalg.det(cell))
    phases = np.exp(1j * points @ k.T)
    kernel = np.where(k2 > 0, 4 * np.pi * ref.K_E / np.where(k2 > 0, k2, 1.0), 0.0)
    return np.real(phases @ (factors * kernel)), np.real(phases @ factors)


@pytest.mark.parametrize("kind", ["periodic", "ewald"])
def test_periodic_boundary(kind, rng, x64):
    """Whatever the method of the engine; the points may lie anywhere, and widths differ."""
    positions, multipoles, cell = ref.random_structure(rng, 4, l_max=2)
    widths = np.array([0.8, 1.1, 0.8, 0.8])
    points = rng.uniform(-2, 3, (6, 3)) @ cell
    engine, system, density = in_batch(rng, kind, (positions, cell), multipoles, widths)
    expected = plane_waves(points, positions, multipoles, widths, cell)
    found = potential_at(points, density, system, engine, structure=1)
    np.testing.assert_allclose(found, expected[0], rtol=0, atol=1e-8 * np.abs(expected[0]).max())
    found = density_at(points, density, system, structure=1)
    np.testing.assert_allclose(found, expected[1], rtol=0, atol=1e-9 * np.abs(expected[1]).max())


@pytest.mark.parametrize("axis", [0, 2])
def test_periodic_plane_averages(axis, rng, x64):
    """The mean over a grid on the plane; Poisson's equation between the two."""
    positions, multipoles, cell = ref.random_structure(rng, 4, ref.LEFT_HANDED, l_max=2)
    engine, system, density = in_batch(rng, "periodic", (positions, cell), multipoles, 0.9)
    shape = [24, 24, 24]
    shape[axis] = 1
    normal = np.cross(cell[(axis + 1) % 3], cell[(axis + 2) % 3])
    normal *= np.sign(normal @ cell[axis]) / np.linalg.norm(normal)
    heights = np.array([-3.0, 0.4, 1.3, 9.0])
    points = grid_points(cell, tuple(shape)).reshape(-1, 3) + heights[:, None, None] * normal
    means = [
        density_at(points, density, system, structure=1).mean(axis=1),
        plane_waves(points.reshape(-1, 3), positions, multipoles, np.full(4, 0.9), cell, 9)[0]
        .reshape(points.shape[:2])
        .mean(axis=1),
    ]
    found = plane_averaged_density(heights, density, system, axis, 1)
    np.testing.assert_allclose(found, means[0], atol=1e-10)
    found = plane_averaged_potential(heights, density, system, engine, axis, 1)
    np.testing.assert_allclose(found, means[1], atol=1e-8)
    check_poisson(heights, density, system, engine, axis)


def check_poisson(heights, density, system, engine, axis):
    """φ'' = −4π k_e (ρ − its mean) by differences of fourth order."""
    h = 0.02
    at = [
        plane_averaged_potential(heights + s * h, density, system, engine, axis, 1)
        for s in (-2, -1, 0, 1, 2)
    ]
    second = (-at[0] + 16 * at[1] - 30 * at[2] + 16 * at[3] - at[4]) / (12 * h * h)
    found = plane_averaged_density(heights, density, system, axis, 1)
    charge = density.multipoles[3:7, :, 0].sum() / abs(np.linalg.det(system.cell[1]))
    background = charge if system.boundary == "periodic" else 0.0
    np.testing.assert_allclose(second, -4 * np.pi * ref.K_E * (found - background), atol=1e-4)


@pytest.mark.parametrize("counter", ["none", "jellium"])
def test_slab(counter, rng, x64):
    """The mean over a grid on the plane of what `potential_at` sums in three dimensions."""
    positions, multipoles = slab_structure(rng, 2)
    cell = slab_cell(30.0, (1.0, 2.0))
    _, system, density = in_batch(rng, "slab_z", (positions, cell), multipoles, 0.9)
    heights = {"none": (), "jellium": (-2.5, 1.0)}[counter]
    engine = engine_for("slab", 1e-10, counter_charge=counter, counter_heights=heights)
    heights = np.array([-4.0, -0.3, 1.1, 6.0])
    points = grid_points(cell, (16, 16, 1)).reshape(-1, 3) + heights[:, None, None] * [0, 0, 1.0]
    expected = potential_at(points, density, system, engine, 1).mean(axis=1)
    found = plane_averaged_potential(heights, density, system, engine, 2, 1)
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())
    expected = density_at(points, density, system, 1).mean(axis=1)
    found = plane_averaged_density(heights, density, system, 2, 1)
    np.testing.assert_allclose(found, expected, atol=1e-10)
    if counter == "none":
        check_poisson(heights, density, system, engine, 2)


def test_wrong_points_and_engines_are_refused(rng, x64):
    positions, multipoles, cell = ref.random_structure(rng, 3)
    engine, system, density = in_batch(rng, "periodic", (positions, cell), multipoles, 0.9)
    with pytest.raises(DataError, match=r"points: needed shape \[..., 3\]"):
        potential_at(np.zeros((4, 2)), density, system, engine)
    with pytest.raises(DataError, match="points: needed finite numbers"):
        density_at(np.full(3, np.nan), density, system)
    with pytest.raises(DataError, match="structure 7: needed an index from 0 to 1"):
        density_at(np.zeros(3), density, system, 7)
    points = ChargeDensity(density.multipoles, np.zeros(system.n_nodes))
    with pytest.raises(ConfigError, match="point charge"):
        potential_at(np.zeros(3), points, system, engine)
    with pytest.raises(DataError, match=r"heights: needed shape \[H\]"):
        plane_averaged_density(0.0, density, system, 0)
    with pytest.raises(ConfigError, match="axis 3"):
        plane_averaged_density([0.0], density, system, 3)
    boxed = engine_for("periodic", finite_size="makov_payne")
    with pytest.raises(ConfigError, match="with MakovPayneCoulomb"):
        plane_averaged_potential([0.0], density, system, boxed, 0)
    _, system, density = in_batch(rng, "open", (positions, np.eye(3)), multipoles, 0.9)
    with pytest.raises(ConfigError, match="boundary 'open'"):
        plane_averaged_density([0.0], density, system, 0)
    _, system, density = in_batch(rng, "slab_z", (positions, 3 * cell), multipoles, 0.9)
    with pytest.raises(ConfigError, match="needed axis 2"):
        plane_averaged_density([0.0], density, system, 0)
