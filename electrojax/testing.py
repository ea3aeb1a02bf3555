"""Checks for physics code, shipped for plug-in authors too: invariances, gradients, toy systems."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from electrojax.system.types import BOUNDARIES, Boundary, Frame

if TYPE_CHECKING:
    from electrojax.solvers.base import ChargeSolver

PER_ATOM = ("formal_charges", "fragment", "masses", "velocities")
"""What a frame may carry for every atom beside its element and position."""


def ridders(
    function: Callable[[float], float], step: float = 0.1, shrink: float = 1.6, rounds: int = 14
) -> tuple[float, float]:
    """Returns the derivative of a function at 0 and an estimate of its error.

    Central differences with shrinking steps, extrapolated to step zero (C. J. F. Ridders, Adv. Eng.
    Software 4, 75 (1982)).

    Args:
        function: of one real argument, smooth within ``step`` of 0.
        step: the first step.
        shrink: factor between consecutive steps.
        rounds: number of steps.
    """
    table = np.zeros((rounds, rounds))
    best, error = np.nan, np.inf
    for i in range(rounds):
        h = step / shrink**i
        table[0, i] = (function(h) - function(-h)) / (2 * h)
        for j in range(1, i + 1):
            factor = shrink ** (2 * j)
            table[j, i] = (table[j - 1, i] * factor - table[j - 1, i - 1]) / (factor - 1)
            guess = max(abs(table[j, i] - table[j - 1, i]), abs(table[j, i] - table[j - 1, i - 1]))
            if guess < error:
                best, error = table[j, i], guess
        if i > 1 and abs(table[i, i] - table[i - 1, i - 1]) >= 2 * error:
            break
    return float(best), float(error)


def assert_gradient(
    function: Callable[[np.ndarray], float],
    gradient: np.ndarray,
    at: np.ndarray,
    rtol: float = 1e-7,
    directions: int = 3,
    step: float = 0.02,
    seed: int = 0,
) -> None:
    """Asserts that a gradient equals Ridders' finite differences along random directions.

    Args:
        function: maps an array like ``at`` to a float.
        gradient: the analytic gradient, shaped like ``at``.
        at: the point.
        rtol: allowed difference relative to the norm of the gradient along unit directions.
        directions: number of random directions.
        step: the first step of the differences, in the units of ``at``.
        seed: of the directions.

    Raises:
        AssertionError: naming the direction, both values and the error bar.
    """
    rng = np.random.default_rng(seed)
    at, gradient = np.asarray(at, dtype=np.float64), np.asarray(gradient, dtype=np.float64)
    for number in range(directions):
        direction = rng.normal(size=at.shape)
        direction /= np.linalg.norm(direction)
        numeric, error = ridders(lambda t, d=direction: function(at + t * d), step)  # type: ignore[misc]
        analytic = float(np.sum(gradient * direction))
        scale = max(abs(numeric), np.linalg.norm(gradient) / np.sqrt(gradient.size), 1e-12)
        if not abs(numeric - analytic) <= rtol * scale + 3 * error:
            raise AssertionError(
                f"direction {number}: gradient {analytic:.12g}, finite difference {numeric:.12g} "
                f"± {error:.1g}; relative difference {abs(numeric - analytic) / scale:.3g} > {rtol}"
            )
        if error > rtol * scale:
            raise AssertionError(
                f"direction {number}: finite differences are only good to {error / scale:.2g}, "
                f"which cannot test {rtol}; choose another step"
            )


def random_rotation(rng: np.random.Generator, inversion: bool = False) -> np.ndarray:
    """Returns a random rotation matrix [3, 3], times −1 with ``inversion``."""
    matrix, upper = np.linalg.qr(rng.normal(size=(3, 3)))
    matrix = matrix * np.sign(np.diag(upper))
    matrix = matrix * np.sign(np.linalg.det(matrix))
    return -matrix if inversion else matrix


def cluster(
    rng: np.random.Generator,
    n: int = 6,
    numbers: Sequence[int] = (1, 8),
    spacing: float = 1.3,
    **inputs: Any,
) -> Frame:
    """Returns a random open cluster whose atoms are about ``spacing`` Å apart."""
    positions = np.zeros((0, 3))
    while len(positions) < n:
        trial = rng.normal(size=3) * spacing * n ** (1 / 3)
        if np.all(np.linalg.norm(positions - trial, axis=1) > 0.7 * spacing):
            positions = np.vstack([positions, trial])
    return Frame(
        numbers=np.resize(np.asarray(numbers, dtype=np.int32), n),
        positions=positions,
        cell=np.zeros((3, 3)),
        pbc=(False, False, False),
        **inputs,
    )


def crystal(
    rng: np.random.Generator,
    n: int = 4,
    numbers: Sequence[int] = (1, 8),
    length: float = 4.6,
    pbc: tuple[bool, bool, bool] = (True, True, True),
    **inputs: Any,
) -> Frame:
    """Returns a random triclinic cell, shorter than twice a usual cutoff."""
    cell = length * (np.eye(3) + 0.15 * rng.normal(size=(3, 3)))
    grid = np.array([[i, j, k] for i in range(2) for j in range(2) for k in range(2)]) / 2.0
    fractional = grid[rng.permutation(8)[:n]] + 0.05 * rng.normal(size=(n, 3))
    return Frame(
        numbers=np.resize(np.asarray(numbers, dtype=np.int32), n),
        positions=fractional @ cell,
        cell=cell,
        pbc=pbc,
        **inputs,
    )


def transformed(frame: Frame, matrix: np.ndarray, shift: np.ndarray) -> Frame:
    """Returns a frame with positions, cell and field mapped by ``r → r Mᵀ + shift``."""
    import dataclasses

    return dataclasses.replace(
        frame,
        positions=frame.positions @ matrix.T + shift,
        cell=frame.cell @ matrix.T,
        external_field=frame.external_field @ matrix.T,
        velocities=None if frame.velocities is None else frame.velocities @ matrix.T,
    )


def permuted(frame: Frame, order: np.ndarray) -> Frame:
    """Returns a frame with its atoms in another order."""
    import dataclasses

    given = {name: getattr(frame, name) for name in PER_ATOM}
    return dataclasses.replace(
        frame,
        numbers=frame.numbers[order],
        positions=frame.positions[order],
        **{name: values[order] for name, values in given.items() if values is not None},
    )


def check_solver(
    solver: type["ChargeSolver"],
    options: Mapping[str, Any] | None = None,
    boundaries: Sequence[Boundary] = BOUNDARIES,
    l_max: int = 1,
    conserves_charge: bool = True,
    inputs: Mapping[str, Any] | None = None,
) -> None:
    """Checks that a charge solver keeps the contract of ``electrojax.solvers.base``.

    With random parameters and a small backbone, under every boundary: forces against finite
    differences, charge conservation, rotation, inversion, translation and permutation,
    independence of batch-mates and of padding, float32 against float64, one compilation, saving
    and loading. That its options can stand in a training file is checked too.

    Args:
        solver: the class.
        options: as in a training file; iterative solvers need a tight tolerance here.
        boundaries: under which the solver is meant to work.
        l_max: of the density.
        conserves_charge: whether charges must sum to the total charge; not at fixed potential.
        inputs: further fields of every :class:`electrojax.Frame`, such as ``fermi_level``.

    Raises:
        AssertionError: naming the check, the boundary and the numbers.
        ConfigError, TypeError: for options that a training file could not have.
    """
    from electrojax.conformance import check_solver_with

    check_solver_with(solver, options or {}, boundaries, l_max, conserves_charge, inputs or {})
