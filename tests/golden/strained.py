"""Stresses of torch models that strain no charges, by differences of their energies."""

from collections.abc import Callable

import ase
import numpy as np


def strained_stress(energy: Callable[[ase.Atoms], float], atoms: ase.Atoms) -> np.ndarray:
    """Returns (1/V) ∂E/∂ε [3, 3] eV/Å³ by extrapolated central differences.

    Args:
        energy: of a structure, eV.
        atoms: the structure.
    """
    stress = np.zeros((3, 3))
    for i, j in [(a, b) for a in range(3) for b in range(a, 3)]:
        slopes = []
        for step in (2e-3, 1e-3):
            ends = []
            for sign in (1, -1):
                strain = np.eye(3)
                strain[i, j] += 0.5 * sign * step
                strain[j, i] += 0.5 * sign * step
                moved = atoms.copy()
                moved.set_cell(atoms.cell @ strain, scale_atoms=True)
                ends.append(energy(moved))
            slopes.append((ends[0] - ends[1]) / (2 * step))
        stress[i, j] = stress[j, i] = (4 * slopes[1] - slopes[0]) / 3
    return stress / atoms.get_volume()
