"""What every structure must satisfy, whichever file or program it comes from."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from electrojax.errors import DataError, shown
from electrojax.system.neighbors import complete_cell
from electrojax.system.types import Frame

HEAVIEST = 118
"""The largest atomic number of an element with a name."""

FARTHEST = 1e9
"""Å, of a coordinate or a component of a lattice vector: float64 still resolves 1e-7 Å there."""

LARGEST = 1e15
"""Of a label or input in its unit: sums of 1e8 squared errors stay within float32's range."""

Place = Callable[[int], tuple[str, int | None]]
"""Gives the structure of a row of an array, and the atom in it for a quantity of atoms."""


def atoms_of(source: str) -> Place:
    """Returns the places of the atoms of one structure."""
    return lambda row: (source, row)


def structure(source: str) -> Place:
    """Returns the one place of a quantity of a structure."""
    return lambda row: (source, None)


def check_numbers(numbers: np.ndarray, place: Place) -> None:
    """Refuses what is not the atomic number of an element.

    Args:
        numbers: [N] as the file or program gave them.
        place: of the atoms.

    Raises:
        DataError: naming the first atom that is no element.
    """
    good = numbers.dtype.kind in "iu" and numbers.min() >= 1 and numbers.max() <= HEAVIEST
    if good or not len(numbers):
        return
    integer = numbers.dtype.kind in "iu"
    row = int(np.argmax((numbers < 1) | (numbers > HEAVIEST))) if integer else 0
    source, atom = place(row)
    raise DataError(
        f"{source}: atom {atom} has the atomic number {numbers[row]}, which is no element; needed "
        f"an integer from 1 to {HEAVIEST}: give every atom its element"
    )


def check_range(values: np.ndarray, bound: float, what: str, place: Place) -> None:
    """Refuses values that are not finite or too large to compute with.

    Args:
        values: [rows, ...].
        bound: largest magnitude.
        what: the quantity or its name in the file.
        place: of the rows.

    Raises:
        DataError: naming the first such value and its place.
    """
    if not values.size or (values.max() <= bound and values.min() >= -bound):  # NaN fails both
        return
    row = int(np.argwhere(~(np.abs(values) <= bound))[0, 0])
    entry = np.ravel(values[row])
    value = float(entry[~(np.abs(entry) <= bound)][0])
    source, atom = place(row)
    subject = what if atom is None else f"{what} of atom {atom}"
    needed = f"a number of at most {bound:g}" if np.isfinite(value) else "a finite number"
    raise DataError(f"{source}: {subject} is {value:g}; needed {needed}: correct or remove it")


def check_multiplicity(value: float, source: str) -> None:
    """Refuses a multiplicity 2S + 1 below 1.

    Raises:
        DataError: naming the structure.
    """
    if value < 1:
        raise DataError(f"{source}: multiplicity is {value:g}; needed 2S + 1, which is at least 1")


def check_frame(frame: Frame) -> None:
    """Refuses a structure that no model can evaluate, whatever its cutoff and elements.

    Raises:
        DataError: for no atom, no element, no finite position, cell or input, a multiplicity below
            1, periodic lattice vectors without volume, or a single periodic axis.
    """
    source = frame.source
    if not len(frame.numbers):
        raise DataError(f"{source}: has no atoms; needed at least one, remove the frame")
    check_numbers(frame.numbers, atoms_of(source))
    check_range(frame.positions, FARTHEST, "the position", atoms_of(source))
    check_range(frame.cell[None], FARTHEST, "the cell", structure(source))
    _check_inputs(frame)
    if frame.boundary != "open":  # a single periodic axis is refused by the property
        complete_cell(frame.cell, frame.pbc, source)


def _check_inputs(frame: Frame) -> None:
    for name in ("total_charge", "multiplicity", "fermi_level"):
        value = getattr(frame, name)
        if value is not None and not abs(value) <= LARGEST:
            check_range(np.array([value]), LARGEST, name, structure(frame.source))
    check_range(frame.external_field[None], LARGEST, "external_field", structure(frame.source))
    check_multiplicity(frame.multiplicity, frame.source)
    for name in ("formal_charges", "fragment"):
        values = getattr(frame, name)
        if values is not None:
            check_range(np.asarray(values), LARGEST, name, atoms_of(frame.source))


def check_letter_case(given: Iterable[str], known: Iterable[str], source: str) -> None:
    """Refuses a name that differs from a known one, absent there, in the case of letters alone.

    Args:
        given: names that a structure carries.
        known: names that are read.
        source: of the structure.

    Raises:
        DataError: naming both.
    """
    given = set(given)
    lower = {name.lower(): name for name in known}
    for name in given:
        wanted = lower.get(name.lower(), name)
        if wanted not in given:
            raise DataError(
                f'{source}: "{shown(name)}" is not read: names are case-sensitive, and '
                f'"{shown(wanted)}" is not there; rename it'
            )


def number(info: Mapping[str, Any], name: str, default: float, source: str) -> float:
    """Returns a number that a structure carries, or its default.

    Raises:
        DataError: if it is something else.
    """
    value = info.get(name, default)
    array = np.asarray(value)
    if array.dtype.kind not in "iuf" or array.size != 1:
        raise DataError(f"{source}: {name} is {shown(repr(value))}; needed a number")
    return float(array.reshape(()))
