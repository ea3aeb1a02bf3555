"""Periodic boundary for narrow Gaussians and point charges in near-linear time.

The real/reciprocal split with the wide Gaussians on a mesh, so that the cutoff need not grow with
the system (smooth particle-mesh Ewald: Essmann et al., J. Chem. Phys. 103, 8577 (1995)).
"""

import dataclasses

import numpy as np

from electrojax.electrostatics.engines.ewald import EwaldCoulomb
from electrojax.electrostatics.engines.mesh import MeshCoulomb

_CUTOFFS = np.arange(3.0, 12.1, 0.5)


@dataclasses.dataclass(frozen=True)
class MeshEwaldCoulomb(EwaldCoulomb):
    """Coulomb interactions of periodic systems by the split, with a mesh in reciprocal space.

    Attributes:
        accuracy: requested RMS error of the forces over the RMS force.
        self_interaction: keep each Gaussian's interaction with itself.
        cutoff: Å, of the pairs.
    """

    cutoff: float = 6.0

    def tuned_for(
        self, atoms: int, cell: np.ndarray, width: float | np.ndarray, l_max: int
    ) -> "MeshEwaldCoulomb":
        """Returns the engine with the cutoff at which this structure costs least."""
        # The split is proportional to the cutoff.
        least = float(np.max(width)) * self.cutoff / self.split(l_max)
        trials = [dataclasses.replace(self, cutoff=max(float(c), least)) for c in _CUTOFFS]
        return min(trials, key=lambda trial: trial.cost(atoms, cell, width, l_max))

    def _reciprocal(self) -> MeshCoulomb:  # type: ignore[override]
        return MeshCoulomb(self.accuracy)
