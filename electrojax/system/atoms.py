"""Structures from ASE Atoms."""

from typing import Any

import numpy as np

from electrojax.errors import DataError
from electrojax.system.types import Frame


def frame_from_atoms(atoms: Any, source: str = "structure") -> Frame:
    """Returns the inputs of an ``ase.Atoms`` as a Frame, without labels.

    ``total_charge`` (e), ``multiplicity`` and ``external_field`` (V/Å) are read from ``atoms.info``
    and ``formal_charges`` (e) and ``fragment`` from ``atoms.arrays``; what is absent takes its
    default: neutral, singlet, no field. ``charge_control`` (``fixed_charge`` or
    ``fixed_potential``) and ``fermi_level`` (eV) are read from ``atoms.info`` too.

    Args:
        atoms: anything with the attributes of ``ase.Atoms``.
        source: its name in error messages.

    Raises:
        DataError: if there is no atom, or positions or inputs are not finite.
    """
    if len(atoms) == 0:
        raise DataError(f"{source}: has no atoms; needed at least one")
    info = atoms.info
    field = np.asarray(info.get("external_field", np.zeros(3)), dtype=np.float64)
    charge = float(info.get("total_charge", 0.0))
    multiplicity = float(info.get("multiplicity", 1.0))
    if field.shape != (3,):
        raise DataError(f"{source}: external_field needs 3 components in V/Å, got {field.tolist()}")
    if not np.all(np.isfinite([charge, multiplicity, *field])):
        raise DataError(f"{source}: total_charge, multiplicity or external_field is not finite")
    level = info.get("fermi_level")
    if level is not None and not np.isfinite(float(level)):
        raise DataError(f"{source}: fermi_level is {level}; needed a finite number in eV")
    pbc = np.asarray(atoms.pbc, dtype=bool)
    return Frame(
        numbers=np.asarray(atoms.numbers, dtype=np.int32),
        positions=np.asarray(atoms.positions, dtype=np.float64),
        cell=np.asarray(atoms.cell, dtype=np.float64).reshape(3, 3),
        pbc=(bool(pbc[0]), bool(pbc[1]), bool(pbc[2])),
        total_charge=charge,
        multiplicity=multiplicity,
        external_field=field,
        formal_charges=atoms.arrays.get("formal_charges"),
        fragment=atoms.arrays.get("fragment"),
        charge_control=_control(info.get("charge_control", ""), source),
        fermi_level=None if level is None else float(level),
        source=source,
    )


def _control(value: Any, source: str) -> str:
    if value not in ("", "fixed_charge", "fixed_potential"):
        raise DataError(
            f"{source}: charge_control is {value!r}; needed fixed_charge or fixed_potential"
        )
    return str(value)
