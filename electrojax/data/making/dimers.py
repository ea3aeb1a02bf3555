"""Pairs of molecules and ions that are pulled apart as rigid bodies.

A pair is written ``NH4+|H2O``: two parts, each a molecule with the sign of its charge (one e at
most) and, in brackets, the waters around it: ``NO2-``, ``Na+(H2O)4``. Nothing here labels anything.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from electrojax.data.making.recipe import Molecule
from electrojax.data.making.sampling import assemble, random_rotation
from electrojax.errors import ConfigError, DataError

if TYPE_CHECKING:
    from ase import Atoms

ORIENTATIONS = 1000
"""How many orientations are drawn before a pair is called too large for its distances."""

_PART = re.compile(r"([A-Z][A-Za-z0-9]*)([+-]?)(?:\(H2O\)(\d+))?")


def parse_pair(system: str) -> list[tuple[str, int, int]]:
    """Return molecule, charge (e) and number of waters of both parts of e.g. ``Na+(H2O)4|Cl-``.

    Raises:
        ConfigError: the text is not of this form.
    """
    matches = [_PART.fullmatch(part) for part in system.split("|")]
    if len(matches) != 2 or not all(matches):
        raise ConfigError(f'system "{system}": needs two parts such as NH4+|H2O or Na+(H2O)4|Cl-')
    groups = [match.groups() for match in matches if match]
    return [(name, {"+": 1, "-": -1}.get(sign, 0), int(n or 0)) for name, sign, n in groups]


def random_part(part: str, molecules: Sequence[Molecule], rng: np.random.Generator) -> "Atoms":
    """Return an unrelaxed molecule or ion, with its waters at random places around.

    Args:
        part: as in `parse_pair`.
        molecules: geometries beyond those of `ase.build.molecule`.
        rng: the source of all randomness.

    Returns:
        Atoms (open boundary, Å) with `total_charge`, `multiplicity` (the lowest) and `composition`
        in `info`; the molecule comes first.

    Raises:
        ConfigError: the text is not a part, or nobody knows its geometry.
    """
    from ase.build import molecule

    name, charge, waters = parse_pair(f"{part}|{part}")[0]
    solute = _geometry(name, molecules)
    atoms = assemble([solute, *(molecule("H2O") for _ in range(waters))], rng)
    unpaired = (int(atoms.numbers.sum()) - charge) % 2
    atoms.info = {"total_charge": charge, "multiplicity": unpaired + 1, "composition": part}
    return atoms


def _geometry(name: str, molecules: Sequence[Molecule]) -> "Atoms":
    from ase import Atoms
    from ase.build import molecule
    from ase.data import atomic_numbers

    if name in atomic_numbers:
        return Atoms(name)
    known = {entry.name: entry for entry in molecules}
    try:
        if name not in known:
            built: Atoms = molecule(name)
            return built
        symbols, *columns = zip(*(row.split() for row in known[name].atoms), strict=True)
        return Atoms(symbols, np.array(columns, dtype=float).T)
    except (KeyError, ValueError, IndexError):
        raise ConfigError(
            f'molecule "{name}": has no geometry; give it under molecules, as'
            f' {{name: {name}, atoms: ["N 0 0 0", ...]}}'
        ) from None


@dataclass(frozen=True)
class Scan:
    """Two rigid parts, each turned, and the direction in which the second is pulled.

    Attributes:
        first, second: with the centre of mass at the origin; `info` as of `random_part`.
        axis: [3] unit vector.
    """

    first: "Atoms"
    second: "Atoms"
    axis: np.ndarray

    def contact(self, share: float) -> float:
        """Return the distance of the centres (Å) down to which the parts do not overlap.

        No atom of one is nearer to one of the other than `share` of the sum of their van der Waals
        radii. With v = b − a between two atoms, |v + d n| = ρ is a quadratic equation in d; contact
        is its largest root over all pairs.
        """
        from ase.data import vdw_radii

        radii = [vdw_radii[part.numbers] for part in (self.first, self.second)]
        reach = share * (radii[0][:, None] + radii[1][None])
        between = self.second.positions[None] - self.first.positions[:, None]
        along = between @ self.axis
        square = along**2 - np.sum(between**2, axis=-1) + reach**2
        roots = np.where(square > 0, -along + np.sqrt(np.maximum(square, 0)), 0.0)
        return float(roots.max())

    def at(self, distance: float) -> "Atoms":
        """Return the pair with its centres of mass so far apart (Å).

        `info` has `total_charge`, `multiplicity`, `system` and `distance`; the arrays `fragment`
        (0 or 1) and `formal_charges` (e, on the first atom of each part) say who bears the charge.
        """
        from ase import Atoms

        parts = (self.first, self.second)
        pair: Atoms = self.first + self.second
        pair.positions[len(self.first) :] += distance * self.axis
        unpaired = sum(part.info["multiplicity"] - 1 for part in parts)
        pair.info = {
            "total_charge": sum(part.info["total_charge"] for part in parts),
            "multiplicity": unpaired + 1,
            "system": "|".join(part.info["composition"] for part in parts),
            "distance": distance,
        }
        formal = np.zeros(len(pair))
        formal[[0, len(self.first)]] = [part.info["total_charge"] for part in parts]
        pair.set_array("fragment", np.repeat([0, 1], [len(part) for part in parts]))
        pair.set_array("formal_charges", formal)
        return pair


def random_scan(
    first: "Atoms", second: "Atoms", contact: float, below: float, rng: np.random.Generator
) -> Scan:
    """Return two parts in a random orientation whose contact is nearer than `below`.

    Args:
        first, second: of `random_part`, or frames of its MD.
        contact: share of the van der Waals radii, as in `Scan.contact`.
        below: Å.
        rng: the source of all randomness.

    Raises:
        DataError: no orientation of the two is in contact that near.
    """
    for _ in range(ORIENTATIONS):
        axis = rng.normal(size=3)
        rotations = random_rotation(rng), random_rotation(rng)
        turned = _turned(first, rotations[0]), _turned(second, rotations[1])
        scan = Scan(*turned, axis / np.linalg.norm(axis))
        if scan.contact(contact) < below:
            return scan
    raise DataError(
        f"{first.info['composition']} and {second.info['composition']}: never in contact below"
        f" {below:g} Å; use smaller parts or a larger boundary"
    )


def _turned(part: "Atoms", rotation: np.ndarray) -> "Atoms":
    turned: Atoms = part.copy()
    turned.positions = (part.positions - part.get_center_of_mass()) @ rotation.T
    return turned


def near_distances(low: float, high: float, count: int, rng: np.random.Generator) -> list[float]:
    """Return so many distances (Å) of a range, one in each of its strata, which are denser below.

    The strata are of equal size in the square root of the distance beyond `low`.
    """
    steps = (np.arange(count) + rng.uniform(size=count)) / max(count, 1)
    return [round(low + (high - low) * float(step) ** 2, 4) for step in steps]


def far_distances(low: float, high: float, count: int, rng: np.random.Generator) -> list[float]:
    """Return so many distances (Å) of a range, one in each of its equal strata, `high` the last."""
    strata = count - 1
    steps = (np.arange(strata) + rng.uniform(size=max(strata, 0))) / max(strata, 1)
    inner = [round(low + (high - low) * float(step), 4) for step in steps]
    return [*inner, high][: max(count, 0)]
