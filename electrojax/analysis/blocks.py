"""Means of correlated samples with errors from averages over blocks."""

from typing import Any, NamedTuple

import numpy as np

from electrojax.electrostatics.arguments import finite
from electrojax.errors import DataError


class Estimate(NamedTuple):
    """A mean and its standard error, of one shape and unit."""

    value: np.ndarray
    error: np.ndarray


def block_average(samples: Any, blocks: int = 10) -> Estimate:
    """Returns the mean over time and its standard error from averages over blocks.

    s² = Σ_b (x_b − x̄)²/(B (B − 1)), for blocks longer than the correlation time (Flyvbjerg and
    Petersen, J. Chem. Phys. 91, 461 (1989)).

    Args:
        samples: [T, ...] in order of time.
        blocks: B, consecutive and of equal length up to one sample.

    Returns:
        Mean and error [...].

    Raises:
        DataError: for fewer samples than blocks, or numbers that are not finite.
    """
    values = finite("samples", samples)
    means = np.stack([part.mean(axis=0) for part in time_blocks(values, blocks)])
    return Estimate(values.mean(axis=0), spread_error(means))


def cell_dipoles(name: str, values: Any) -> np.ndarray:
    """Returns dipoles of the cell along a trajectory [T, 3] e·Å, checked.

    Args:
        name: what messages call them.
        values: as they were given.

    Raises:
        DataError: for another shape, or numbers that are not finite.
    """
    dipoles = finite(name, values)
    if dipoles.ndim != 2 or dipoles.shape[1] != 3:
        raise DataError(f"{name}: needed shape [T, 3] in e·Å, got {dipoles.shape}")
    return dipoles


def time_blocks(values: np.ndarray, blocks: int) -> list[np.ndarray]:
    """Returns consecutive parts of an array along its first axis.

    Raises:
        DataError: for fewer than two blocks, or fewer frames than blocks.
    """
    if blocks < 2:
        raise DataError(f"blocks {blocks}: needed at least 2 for an error")
    if not values.ndim or len(values) < blocks:
        got = len(values) if values.ndim else 0
        raise DataError(f"{got} frames: needed at least {blocks}, one for each block")
    return np.array_split(values, blocks)


def spread_error(means: np.ndarray) -> np.ndarray:
    """Returns the standard error [...] of the mean of independent values [B, ...]."""
    return np.asarray(np.std(means, axis=0, ddof=1) / np.sqrt(len(means)))
