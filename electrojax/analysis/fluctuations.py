"""Static permittivity from the fluctuations of the dipole of the cell."""

from collections.abc import Callable
from typing import Any

import numpy as np
from ase import units

from electrojax.analysis.blocks import Estimate, cell_dipoles, spread_error, time_blocks
from electrojax.errors import ConfigError, DataError
from electrojax.units import COULOMB


def thermal_permittivity(temperature: float) -> float:
    """Returns k_BT ε0 in e²/Å: 1.4287e-4 at 300 K.

    Raises:
        ConfigError: for a temperature that is not positive.
    """
    if not temperature > 0:
        raise ConfigError(f"temperature {temperature}; needed a positive number of K")
    return units.kB * temperature / (4 * np.pi * COULOMB)


def dielectric_constant(
    dipoles: Any,
    volume: float,
    temperature: float,
    boundary: str = "tin-foil",
    optical: float = 1.0,
    normal: int = 2,
    blocks: int = 10,
) -> Estimate:
    """Returns ε from the fluctuations of the cell's dipole in one of three boundary conditions.

    With y = ⟨ΔM²⟩/(ε0Vk_BT): tin foil ε = ε∞ + y/3; vacuum sphere
    (ε−1)/(ε+2) = (ε∞−1)/(ε∞+2) + y/9 (Neumann, Mol. Phys. 50, 841 (1983)); normal of a slab
    1/ε = 1/ε∞ − ⟨ΔM_z²⟩/(ε0Vk_BT) (Ballenegger and Hansen, J. Chem. Phys. 122, 114711 (2005)).

    Args:
        dipoles: [T, 3] e·Å.
        volume: of the cell, or of the film of a slab, Å³.
        temperature: K.
        boundary: ``tin-foil``, ``vacuum`` or ``slab``.
        optical: ε∞; 1 for charges that do not respond.
        normal: Cartesian index of the slab's normal.
        blocks: number of blocks for the error.

    Raises:
        ConfigError: for another boundary, or numbers out of range.
        DataError: for dipoles of another shape, or fluctuations no ε > 0 has in this boundary.
    """
    moments = cell_dipoles("dipoles", dipoles)
    if boundary not in _PERMITTIVITY:
        raise ConfigError(f"boundary {boundary!r}; needed one of {', '.join(_PERMITTIVITY)}")
    if not volume > 0 or not optical >= 1:
        raise ConfigError(f"volume {volume}, ε∞ {optical}; needed a positive volume and ε∞ ≥ 1")
    squares = (moments - moments.mean(axis=0)) ** 2
    kept = squares[:, normal] if boundary == "slab" else squares.sum(axis=1)
    reduced = kept / (volume * thermal_permittivity(temperature))
    relation = _PERMITTIVITY[boundary]
    value = relation(float(reduced.mean()), optical)
    # Error propagation: the relation is not linear, its slope at the mean is.
    step = 1e-6 * max(1e-9, float(reduced.mean()))
    slope = (relation(float(reduced.mean()) + step, optical) - value) / step
    means = np.array([part.mean() for part in time_blocks(reduced, blocks)])
    return Estimate(np.asarray(value), abs(slope) * spread_error(means))


def _tin_foil(y: float, optical: float) -> float:
    return optical + y / 3.0


def _vacuum(y: float, optical: float) -> float:
    ratio = (optical - 1.0) / (optical + 2.0) + y / 9.0
    if ratio >= 1.0:
        raise DataError(
            f"fluctuations {y:.4g} of the dipole in a vacuum sphere: no ε gives more than 9; is "
            "the boundary tin foil?"
        )
    return (1.0 + 2.0 * ratio) / (1.0 - ratio)


def _slab(y: float, optical: float) -> float:
    inverse = 1.0 / optical - y
    if inverse <= 0.0:
        raise DataError(
            f"fluctuations {y:.4g} of the dipole along the normal: no ε gives more than 1/ε∞; is "
            "the volume that of the film?"
        )
    return 1.0 / inverse


_PERMITTIVITY: dict[str, Callable[[float, float], float]] = {
    "tin-foil": _tin_foil,
    "vacuum": _vacuum,
    "slab": _slab,
}
