"""The charge structure factor, and its limits for small k."""

from typing import Any, NamedTuple

import numpy as np

from electrojax.analysis.blocks import block_average
from electrojax.analysis.fluctuations import thermal_permittivity
from electrojax.electrostatics.arguments import finite
from electrojax.errors import ConfigError, DataError

BLOCK = 1 << 22
"""Pairs of a wave and an atom that are held in memory at once."""

KINDS = ("frozen", "adiabatic", "born")


class StructureFactor(NamedTuple):
    """S_QQ at wave vectors: k [K, 3] 1/Å (mean over frames), values and errors [K] e²/Å³."""

    k: np.ndarray
    value: np.ndarray
    error: np.ndarray


def wave_indices(cell: Any, k_max: float) -> np.ndarray:
    """Returns the integers [K, 3] of the cell's k-vectors with 0 < |k| ≤ k_max, one of ±k.

    Args:
        cell: [3, 3] Å, lattice vectors in rows.
        k_max: 1/Å.

    Raises:
        DataError: if the cell has no volume, or no k-vector is that short.
    """
    lattice = finite("cell", cell)
    if lattice.shape != (3, 3) or abs(np.linalg.det(lattice)) < 1e-9:
        raise DataError("structure factor: needed a periodic cell [3, 3] Å with a volume")
    # |n_i| = |k · a_i|/2π ≤ k_max |a_i|/2π.
    highest = np.floor(k_max * np.linalg.norm(lattice, axis=1) / (2 * np.pi)).astype(int)
    axes = [np.arange(-n, n + 1) for n in highest]
    indices = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    length = np.linalg.norm(_waves(indices, lattice), axis=1)
    first = (indices[:, 0] > 0) | ((indices[:, 0] == 0) & (indices[:, 1] > 0))
    first |= (indices[:, 0] == 0) & (indices[:, 1] == 0) & (indices[:, 2] > 0)
    chosen = first & (length <= k_max * (1 + 1e-9))
    if not np.any(chosen):
        raise DataError(f"k_max {k_max} 1/Å: no k-vector of the cell is that short")
    return indices[chosen][np.argsort(length[chosen], kind="stable")]


def charge_structure_factor(
    positions: Any,
    cell: Any,
    charges: Any,
    indices: Any,
    *,
    dipoles: Any = None,
    quadrupoles: Any = None,
    blocks: int = 10,
) -> StructureFactor:
    """Returns S_QQ(k) = ⟨|Σ_i (q − ik·μ − k·Θ·k) e^{−ik·r_i}|²⟩/V of the charges of each frame.

    Hansen and McDonald, Theory of Simple Liquids, chapter 10; multipoles without their Gaussians.

    Args:
        positions: [T, N, 3] Å, wrapped or not.
        cell: [3, 3] or [T, 3, 3] Å.
        charges: [N] or [T, N] e.
        indices: [K, 3] integers, of :func:`wave_indices`.
        dipoles: [T, N, 3] e·Å.
        quadrupoles: [T, N, 3, 3] e·Å², Θ of the density q δ − μ·∇δ + Θ:∇∇δ.
        blocks: number of blocks for the errors.

    Raises:
        DataError: for shapes that do not fit or too few frames.
    """
    where = _trajectory(positions)
    frames, atoms = where.shape[:2]
    cells = np.broadcast_to(finite("cell", cell), (frames, 3, 3))
    charge = _filled("charges", charges, (frames, atoms))
    dipole = None if dipoles is None else _filled("dipoles", dipoles, where.shape)
    shape = (*where.shape, 3)
    tensor = None if quadrupoles is None else _filled("quadrupoles", quadrupoles, shape)
    integers = np.asarray(indices)
    samples = np.empty((frames, len(integers)))
    for t in range(frames):
        moments = (
            charge[t],
            None if dipole is None else dipole[t],
            (None if tensor is None else tensor[t]),
        )
        waves = charge_waves(where[t], _waves(integers, cells[t]), *moments)
        samples[t] = np.abs(waves) ** 2 / abs(np.linalg.det(cells[t]))
    mean = block_average(samples, blocks)
    return StructureFactor(_waves(integers, cells.mean(axis=0)), mean.value, mean.error)


def charge_waves(
    positions: np.ndarray,
    k: np.ndarray,
    charges: np.ndarray,
    dipoles: np.ndarray | None = None,
    quadrupoles: np.ndarray | None = None,
) -> np.ndarray:
    """Returns Σ_i (q − ik·μ − k·Θ·k) e^{−ik·r_i} [K] e of one frame, k-vectors in blocks."""
    rows = max(1, BLOCK // max(1, len(positions)))
    parts = []
    for some in np.split(k, range(rows, len(k), rows)):
        form = np.broadcast_to(charges.astype(complex), (len(some), len(charges)))
        if dipoles is not None:
            form = form - 1j * some @ dipoles.T
        if quadrupoles is not None:
            form = form - np.einsum("kx,nxy,ky->kn", some, quadrupoles, some)
        parts.append(np.sum(form * np.exp(-1j * some @ positions.T), axis=1))
    return np.concatenate(parts)


def structure_factor_limit(kind: str, epsilon: float, optical: float = 1.0) -> float:
    """Returns the limit of S_QQ/(k_BT ε0 k²) for k → 0.

    frozen: 1 − 1/ε; adiabatic (charges follow the nuclei): 1/ε∞ − 1/ε; born: ε∞ − ε∞²/ε
    (linear response of the charge to an outer potential, Hansen and McDonald, chapter 10).

    Args:
        kind: ``frozen``, ``adiabatic`` or ``born``.
        epsilon: static relative permittivity; ``inf`` for mobile ions.
        optical: ε∞.

    Raises:
        ConfigError: for another kind, or permittivities below one.
    """
    if kind not in KINDS:
        raise ConfigError(f"limit kind {kind!r}; needed one of {', '.join(KINDS)}")
    if not (epsilon >= optical >= 1.0):
        raise ConfigError(f"permittivities {epsilon}, {optical}; needed static ≥ optical ≥ 1")
    limits = {
        "frozen": 1.0 - 1.0 / epsilon,
        "adiabatic": 1.0 / optical - 1.0 / epsilon,
        "born": optical - optical**2 / epsilon,
    }
    return limits[kind]


def reduced(result: StructureFactor, temperature: float) -> StructureFactor:
    """Returns S_QQ/(k_BT ε0 k²), without unit, with its errors; temperature in K."""
    scale = thermal_permittivity(temperature) * np.sum(result.k**2, axis=1)
    return StructureFactor(result.k, result.value / scale, result.error / scale)


def _waves(indices: np.ndarray, cell: np.ndarray) -> np.ndarray:
    return 2 * np.pi * indices @ np.linalg.inv(cell).T


def _trajectory(positions: Any) -> np.ndarray:
    where = finite("positions", positions)
    if where.ndim != 3 or where.shape[2] != 3:
        raise DataError(f"positions: needed shape [T, N, 3] in Å, got {where.shape}")
    return where


def _filled(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = finite(name, value)
    if array.shape not in (shape, shape[1:]):
        raise DataError(f"{name}: needed shape {shape}, got {array.shape}")
    return np.broadcast_to(array, shape)
