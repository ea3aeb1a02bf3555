"""What compositions a model knows, and how they are named in messages."""

from collections.abc import Iterable, Sequence

import numpy as np

from electrojax.errors import DataError
from electrojax.system.types import Statistics


def check_elements(statistics: Statistics, numbers: np.ndarray, source: str) -> None:
    """Refuses a structure with an element that was not in the training set.

    Raises:
        DataError: naming the element and those that are known.
    """
    unknown = sorted({int(z) for z in numbers} - set(statistics.numbers))
    if unknown:
        raise DataError(
            f"{source}: contains {', '.join(symbols(unknown))}, which the training set does not; "
            f"known: {', '.join(symbols(statistics.numbers))}; leave it out or train with it"
        )


def check_determined(statistics: Statistics, numbers: np.ndarray, source: str) -> None:
    """Refuses a structure whose energy the training compositions do not determine.

    Args:
        statistics: of the model.
        numbers: [N] atomic numbers of the structure.
        source: its name in error messages.

    Raises:
        DataError: if its composition is not a combination of the training compositions, or it has
            an unknown element.
    """
    check_elements(statistics, numbers, source)
    counts = np.bincount(statistics.species(numbers), minlength=len(statistics.numbers))
    # Both factors are integers, so the product is 0 or at least 1: no tolerance decides.
    parts = np.array([np.dot(row, counts) for row in statistics.undetermined])
    outside = np.flatnonzero(np.abs(parts) > 0.5)
    if len(outside):
        free = statistics.undetermined[outside[0]]
        needed = symbols(z for z, n in zip(statistics.numbers, free) if n)
        raise DataError(
            f"{source}: its energy is not determined: the training compositions leave "
            f"{combination(free, statistics.numbers)} free, and this composition has a part along "
            f"it; give the atomic energies of {', '.join(needed)} (data.atom_energies.given, "
            "mode: given) or train with such structures"
        )


def combination(direction: Sequence[float], numbers: Sequence[int]) -> str:
    """Returns a direction in composition space in words, such as ``H - 2 O``."""
    words: list[str] = []
    for symbol, coefficient in zip(symbols(numbers), direction):
        if coefficient:
            size = abs(round(coefficient))
            sign = "- " if coefficient < 0 else "+ " if words else ""
            words.append(f"{sign}{symbol if size == 1 else f'{size} {symbol}'}")
    return " ".join(words)


def symbols(numbers: Iterable[int]) -> list[str]:
    """Returns the chemical symbols of atomic numbers."""
    from ase.data import chemical_symbols

    return [chemical_symbols[int(z)] for z in numbers]
