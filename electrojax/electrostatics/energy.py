"""The Coulomb energy of one structure, straight from NumPy arrays."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from electrojax.electrostatics.coulomb import CoulombEngine, engine_for
from electrojax.electrostatics.density import ChargeDensity, l_max_of
from electrojax.electrostatics.field import field_energy
from electrojax.errors import ConfigError, DataError
from electrojax.system.neighbors import complete_cell
from electrojax.system.types import System
from electrojax.typing import Array, ArrayLike, replace, specs

ArrayOrList = ArrayLike | Sequence[Any] | float


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

    Open: the exact pair energy. Periodic: the reciprocal sum without k = 0, in which a charged cell
    has a uniform neutralising background. Computed in float64 whatever the process's default.

    Args:
        positions: [N, 3] Å.
        multipoles: [N] charges in e, or [N, (l_max + 1)²] in e·Å^l in the order
            [q, y, z, x, xy, yz, 3z² − r², xz, x² − y²]; l_max is 0, 1 or 2.
        width: σ of the Gaussians in Å, positive; also [N] for boundary open.
        cell: [3, 3] Å, rows are lattice vectors; not read for boundary open.
        boundary: open or periodic.
        accuracy: requested RMS force error over the RMS force; the energy is then within
            100 × accuracy × max(|E|, 1 eV).
        self_interaction: keep each Gaussian's interaction with itself.
        external_field: [3] V/Å, the physical field, which adds −E·Σ(q r + μ); boundary open only.
        finite_size: none.
        method: auto or direct, which are the same sum.
        normal: index of the open axis of a slab; not read otherwise.

    Raises:
        DataError: for arrays of the wrong shape, numbers that are not finite, a width that is not
            positive, a missing or singular cell.
        ConfigError: for an option that does not exist, or one that does not fit the boundary.
    """
    engine = engine_for(boundary, float(accuracy), bool(self_interaction), method)
    _check_options(boundary, finite_size, external_field, normal)
    sites = _finite("positions", positions)
    if sites.ndim != 2 or sites.shape[1] != 3 or not len(sites):
        raise DataError(f"positions: needed shape [N, 3] with N >= 1, got {sites.shape}")
    moments, l_max = _checked_multipoles(multipoles, len(sites))
    widths = _checked_width(width, len(sites), boundary)
    box = np.eye(3) if boundary == "open" else _checked_cell(cell)
    field = np.zeros(3) if external_field is None else _finite("external_field", external_field)
    if field.shape != (3,):
        raise DataError(f"external_field: needed shape [3] in V/Å, got {field.shape}")
    with jax.enable_x64(True):
        system = replace(
            _bare_system(sites, box, engine.k_box(box, widths, l_max)),
            external_field=field[None],
            boundary=boundary,
            normal=normal,
        )
        return float(_energy(engine, l_max, system, moments, widths)[0])


@partial(jax.jit, static_argnums=(0, 1))
def _energy(
    engine: CoulombEngine, l_max: int, system: System, multipoles: Array, width: Array
) -> Array:
    energy = engine.prepare(system, l_max, width).energy(multipoles)
    if system.boundary != "open":
        return energy
    return energy + field_energy(ChargeDensity(multipoles[:, None], width), system)


def _bare_system(positions: np.ndarray, cell: np.ndarray, k_box: tuple[int, int, int]) -> System:
    """One structure without edges; everything a Coulomb sum does not read has its padding value."""
    size = {"nodes": len(positions), "edges": 0, "graphs": 1}
    dtype = {"float": np.float64, "int": np.int32, "bool": np.bool_}
    columns: dict[str, Any] = {
        name: np.broadcast_to(spec.pad, (size[spec.axis], *spec.shape)).astype(dtype[spec.kind])
        for name, spec in specs(System).items()
    }
    columns |= {"positions": positions, "cell": cell[None], "plan_cell": cell[None]}
    columns |= {"node_mask": np.ones(len(positions), bool), "graph_mask": np.ones(1, bool)}
    return System(**columns, k_box=k_box, graph_nodes=len(positions))


def _check_options(boundary: str, finite_size: str, external_field: Any, normal: int) -> None:
    if normal not in (0, 1, 2):
        raise ConfigError(f"normal {normal!r}; needed 0, 1 or 2, the index of a lattice vector")
    if finite_size != "none":
        raise ConfigError(f"finite_size {finite_size!r}; needed 'none'")
    if external_field is not None and np.any(external_field) and boundary != "open":
        raise ConfigError(f"an external field with boundary {boundary!r}; needed boundary 'open'")


def _finite(name: str, values: Any) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: needed an array of numbers, got {values!r:.60}") from error
    if not np.all(np.isfinite(array)):
        where = np.argwhere(~np.isfinite(array))[0].tolist()
        raise DataError(
            f"{name}: needed finite numbers, got {array[tuple(where)]} at index {where}"
        )
    return array


def _checked_multipoles(multipoles: Any, n: int) -> tuple[np.ndarray, int]:
    array = _finite("multipoles", multipoles)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or len(array) != n:
        raise DataError(
            f"multipoles: needed shape [{n}] or [{n}, (l_max + 1)²] for {n} positions, "
            f"got {np.shape(multipoles)}"
        )
    if array.shape[1] not in (1, 4, 9):
        raise DataError(
            f"multipoles: needed 1 component per atom (charge), 4 (and dipole, [q, y, z, x]) or 9 "
            f"(and quadrupole, [..., xy, yz, 3z² − r², xz, x² − y²]), got {array.shape[1]}"
        )
    return array, l_max_of(array.shape[1])


def _checked_width(width: Any, n: int, boundary: str) -> np.ndarray:
    array = _finite("width", width)
    if array.shape not in ((), (n,)):
        raise DataError(f"width: needed one number or shape [{n}], got {array.shape}")
    if np.any(array <= 0):
        raise DataError(
            f"width: needed positive numbers in Å (point charges, width 0, diverge at coincident "
            f"sites), got {array.min():g}"
        )
    if array.ndim and boundary != "open":
        if np.ptp(array) > 0:
            raise ConfigError("a width per atom; needed one width for all atoms in a periodic sum")
        return array[0]
    return array


def _checked_cell(cell: Any) -> np.ndarray:
    if cell is None:
        raise DataError("cell: needed for boundary 'periodic', got none")
    array = _finite("cell", cell)
    if array.shape != (3, 3):
        raise DataError(
            f"cell: needed shape [3, 3] in Å with lattice vectors as rows (numpy.diag of three "
            f"lengths), got {array.shape}"
        )
    return complete_cell(array, (True, True, True), "cell")
