"""The Coulomb energy of one structure, straight from NumPy arrays."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from electrojax.electrostatics.arguments import (
    ArrayOrList,
    GivenDensity,
    check_options,
    checked_density,
    checked_field,
)
from electrojax.electrostatics.coulomb import CoulombEngine, engine_for, sum_cell, tuned_engine
from electrojax.electrostatics.density import ChargeDensity
from electrojax.electrostatics.engines.counter_charge import CounterChargedCoulomb
from electrojax.electrostatics.engines.open import OpenCoulomb
from electrojax.electrostatics.engines.slab import SlabCoulomb
from electrojax.electrostatics.field import field_energy
from electrojax.system.neighbors import coulomb_pairs
from electrojax.system.types import System
from electrojax.typing import Array, ArrayLike, replace, specs

ROUNDING_CHARGE = 3e-5
"""e; a slab with a smaller charge counts as neutral. Published densities of neutral slabs, printed
or fitted, are charged by up to 2e-5 e, and their energies have no terms with Q."""


def coulomb_energy(
    positions: ArrayOrList,
    multipoles: ArrayOrList,
    width: ArrayOrList = 1.5,
    cell: ArrayOrList | None = None,
    boundary: str = "open",
    accuracy: float = 1e-8,
    self_interaction: bool = True,
    external_field: ArrayOrList | None = None,
    finite_size: str = "none",
    method: str = "auto",
    normal: int = 2,
    counter_charge: str = "none",
    counter_heights: Sequence[float] = (),
) -> float:
    """Returns the Coulomb energy of Gaussian multipoles, in eV.

    Open: the exact pair energy. Periodic: the sum without k = 0, in which a charged cell has a
    uniform neutralising background. Slab: that sum with a vacuum of our own and the terms that
    decouple the repeated slabs, so that the energy does not depend on the open vector; positions
    along the normal are taken as given, and a charge below 3e-5 e counts as zero. Computed in
    float64 whatever the process's default.

    Args:
        positions: [N, 3] Å.
        multipoles: [N] charges in e, or [N, (l_max + 1)²] in e·Å^l in the order
            [q, y, z, x, xy, yz, 3z² − r², xz, x² − y²]; l_max is 0, 1 or 2.
        width: σ of the Gaussians in Å, one number or [N]; 0 for points, without
            self_interaction.
        cell: [3, 3] Å, rows are lattice vectors; not read for boundary open.
        boundary: open, periodic or slab.
        accuracy: requested RMS force error over the RMS force; the energy is then within
            100 × accuracy × max(|E|, 1 eV).
        self_interaction: keep each Gaussian's interaction with itself.
        external_field: [3] V/Å, the physical field, which adds −E·Σ(q r + μ); boundary open only.
        finite_size: none, or makov_payne for a molecule in a cubic periodic box, which then has the
            energy of boundary open up to terms in 1/L⁵; the molecule must not be split over the
            cell's boundary.
        method: auto, direct (one reciprocal sum), ewald (real and reciprocal space, for narrow or
            differing widths), mesh or mesh_ewald (the same on a mesh, for large systems); not read
            for boundary open. auto takes the cheapest that applies and meets the accuracy.
        normal: index of the open lattice vector of a slab; not read otherwise.
        counter_charge: none, plane or jellium: what neutralises a charged slab.
        counter_heights: where that is, in Å along the slab's normal from the origin: of the plane,
            or the lower and upper bound of the jellium.

    Raises:
        DataError: for arrays of the wrong shape, numbers that are not finite, a negative width, a
            missing or singular cell, point charges at one place.
        ConfigError: for an option that does not exist, or one that does not fit the others.
        CapacityError: if the accuracy needs more k-vectors than there is room for.
    """
    engine = engine_for(
        boundary,
        float(accuracy),
        bool(self_interaction),
        method,
        finite_size,
        counter_charge,
        counter_heights,
    )
    check_options(boundary, external_field, normal)
    density = checked_density(positions, multipoles, width, cell, boundary, self_interaction)
    engine = fitted_engine(engine, method, density, normal)
    field = checked_field(external_field)
    with jax.enable_x64(True):
        system = bare_system(engine, density, boundary, normal, field)
        return float(_energy(engine, density.l_max, system, density.multipoles, density.width)[0])


def fitted_engine(
    engine: CoulombEngine, method: str, density: GivenDensity, normal: int = 2
) -> CoulombEngine:
    """Returns an engine tuned for one structure, with what its charge and widths decide."""
    box = sum_cell(engine, density.cell, density.positions, normal, density.width)
    structure = (len(density.positions), box, density.width, density.l_max)
    engine = tuned_engine(engine, method, *structure)
    if isinstance(engine, OpenCoulomb):
        return replace(engine, sharp=bool(np.any(density.width == 0)))
    if isinstance(engine, SlabCoulomb) and not isinstance(engine, CounterChargedCoulomb):
        charge = abs(density.multipoles[:, 0].sum())
        return replace(engine, neutral=bool(charge < ROUNDING_CHARGE))
    return engine


@partial(jax.jit, static_argnums=(0, 1))
def _energy(
    engine: CoulombEngine, l_max: int, system: System, multipoles: Array, width: Array
) -> Array:
    energy = engine.prepare(system, l_max, width).energy(multipoles)
    if system.boundary != "open":
        return energy
    return energy + field_energy(ChargeDensity(multipoles[:, None], width), system)


def bare_system(
    engine: CoulombEngine,
    density: GivenDensity,
    boundary: str,
    normal: int,
    external_field: ArrayLike,
) -> System:
    """Returns one structure without edges, with the k-vectors and pairs of an engine.

    What a Coulomb sum does not read has its padding value.
    """
    sites = density.positions
    box = sum_cell(engine, density.cell, sites, normal, density.width)
    pairs = coulomb_pairs(sites, box, boundary, engine.pair_cutoff(density.l_max), "cell")
    given = {"positions": sites, "cell": density.cell[None], "plan_cell": box[None]}
    given |= dict(zip(("pair_senders", "pair_receivers", "pair_shifts"), pairs))
    given["external_field"] = np.asarray(external_field)[None]
    size = {"nodes": len(sites), "edges": 0, "pairs": len(pairs[0]), "graphs": 1}
    dtype = {"float": np.float64, "int": np.int32, "bool": np.bool_}
    columns: dict[str, Any] = {
        name: np.broadcast_to(spec.pad, (size[spec.axis], *spec.shape)).astype(dtype[spec.kind])
        for name, spec in specs(System).items()
    }
    masks = {name: np.ones_like(columns[name]) for name in columns if name.endswith("_mask")}
    return System(
        **(columns | masks | given),
        boundary=boundary,  # type: ignore[arg-type]
        normal=normal,
        k_box=engine.k_box(box, density.width, density.l_max),
        graph_nodes=len(sites),
    )
