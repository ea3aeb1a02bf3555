"""Planar averages, potential steps and capacitance."""

import numpy as np
import pytest
from ase import units

from electrojax.analysis.slabs import capacitance, planar_potential, planar_profile
from electrojax.errors import DataError
from electrojax.units import COULOMB


def test_a_dipole_layer_makes_its_step():
    edges = np.linspace(-5, 5, 101)
    charge = np.zeros(100)
    charge[30], charge[60] = -0.02, 0.02
    layer = 0.02 * 0.1 * 3.0
    field, potential = planar_potential(charge, edges)
    assert potential[-1] == pytest.approx(4 * np.pi * COULOMB * layer)
    assert field[0] == 0 and abs(field[-1]) < 1e-12
    assert field[45] == pytest.approx(-4 * np.pi * COULOMB * 0.002)
    charge[60] = 0.03
    with pytest.raises(DataError, match="needed a neutral one"):
        planar_potential(charge, edges)


def test_a_profile_counts_every_atom():
    heights = np.random.default_rng(0).uniform(0, 10, size=(400, 30))
    edges = np.linspace(0, 10, 6)
    got = planar_profile(heights, np.ones(30), edges, 20.0)
    assert np.sum(got.value * 20.0 * 2.0) == pytest.approx(30.0)
    assert np.all(np.abs(got.value - 30 / 200.0) < 5 * got.error)
    with pytest.raises(DataError, match="between the edges"):
        planar_profile(heights + 1, np.ones(30), edges, 20.0)


def test_an_empty_capacitor_has_the_electronic_term_only():
    electronic = 1 / (4 * np.pi * COULOMB * 10.19)
    still = capacitance(np.full(20, 0.2), 300.0, electronic)
    # e/V/Å² to µF/cm²; ε0/10.19 Å = 0.869 µF/cm².
    assert still.value / units.C * 1e6 * 1e16 == pytest.approx(0.869, abs=5e-4)
    charges = np.tile([0.1, 0.3], 50)
    got = capacitance(charges, 300.0, electronic)
    assert got.value == pytest.approx(0.01 / (units.kB * 300.0) + electronic)
