"""Initial velocities, and the degrees of freedom that carry heat."""

import numpy as np


def conserved_modes(
    positions: np.ndarray, masses: np.ndarray, translations: bool, rotations: bool
) -> np.ndarray:
    """Returns an orthonormal basis of rigid motions, in mass-weighted velocities √m v.

    A dynamics that conserves the total (angular) momentum keeps the kinetic energy of these
    motions out of the heat: the temperature is 2K/(k_B (3N − rank)).

    Args:
        positions: [N, 3] Å.
        masses: [N] amu.
        translations: whether the total momentum is conserved.
        rotations: whether the angular momentum about the centre of mass is.

    Returns:
        [3N, rank]; the rank is 3 for translations, and with rotations 5 if the atoms stand on a
        line and 6 otherwise.
    """
    weight = np.sqrt(masses)[:, None]
    centred = positions - np.average(positions, axis=0, weights=masses)
    modes = []
    for axis in np.eye(3):
        modes += [weight * axis] if translations else []
        modes += [weight * np.cross(axis, centred)] if rotations else []
    if not modes:
        return np.zeros((positions.size, 0))
    matrix = np.stack([m.ravel() for m in modes], axis=1)
    left, singular, _ = np.linalg.svd(matrix, full_matrices=False)
    return left[:, singular > 1e-6 * singular[0]]


def without_modes(velocities: np.ndarray, masses: np.ndarray, modes: np.ndarray) -> np.ndarray:
    """Returns velocities [N, 3] from which rigid motions have been taken out."""
    weight = np.sqrt(masses)[:, None]
    weighted = (weight * velocities).ravel()
    return (weighted - modes @ (modes.T @ weighted)).reshape(-1, 3) / weight


def carried_energy(velocities: np.ndarray, masses: np.ndarray, modes: np.ndarray) -> float:
    """Returns the kinetic energy ½ Σ m v², in eV, that rigid motions carry."""
    weighted = (np.sqrt(masses)[:, None] * velocities).ravel()
    return float(0.5 * np.sum((modes.T @ weighted) ** 2))


def with_temperature(
    velocities: np.ndarray, masses: np.ndarray, thermal_energy: float, freedom: int
) -> np.ndarray:
    """Returns velocities scaled to 2K/N_f = k_B T, so that a first temperature is the one asked.

    Args:
        velocities: [N, 3] √(eV/amu).
        masses: [N] amu.
        thermal_energy: k_B T in eV.
        freedom: N_f, degrees of freedom that carry heat.
    """
    kinetic = 0.5 * float(np.sum(masses[:, None] * velocities**2))
    if kinetic == 0:
        return velocities
    return velocities * np.sqrt(0.5 * freedom * thermal_energy / kinetic)


def maxwell_boltzmann(masses: np.ndarray, thermal_energy: float, seed: int) -> np.ndarray:
    """Returns velocities drawn from the Maxwell–Boltzmann distribution.

    Args:
        masses: [N] amu.
        thermal_energy: k_B T in eV.
        seed: of NumPy's generator.

    Returns:
        [N, 3] √(eV/amu); ASE's unit of velocity.
    """
    draw = np.random.default_rng(seed).normal(size=(len(masses), 3))
    return draw * np.sqrt(thermal_energy / masses)[:, None]
