"""The Coulomb energy of one structure, straight from NumPy arrays."""

from functools import partial
from typing import Any

import jax
import numpy as np

from electrojax.electrostatics.arguments import (
    ArrayOrList,
    check_options,
    checked_cell,
    checked_field,
    checked_multipoles,
    checked_pairs,
    checked_positions,
    checked_width,
)
from electrojax.electrostatics.coulomb import CoulombEngine, engine_for, tuned_engine
from electrojax.electrostatics.density import ChargeDensity
from electrojax.electrostatics.field import field_energy
from electrojax.electrostatics.slab import SlabCoulomb
from electrojax.system.neighbors import coulomb_pairs
from electrojax.system.types import System
from electrojax.typing import Array, replace, specs

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
) -> float:
    """Returns the Coulomb energy of Gaussian multipoles, in eV.

    Open: the exact pair energy. Periodic: the sum without k = 0, in which a charged cell has a
    uniform neutralising background. Slab: that sum over the given cell, vacuum included, with the
    terms that decouple the repeated slabs; atoms must not be split over the cell's boundary along
    the normal, and a charge below 3e-5 e counts as zero. Computed in float64 whatever the process's
    default.

    Args:
        positions: [N, 3] Å.
        multipoles: [N] charges in e, or [N, (l_max + 1)²] in e·Å^l in the order
            [q, y, z, x, xy, yz, 3z² − r², xz, x² − y²]; l_max is 0, 1 or 2.
        width: σ of the Gaussians in Å, one number or [N]; periodic and slab also 0, for point
            charges without self_interaction.
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

    Raises:
        DataError: for arrays of the wrong shape, numbers that are not finite, a width that is not
            positive, a missing or singular cell, point charges at one place, a slab thicker than
            its cell.
        ConfigError: for an option that does not exist, or one that does not fit the others.
        CapacityError: if the accuracy needs more k-vectors than there is room for.
    """
    engine = engine_for(boundary, float(accuracy), bool(self_interaction), method, finite_size)
    check_options(boundary, external_field, normal)
    sites = checked_positions(positions)
    moments, l_max = checked_multipoles(multipoles, len(sites))
    widths = checked_width(width, len(sites), boundary, self_interaction)
    box = checked_cell(cell, boundary, normal, sites)
    engine = tuned_engine(engine, method, len(sites), box, widths, l_max)
    if isinstance(engine, SlabCoulomb):
        engine = replace(engine, neutral=abs(moments[:, 0].sum()) < ROUNDING_CHARGE)
    pairs = coulomb_pairs(sites, box, boundary, engine.pair_cutoff(l_max), "cell")
    checked_pairs(sites, box, widths, pairs)
    columns = {
        "positions": sites,
        "cell": box[None],
        "plan_cell": box[None],
        "external_field": checked_field(external_field)[None],
    }
    columns |= dict(zip(("pair_senders", "pair_receivers", "pair_shifts"), pairs))
    static = {"boundary": boundary, "normal": normal, "k_box": engine.k_box(box, widths, l_max)}
    with jax.enable_x64(True):
        system = _bare_system(columns, static)
        return float(_energy(engine, l_max, system, moments, widths)[0])


@partial(jax.jit, static_argnums=(0, 1))
def _energy(
    engine: CoulombEngine, l_max: int, system: System, multipoles: Array, width: Array
) -> Array:
    energy = engine.prepare(system, l_max, width).energy(multipoles)
    if system.boundary != "open":
        return energy
    return energy + field_energy(ChargeDensity(multipoles[:, None], width), system)


def _bare_system(given: dict[str, np.ndarray], static: dict[str, Any]) -> System:
    """One structure without edges; everything a Coulomb sum does not read has its padding value."""
    nodes, pairs = len(given["positions"]), len(given["pair_senders"])
    size = {"nodes": nodes, "edges": 0, "pairs": pairs, "graphs": 1}
    dtype = {"float": np.float64, "int": np.int32, "bool": np.bool_}
    columns: dict[str, Any] = {
        name: np.broadcast_to(spec.pad, (size[spec.axis], *spec.shape)).astype(dtype[spec.kind])
        for name, spec in specs(System).items()
    }
    masks = {name: np.ones_like(columns[name]) for name in columns if name.endswith("_mask")}
    return System(**(columns | masks | given), **static, graph_nodes=nodes)
