"""Infrared and power spectra from autocorrelations."""

from typing import Any, NamedTuple

import numpy as np
from ase import units

from electrojax.analysis.blocks import cell_dipoles, spread_error, time_blocks
from electrojax.analysis.fluctuations import thermal_permittivity
from electrojax.analysis.transport import equal_step
from electrojax.electrostatics.arguments import finite
from electrojax.errors import ConfigError, DataError

LIGHT = 2.99792458e-5
"""Speed of light in cm/fs."""

CORRECTIONS = ("none", "harmonic", "standard")


class Spectrum(NamedTuple):
    """Wavenumbers [F] 1/cm, intensities [F] and their errors."""

    wavenumber: np.ndarray
    value: np.ndarray
    error: np.ndarray


def power_spectrum(velocities: Any, times: Any, masses: Any, blocks: int = 4) -> Spectrum:
    """Returns Σ_i m_i |v_i(ω)|², of integral one over wavenumbers: the density of states.

    Args:
        velocities: [T, N, 3], any unit.
        times: [T] fs, evenly spaced.
        masses: [N].
        blocks: number of blocks; each gives a spectrum under a Hann window.

    Raises:
        DataError: for shapes that do not fit, or times that are not evenly spaced.
    """
    speeds, mass = finite("velocities", velocities), finite("masses", masses)
    if speeds.ndim != 3 or mass.shape != speeds.shape[1:2]:
        raise DataError(f"needed velocities [T, N, 3], masses [N]: {speeds.shape}, {mass.shape}")
    series = (speeds * np.sqrt(mass)[:, None]).reshape(len(speeds), -1)
    waves, spectra = _spectra(series, equal_step(times), blocks)
    scale = spectra.mean(axis=0).sum() * (waves[1] - waves[0])
    if not scale > 0:
        raise DataError("velocities that are all 0 have no power spectrum")
    return Spectrum(waves, spectra.mean(axis=0) / scale, spread_error(spectra) / scale)


def infrared_spectrum(
    dipoles: Any,
    times: Any,
    volume: float,
    temperature: float,
    correction: str = "harmonic",
    blocks: int = 4,
) -> Spectrum:
    """Returns n(ω)α(ω) = (1/6cε0Vk_BT) ∫⟨Ṁ(0)·Ṁ(t)⟩ e^{−iωt} dt, times a correction, in 1/cm.

    Ramírez et al., J. Chem. Phys. 121, 3973 (2004). The ``harmonic`` quantum correction,
    x/(1 − e^{−x}) of the dipole's correlation, x = ħω/k_BT, gives with the quantum prefactor
    ω(1 − e^{−x})/ħ the classical line shape, the same as ``none``; ``standard`` is
    2/(1 + e^{−x}) instead, the harmonic one times tanh(x/2)·2/x.

    Args:
        dipoles: [T, 3] e·Å of the cell, without jumps by a quantum.
        times: [T] fs, evenly spaced.
        volume: Å³.
        temperature: K.
        correction: ``none``, ``harmonic`` or ``standard``.
        blocks: number of blocks; each gives a spectrum under a Hann window.

    Raises:
        ConfigError: for another correction, a volume or temperature that is not positive.
        DataError: for other shapes, or times that are not evenly spaced.
    """
    moments = cell_dipoles("dipoles", dipoles)
    if correction not in CORRECTIONS:
        raise ConfigError(f"correction {correction!r}; needed one of {', '.join(CORRECTIONS)}")
    if not volume > 0:
        raise ConfigError(f"volume {volume}; needed a positive number of Å³")
    step = equal_step(times)
    waves, spectra = _spectra(np.gradient(moments, step, axis=0), step, blocks)
    scale = 1.0 / (6.0 * LIGHT * volume * thermal_permittivity(temperature))
    factor = scale * _corrected(waves, temperature, correction)
    return Spectrum(waves, factor * spectra.mean(axis=0), factor * spread_error(spectra))


def _corrected(waves: np.ndarray, temperature: float, correction: str) -> np.ndarray:
    half = 0.5 * waves * units.invcm / (units.kB * temperature)
    if correction != "standard":
        return np.ones_like(waves)
    return np.tanh(half) / np.where(half > 0, half, 1.0) + (half == 0)


def _spectra(series: np.ndarray, step: float, blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """Wavenumbers [F] and ∫⟨v(0)·v(t)⟩e^{−iωt}dt [B, F] of each block (Wiener–Khinchin)."""
    size = len(series) // blocks if blocks else 0
    if size < 8:
        raise DataError(f"{len(series)} frames: needed 8 in each of {blocks} blocks")
    window = np.hanning(size)[:, None]
    parts = [part[:size] for part in time_blocks(series, blocks)]
    powers = [np.sum(np.abs(np.fft.rfft(part * window, axis=0)) ** 2, axis=1) for part in parts]
    waves = np.fft.rfftfreq(size, step) / LIGHT
    return waves, np.array(powers) * step / np.sum(window**2)
