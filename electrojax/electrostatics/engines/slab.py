"""Slab boundary: two directions repeat, and the third is open.

The sum over a cell of our own height, repeated in all three directions, plus the term that removes
what the repeated slabs do to each other on average (I.-C. Yeh and M. L. Berkowitz, J. Chem. Phys.
111, 3155 (1999); with a charge: V. Ballenegger, A. Arnold, J. J. Cerdà, J. Chem. Phys. 131, 094107
(2009)):

    ΔE = (2π k_e/V) (D_n² − Q Θ_n − Q² L_n²/12),
    D_n = ∫ρ n·r,  Θ_n = ∫ρ (n·r)²,  L_n = V/area, n the normal of the two periodic vectors.

Θ_n holds the Gaussians' own second moment. What is left out decays as e^{−k gap} with the vacuum
between repeated slabs and the shortest wave k along the plane, and, where Gaussians of neighbouring
slabs touch, as e^{−gap²/4σ²}. The height is the thickness of the slab and the gap at which both are
below the accuracy; the third vector of the structure's cell is not read.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from electrojax.electrostatics.contract import PeriodicEngine
from electrojax.electrostatics.engines.corrections import CorrectedOperator
from electrojax.electrostatics.engines.periodic import PeriodicCoulomb
from electrojax.electrostatics.kernels.gaussian import tail_exponent
from electrojax.electrostatics.kernels.harmonics import quadrupole_product
from electrojax.electrostatics.sites import Sites
from electrojax.errors import DataError
from electrojax.system.geometry import harmonic_order, volume
from electrojax.system.layout import GraphLayout
from electrojax.system.slabs import open_axis, sum_cells, with_height
from electrojax.system.types import System
from electrojax.typing import Array, replace
from electrojax.units import COULOMB


@dataclasses.dataclass(frozen=True)
class SlabCoulomb:
    """Coulomb interactions of slabs, with the lattice vector ``normal`` open.

    The potential refers to the mean of the two vacuum levels, for neutral slabs too: the terms with
    Θ are kept, which leave a neutral slab's energy as it is. A charged slab has no neutralising
    background; its energy then refers to the potential −2π k_e (Q/area) |z| of a charged plane.
    The positions along the normal are taken as given: the atoms of one slab must not be
    split over the cell's boundary there, since D_n and Θ_n would change (along the periodic
    vectors atoms may be wrapped).

    Attributes:
        bulk: the sum over the cell repeated in three directions.
        neutral: the slab's charge is only rounding: leave out the terms with Q, and take D_n about
            the origin of the coordinates.
    """

    bulk: PeriodicEngine = dataclasses.field(default_factory=PeriodicCoulomb)
    neutral: bool = False

    def sum_cell(
        self,
        cell: np.ndarray,
        positions: np.ndarray,
        normal: int,
        width: float | np.ndarray,
        room: float = 0.0,
    ) -> np.ndarray:
        """Returns, on the host, the cell [3, 3] Å in which a slab is summed.

        Heights are rounded up by at most a sixteenth, so that few programs compile.

        Args:
            cell: [3, 3] Å.
            positions: [N, 3] Å.
            normal: index of the open lattice vector.
            width: σ in Å; of several, the widest counts.
            room: Å, by which the slab may become thicker.

        Raises:
            DataError: for a slab without three lattice vectors.
        """
        check_vacuum(cell)
        cell = np.asarray(cell, dtype=np.float64)
        thickness = np.ptp(np.asarray(positions) @ open_axis(cell, normal)[0])
        height = float(thickness) + room + self.gap(cell, normal, width)
        step = 2.0 ** math.floor(math.log2(height)) / 16.0
        return with_height(cell, np.float64(step * math.ceil(height / step)), normal)

    def gap(self, cell: np.ndarray, normal: int, width: float | np.ndarray) -> float:
        """Returns the vacuum in Å that repeated slabs need between them to meet the accuracy.

        The shortest wave along the plane is k = 2π a/A with the shortest vector a of the plane's
        lattice and the area A of its cell, since the reciprocal lattice of a plane is the lattice
        itself, turned and scaled.

        Args:
            cell: [3, 3] Å.
            normal: index of the open lattice vector.
            width: σ in Å; of several, the widest counts.
        """
        first, second = (np.asarray(cell, np.float64)[(normal + i) % 3] for i in (1, 2))
        area = float(np.linalg.norm(np.cross(first, second)))
        exponent = tail_exponent(self.bulk.accuracy, 0)
        wave = 2.0 * math.pi * _shortest(first, second) / area
        return max(exponent / wave, 2.0 * float(np.max(width)) * math.sqrt(exponent))

    def k_box(
        self, cell: np.ndarray, width: float | np.ndarray, l_max: int
    ) -> tuple[int, int, int]:
        """Returns, on the host, the largest k-vector index along each axis of a cell [3, 3] Å.

        Raises:
            DataError: if the cell has no third vector: it says how much vacuum there is.
        """
        check_vacuum(cell)
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
        sites = open_sites(sites)
        layout, spread = sites.layout(), jnp.asarray(width)
        normal, height = open_axis(sites.cell, sites.normal)
        return CorrectedOperator(
            bulk=self.bulk.prepare(sites, l_max, width),
            layout=layout,
            moments=self._moments(layout, sites, normal),
            spread=jnp.asarray([0.0, 0.0, 1.0], normal.dtype),
            width=layout.dense(spread) if spread.ndim else spread,
            coupling=self._coupling(volume(sites.cell), height),
            l_max=l_max,
            dipoles=(1,),
        )

    def _moments(self, layout: GraphLayout, sites: Sites, normal: Array) -> Array:
        """Charge, D_n and Θ_n of each unit multipole, [G, A, 3, 9], of points."""
        if self.neutral:  # as published: heights of a charge that is nearly zero count in space
            positions = layout.dense(sites.positions + sites.origin[sites.structure])
        else:
            positions = centred_positions(layout, sites.positions)
        along = jnp.einsum("gax,gx->ga", positions, normal)
        zero, one = jnp.zeros_like(along), jnp.ones_like(along)
        components = [harmonic_order(normal)[:, x, None] * one for x in range(3)]
        # ∫ρ (n·r)² of a traceless density is (2/3) Σ_m R_m(n) p_m.
        square = [2.0 / 3.0 * r for r in quadrupole_product(components, components)]
        rows = [
            [one] + [zero] * 8,
            # D_n: n·r of a charge, n of a dipole.
            [along, *components] + [zero] * 5,
            # Θ_n = ∫ρ (n·r)²: (n·r)² of a charge, 2 (n·r) n of a dipole.
            [along**2, *(2.0 * along * n for n in components), *square],
        ]
        return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)

    def _coupling(self, volume: Array, height: Array) -> Array:
        """[G, 3, 3] over (Q, D_n, Θ_n), twice the quadratic form above."""
        zero, one = jnp.zeros_like(height), jnp.ones_like(height)
        # ½ mᵀ C m = (2π k_e/V) (D_n² − Q Θ_n − Q² L_n²/12)
        half = zero if self.neutral else -0.5 * one
        charge = zero if self.neutral else -(height**2) / 12.0
        rows = [[charge, zero, half], [zero, one, zero], [half, zero, zero]]
        matrix = jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
        return 4.0 * math.pi * COULOMB / volume[:, None, None] * matrix


def open_sites(sites: Sites | System) -> Sites:
    """Returns the sites of slabs in cells with the height of their plan."""
    sites = Sites.of(sites)
    cell, plan = sum_cells(sites.cell, sites.plan_cell, sites.normal)
    return replace(sites, cell=cell, plan_cell=plan)


def _shortest(first: np.ndarray, second: np.ndarray) -> float:
    """The length of the shortest vector of a plane's lattice, by Lagrange's reduction."""
    if first @ first > second @ second:
        first, second = second, first
    while True:
        second = second - round(float(first @ second) / float(first @ first)) * first
        if second @ second >= first @ first * (1 - 1e-12):
            return float(np.linalg.norm(first))
        first, second = second, first


def check_vacuum(cell: np.ndarray) -> None:
    """Checks that all three lattice vectors of a slab's cell are given.

    Raises:
        DataError: if they span no volume.
    """
    rows = np.asarray(cell, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=1)
    if not abs(np.linalg.det(rows)) > 1e-6 * np.prod(lengths):
        raise DataError(
            f"cell: a slab needs three lattice vectors; the open one, which no energy depends on, "
            f"says to what volume a stress refers; got {rows.round(4).tolist()}"
        )


def centred_positions(layout: GraphLayout, positions: Array) -> Array:
    """Returns positions [G, A, 3] Å about each structure's mean, which keeps float32's digits.

    The corrections do not depend on the origin, so that no derivative goes through the mean.
    """
    dense = layout.dense(positions)
    count = jnp.maximum(jnp.sum(layout.mask, axis=1), 1).astype(dense.dtype)
    mean = jax.lax.stop_gradient(jnp.sum(dense, axis=1) / count[:, None])
    return dense - mean[:, None]
