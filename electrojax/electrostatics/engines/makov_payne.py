"""An isolated molecule in a periodic box: the terms that remove its images.

G. Makov and M. C. Payne, Phys. Rev. B 51, 4014 (1995), eqs. 3 and 15, for a cubic box of length L:

    ΔE = ½ α k_e Q²/L + (2π k_e/3V) (|D|² − Q Θ),  D = ∫ρ r,  Θ = ∫ρ r²,  α = 2.837297479.

Θ holds the Gaussians' own second moment, 3σ² q each. The next term decays as L^{−5}.
"""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np

from electrojax.electrostatics.contract import CoulombEngine
from electrojax.electrostatics.engines.corrections import CorrectedOperator
from electrojax.electrostatics.engines.periodic import PeriodicCoulomb
from electrojax.electrostatics.engines.slab import centred_positions
from electrojax.electrostatics.sites import Sites
from electrojax.errors import ConfigError
from electrojax.system.geometry import harmonic_order, places, volume
from electrojax.system.layout import GraphLayout
from electrojax.system.types import System
from electrojax.typing import Array
from electrojax.units import COULOMB

WIGNER = 2.837297479480620
"""Twice the energy of a point charge in its neutralising background, in units of −k_e q²/L, for the
simple cubic lattice (physics.md 2.3 has 2.837297; the digits by an Ewald sum)."""


@dataclasses.dataclass(frozen=True)
class MakovPayneCoulomb:
    """Coulomb interactions of a molecule in a cubic box, as if there were no images.

    The molecule must not be split over the cell's boundary: positions are taken as given.

    Attributes:
        bulk: the periodic sum.
    """

    bulk: CoulombEngine = dataclasses.field(default_factory=PeriodicCoulomb)

    def k_box(
        self, cell: np.ndarray, width: float | np.ndarray, l_max: int
    ) -> tuple[int, int, int]:
        """Returns, on the host, the largest k-vector index along each axis of a cell [3, 3] Å.

        Raises:
            ConfigError: if the cell is not cubic.
        """
        rows = np.asarray(cell, dtype=np.float64)
        metric, squared = rows @ rows.T, abs(np.linalg.det(rows)) ** (2 / 3)
        if not np.allclose(metric, squared * np.eye(3), rtol=0, atol=1e-6 * squared):
            raise ConfigError(
                f"finite_size 'makov_payne' in the cell {rows.round(4).tolist()}; needed three "
                "orthogonal vectors of one length (or boundary 'open')"
            )
        return self.bulk.k_box(cell, width, l_max)

    def pair_cutoff(self, l_max: int) -> float:
        """Returns the cutoff of the bulk sum's pairs in Å."""
        return self.bulk.pair_cutoff(l_max)

    def prepare(self, sites: Sites | System, l_max: int, width: float | Array) -> CorrectedOperator:
        """Returns the map from multipoles to potentials for these positions and cells.

        Args:
            sites: the sites, or a batch for its atoms, as the bulk sum needs them.
            l_max: highest multipole order, 0 to 2.
            width: σ in Å, as the bulk sum takes it.
        """
        # The moments are those of the whole molecule, wherever the cell cuts it.
        whole = places(sites) if isinstance(sites, System) else sites.positions
        sites = Sites.of(sites)
        layout, spread = sites.layout(), jnp.asarray(width)
        moments = _moments(layout, whole)
        return CorrectedOperator(
            bulk=self.bulk.prepare(sites, l_max, width),
            layout=layout,
            moments=moments,
            spread=jnp.asarray([0.0, 0.0, 0.0, 0.0, 3.0], moments.dtype),
            width=layout.dense(spread) if spread.ndim else spread,
            coupling=_coupling(volume(sites.cell)),
            l_max=l_max,
            dipoles=(1, 2, 3),
        )


def _moments(layout: GraphLayout, whole: Array) -> Array:
    """Charge, D (y, z, x) and Θ of each unit multipole, [G, A, 5, 9], of points."""
    positions = harmonic_order(centred_positions(layout, whole))
    square = jnp.sum(positions**2, axis=-1)
    rows = jnp.zeros((*square.shape, 5, 9), square.dtype)
    rows = rows.at[..., 0, 0].set(1.0).at[..., 1:4, 0].set(positions).at[..., 4, 0].set(square)
    rows = rows.at[..., 1:4, 1:4].set(jnp.eye(3, dtype=square.dtype))
    return rows.at[..., 4, 1:4].set(2.0 * positions)  # l = 2 has no trace


def _coupling(volume: Array) -> Array:
    """[G, 5, 5] over (Q, D, Θ), twice the quadratic form above."""
    form = np.zeros((5, 5))
    form[[1, 2, 3], [1, 2, 3]] = 1.0
    # ΔE = ½ mᵀ C m: the factor of |D|² − Q Θ is 2π k_e/3V, half of 4π k_e/3V.
    form[0, 4] = form[4, 0] = -0.5
    factor = 4.0 * math.pi / 3.0 * COULOMB / volume[:, None, None]
    # ½ α k_e Q²/L
    monopole = WIGNER * COULOMB / jnp.cbrt(volume)
    return (factor * jnp.asarray(form, volume.dtype)).at[:, 0, 0].add(monopole)
