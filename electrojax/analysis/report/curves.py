"""Curves along a distance: two charged fragments that part, an ion above a conductor.

Far from each other two fragments of charges q_A and q_B have the energy k_e q_A q_B / r, and an ion
of charge q at the height d above the image plane of a conductor has −k_e q² / (4 d) (Jackson,
Classical Electrodynamics, 3rd ed., eqs. 1.4 and 2.4-2.6). Beyond their cutoff, potentials without
charges can give neither.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from electrojax.analysis.predictions import StoredPredictions
from electrojax.analysis.report.groups import Group
from electrojax.analysis.report.runs import RunRecord
from electrojax.analysis.report.tables import Column, Table, table
from electrojax.units import COULOMB

WHOLE = 0.1
"""e; a fragment charge that is closer than this to an integer is that integer."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """One system of one run along its distance.

    Energies are in eV, each relative to its value at the largest distance and moved there onto the
    asymptote (to zero where there is none). Forces are in eV/Å along the distance, positive where
    the two parts are pushed apart; NaN where fragments are not known.

    Attributes:
        system: its name.
        kind: ``dissociation`` or ``image``.
        strength: eV·Å; the asymptote is strength / r. NaN where it is not known.
        distance: [n] Å, ascending; structures at one distance are averaged.
        reference, predicted: [n] energies.
        reference_force, predicted_force: [n] forces.
    """

    system: str
    kind: str
    strength: float
    distance: np.ndarray
    reference: np.ndarray
    predicted: np.ndarray
    reference_force: np.ndarray
    predicted_force: np.ndarray

    @property
    def has_forces(self) -> bool:
        """Whether forces along the distance are known."""
        return bool(np.any(np.isfinite(self.reference_force)))


def curves(run: RunRecord) -> list[Curve]:
    """Returns the curves whose points are in a run's last evaluation, by system."""
    stored = run.predictions
    if stored is None or "energy" not in stored.predicted:
        return []
    found = []
    for name in dict.fromkeys(stored.system[stored.system != ""].tolist()):
        members = np.flatnonzero(stored.system == name)
        if len(np.unique(np.round(stored.distance[members], 3))) > 1:
            found.append(_curve(stored, name, members))
    return found


def curve_table(groups: Sequence[Group], kind: str) -> Table | None:
    """Returns the RMSE of the forces along the distance by system, in meV/Å; None without any.

    Args:
        groups: of runs.
        kind: ``dissociation`` or ``image``.
    """
    names: dict[str, None] = {}
    errors: dict[int, dict[str, float]] = {}
    for run in (run for group in groups for run in group.runs):
        told = {c.system: _force_error(c) for c in curves(run) if c.kind == kind and c.has_forces}
        errors[id(run)] = {**told, "all": _root_mean_square(told.values())} if told else {}
        names.update(dict.fromkeys(errors[id(run)]))
    if not names:
        return None
    columns = [Column(name, "meV/Å") for name in sorted(names, key=lambda n: (n != "all", n))]
    title = "force along the distance, RMSE by system"
    return table(groups, columns, title, lambda run: errors[id(run)])


def asymptote(curve: Curve, points: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns distances in Å, energies in eV and forces in eV/Å of point charges."""
    r = np.linspace(curve.distance[0], curve.distance[-1], points)
    return r, curve.strength / r, curve.strength / r**2


def _curve(stored: StoredPredictions, name: str, members: np.ndarray) -> Curve:
    distance = np.round(stored.distance[members], 3)
    members = members[np.argsort(distance, kind="stable")]
    distances, owner = np.unique(np.sort(distance), return_inverse=True)
    image = bool(np.any(np.isfinite(stored.image_charge[members])))
    strength = _image_strength(stored, members) if image else _strength(stored, members)
    end = strength / distances[-1] if np.isfinite(strength) else 0.0

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(owner, values) / np.bincount(owner)

    def shifted(energies: np.ndarray) -> np.ndarray:
        averaged = mean(energies[members])
        return averaged - averaged[-1] + end

    pulls = [_pull(stored, side, members) for side in (stored.reference, stored.predicted)]
    return Curve(
        system=name,
        kind="image" if image else "dissociation",
        strength=strength,
        distance=distances,
        reference=shifted(stored.reference["energy"]),
        predicted=shifted(stored.predicted["energy"]),
        reference_force=mean(pulls[0]),
        predicted_force=mean(pulls[1]),
    )


def _strength(stored: StoredPredictions, members: np.ndarray) -> float:
    """k_e q_A q_B from the fragment charges of the farthest structure, as told or as labelled."""
    last = int(members[-1])
    told = stored.fragment_charges[last]
    if not np.all(np.isfinite(told)):
        parts = _parts(stored, last)
        if parts is None or "charges" not in stored.reference:
            return float("nan")
        charges = stored.reference["charges"][stored.atoms(last)].astype(np.float64)
        told = np.array([charges[part].sum() for part in parts])
    whole = np.round(told)
    product = float(np.prod(np.where(np.abs(told - whole) < WHOLE, whole, told)))
    return COULOMB * product


def _image_strength(stored: StoredPredictions, members: np.ndarray) -> float:
    charge = float(stored.image_charge[int(members[-1])])
    return -COULOMB * charge**2 / 4


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
        positions = stored.positions[atoms].astype(np.float64)
        axis = positions[parts[1]].mean(axis=0) - positions[parts[0]].mean(axis=0)
        difference = own[parts[1]].sum(axis=0) - own[parts[0]].sum(axis=0)
        found[row] = 0.5 * float(difference @ axis) / float(np.linalg.norm(axis))
    return found


def _parts(stored: StoredPredictions, structure: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The atoms of each of two fragments."""
    fragment = stored.fragment[stored.atoms(structure)]
    names = np.unique(fragment)
    if len(names) != 2 or names[0] < 0:
        return None
    return fragment == names[0], fragment == names[1]


def _force_error(curve: Curve) -> float:
    delta = curve.predicted_force - curve.reference_force
    return float(1e3 * np.sqrt(np.nanmean(delta**2)))


def _root_mean_square(values: Iterable[float]) -> float:
    return float(np.sqrt(np.mean(np.square(list(values)))))
