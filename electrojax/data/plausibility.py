"""Labels and inputs that contradict each other, or physics."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from electrojax.system.types import Frame

LARGEST_STRESS = 1.0
"""eV/Å³ (160 GPa); a larger component is probably in kbar or GPa, or a virial."""

ASYMMETRY = 0.01
"""Largest |σ_ab − σ_ba| over the largest component of a stress: no torque acts on a cell."""

SMALLEST_STRESS = 1e-4
"""eV/Å³; differences below are rounding."""

CHARGE_SUM = 0.01
"""e; partitions of a density on a grid miss the total charge by about 1e-3."""

ORIGIN_DIPOLE = 0.1
"""e·Å; a smaller product of charge and distance from the origin says nothing."""

MOST_ADDED = 4
"""Electrons per atom beyond the neutral ones: C⁴⁻ has as many."""

THOMAS_FERMI = 0.7687 * 27.211386
"""eV; the energy of a neutral Thomas–Fermi atom is −0.7687 Z^(7/3) Hartree (E. H. Lieb, Rev. Mod.
Phys. 53, 603 (1981))."""

LARGEST_FIELD = 5.0
"""V/Å; molecules are ionised by a tenth of the atomic unit of 51.4 V/Å."""


def _stress(frame: Frame) -> Iterator[str]:
    if "stress" not in frame.labels or frame.boundary == "open":
        return
    stress = frame.labels["stress"]
    largest = float(np.max(np.abs(stress)))
    if largest > LARGEST_STRESS:
        yield f"{largest:.4g} eV/Å³ is {160.21766 * largest:.3g} GPa; in kbar or GPa, or a virial?"
    difference = float(np.max(np.abs(stress - stress.T)))
    if difference > max(ASYMMETRY * largest, SMALLEST_STRESS):
        yield f"not symmetric by {difference:.3g} eV/Å³, so it turns the cell"


def _charge_sum(frame: Frame) -> Iterator[str]:
    if frame.charge_control == "fixed_potential" or frame.fermi_level is not None:
        return  # the charge follows from the level
    for name, charges in _charges(frame).items():
        total = float(np.sum(charges))
        if abs(total - frame.total_charge) > CHARGE_SUM:
            yield f"{name} sum to {total:.4g} e, total_charge is {frame.total_charge:g}"


def _charges(frame: Frame) -> dict[str, np.ndarray]:
    """Atomic charges among the labels."""
    found = {name: frame.labels[name] for name in ("charges", "multipoles") if name in frame.labels}
    return {name: values if values.ndim == 1 else values[:, 0] for name, values in found.items()}


def _dipole_origin(frame: Frame) -> Iterator[str]:
    """The dipole of an ion moves with the origin, μ(R) = μ(0) − Q R; ours is about (0, 0, 0)."""
    if "dipole" not in frame.labels or frame.boundary != "open" or not frame.total_charge:
        return
    from ase.data import atomic_masses

    weights = {"mass": atomic_masses[frame.numbers], "nuclear charge": frame.numbers}
    centres = {n: np.average(frame.positions, axis=0, weights=w) for n, w in weights.items()}
    shifts = {n: frame.total_charge * centre for n, centre in centres.items()}
    if max(float(np.linalg.norm(shift)) for shift in shifts.values()) < ORIGIN_DIPOLE:
        return
    estimate = _dipole_of_charges(frame)
    if estimate is None:
        yield f"of an ion ({frame.total_charge:+g} e), about (0, 0, 0)? nothing else tells"
        return
    error = frame.labels["dipole"] - estimate
    for name, shift in shifts.items():
        if np.linalg.norm(error + shift) < 0.5 * np.linalg.norm(error):
            yield f"of an ion, about its centre of {name}; needed about (0, 0, 0)"
            return


def _dipole_of_charges(frame: Frame) -> np.ndarray | None:
    """Σ (q r + p) of the labels, in e·Å about (0, 0, 0)."""
    charges = _charges(frame)
    if not charges:
        return None
    multipoles = frame.labels.get("multipoles", np.zeros((1, 1)))
    name = "multipoles" if multipoles.shape[1] >= 4 else next(iter(charges))
    dipole = charges[name] @ frame.positions
    # Components are in the order y, z, x.
    return dipole + multipoles[:, [3, 1, 2]].sum(axis=0) if name == "multipoles" else dipole


def _electrons(frame: Frame) -> Iterator[str]:
    electrons = float(np.sum(frame.numbers)) - frame.total_charge
    if electrons < 0 or -frame.total_charge > MOST_ADDED * len(frame.numbers):
        yield f"total_charge {frame.total_charge:g} leaves {electrons:g} electrons"
        return
    unpaired = frame.multiplicity - 1
    if "multiplicity" not in frame.given or electrons != round(electrons):
        return  # fractional charges are averages over several numbers of electrons
    if unpaired > electrons or unpaired % 1 or (electrons - unpaired) % 2:
        yield f"{electrons:g} electrons have no multiplicity {frame.multiplicity:g}"


def _magnitudes(frame: Frame) -> Iterator[str]:
    bound = THOMAS_FERMI * float(np.sum(frame.numbers ** (7 / 3)))
    energy = float(frame.labels.get("energy", 0.0))
    if abs(energy) > 2 * bound + 10 * len(frame.numbers):
        yield f"energy {energy:.6g} eV, all electrons bind about {-bound:.3g} eV; another unit?"
    field = float(np.linalg.norm(frame.external_field))
    if field > LARGEST_FIELD:
        yield f"external_field {field:.3g} V/Å ionises any molecule; another unit?"


PLAUSIBILITY: dict[str, Callable[[Frame], Iterator[str]]] = {
    "stress labels": _stress,
    "charge sums": _charge_sum,
    "dipole origin": _dipole_origin,
    "electrons": _electrons,
    "magnitudes": _magnitudes,
}
"""What is looked for in the labels and inputs of a structure: each yields what it finds."""


def implausible(frames: Sequence[Frame]) -> str:
    """Returns in one line how many structures have implausible labels, and the first; or nothing.

    Args:
        frames: the structures.
    """
    details: Mapping[str, list[str]] = defaultdict(list)
    for frame in frames:
        for kind, look in PLAUSIBILITY.items():
            details[kind] += [f"{frame.source}: {detail}" for detail in look(frame)][:1]
    return "; ".join(
        f"{kind} of {len(lines)} frames ({lines[0]})" for kind, lines in details.items() if lines
    )
