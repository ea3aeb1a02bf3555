"""Curves along a distance: two charged fragments that part, an ion above a conductor.

Far from each other two fragments of charges q_A and q_B have the energy k_e q_A q_B / r, and an ion
of charge q at the height d above the image plane of a conductor has −k_e q² / (4 d) (Jackson,
Classical Electrodynamics, 3rd ed., eqs. 1.4 and 2.4-2.6). Beyond their cutoff, potentials without
charges can give neither.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from electrojax.analysis.predictions import StoredPredictions
from electrojax.analysis.report.groups import Group
from electrojax.analysis.report.runs import RunRecord
from electrojax.analysis.report.tables import Column, Table, table
from electrojax.units import COULOMB

DISSOCIATION, IMAGE = CURVE_KINDS = ("dissociation", "image")
CLASSES = ("charge – charge", "charge – neutral", "neutral – neutral")
"""Pairs of fragments by how many of the two are neutral."""

WHOLE = 0.1
"""e; a fragment charge that is closer than this to an integer is that integer."""

REACH = 0.8
"""A scan that ends before this share of its system's largest distance has no far end to align."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """One scan of one system by one run, along the distance.

    Energies are in eV, each relative to its value at the largest distance and moved there onto the
    asymptote (to zero where there is none). Forces are in eV/Å along the distance, positive where
    the two parts are pushed apart; NaN where fragments are not known.

    Attributes:
        system: its name.
        kind: ``dissociation`` or ``image``.
        charges: [2] e of the two parts, or of the ion and its image; NaN where not known.
        strength: eV·Å; the asymptote is strength / r. NaN where it is not known.
        distance: [n] Å, ascending; structures at one distance are averaged.
        seen: [n] whether the model was trained on the structure.
        reference, predicted: [n] energies.
        reference_force, predicted_force: [n] forces.
    """

    system: str
    kind: str
    charges: np.ndarray
    strength: float
    distance: np.ndarray
    seen: np.ndarray
    reference: np.ndarray
    predicted: np.ndarray
    reference_force: np.ndarray
    predicted_force: np.ndarray

    @property
    def has_forces(self) -> bool:
        """Whether forces along the distance are known."""
        return bool(np.any(np.isfinite(self.reference_force)))


def curves(run: RunRecord) -> list[Curve]:
    """Returns the curves of which a run has predictions, system by system."""
    stored = run.on_curves
    if stored is None or "energy" not in stored.predicted:
        return []
    found = []
    for system in dict.fromkeys(stored.system.tolist()):
        own = stored.system == system
        farthest = float(stored.distance[own].max())
        for scan in dict.fromkeys(stored.scan[own].tolist()):
            members = np.flatnonzero(own & (stored.scan == scan))
            distance = np.round(stored.distance[members], 3)
            if len(np.unique(distance)) > 1 and distance.max() >= REACH * farthest:
                found.append(_curve(stored, system, members))
    return found


def curve_table(groups: Sequence[Group], kind: str, systems: Sequence[str]) -> Table | None:
    """Returns the RMSE of the forces along the distance in meV/Å; None where none are known.

    Structures that a model was trained on do not count.

    Args:
        groups: of runs.
        kind: ``dissociation`` or ``image``.
        systems: those that get columns of their own, beside all systems and classes of them.
    """
    errors: dict[int, dict[str, float]] = {}
    for run in (run for group in groups for run in group.runs):
        known = [c for c in curves(run) if c.kind == kind and c.has_forces]
        errors[id(run)] = _errors(known, systems)
    found = {name for error in errors.values() for name in error}
    first = [name for name in ("all", *CLASSES, *systems) if name in found]
    columns = [Column(name, "meV/Å") for name in dict.fromkeys([*first, *sorted(found)])]
    title = f"{kind} curves: force along the distance, RMSE beyond the training set"
    return table(groups, columns, title, lambda run: errors[id(run)]) if columns else None


def _errors(known: Sequence[Curve], systems: Sequence[str]) -> dict[str, float]:
    """The error over all curves, over each class (of several) and of each system."""
    by_class: dict[str, list[Curve]] = {}
    by_system: dict[str, list[Curve]] = {}
    for curve in known:
        by_class.setdefault(_class(curve), []).append(curve)
        by_system.setdefault(curve.system, []).append(curve)
    alone = len(by_system) == 1
    parts = {
        **({} if alone else {"all": known}),
        **(by_class if len(by_class) > 1 else {}),
        **{name: part for name, part in by_system.items() if name in systems or alone},
    }
    return {name: _force_error(part) for name, part in parts.items() if part}


def _class(curve: Curve) -> str:
    """Of two fragments, how many are neutral; nothing where that is not known."""
    if curve.kind != DISSOCIATION or not np.all(np.isfinite(curve.charges)):
        return ""
    return CLASSES[int(np.sum(curve.charges == 0))]


def asymptote(curve: Curve, points: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns distances in Å, energies in eV and forces in eV/Å of point charges, far apart."""
    last = curve.distance[-1]
    r = np.linspace(max(curve.distance[0], last / 3), last, points)
    return r, curve.strength / r, curve.strength / r**2


def _curve(stored: StoredPredictions, name: str, members: np.ndarray) -> Curve:
    distance = np.round(stored.distance[members], 3)
    members = members[np.argsort(distance, kind="stable")]
    distances, owner = np.unique(np.sort(distance), return_inverse=True)
    image = bool(np.any(np.isfinite(stored.image_charge[members])))
    ion = stored.image_charge[int(members[-1])]
    charges = np.array([ion, -ion]) if image else _charges(stored, members)
    # The image moves with the ion: half the energy of two charges at the distance 2 d.
    strength = COULOMB * float(np.prod(charges)) / (4 if image else 1)
    end = strength / distances[-1] if np.isfinite(strength) else 0.0

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(owner, values) / np.bincount(owner)

    def shifted(energies: np.ndarray) -> np.ndarray:
        averaged = mean(energies[members])
        return averaged - averaged[-1] + end

    pulls = [_pull(stored, side, members) for side in (stored.reference, stored.predicted)]
    return Curve(
        system=name,
        kind=IMAGE if image else DISSOCIATION,
        charges=charges,
        strength=strength,
        distance=distances,
        seen=mean((stored.split[members] == "train").astype(float)) > 0,
        reference=shifted(stored.reference["energy"]),
        predicted=shifted(stored.predicted["energy"]),
        reference_force=mean(pulls[0]),
        predicted_force=mean(pulls[1]),
    )


def _charges(stored: StoredPredictions, members: np.ndarray) -> np.ndarray:
    """[2] e of the two fragments of the farthest structure, as told or as labelled."""
    last = int(members[-1])
    told = stored.fragment_charges[last]
    parts = _parts(stored, last)
    if not np.all(np.isfinite(told)) and parts is not None and "charges" in stored.reference:
        charges = stored.reference["charges"][stored.atoms(last)].astype(np.float64)
        told = np.array([charges[part].sum() for part in parts])
    whole = np.round(told)
    return np.where(np.abs(told - whole) < WHOLE, whole, told)


def _pull(
    stored: StoredPredictions, side: Mapping[str, np.ndarray], members: np.ndarray
) -> np.ndarray:
    """[n] the force that parts the fragments: half the difference of the forces on the two."""
    forces = side.get("forces")
    found = np.full(len(members), np.nan)
    for row, structure in enumerate(members):
        parts = _parts(stored, int(structure))
        if parts is None or forces is None:
            continue
        atoms = stored.atoms(int(structure))
        own = forces[atoms].astype(np.float64)
        centres = [_centre(stored, atoms, part) for part in parts]
        axis = centres[1] - centres[0]
        difference = own[parts[1]].sum(axis=0) - own[parts[0]].sum(axis=0)
        found[row] = 0.5 * float(difference @ axis) / float(np.linalg.norm(axis))
    return found


def _centre(stored: StoredPredictions, atoms: slice, part: np.ndarray) -> np.ndarray:
    """[3] the centre of mass of a fragment."""
    from ase.data import atomic_masses

    masses = atomic_masses[stored.numbers[atoms][part]]
    centre: np.ndarray = masses @ stored.positions[atoms][part].astype(np.float64) / masses.sum()
    return centre


def _parts(stored: StoredPredictions, structure: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The atoms of each of two fragments."""
    fragment = stored.fragment[stored.atoms(structure)]
    names = np.unique(fragment)
    if len(names) != 2 or names[0] < 0:
        return None
    return fragment == names[0], fragment == names[1]


def _force_error(part: Sequence[Curve]) -> float:
    """In meV/Å, over structures that the model was not trained on, unless there are no others."""
    delta = np.concatenate([c.predicted_force - c.reference_force for c in part])
    unseen = ~np.concatenate([c.seen for c in part])
    chosen = delta[unseen] if unseen.any() else delta
    return float(1e3 * np.sqrt(np.nanmean(chosen**2)))
