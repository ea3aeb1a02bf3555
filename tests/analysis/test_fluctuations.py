"""Permittivity of one dipole model in the three boundary conditions."""

import numpy as np
import pytest
from ase import units

from electrojax.analysis.fluctuations import dielectric_constant
from electrojax.errors import ConfigError, DataError
from electrojax.units import COULOMB

VOLUME, TEMPERATURE, EPSILON = 1e4, 300.0, 5.0
VACUUM = 1 / (4 * np.pi * COULOMB)


def dipoles(depolarisation):
    """Frames of M from F = M²/(2ε0V(ε−1)) + Σ N_x M_x²/(2ε0V), with its exact second moments."""
    stiffness = (1 / (EPSILON - 1) + np.asarray(depolarisation)) / (VACUUM * VOLUME)
    moments = np.random.default_rng(0).normal(size=(2000, 3))
    moments -= moments.mean(axis=0)
    return moments / moments.std(axis=0) * np.sqrt(units.kB * TEMPERATURE / stiffness)


@pytest.mark.parametrize(
    ("boundary", "depolarisation"),
    [("tin-foil", [0, 0, 0]), ("vacuum", [1 / 3] * 3), ("slab", [0, 0, 1])],
)
def test_three_boundaries_give_one_permittivity(boundary, depolarisation):
    got = dielectric_constant(dipoles(depolarisation), VOLUME, TEMPERATURE, boundary)
    assert got.value == pytest.approx(EPSILON, rel=1e-9)
    assert 0 < got.error < 1.0


def test_electrons_add_their_own():
    still = np.zeros((20, 3))
    for boundary in ("tin-foil", "vacuum", "slab"):
        got = dielectric_constant(still, VOLUME, TEMPERATURE, boundary, optical=2.5)
        assert got.value == pytest.approx(2.5)


def test_fluctuations_of_another_boundary_are_refused():
    with pytest.raises(DataError, match="is the boundary tin foil"):
        dielectric_constant(3 * dipoles([0, 0, 0]), VOLUME, TEMPERATURE, "vacuum")
    with pytest.raises(DataError, match="volume that of the film"):
        dielectric_constant(3 * dipoles([0, 0, 0]), VOLUME, TEMPERATURE, "slab")
    with pytest.raises(ConfigError, match="boundary"):
        dielectric_constant(dipoles([0, 0, 0]), VOLUME, TEMPERATURE, "metal")
