"""Checks of arguments given as plain arrays; refusals say what was needed and what was got."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from electrojax.electrostatics.density import l_max_of
from electrojax.electrostatics.engines.slab import check_vacuum
from electrojax.errors import ConfigError, DataError
from electrojax.system.neighbors import complete_cell, neighbor_list
from electrojax.typing import ArrayLike

ArrayOrList = ArrayLike | Sequence[Any] | float

COINCIDENT = 1e-6
"""Å; point charges closer than this count as being at one place."""


class GivenDensity(NamedTuple):
    """Gaussian multipoles and their cell, as float64 arrays that passed the checks.

    Attributes:
        positions: [N, 3] Å.
        multipoles: [N, M] e·Å^l.
        l_max: highest multipole order.
        width: [] or [N] σ in Å.
        cell: [3, 3] Å, the unit matrix for an open boundary.
    """

    positions: np.ndarray
    multipoles: np.ndarray
    l_max: int
    width: np.ndarray
    cell: np.ndarray


def checked_density(
    positions: Any,
    multipoles: Any,
    width: Any,
    cell: Any,
    boundary: str,
    self_interaction: bool,
) -> GivenDensity:
    """Returns the density that arrays describe.

    Raises:
        DataError: for arrays of a wrong shape, numbers that are not finite, a singular cell, point
            charges at one place.
        ConfigError: for point charges with their self-interaction.
    """
    sites = checked_positions(positions)
    moments, l_max = checked_multipoles(multipoles, len(sites))
    widths = checked_width(width, len(sites), boundary, self_interaction)
    box = checked_cell(cell, boundary)
    density = GivenDensity(sites, moments, l_max, widths, box)
    check_apart(density, boundary)
    return density


def finite(name: str, values: Any) -> np.ndarray:
    """Returns numbers as a float64 array, all of them finite."""
    try:
        if np.iscomplexobj(values):
            raise TypeError("complex numbers")
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: needed an array of numbers, got {values!r:.60}") from error
    if not np.all(np.isfinite(array)):
        where = np.argwhere(~np.isfinite(array))[0].tolist()
        raise DataError(
            f"{name}: needed finite numbers, got {array[tuple(where)]} at index {where}"
        )
    return array


def checked_positions(positions: Any) -> np.ndarray:
    """Returns positions [N, 3] Å of at least one atom."""
    sites = finite("positions", positions)
    if sites.ndim != 2 or sites.shape[1] != 3 or not len(sites):
        raise DataError(f"positions: needed shape [N, 3] with N >= 1, got {sites.shape}")
    return sites


def checked_multipoles(multipoles: Any, n: int) -> tuple[np.ndarray, int]:
    """Returns multipoles [n, M] and their l_max."""
    array = finite("multipoles", multipoles)
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


def checked_width(width: Any, n: int, boundary: str, self_interaction: bool) -> np.ndarray:
    """Returns σ in Å as one number, or as [n] where atoms differ."""
    array = finite("width", width)
    if array.shape not in ((), (n,)):
        raise DataError(f"width: needed one number or shape [{n}], got {array.shape}")
    if np.any(array < 0):
        raise DataError(
            f"width: needed positive numbers in Å, or 0 for point charges, got {array.min():g}"
        )
    if np.any(array == 0) and self_interaction:
        raise ConfigError(
            "width: a point charge's interaction with itself is infinite; needed positive widths "
            "or self_interaction False"
        )
    return array[0] if array.ndim and boundary != "open" and not np.ptp(array) else array


def checked_cell(cell: Any, boundary: str) -> np.ndarray:
    """Returns the cell [3, 3] Å, and the unit matrix for an open boundary."""
    if boundary == "open":
        return np.eye(3)
    if cell is None:
        raise DataError(f"cell: needed for boundary {boundary!r}, got none")
    array = finite("cell", cell)
    if array.shape != (3, 3):
        raise DataError(
            f"cell: needed shape [3, 3] in Å with lattice vectors as rows (numpy.diag of three "
            f"lengths), got {array.shape}"
        )
    if boundary == "slab":
        check_vacuum(array)
    return complete_cell(array, (True, True, True), "cell")


def check_apart(density: GivenDensity, boundary: str) -> None:
    """Checks that no two point charges are at one place."""
    widths = np.broadcast_to(density.width, len(density.positions))
    points = np.flatnonzero(widths == 0)
    if not len(points):
        return
    sites, repeats = density.positions[points], (boundary != "open",) * 3
    pairs = neighbor_list(sites, density.cell, repeats, 0.1, "positions")
    vectors = sites[pairs[1]] - sites[pairs[0]] + pairs[2] @ density.cell
    for pair in np.flatnonzero(np.linalg.norm(vectors, axis=-1) < COINCIDENT)[:1]:
        sender, receiver = (points[p[pair]] for p in pairs[:2])
        raise DataError(
            f"positions: atoms {sender} and {receiver} are point charges (width 0) "
            f"at one place, {density.positions[sender].round(4).tolist()} Å; needed sites apart or "
            "a positive width"
        )


def checked_field(external_field: Any) -> np.ndarray:
    """Returns the external field [3] V/Å, zero if there is none."""
    field = np.zeros(3) if external_field is None else finite("external_field", external_field)
    if field.shape != (3,):
        raise DataError(f"external_field: needed shape [3] in V/Å, got {field.shape}")
    return field


def check_options(boundary: str, external_field: Any, normal: int) -> None:
    """Checks the options that fit one boundary only."""
    if normal not in (0, 1, 2):
        raise ConfigError(f"normal {normal!r}; needed 0, 1 or 2, the index of a lattice vector")
    if external_field is not None and np.any(external_field) and boundary != "open":
        raise ConfigError(f"an external field with boundary {boundary!r}; needed boundary 'open'")
