"""Spectra of oscillators."""

import numpy as np
import pytest
from ase import units

from electrojax.analysis.fluctuations import thermal_permittivity
from electrojax.analysis.spectra import LIGHT, infrared_spectrum, power_spectrum
from electrojax.errors import ConfigError

TIMES = 0.5 * np.arange(16000)
OMEGA = 2 * np.pi * LIGHT * 1500.0


def test_peak_and_area_of_an_oscillating_dipole():
    moment = np.zeros((len(TIMES), 3))
    moment[:, 0] = 0.2 * np.cos(OMEGA * TIMES)
    got = infrared_spectrum(moment, TIMES, 1e3, 300.0)
    assert got.wavenumber[np.argmax(got.value)] == pytest.approx(1500.0, abs=5.0)
    # ∫ dν over ν > 0 of the transform of ⟨Ṁ²⟩cos ωt is ⟨Ṁ²⟩/2; ν = c·wavenumber.
    area = np.sum(got.value) * got.wavenumber[1]
    expected = 0.25 * (0.2 * OMEGA) ** 2 / (6 * LIGHT**2 * 1e3 * thermal_permittivity(300.0))
    assert area == pytest.approx(expected, rel=0.01)
    standard = infrared_spectrum(moment, TIMES, 1e3, 300.0, correction="standard")
    x = 1500.0 * units.invcm / (units.kB * 300.0)
    peak = np.argmax(got.value)
    ratio = (2 / (1 + np.exp(-x))) / (x / (1 - np.exp(-x)))
    assert standard.value[peak] / got.value[peak] == pytest.approx(ratio, rel=0.01)
    with pytest.raises(ConfigError, match="correction"):
        infrared_spectrum(moment, TIMES, 1e3, 300.0, correction="schofield")


def test_power_spectrum_weighs_by_kinetic_energy():
    speeds = np.zeros((len(TIMES), 2, 3))
    speeds[:, 0, 0] = np.cos(OMEGA * TIMES)
    speeds[:, 1, 1] = np.cos(2 * OMEGA * TIMES)
    got = power_spectrum(speeds, TIMES, [1.0, 3.0])
    assert np.sum(got.value) * got.wavenumber[1] == pytest.approx(1.0)
    low = got.wavenumber < 2250
    assert np.sum(got.value[low]) * got.wavenumber[1] == pytest.approx(0.25, abs=0.01)
