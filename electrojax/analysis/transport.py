"""Ionic conductivity: Einstein, Green–Kubo and Nernst–Einstein."""

from typing import Any, NamedTuple

import numpy as np
from ase import units

from electrojax.analysis.blocks import Estimate, cell_dipoles, spread_error, time_blocks
from electrojax.electrostatics.arguments import finite
from electrojax.errors import ConfigError, DataError

SIEMENS_PER_METRE = 1e25 / units.C
"""e/(V·Å·fs) in S/m (``ase.units.C`` is one coulomb in e)."""


class Conductivity(NamedTuple):
    """σ of the collective current beside that of independent ions, S/m.

    ``ratio`` is σ/σ_NE; the Haven ratio is its inverse, σ_NE/σ.
    """

    einstein: Estimate
    green_kubo: Estimate
    nernst_einstein: Estimate
    ratio: float
    haven: float


def polarisation(unwrapped: Any, formal_charges: Any) -> np.ndarray:
    """Returns M(t) = Σ_i q⁰_i r_i [T, 3] e·Å of unwrapped positions and formal charges.

    Integer charges give the same σ as Born charges; predicted atomic charges do not (Grasselli
    and Baroni, Nat. Phys. 15, 967 (2019)), and are refused.

    Args:
        unwrapped: [T, N, 3] Å.
        formal_charges: [N] e, integers.

    Raises:
        DataError: for charges that are not integers, differ between frames or do not sum to zero.
    """
    where, charges = finite("positions", unwrapped), finite("formal charges", formal_charges)
    if where.ndim != 3 or charges.shape != (where.shape[1],):
        raise DataError(
            f"formal charges: needed one integer per atom [{where.shape[1:2]}], the same in all "
            f"frames, got {charges.shape}; predicted charges times velocities give no conductivity"
        )
    if np.any(np.abs(charges - np.round(charges)) > 1e-9):
        raise DataError(
            "conductivity from charges that are not integers: Σ q_i v_i of predicted charges is "
            "not the current; needed formal charges by element, or M(t) from Born charges"
        )
    if abs(charges.sum()) > 1e-9:
        raise DataError(f"formal charges sum to {charges.sum():g} e; needed 0")
    return np.einsum("n,tnx->tx", charges, where)


def conductivity(
    unwrapped: Any,
    formal_charges: Any,
    times: Any,
    volume: float,
    temperature: float,
    window: tuple[float, float],
    blocks: int = 10,
) -> Conductivity:
    """Returns σ by three routes from one trajectory.

    Args:
        unwrapped: [T, N, 3] Å, without a drift of the whole.
        formal_charges: [N] e, integers.
        times: [T] fs, evenly spaced.
        volume: Å³.
        temperature: K.
        window: first and last time lag of the fits, fs.
        blocks: number of blocks for the errors.

    Raises:
        DataError: as :func:`polarisation`, :func:`equal_step` and for too short blocks.
    """
    where, charges = np.asarray(unwrapped, np.float64), np.asarray(formal_charges, np.float64)
    moment = polarisation(where, charges)
    scale, step = conductivity_scale(volume, temperature), equal_step(times)
    given = (times, volume, temperature, window, blocks)
    einstein = einstein_conductivity(moment, *given)
    green = green_kubo_conductivity(moment, *given)
    paths = np.moveaxis(where, 1, 2) * charges

    def independent(part: np.ndarray) -> float:
        squares = sum(_msd(part[:, :, i]) for i in range(part.shape[2]))
        return scale * _slope(np.asarray(squares), step, window) / 6.0

    single = _in_blocks(paths, blocks, independent)
    ratio = float(einstein.value / single.value)
    return Conductivity(einstein, green, single, ratio, 1.0 / ratio)


def einstein_conductivity(
    moment: Any,
    times: Any,
    volume: float,
    temperature: float,
    window: tuple[float, float],
    blocks: int = 10,
) -> Estimate:
    """Returns σ = slope of ⟨|M(t) − M(0)|²⟩/(6Vk_BT) in S/m, from M(t) [T, 3] e·Å.

    A linear fit with intercept over the window, so that a bounded part of M counts nothing
    (Grasselli and Baroni, Nat. Phys. 15, 967 (2019)). Other arguments: :func:`conductivity`.
    """
    scale, step = conductivity_scale(volume, temperature), equal_step(times)
    array = cell_dipoles("dipole of the cell", moment)
    return _in_blocks(array, blocks, lambda m: scale * _slope(_msd(m), step, window) / 6.0)


def green_kubo_conductivity(
    moment: Any,
    times: Any,
    volume: float,
    temperature: float,
    window: tuple[float, float],
    blocks: int = 10,
) -> Estimate:
    """Returns σ = ∫⟨J(0)·J(t)⟩dt/(3Vk_BT) in S/m with J = dM/dt, the mean over a window of lags.

    Kubo, J. Phys. Soc. Jpn. 12, 570 (1957). Arguments: :func:`einstein_conductivity`.
    """
    scale, step = conductivity_scale(volume, temperature), equal_step(times)
    array = cell_dipoles("dipole of the cell", moment)
    return _in_blocks(array, blocks, lambda m: scale * _green_kubo(m, step, window) / 3.0)


def equal_step(times: Any) -> float:
    """Returns the time step in fs of evenly spaced times [T].

    Raises:
        DataError: if the steps differ or are not positive.
    """
    steps = np.diff(finite("times", times))
    if steps.ndim != 1 or not len(steps) or steps.min() <= 0 or np.ptp(steps) > 1e-6 * steps.max():
        raise DataError("times: needed frames at equal time steps in fs, in order")
    return float(steps.mean())


def conductivity_scale(volume: float, temperature: float) -> float:
    """Returns 1/(Vk_BT) with the unit of σ: S/m per e²·Å²/fs.

    Raises:
        ConfigError: for a volume or temperature that is not positive.
    """
    if not volume > 0 or not temperature > 0:
        raise ConfigError(f"volume {volume} Å³, temperature {temperature} K; needed both positive")
    return SIEMENS_PER_METRE / (volume * units.kB * temperature)


def correlation(values: np.ndarray) -> np.ndarray:
    """Returns Σ_x ⟨v_x(0) v_x(t)⟩ [T] of a series [T, X] over all time origins, by FFT."""
    count = len(values)
    spectrum = np.abs(np.fft.rfft(values, 2 * count, axis=0)) ** 2
    sums = np.fft.irfft(spectrum.sum(axis=1), 2 * count)[:count]
    return sums / np.arange(count, 0, -1)


def _msd(path: np.ndarray) -> np.ndarray:
    """⟨|x(t) − x(0)|²⟩ [T] over all origins (Calandrini et al., Collection SFN 12, 201 (2011))."""
    centred = path - path.mean(axis=0)
    squares = np.sum(centred**2, axis=1)
    head = np.concatenate([[0.0], np.cumsum(squares)])
    counts = np.arange(len(path))
    ends = head[len(path) - counts] + head[-1] - head[counts]
    return ends / (len(path) - counts) - 2.0 * correlation(centred)


def _lags(count: int, step: float, window: tuple[float, float]) -> np.ndarray:
    lags = np.arange(count)
    chosen = lags[(lags * step >= window[0]) & (lags * step <= window[1])]
    if len(chosen) < 2 or window[1] > (count - 1) * step:
        raise DataError(
            f"window {window[0]:g} to {window[1]:g} fs: needed two lags or more inside a block of "
            f"{count * step:g} fs; take fewer blocks, a longer trajectory or another window"
        )
    return chosen


def _slope(squares: np.ndarray, step: float, window: tuple[float, float]) -> float:
    lags = _lags(len(squares), step, window)
    return float(np.polyfit(lags * step, squares[lags], 1)[0])


def _green_kubo(moment: np.ndarray, step: float, window: tuple[float, float]) -> float:
    function = correlation(np.diff(moment, axis=0) / step)
    integral = step * (np.cumsum(function) - 0.5 * (function[0] + function))
    return float(integral[_lags(len(function), step, window)].mean())


def _in_blocks(series: np.ndarray, blocks: int, estimate: Any) -> Estimate:
    values = np.array([estimate(part) for part in time_blocks(series, blocks)])
    return Estimate(values.mean(), spread_error(values))
