"""Stress labels: from virials, and only where there is a volume."""

from collections.abc import Mapping

import numpy as np

from electrojax.errors import DataError

SMALLEST_VOLUME = 1e-6
"""Å³; a cell below has no volume."""

AGREEMENT = 1e-3
"""Largest difference of a stress from that of its virial, over the largest component."""


def with_stress(
    labels: Mapping[str, np.ndarray],
    cell: np.ndarray,
    pbc: tuple[bool, bool, bool],
    source: str,
) -> dict[str, np.ndarray]:
    """Returns the labels of a frame with the stress that its virial says, σ = −W/V.

    W = −V σ with σ = (1/V) ∂E/∂ε, positive under tension, is the virial of QUIP and of the codes
    that read its files (W_ab = Σ_i r_ia f_ib of an isolated system: A. P. Thompson, S. J. Plimpton
    and W. Mattson, J. Chem. Phys. 131, 154107 (2009), eq. 1).

    Args:
        labels: by name; ``virial`` [3, 3] eV or ``stress`` [3, 3] eV/Å³ among them.
        cell: [3, 3] Å.
        pbc: which lattice vectors repeat.
        source: name of the frame in messages.

    Raises:
        DataError: for a virial of an open frame, a stress or virial of a cell without volume, or
            both where they contradict each other.
    """
    rest = {name: value for name, value in labels.items() if name != "virial"}
    given = [name for name in ("virial", "stress") if name in labels]
    # The stress of an open frame is masked: datasets of mixed boundaries carry zeros there.
    if not given or (not any(pbc) and given == ["stress"]):
        return rest
    volume = abs(float(np.linalg.det(np.asarray(cell, dtype=np.float64))))
    if not any(pbc) or volume < SMALLEST_VOLUME:
        flags = " ".join("T" if p else "F" for p in pbc)
        raise DataError(
            f"{source}: has a {given[0]} but no volume (pbc {flags}, {volume:.3g} Å³); needed a "
            f"periodic cell with three lattice vectors, or no {given[0]}"
        )
    if "virial" not in labels:
        return rest
    stress = -np.asarray(labels["virial"], dtype=np.float64) / volume
    _check_agreement(rest.get("stress", stress), stress, source)
    return {"stress": stress, **rest}


def _check_agreement(stress: np.ndarray, from_virial: np.ndarray, source: str) -> None:
    difference = float(np.max(np.abs(stress - from_virial)))
    if difference > AGREEMENT * max(float(np.max(np.abs(from_virial))), 1e-4):
        raise DataError(
            f"{source}: its stress and −virial/volume differ by {difference:.3g} eV/Å³; needed one "
            "of them, or both in agreement: correct data.keys, units or signs"
        )
