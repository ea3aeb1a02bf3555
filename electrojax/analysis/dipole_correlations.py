"""Longitudinal and transverse correlations of dipoles, and the Kirkwood factor."""

from typing import Any, NamedTuple

import numpy as np

from electrojax.analysis.blocks import Estimate, block_average
from electrojax.analysis.fluctuations import thermal_permittivity
from electrojax.analysis.structure_factor import charge_waves
from electrojax.electrostatics.arguments import finite
from electrojax.errors import ConfigError, DataError


class DipoleCorrelations(NamedTuple):
    """⟨|P_k|²⟩/(Vk_BT ε0) at k [K, 3] 1/Å: along k, and per component across it, [K] each."""

    k: np.ndarray
    longitudinal: Estimate
    transverse: Estimate


def longitudinal_transverse(
    positions: Any, cell: Any, dipoles: Any, indices: Any, temperature: float, blocks: int = 10
) -> DipoleCorrelations:
    """Returns longitudinal ⟨|k̂·P|²⟩ and transverse ½⟨|P|² − |k̂·P|²⟩, over Vk_BT ε0.

    P_k = Σ μ_i e^{−ik·r_i}. For k → 0 and frozen charges: 1 − 1/ε and ε − 1; equal to each other
    in a model without long-range interactions (Cox, PNAS 117, 19746 (2020)).

    Args:
        positions: [T, N, 3] Å of the molecules or atoms.
        cell: [3, 3] or [T, 3, 3] Å.
        dipoles: [T, N, 3] e·Å.
        indices: [K, 3] integers, of ``wave_indices``.
        temperature: K.
        blocks: number of blocks for the errors.

    Raises:
        DataError: for shapes that do not fit or too few frames.
    """
    where, moments = finite("positions", positions), finite("dipoles", dipoles)
    if where.ndim != 3 or where.shape[2] != 3 or moments.shape != where.shape:
        raise DataError(
            f"positions and dipoles: needed shape [T, N, 3] both, got {where.shape} and "
            f"{moments.shape}"
        )
    cells = np.broadcast_to(finite("cell", cell), (len(where), 3, 3))
    samples = np.array(
        [_frame(*frame, np.asarray(indices)) for frame in zip(where, cells, moments)]
    ) / thermal_permittivity(temperature)
    k = 2 * np.pi * np.asarray(indices) @ np.linalg.inv(cells.mean(axis=0)).T
    along, across = samples[:, 0], samples[:, 1]
    return DipoleCorrelations(k, block_average(along, blocks), block_average(across, blocks))


def _frame(
    where: np.ndarray, cell: np.ndarray, dipoles: np.ndarray, indices: np.ndarray
) -> np.ndarray:
    """|k̂·P|²/V and the mean over both directions across k [2, K]."""
    k = 2 * np.pi * indices @ np.linalg.inv(cell).T
    waves = np.stack([charge_waves(where, k, dipoles[:, x]) for x in range(3)], axis=1)
    unit = k / np.linalg.norm(k, axis=1, keepdims=True)
    along = np.abs(np.sum(unit * waves, axis=1)) ** 2
    whole = np.sum(np.abs(waves) ** 2, axis=1)
    return np.stack([along, (whole - along) / 2]) / abs(np.linalg.det(cell))


def finite_cell_kirkwood(dipoles: Any, blocks: int = 10) -> Estimate:
    """Returns G_K = ⟨|Σ μ_i|²⟩/(N⟨μ²⟩) of molecular dipoles [T, N, 3], that of the finite cell.

    It depends on the boundary condition (Neumann, Mol. Phys. 50, 841 (1983)).

    Raises:
        DataError: for another shape, or dipoles that are all zero.
    """
    moments = finite("dipoles", dipoles)
    if moments.ndim != 3 or moments.shape[2] != 3 or not np.any(moments):
        raise DataError(f"dipoles: needed shape [T, N, 3] in e·Å, not all 0, got {moments.shape}")
    scale = moments.shape[1] * np.mean(np.sum(moments**2, axis=2))
    return block_average(np.sum(moments.sum(axis=1) ** 2, axis=1) / scale, blocks)


def kirkwood_frohlich(
    epsilon: float, density: float, dipole: float, temperature: float, optical: float = 1.0
) -> float:
    """Returns g_K of (ε−ε∞)(2ε+ε∞)/(ε(ε∞+2)²) = ρμ0²g_K/(9ε0k_BT) (Fröhlich, 1958).

    Args:
        epsilon: static relative permittivity.
        density: ρ, molecules per Å³.
        dipole: μ0 of a molecule in vacuum, e·Å.
        temperature: K.
        optical: ε∞.

    Raises:
        ConfigError: for permittivities below one, a density or a dipole that is not positive.
    """
    if not (epsilon >= optical >= 1.0 and density > 0 and dipole > 0):
        raise ConfigError("Kirkwood factor: needed ε ≥ ε∞ ≥ 1, positive density and dipole")
    left = (epsilon - optical) * (2 * epsilon + optical) / (epsilon * (optical + 2) ** 2)
    return left * 9 * thermal_permittivity(temperature) / (density * dipole**2)
