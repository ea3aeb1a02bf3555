"""Numbers fitted to the training data: atomic energies, mean neighbours and scales."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Literal

import numpy as np
import scipy.linalg

from electrojax.errors import DataError
from electrojax.system.composition import check_elements, combination, symbols
from electrojax.system.neighbors import neighbor_list
from electrojax.system.types import Frame, Statistics
from electrojax.typing import Reporter

NEIGHBOR_FRAMES = 128
"""Most frames, evenly spaced, over which the mean number of neighbours is taken."""

RANK_TOLERANCE = 1e-8
"""Singular values of the compositions below this share of the largest count as zero."""

SMALLEST_SCALE = 1e-6
"""eV; a smaller scale of the energies is rounding, and 1 eV is used."""

SAME_ENERGY = 1e-6
"""eV; two energies of one atom that are closer are one."""

Mode = Literal["least_squares", "given"]


def fit_statistics(
    frames: Sequence[Frame],
    cutoff: float,
    given: Mapping[str, float] | None,
    mode: Mode,
    warn: Reporter,
) -> Statistics:
    """Returns the species, atomic energies and scales of a training set.

    With ``least_squares`` the atomic energies are given + x, where x is the shortest vector among
    those that minimise Σ_f [(E_f − Σ_s n_fs (given_s + x_s)) / N_f]², n_fs being the number of
    atoms of species s in frame f, and N_f their sum. Where the compositions n do not span all
    species, x has no part along the directions that they leave free; these are named in a warning
    and stored, so that a structure with a part along them can be refused.

    Args:
        frames: the training set.
        cutoff: Å, of the neighbour lists.
        given: energy of isolated atoms by symbol, eV; zero for an element that is left out.
        mode: ``least_squares``, or ``given`` to take them as they are.
        warn: receives a line for each thing the user should know.

    Raises:
        DataError: if there is no frame, or mode ``given`` lacks an element.
    """
    if not frames:
        raise DataError("the training set is empty; needed at least one structure")
    numbers = tuple(int(z) for z in np.unique(np.concatenate([f.numbers for f in frames])))
    given = given or {}
    start = np.array([given.get(symbol, 0.0) for symbol in symbols(numbers)], dtype=np.float64)
    labelled = [frame for frame in frames if "energy" in frame.labels]
    counts, energies = _compositions(labelled, numbers), _energies(labelled)
    if mode == "given":
        _check_given(given, numbers, frames)
    if not labelled:
        warn("no training frame has an energy: the atomic energies stay as given, unfitted")
    fitted = start
    free: list[tuple[int, ...]] = []
    if mode == "least_squares" and labelled:
        fitted = start + _correction(counts, energies - counts @ start)
        free = free_directions(counts)
        _warn_free(free, numbers, warn)
    left = (energies - counts @ fitted) / counts.sum(axis=1)
    return Statistics(
        numbers=numbers,
        atomic_energies=tuple(float(e) for e in fitted),
        average_neighbors=_average_neighbors(frames, cutoff),
        energy_scale=_energy_scale(frames, left),
        energy_shift=float(left.mean()) if labelled else 0.0,
        undetermined=tuple(tuple(float(n) for n in row) for row in free),
    )


def isolated_energies(
    file: Sequence[Frame], frames: Sequence[Frame], given: Mapping[str, float]
) -> dict[str, float]:
    """Returns the energies of isolated atoms by symbol, in eV, from the frames that hold one.

    Such a frame has one atom, an open boundary, no charge, no external field and an energy.

    Args:
        file: where to look for them.
        frames: the training set, whose elements need an energy.
        given: further energies by symbol, in eV.

    Raises:
        DataError: for an element without an energy, or with two.
    """
    found = {symbol: (energy, "atom_energies.given") for symbol, energy in given.items()}
    for frame in file:
        if not _isolated_atom(frame):
            continue
        (symbol,), energy = symbols(frame.numbers.tolist()), float(frame.labels["energy"])
        known, place = found.setdefault(symbol, (energy, frame.source))
        if abs(energy - known) > SAME_ENERGY:
            raise DataError(
                f"two energies for one {symbol} atom: {known} eV ({place}) and {energy} eV "
                f"({frame.source}); remove one"
            )
    needed = symbols(np.unique(np.concatenate([f.numbers for f in frames])).tolist())
    if lacking := [symbol for symbol in needed if symbol not in found]:
        raise DataError(
            f"no isolated atom of {', '.join(lacking)} in the training file: needed a frame of one "
            "neutral atom with an energy and pbc F F F; add it, or its energy to "
            "atom_energies.given, or use mode: least_squares"
        )
    return {symbol: energy for symbol, (energy, _) in found.items()}


def _isolated_atom(frame: Frame) -> bool:
    alone = len(frame.numbers) == 1 and frame.boundary == "open" and "energy" in frame.labels
    return alone and frame.total_charge == 0 and not np.any(frame.external_field)


def relative_energy(frame: Frame, statistics: Statistics) -> float:
    """Returns a frame's energy label less the sum of its atomic energies, in eV, in float64.

    Raises:
        DataError: if the frame has no energy or an element that is not known.
    """
    check_elements(statistics, frame.numbers, frame.source)
    if "energy" not in frame.labels:
        raise DataError(f"{frame.source}: has no energy label; needed one")
    counts = _compositions([frame], statistics.numbers)[0]
    return float(frame.labels["energy"] - counts @ np.asarray(statistics.atomic_energies))


def free_directions(counts: np.ndarray) -> list[tuple[int, ...]]:
    """Returns integer vectors that span the null space of the compositions, exactly.

    Args:
        counts: [F, S] atoms of every species in every frame.

    Returns:
        S − rank vectors over species without common divisor, the first entry of each positive; a
        change of the atomic energies along one changes no energy of these frames.
    """
    rows = np.unique(counts.astype(np.int64), axis=0)
    # Pivoted QR picks rank independent rows; on those the null space is taken in fractions.
    shares = rows / rows.sum(axis=1, keepdims=True)
    r, order = scipy.linalg.qr(shares.T, mode="r", pivoting=True)
    sizes = np.abs(np.diag(r))
    rank = int(np.sum(sizes > RANK_TOLERANCE * sizes[0]))
    return _null_space([[Fraction(int(n)) for n in rows[i]] for i in order[:rank]])


def _null_space(rows: list[list[Fraction]]) -> list[tuple[int, ...]]:
    """Gauss-Jordan elimination of independent rows; one vector per column without pivot."""
    pivots: list[int] = []
    for column in range(len(rows[0])):
        top = len(pivots)
        chosen = next((i for i in range(top, len(rows)) if rows[i][column]), None)
        if chosen is None:
            continue
        rows[top], rows[chosen] = rows[chosen], rows[top]
        rows[top] = [x / rows[top][column] for x in rows[top]]
        for i, row in enumerate(rows):
            if i != top and row[column]:
                rows[i] = [a - row[column] * b for a, b in zip(row, rows[top])]
        pivots.append(column)
    free = [column for column in range(len(rows[0])) if column not in pivots]
    return [_as_integers(_free_vector(rows, pivots, column)) for column in free]


def _free_vector(rows: list[list[Fraction]], pivots: list[int], column: int) -> list[Fraction]:
    vector = [Fraction(0)] * len(rows[0])
    vector[column] = Fraction(1)
    for row, pivot in zip(rows, pivots):
        vector[pivot] = -row[column]
    return vector


def _as_integers(vector: list[Fraction]) -> tuple[int, ...]:
    scale = math.lcm(*(x.denominator for x in vector))
    scaled = [int(x * scale) for x in vector]
    divisor = math.gcd(*scaled)
    sign = 1 if next(n for n in scaled if n) > 0 else -1
    return tuple(sign * n // divisor for n in scaled)


def _compositions(frames: Sequence[Frame], numbers: Sequence[int]) -> np.ndarray:
    """Returns how many atoms of every species [S] every frame [F] has."""
    known = np.asarray(numbers)
    counts = [np.count_nonzero(f.numbers[:, None] == known, axis=0) for f in frames]
    return np.array(counts, dtype=np.float64).reshape(len(frames), len(known))


def _energies(frames: Sequence[Frame]) -> np.ndarray:
    return np.array([float(f.labels["energy"]) for f in frames], dtype=np.float64)


def _correction(counts: np.ndarray, energies: np.ndarray) -> np.ndarray:
    """Returns the shortest x that minimises |(energies − counts x) / atoms|²."""
    atoms = counts.sum(axis=1)
    solution: np.ndarray = np.linalg.lstsq(
        counts / atoms[:, None], energies / atoms, rcond=RANK_TOLERANCE
    )[0]
    return solution


def _check_given(
    given: Mapping[str, float], numbers: Sequence[int], frames: Sequence[Frame]
) -> None:
    for number, symbol in zip(numbers, symbols(numbers)):
        if symbol not in given:
            first = next(f.source for f in frames if number in f.numbers)
            raise DataError(
                f"atom_energies.given has no value for {symbol} (first in {first}); needed one for "
                f"each of {', '.join(symbols(numbers))}: add it, or use mode: least_squares"
            )


def _warn_free(free: list[tuple[int, ...]], numbers: Sequence[int], warn: Reporter) -> None:
    if free:
        named = ", ".join(combination(row, numbers) for row in free)
        warn(
            f"the training compositions do not determine the atomic energies along {named}; the "
            "smallest correction to atom_energies.given is used, and a structure whose composition "
            "has a part along it is refused"
        )


def _average_neighbors(frames: Sequence[Frame], cutoff: float) -> float:
    chosen = np.unique(np.linspace(0, len(frames) - 1, NEIGHBOR_FRAMES).astype(int))
    picked = [frames[i] for i in chosen]
    edges = sum(len(neighbor_list(f.positions, f.cell, f.pbc, cutoff, f.source)[0]) for f in picked)
    # Isolated atoms have no edges; 1 keeps a division by this mean harmless.
    return edges / sum(len(f.numbers) for f in picked) or 1.0


def _energy_scale(frames: Sequence[Frame], left: np.ndarray) -> float:
    """RMS force component times 1 Å; without forces the spread of the energies per atom."""
    squares = [np.ravel(f.labels["forces"]) ** 2 for f in frames if "forces" in f.labels]
    rms = float(np.sqrt(np.mean(np.concatenate(squares)))) if squares else 0.0
    spread = float(left.std()) if len(left) else 0.0
    return next((scale for scale in (rms, spread) if scale > SMALLEST_SCALE), 1.0)
