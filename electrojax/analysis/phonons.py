"""Phonons at Γ, infrared intensities and dielectric tensors from second derivatives.

Plain arrays in and out: a Hessian [3n, 3n] in eV/Å², masses [n] in u, Born charges [n, 3, 3] in e
with Z*[i, a, b] = ∂P_a/∂r_ib, cells in Å. Formulas of X. Gonze and C. Lee, Phys. Rev. B 55, 10355
(1997).
"""

import dataclasses

import numpy as np

from electrojax.errors import DataError
from electrojax.units import COULOMB, DEBYE

WAVENUMBER = 521.4708990
"""cm⁻¹ of ω = 1 √(eV/(Å² u)): ω/(2πc) with CODATA 2014, as ``ase.units``."""


@dataclasses.dataclass(frozen=True)
class Modes:
    """Normal modes, the lowest first.

    Attributes:
        frequencies: [3n] cm⁻¹; an imaginary frequency is listed as a negative number.
        squares: [3n] ω² in eV/(Å² u).
        displacements: [3n, n, 3] eigenvectors over √mass, in u^(-1/2).
    """

    frequencies: np.ndarray
    squares: np.ndarray
    displacements: np.ndarray


def normal_modes(hessian: np.ndarray, masses: np.ndarray) -> Modes:
    """Returns the modes of D = M^(-1/2) H M^(-1/2), none left out.

    Args:
        hessian: [3n, 3n] eV/Å²; its symmetric part counts.
        masses: [n] u.

    Raises:
        DataError: for shapes that do not fit, or what is not finite or not positive.
    """
    _check(hessian, masses)
    weights = np.repeat(1 / np.sqrt(masses), 3)
    dynamical = weights[:, None] * (hessian + hessian.T) / 2 * weights
    squares, vectors = np.linalg.eigh(dynamical)
    frequencies = WAVENUMBER * np.sign(squares) * np.sqrt(np.abs(squares))
    displacements = (weights[:, None] * vectors).T.reshape(-1, len(masses), 3)
    return Modes(frequencies, squares, displacements)


def infrared_intensities(modes: Modes, born_charges: np.ndarray) -> np.ndarray:
    """Returns Σ_a |Σ_ib Z*[i, a, b] u_ib|² of every mode u [3n], in (D/Å)²/u as ASE's Infrared."""
    slopes = np.einsum("iab,mib->ma", born_charges, modes.displacements)
    return np.sum(slopes**2, axis=1) / DEBYE**2


def charge_sum_residual(born_charges: np.ndarray, total_charge: float) -> np.ndarray:
    """Returns Σ_i Z*_i − Q·1 [3, 3] in e, zero where the acoustic sum rule holds."""
    return np.sum(born_charges, axis=0) - total_charge * np.eye(3)


def acoustic_residual(hessian: np.ndarray) -> float:
    """Returns max |Σ_j H[ia, jb]| in eV/Å², zero where translations cost nothing."""
    n = len(hessian) // 3
    return float(np.max(np.abs(hessian.reshape(n, 3, n, 3).sum(axis=2))))


def electronic_permittivity(polarizability: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Returns ε∞ = 1 + 4πk_e α/V [3, 3] of a crystal.

    Args:
        polarizability: [3, 3] e·Å²/V of the cell, at fixed mean field and fixed atoms.
        cell: [3, 3] Å, vectors in rows.
    """
    return np.eye(3) + 4 * np.pi * COULOMB * polarizability / abs(np.linalg.det(cell))


def static_permittivity(
    hessian: np.ndarray, born_charges: np.ndarray, electronic: np.ndarray, cell: np.ndarray
) -> np.ndarray:
    """Returns ε = ε∞ + (4πk_e/V) Z* H⁺ Z*ᵀ [3, 3], translations taken out of H (Gonze, Lee, 55).

    In a charged cell the drift of the cell as a whole is left out with them.

    Raises:
        DataError: for a structure that is no minimum, where ε is not defined.
    """
    n = len(born_charges)
    shifts = np.tile(np.eye(3), (n, 1)) / np.sqrt(n)
    inner = np.linalg.qr(np.hstack([shifts, np.eye(3 * n)]))[0][:, 3:]
    reduced = inner.T @ (hessian + hessian.T) @ inner / 2
    lowest = np.linalg.eigvalsh(reduced)[0] if n > 1 else 1.0
    if lowest <= 0:
        raise DataError(
            "static permittivity: needed a minimum of the energy, got a Hessian whose lowest "
            f"eigenvalue beside translations is {lowest:.3g} eV/Å²; relax the structure first"
        )
    slopes = inner.T @ _flat(born_charges)
    ionic = slopes.T @ np.linalg.solve(reduced, slopes)
    return electronic + 4 * np.pi * COULOMB * ionic / abs(np.linalg.det(cell))


def longitudinal_hessian(
    hessian: np.ndarray,
    born_charges: np.ndarray,
    electronic: np.ndarray,
    cell: np.ndarray,
    direction: np.ndarray,
) -> np.ndarray:
    """Returns the Hessian for q → 0 along a direction, with its non-analytic term [3n, 3n] eV/Å².

    H + (4πk_e/V) (q·Z*_i)_a (q·Z*_j)_b / (q·ε∞·q) (Gonze, Lee, 60); its modes are LO and TO.

    Raises:
        DataError: for a direction of no length.
    """
    if not np.linalg.norm(direction) > 0:
        raise DataError(f"direction: needed a vector of non-zero length, got {list(direction)}")
    charges = _flat(born_charges) @ direction
    screening = direction @ electronic @ direction * abs(np.linalg.det(cell))
    return hessian + 4 * np.pi * COULOMB * np.outer(charges, charges) / screening


def force_constants_text(hessian: np.ndarray) -> str:
    """Returns a phonopy FORCE_CONSTANTS file of the cell as its own supercell, in eV/Å²."""
    n = len(hessian) // 3
    blocks = hessian.reshape(n, 3, n, 3)
    lines = [f"{n:4d} {n:4d}"]
    for i in range(n):
        for j in range(n):
            lines.append(f"{i + 1} {j + 1}")
            lines += ["".join(f"{value:22.15f}" for value in row) for row in blocks[i, :, j]]
    return "\n".join(lines) + "\n"


def _flat(born_charges: np.ndarray) -> np.ndarray:
    """Returns Born charges as [3n, 3]: displacement by polarisation."""
    return np.swapaxes(born_charges, 1, 2).reshape(-1, 3)


def _check(hessian: np.ndarray, masses: np.ndarray) -> None:
    if np.shape(hessian) != (3 * len(masses),) * 2:
        raise DataError(
            f"Hessian: needed shape [3n, 3n] for {len(masses)} masses, got {np.shape(hessian)}"
        )
    if not (np.all(np.isfinite(hessian)) and np.all(np.isfinite(masses)) and np.min(masses) > 0):
        raise DataError("normal modes: needed a finite Hessian and finite, positive masses")
