"""Structures from ASE Atoms."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from electrojax.errors import DataError, shown
from electrojax.system.types import Frame
from electrojax.system.validation import check_frame, check_letter_case, number

PER_FRAME = ("total_charge", "multiplicity", "external_field", "charge_control", "fermi_level")
PER_ATOM = ("formal_charges", "fragment")
"""What is read from ``atoms.info`` and ``atoms.arrays``."""


def frame_from_atoms(atoms: Any, source: str = "structure") -> Frame:
    """Returns the inputs of an ``ase.Atoms`` as a Frame, without labels.

    ``total_charge`` (e), ``multiplicity`` and ``external_field`` (V/Å) are read from ``atoms.info``
    and ``formal_charges`` (e) and ``fragment`` from ``atoms.arrays``; what is absent takes its
    default: neutral, singlet, no field. ``charge_control`` (``fixed_charge`` or
    ``fixed_potential``) and ``fermi_level`` (eV) are read from ``atoms.info`` too, and masses and
    velocities where they were set.

    Args:
        atoms: anything with the attributes of ``ase.Atoms``.
        source: its name in error messages.

    Raises:
        DataError: if there is no atom, an atom is no element, positions, cell or inputs are not
            finite numbers of the right shape, periodic lattice vectors span no volume, one axis
            alone repeats, or a known name is written in another letter case.
    """
    if not hasattr(atoms, "info"):
        raise DataError(f"{source}: is a {type(atoms).__name__}; needed ase.Atoms")
    info, arrays = atoms.info, atoms.arrays
    check_letter_case(info, PER_FRAME, source)
    check_letter_case(arrays, PER_ATOM, source)
    pbc = np.asarray(atoms.pbc, dtype=bool)
    level = info.get("fermi_level")
    frame = Frame(
        numbers=np.asarray(atoms.numbers),
        positions=np.asarray(atoms.positions, dtype=np.float64),
        cell=np.asarray(atoms.cell, dtype=np.float64).reshape(3, 3),
        pbc=(bool(pbc[0]), bool(pbc[1]), bool(pbc[2])),
        total_charge=number(info, "total_charge", 0.0, source),
        multiplicity=number(info, "multiplicity", 1.0, source),
        external_field=_field(info.get("external_field", np.zeros(3)), source),
        formal_charges=_per_atom(arrays, "formal_charges", source),
        fragment=_per_atom(arrays, "fragment", source),
        charge_control=checked_control(info.get("charge_control", ""), source),
        fermi_level=None if level is None else number(info, "fermi_level", 0.0, source),
        **motion_of(arrays, np.asarray(atoms.numbers), source),
        source=source,
    )
    check_frame(frame)
    return dataclasses.replace(frame, numbers=frame.numbers.astype(np.int32))


def _field(value: Any, source: str) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "iuf" or array.shape != (3,):
        got = shown(repr(value))
        raise DataError(f"{source}: external_field needs 3 components in V/Å, got {got}")
    return array.astype(np.float64)


def _per_atom(arrays: Mapping[str, Any], name: str, source: str) -> np.ndarray | None:
    if name not in arrays:
        return None
    values = np.asarray(arrays[name])
    if values.dtype.kind not in "iuf" or values.ndim != 1:
        raise DataError(
            f"{source}: {name} has shape {values.shape} of {values.dtype}; needed one number for "
            "each atom"
        )
    return values


def atoms_from_frame(frame: Frame) -> Any:
    """Returns a Frame as ``ase.Atoms``, with its inputs in info and arrays, without labels.

    :func:`frame_from_atoms` reads all of it back. An input that was not given stays away.
    """
    from ase import Atoms, units

    atoms = Atoms(numbers=frame.numbers, positions=frame.positions, cell=frame.cell, pbc=frame.pbc)
    defaults = {"total_charge": 0.0, "multiplicity": 1.0, "external_field": 0.0}
    for name, default in defaults.items():
        value = getattr(frame, name)
        if name in frame.given or np.any(value != default):
            atoms.info[name] = value
    if frame.charge_control:
        atoms.info["charge_control"] = frame.charge_control
    if frame.fermi_level is not None:
        atoms.info["fermi_level"] = frame.fermi_level
    for name in ("formal_charges", "fragment", "masses"):
        if getattr(frame, name) is not None:
            atoms.set_array(name, np.asarray(getattr(frame, name)))
    if frame.velocities is not None:
        atoms.set_array("momenta", atoms.get_masses()[:, None] * frame.velocities / units.fs)
    return atoms


def motion_of(arrays: Mapping[str, Any], numbers: np.ndarray, source: str) -> dict[str, Any]:
    """Returns masses in amu and velocities in Å/fs of ASE's columns masses and momenta.

    Args:
        arrays: columns by name; momenta in amu · √(eV/amu).
        numbers: [N] atomic numbers.
        source: of the structure, for messages.

    Raises:
        DataError: if they are not finite numbers for each atom, or a mass is not positive.
    """
    from ase import units
    from ase.data import atomic_masses

    masses, momenta = arrays.get("masses"), arrays.get("momenta")
    if masses is not None:
        masses = _finite(masses, (len(numbers),), "masses", source)
        if np.any(masses <= 0):
            raise DataError(f"{source}: masses are not all positive; needed amu")
    if momenta is None:
        return {"masses": masses, "velocities": None}
    weight = atomic_masses[np.clip(numbers, 0, 118)] if masses is None else masses
    momenta = _finite(momenta, (len(numbers), 3), "momenta", source)
    return {"masses": masses, "velocities": momenta / weight[:, None] * units.fs}


def _finite(value: Any, shape: tuple[int, ...], name: str, source: str) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "iuf" or array.shape != shape or not np.all(np.isfinite(array)):
        raise DataError(f"{source}: {name} are not finite numbers of shape {shape}")
    return array.astype(np.float64)


def checked_control(value: Any, source: str) -> str:
    """Returns a value of ``charge_control``; raises a DataError for one that does not exist."""
    if not isinstance(value, str) or value not in ("", "fixed_charge", "fixed_potential"):
        raise DataError(
            f"{source}: charge_control is {shown(repr(value))}; needed fixed_charge or "
            "fixed_potential"
        )
    return str(value)
