"""A Gaussian-charge metal before an ion, in NumPy and SciPy alone: labels of known physics.

The metal of J. I. Siepmann and M. Sprik, J. Chem. Phys. 102, 511 (1995): every metal atom carries a
Gaussian charge that follows the potential, here with a hardness η, so that

    E(q) = ½ Σ_ij q_i A_ij q_j + ½ η Σ_i q_i² + Σ_i q_i φ_i,   Σ_i q_i = Q_metal or free (grounded),

is at its minimum. All interactions are in closed form, k_e erf(r/√(2(σ_i² + σ_j²)))/r, and
k_e/(√π σ) for A_ii; φ is the potential of the ion. Nothing of electrojax is used.
"""

import dataclasses
import math

import numpy as np
import scipy.linalg
from scipy.special import erf

K_E = 14.399645353504033
"""eV·Å/e², CODATA 2014."""

WIGNER_CRYSTAL = 1.106103
"""Energy per charge of the hexagonal lattice in its background, −1.106103 e²/r_s, π r_s² = area per
charge: L. Bonsall and A. A. Maradudin, Phys. Rev. B 15, 1959 (1977)."""


@dataclasses.dataclass(frozen=True)
class Response:
    """What the metal does in the field of the ion.

    Attributes:
        charges: [N] e, of the metal.
        energy: eV, of metal and ion; of metal, ion and reservoir at zero potential if grounded.
        metal_forces: [N, 3] eV/Å.
        ion_force: [3] eV/Å.
    """

    charges: np.ndarray
    energy: float
    metal_forces: np.ndarray
    ion_force: np.ndarray


@dataclasses.dataclass(frozen=True)
class GaussianMetal:
    """The parameters of the metal and of the ion.

    Attributes:
        width: Å, of the metal's Gaussians.
        hardness: eV/e², of each metal atom beyond the self-energy of its Gaussian.
        ion_width: Å; 0 for a point.
    """

    width: float
    hardness: float = 0.0
    ion_width: float = 0.0

    def matrix(self, metal: np.ndarray) -> np.ndarray:
        """∂²E/∂q∂q [N, N] of atoms at [N, 3]."""
        distances = np.linalg.norm(metal[:, None] - metal[None], axis=-1)
        own = np.eye(len(metal), dtype=bool)
        distances[own] = 1.0
        matrix = K_E * erf(distances / (2 * self.width)) / distances
        matrix[own] = K_E / (math.sqrt(math.pi) * self.width) + self.hardness
        return matrix

    def response(
        self, metal: np.ndarray, ion: np.ndarray, charge: float, metal_charge: float | None = 0.0
    ) -> Response:
        """Charges and forces for a total charge of the metal, or, without one, grounded."""
        matrix = self.matrix(metal)
        potential = charge * self._between(metal, ion)[0]
        found = scipy.linalg.solve(
            matrix, np.stack([-potential, np.ones(len(metal))], axis=1), assume_a="pos"
        )
        charges = found[:, 0]
        if metal_charge is not None:
            charges = charges + (metal_charge - charges.sum()) / found[:, 1].sum() * found[:, 1]
        energy = 0.5 * charges @ matrix @ charges + charges @ potential
        return Response(charges, float(energy), *self._forces(metal, ion, charge, charges))

    def _between(self, metal: np.ndarray, ion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Potential [N] per unit charge of the ion and its slope [N] with the distance."""
        spread = math.sqrt(2 * (self.width**2 + self.ion_width**2))
        return _kernel(np.linalg.norm(metal - ion, axis=1), spread)

    def _forces(
        self, metal: np.ndarray, ion: np.ndarray, charge: float, charges: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Hellmann–Feynman: E is stationary in the charges, so only the kernels are derived."""
        away = metal - ion
        r = np.linalg.norm(away, axis=1)
        on_metal = -(charge * charges * self._between(metal, ion)[1] / r)[:, None] * away
        vectors = metal[:, None] - metal[None]
        distances = np.linalg.norm(vectors, axis=-1) + np.eye(len(metal))
        slopes = _kernel(distances, 2 * self.width)[1] / distances
        np.fill_diagonal(slopes, 0.0)
        within = -np.einsum("i,j,ij,ijx->ix", charges, charges, slopes, vectors)
        return on_metal + within, -on_metal.sum(axis=0)


def _kernel(r: np.ndarray, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """k_e erf(r/s)/r and its derivative."""
    value = erf(r / spread) / r
    slope = 2 / (math.sqrt(math.pi) * spread) * np.exp(-((r / spread) ** 2)) / r - value / r
    return K_E * value, K_E * slope


def shell(count: int, radius: float) -> np.ndarray:
    """Points [N, 3] spread evenly over a sphere, on a Fibonacci spiral."""
    index = np.arange(count) + 0.5
    height = 1 - 2 * index / count
    angle = math.pi * (1 + math.sqrt(5)) * index
    across = np.sqrt(1 - height**2)
    return radius * np.stack([across * np.cos(angle), across * np.sin(angle), height], axis=1)


def conducting_width(count: int, radius: float) -> float:
    """The width at which a shell of narrow Gaussians has the potential of a smooth sphere.

    In a hexagonal lattice the other charges and their background make −2 · 1.106103 k_e q/r_s at a
    charge; the Gaussian's own k_e q/(√π σ) has to make up for it.
    """
    disk = 2 * radius / math.sqrt(count)  # r_s: N π r_s² = 4π R²
    return disk / (2 * WIGNER_CRYSTAL * math.sqrt(math.pi))


def sphere_energy(distance: float, radius: float, grounded: bool, charge: float = 1.0) -> float:
    """Energy in eV of a point charge before a conducting sphere, neutral or at zero potential.

    By image charges, J. D. Jackson, Classical Electrodynamics, 3rd ed., sections 2.2-2.4.
    """
    beyond = distance**2 - radius**2
    if grounded:
        return -K_E * charge**2 * radius / (2 * beyond)
    return -K_E * charge**2 * radius**3 / (2 * distance**2 * beyond)


def sphere_force(distance: float, radius: float, grounded: bool, charge: float = 1.0) -> float:
    """Force in eV/Å along the line from the centre, −dE/dd of :func:`sphere_energy`."""
    beyond = distance**2 - radius**2
    if grounded:
        return -K_E * charge**2 * radius * distance / beyond**2
    share = radius**3 * (2 * distance**2 - radius**2) / distance**3
    return -K_E * charge**2 * share / beyond**2


def slab(across: int, layers: int, spacing: float) -> np.ndarray:
    """A (100) patch of a face-centred cubic metal [N, 3], its top layer in the plane z = 0.

    Args:
        across: atoms along each side of the top layer; layers below have one less and more in turn.
        layers: how many.
        spacing: Å, between nearest neighbours.
    """
    rows = []
    for layer in range(layers):
        side = across - layer % 2
        x, y = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
        flat = np.stack([x.ravel(), y.ravel()], axis=1) - (side - 1) / 2
        depth = np.full((len(flat), 1), -layer / math.sqrt(2))
        rows.append(np.concatenate([flat, depth], axis=1))
    return spacing * np.concatenate(rows)
