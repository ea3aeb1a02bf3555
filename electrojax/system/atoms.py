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
    ``fixed_potential``) and ``fermi_level`` (eV) are read from ``atoms.info`` too, and masses and
    velocities where they were set.

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
        charge_control=checked_control(info.get("charge_control", ""), source),
        fermi_level=None if level is None else float(level),
        masses=_masses(atoms, source),
        velocities=_velocities(atoms, source),
        source=source,
    )


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


def _masses(atoms: Any, source: str) -> np.ndarray | None:
    if "masses" not in atoms.arrays:
        return None
    masses = np.asarray(atoms.arrays["masses"], dtype=np.float64)
    if masses.shape != (len(atoms),) or not np.all(np.isfinite(masses) & (masses > 0)):
        raise DataError(f"{source}: masses need one positive number per atom, in amu")
    return masses


def _velocities(atoms: Any, source: str) -> np.ndarray | None:
    """Å/fs, from ASE's momenta in amu · √(eV/amu)."""
    if "momenta" not in atoms.arrays:
        return None
    from ase import units

    momenta = np.asarray(atoms.arrays["momenta"], dtype=np.float64)
    if momenta.shape != (len(atoms), 3) or not np.all(np.isfinite(momenta)):
        raise DataError(f"{source}: momenta need three finite numbers per atom")
    return np.asarray(momenta / atoms.get_masses()[:, None] * units.fs)


def checked_control(value: Any, source: str) -> str:
    """Returns a value of ``charge_control``; raises a DataError for one that does not exist."""
    if str(value) not in ("", "fixed_charge", "fixed_potential"):
        raise DataError(
            f"{source}: charge_control is {value!r}; needed fixed_charge or fixed_potential"
        )
    return str(value)
