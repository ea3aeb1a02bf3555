"""Potential and density of a predicted density on lines, planes and grids; Gaussian cube files."""

import os
from typing import Any

import numpy as np

from electrojax.electrostatics.arguments import finite
from electrojax.electrostatics.profiles.grid import density_at as density_at
from electrojax.electrostatics.profiles.grid import grid_points as grid_points
from electrojax.electrostatics.profiles.grid import potential_at as potential_at
from electrojax.electrostatics.profiles.plane_average import (
    plane_averaged_density as plane_averaged_density,
)
from electrojax.electrostatics.profiles.plane_average import (
    plane_averaged_potential as plane_averaged_potential,
)
from electrojax.errors import ConfigError, DataError
from electrojax.files import write_whole
from electrojax.units import BOHR, HARTREE

CUBE_UNITS = {"potential": 1.0 / HARTREE, "density": BOHR**3}
"""V in Hartree/e, e/Å³ in e/bohr³."""


def line_points(start: Any, end: Any, count: int) -> np.ndarray:
    """Returns points [count, 3] Å evenly from start to end [3] Å, both among them.

    Raises:
        DataError: for fewer than two points.
    """
    if count < 2:
        raise DataError(f"a line of {count} points; needed at least 2")
    return np.linspace(finite("start", start), finite("end", end), count)


def plane_points(origin: Any, first: Any, second: Any, shape: tuple[int, int]) -> np.ndarray:
    """Returns points [n1, n2, 3] Å that divide the parallelogram of two edges [3] Å evenly."""
    edges = np.stack([finite("first edge", first), finite("second edge", second)])
    if min(shape) < 1 or np.linalg.norm(np.cross(*edges)) < 1e-9:
        raise DataError("a plane: needed two edges that are not parallel and one point or more")
    steps = np.stack(np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij"), -1)
    return finite("origin", origin) + steps @ edges


def write_cube(
    path: str | os.PathLike,
    numbers: Any,
    positions: Any,
    cell: Any,
    values: Any,
    quantity: str = "potential",
) -> None:
    """Writes values on :func:`grid_points` of a cell as a Gaussian cube file, whole or not at all.

    Format: https://gaussian.com/cubegen; lengths in bohr, potential in Hartree/e, density in
    e/bohr³ (a charge density: positive where the charge is).

    Args:
        path: of the file.
        numbers: [N] atomic numbers.
        positions: [N, 3] Å.
        cell: [3, 3] Å, the edges of the grid.
        values: [n1, n2, n3], V for ``potential``, e/Å³ for ``density``.
        quantity: ``potential`` or ``density``.

    Raises:
        ConfigError: for another quantity.
        DataError: for shapes that do not fit, or values that are not finite.
    """
    if quantity not in CUBE_UNITS:
        raise ConfigError(f"cube of {quantity!r}; needed one of {', '.join(CUBE_UNITS)}")
    grid, where, edges = finite("values", values), finite("positions", positions), cell
    edges, atoms = finite("cell", edges), np.asarray(numbers, int)
    if grid.ndim != 3 or where.shape != (len(atoms), 3) or edges.shape != (3, 3):
        raise DataError(
            f"cube: needed values [n1, n2, n3], positions [{len(atoms)}, 3] and a cell [3, 3], "
            f"got {grid.shape}, {where.shape} and {edges.shape}"
        )
    lines = [f"electrojax {quantity}", "lengths in bohr, values in atomic units"]
    lines.append(f"{len(atoms):5d}" + _numbers(np.zeros(3)))
    lines += [f"{n:5d}" + _numbers(v / n / BOHR) for n, v in zip(grid.shape, edges)]
    lines += [f"{z:5d}" + _numbers([z, *(r / BOHR)]) for z, r in zip(atoms, where)]
    for row in (grid * CUBE_UNITS[quantity]).reshape(-1, grid.shape[2]):
        lines += ["".join(f"{x:15.7E}" for x in row[i : i + 6]) for i in range(0, len(row), 6)]
    write_whole(path, ("\n".join(lines) + "\n").encode())


def _numbers(values: Any) -> str:
    return "".join(f"{float(x):14.8f}" for x in values)
