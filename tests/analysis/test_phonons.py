"""Phonons, infrared intensities and dielectric tensors against closed forms and ASE."""

import ase.units
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.vibrations import Infrared

from electrojax.analysis import phonons
from electrojax.errors import DataError
from electrojax.units import COULOMB

SPRING, CHARGE, ELECTRONIC = 4.0, 1.1, 2.3
MASSES = np.array([22.98976928, 35.45])
CELL = 2.82 * (np.ones((3, 3)) - np.eye(3))


class Harmonic(Calculator):
    """E = ½ uᵀ H u and dipole Σ Z* u."""

    implemented_properties = ("energy", "forces", "dipole")

    def __init__(self, rest, hessian, charges):
        super().__init__()
        self.rest, self.hessian, self.charges = rest, hessian, charges

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        u = (atoms.positions - self.rest).ravel()
        slope = self.hessian @ u
        dipole = np.einsum("iab,ib->a", self.charges, u.reshape(-1, 3))
        self.results = {"energy": u @ slope / 2, "forces": -slope.reshape(-1, 3), "dipole": dipole}


def salt():
    """Two ions on a spring: ω_TO² = k/μ."""
    hessian = SPRING * np.kron([[1, -1], [-1, 1]], np.eye(3))
    charges = CHARGE * np.stack([np.eye(3), -np.eye(3)])
    return hessian, charges, ELECTRONIC * np.eye(3)


def test_modes_and_intensities_are_those_of_ase(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rest, root = rng.normal(size=(3, 3)), rng.normal(size=(9, 9))
    hessian, charges = root @ root.T - 2 * np.eye(9), rng.normal(size=(3, 3, 3))
    atoms = Atoms("OH2", positions=rest, calculator=Harmonic(rest, hessian, charges))
    infrared = Infrared(atoms)
    infrared.run()
    modes = phonons.normal_modes(hessian, atoms.get_masses())
    expected = infrared.get_frequencies()
    assert np.any(expected.imag > 0)
    np.testing.assert_allclose(modes.frequencies, expected.real - expected.imag, rtol=1e-7)
    found = phonons.infrared_intensities(modes, charges)
    np.testing.assert_allclose(found, infrared.intensities, rtol=1e-6)


def test_wavenumber_of_the_unit_frequency():
    energy = ase.units._hbar * 1e10 / np.sqrt(ase.units._e * ase.units._amu)
    assert pytest.approx(energy / ase.units.invcm, rel=1e-8) == phonons.WAVENUMBER


@pytest.mark.parametrize("direction", [[1.0, 0, 0], [0.3, -2.0, 0.5]])
def test_splitting_of_a_salt_in_closed_form(direction):
    """ω_LO² − ω_TO² = 4πk_e Z*²/(ε∞ V μ), and Lyddane, Sachs and Teller: ε/ε∞ = ω_LO²/ω_TO²."""
    hessian, charges, electronic = salt()
    direction = np.array(direction)
    full = phonons.longitudinal_hessian(hessian, charges, electronic, CELL, direction)
    modes, reduced = phonons.normal_modes(full, MASSES), 1 / np.sum(1 / MASSES)
    volume = abs(np.linalg.det(CELL))
    split = 4 * np.pi * COULOMB * CHARGE**2 / (ELECTRONIC * volume * reduced)
    transverse = SPRING / reduced
    expected = [0, 0, 0, transverse, transverse, transverse + split]
    np.testing.assert_allclose(modes.squares, expected, atol=1e-12)
    static = phonons.static_permittivity(hessian, charges, electronic, CELL)
    ratio = (transverse + split) / transverse
    np.testing.assert_allclose(static, ELECTRONIC * ratio * np.eye(3), atol=1e-12)


def test_electronic_permittivity_of_a_cell():
    alpha = np.diag([0.1, 0.2, 0.3])
    expected = 1 + 4 * np.pi * COULOMB * np.array([0.1, 0.2, 0.3]) / 1000
    found = phonons.electronic_permittivity(alpha, 10 * np.eye(3))
    np.testing.assert_allclose(found, np.diag(expected))


def test_residuals_of_the_sum_rules():
    hessian, charges, _ = salt()
    assert phonons.acoustic_residual(hessian) == 0
    assert phonons.acoustic_residual(hessian + 0.01 * np.eye(6)) == pytest.approx(0.01)
    found = phonons.charge_sum_residual(charges + 0.5 * np.eye(3), 1.0)
    np.testing.assert_allclose(found, 0, atol=1e-15)


def test_force_constants_hold_every_block():
    hessian = np.arange(36.0).reshape(6, 6)
    lines = phonons.force_constants_text(hessian).splitlines()
    assert lines[0].split() == ["2", "2"] and len(lines) == 1 + 4 * 4
    at = lines.index("1 2")
    found = np.array([line.split() for line in lines[at + 1 : at + 4]], dtype=float)
    np.testing.assert_array_equal(found, hessian[:3, 3:])


def test_what_is_no_minimum_and_wrong_shapes_are_refused():
    hessian, charges, electronic = salt()
    with pytest.raises(DataError, match="relax the structure"):
        phonons.static_permittivity(-hessian, charges, electronic, CELL)
    with pytest.raises(DataError, match="non-zero length"):
        phonons.longitudinal_hessian(hessian, charges, electronic, CELL, np.zeros(3))
    with pytest.raises(DataError, match="3 masses"):
        phonons.normal_modes(hessian, np.ones(3))
    with pytest.raises(DataError, match="positive masses"):
        phonons.normal_modes(hessian, np.zeros(2))
