"""Averages over the plane of a slab, and the capacitance of a cell of two electrodes."""

from typing import Any

import numpy as np
from ase import units

from electrojax.analysis.blocks import Estimate, block_average, spread_error, time_blocks
from electrojax.electrostatics.arguments import finite
from electrojax.errors import ConfigError, DataError
from electrojax.units import COULOMB


def planar_profile(
    heights: Any, weights: Any, edges: Any, area: float, blocks: int = 10
) -> Estimate:
    """Returns Σ_i w_i in each bin over its volume: a number density (w = 1) or charge density.

    Args:
        heights: [T, N] Å along the normal.
        weights: [N] or [T, N].
        edges: [B + 1] Å, rising.
        area: of the plane, Å².
        blocks: number of blocks for the errors.

    Raises:
        DataError: for shapes that do not fit, or atoms outside the edges.
    """
    z, bins = finite("heights", heights), finite("edges", edges)
    if z.ndim != 2 or bins.ndim != 1 or len(bins) < 2 or np.any(np.diff(bins) <= 0):
        raise DataError("profile: needed heights [T, N] and rising edges [B + 1]")
    if z.min() < bins[0] or z.max() > bins[-1]:
        raise DataError(
            f"profile: atoms from {z.min():.3f} to {z.max():.3f} Å; needed all between the edges "
            f"{bins[0]:.3f} and {bins[-1]:.3f}"
        )
    each = np.broadcast_to(finite("weights", weights), z.shape)
    counts = [np.histogram(h, bins, weights=w)[0] for h, w in zip(z, each)]
    return block_average(np.array(counts) / (area * np.diff(bins)), blocks)


def planar_potential(charge: Any, edges: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns field [B + 1] V/Å and potential [B + 1] V at the edges of bins of charge density.

    E(z) = 4πk_e ∫ρ, φ(z) = −∫E from the vacuum below, where both are 0: that is the reference. A
    dipole layer τ makes a step of +4πk_eτ (Jackson, Classical Electrodynamics, 1.6).

    Args:
        charge: [B] e/Å³, constant in each bin; the total must be neutral.
        edges: [B + 1] Å.

    Raises:
        DataError: for shapes that do not fit, or a total charge.
    """
    density, bins = finite("charge density", charge), finite("edges", edges)
    if density.ndim != 1 or bins.shape != (len(density) + 1,):
        raise DataError(f"needed charge [B] and edges [B + 1], got {density.shape}, {bins.shape}")
    width = np.diff(bins)
    sheet = np.concatenate([[0.0], np.cumsum(density * width)])
    if abs(sheet[-1]) > 1e-6 * max(1e-12, np.abs(density * width).sum()):
        raise DataError(f"the slab carries {sheet[-1]:.3g} e/Å²; needed a neutral one")
    field = 4 * np.pi * COULOMB * sheet
    # The field is linear in a bin of constant charge, so that the trapezoid is exact.
    steps = 0.5 * (field[1:] + field[:-1]) * width
    return field, -np.concatenate([[0.0], np.cumsum(steps)])


def capacitance(
    electrode_charges: Any, temperature: float, electronic: float, blocks: int = 10
) -> Estimate:
    """Returns C = β var(Q) + ∂⟨Q⟩/∂V at fixed nuclei, e/V, of a run at constant potential.

    Scalfi et al., Phys. Chem. Chem. Phys. 22, 10480 (2020): the second, electronic, term is all
    there is of an empty capacitor.

    Args:
        electrode_charges: [T] e, of one electrode.
        temperature: K.
        electronic: ∂⟨Q⟩/∂V at fixed nuclei, e/V.
        blocks: number of blocks for the error.

    Raises:
        ConfigError: for a temperature that is not positive or a negative electronic term.
        DataError: for another shape.
    """
    charges = finite("electrode charges", electrode_charges)
    if charges.ndim != 1:
        raise DataError(f"electrode charges: needed shape [T] in e, got {charges.shape}")
    if not temperature > 0 or not electronic >= 0:
        raise ConfigError("capacitance: needed a positive temperature and an electronic term ≥ 0")
    squares = (charges - charges.mean()) ** 2 / (units.kB * temperature)
    means = np.array([part.mean() for part in time_blocks(squares, blocks)])
    return Estimate(np.asarray(squares.mean() + electronic), spread_error(means))
