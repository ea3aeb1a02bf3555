"""Where the frames of a recipe come from: random clusters, MD, separated pairs.

Nothing here labels anything or knows which calculator drives the dynamics. Charges of the parts of
a cluster: Na +1 e, Cl -1 e, water 0; every one of them is a closed shell.
"""

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from electrojax.data.making.recipe import Dynamics
from electrojax.errors import ConfigError, DataError

if TYPE_CHECKING:
    from ase import Atoms

CalculatorFactory = Callable[["Atoms"], Any]
"""Atoms with `total_charge` and `multiplicity` in `info` -> ASE calculator of the dynamics."""

RESTARTS = 100
"""How often a trajectory is begun anew before its recipe is called impossible."""

_COMPOSITION = re.compile(r"(Na)?(Cl)?(?:\(H2O\)(\d+))?")


def parse_composition(composition: str) -> tuple[list[str], int, int]:
    """Return the ions, the number of waters and the total charge (e) of e.g. ``NaCl(H2O)3``.

    Raises:
        ConfigError: the text is not Na, Cl and (H2O)n in this order.
    """
    match = _COMPOSITION.fullmatch(composition)
    if not match or not composition:
        raise ConfigError(
            f'composition "{composition}": needs Na, Cl and (H2O)n in this order, as NaCl(H2O)3'
        )
    ions = [ion for ion in match.groups()[:2] if ion]
    return ions, int(match.group(3) or 0), ions.count("Na") - ions.count("Cl")


def fragments(positions: np.ndarray, gap: float) -> np.ndarray:
    """Return the fragment of each atom: the connected components of all contacts closer than `gap`.

    Args:
        positions: [N, 3] Å.
        gap: Å; two groups of atoms are fragments when no atom of one is this close to the other.

    Returns:
        [N] int, numbered from 0 in the order of their first atom.
    """
    from scipy.sparse.csgraph import connected_components

    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    labels: np.ndarray = connected_components(distances < gap, directed=False)[1]
    return labels


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    """Return a [3, 3] rotation matrix drawn uniformly (a normalised Gaussian quaternion)."""
    from scipy.spatial.transform import Rotation

    matrix: np.ndarray = Rotation.from_quat(rng.normal(size=4)).as_matrix()
    return matrix


def random_cluster(composition: str, rng: np.random.Generator) -> "Atoms":
    """Return a random, unrelaxed cluster: ions near the origin, waters around, none overlapping.

    Args:
        composition: e.g. ``Na(H2O)4``.
        rng: the source of all randomness.

    Returns:
        Atoms (open boundary, Å) with `total_charge`, `multiplicity` and `composition` in `info`.
    """
    from ase import Atoms
    from ase.build import molecule

    ions, waters, charge = parse_composition(composition)
    parts = [Atoms(ion) for ion in ions] + [molecule("H2O") for _ in range(waters)]
    cluster = assemble(parts, rng)
    cluster.info.update(total_charge=charge, multiplicity=1, composition=composition)
    return cluster


def assemble(parts: Sequence["Atoms"], rng: np.random.Generator) -> "Atoms":
    """Return the first part at the origin and the others at random places around, none overlapping.

    Args:
        parts: ions and molecules, each of which is turned at random.
        rng: the source of all randomness.
    """
    from ase import Atoms

    cluster = Atoms()
    for part in parts:
        _place(cluster, part, rng)
    return cluster


def _place(cluster: "Atoms", part: "Atoms", rng: np.random.Generator) -> None:
    """Add `part` to `cluster`, turned at random, 2.4-4.5 Å or a little more from the origin."""
    shell = 4.5
    while True:
        direction = rng.normal(size=3)
        offset = direction / np.linalg.norm(direction) * rng.uniform(2.4, shell)
        centred = part.positions - part.positions[0]
        positions = centred @ random_rotation(rng).T + (offset if len(cluster) else 0.0)
        if not len(cluster) or _gap(cluster.positions, positions) > 1.9:
            part.positions = positions
            cluster.extend(part)
            return
        shell += 0.02  # a crowded shell widens until the part fits


def _gap(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.linalg.norm(first[:, None] - second[None], axis=-1).min())


@dataclass(frozen=True)
class Trajectory:
    """An endless stream of decorrelated frames of one cluster at one temperature.

    Langevin MD in the canonical ensemble. Sampling a classical ensemble of positions does not
    depend on the masses, so hydrogen is made heavy and the time step long. A trajectory whose
    cluster falls apart, or whose calculator fails, is counted and begun anew. `start` draws the
    unrelaxed atoms of a composition.
    """

    composition: str
    temperature: float
    dynamics: Dynamics
    fragment_gap: float
    make_calculator: CalculatorFactory
    rng: np.random.Generator
    dropped: Counter[str]
    start: Callable[[str, np.random.Generator], "Atoms"] = random_cluster

    def __iter__(self) -> Iterator["Atoms"]:
        for _ in range(RESTARTS):
            try:
                yield from self._run()
            except RuntimeError:  # what ASE and tblite raise where an SCF does not converge
                self.dropped["md_not_converged"] += 1
        raise DataError(f"{self.composition}: no stable trajectory at {self.temperature:g} K")

    def _run(self) -> Iterator["Atoms"]:
        """Yield frames of one trajectory until its cluster has fallen apart."""
        atoms = self.start(self.composition, self.rng)
        if len(atoms) == 1:
            while True:
                yield atoms.copy()
        molecular_dynamics = self._dynamics(atoms)
        molecular_dynamics.run(self.dynamics.equilibration)
        while fragments(atoms.positions, self.fragment_gap).max() == 0:
            yield _bare_copy(atoms)
            molecular_dynamics.run(self.dynamics.interval)
        self.dropped["evaporated"] += 1

    def _dynamics(self, atoms: "Atoms") -> Any:
        from ase import units
        from ase.md.langevin import Langevin
        from ase.optimize import FIRE

        atoms.calc = self.make_calculator(atoms)
        FIRE(atoms, logfile=None).run(fmax=0.3, steps=150)
        masses = atoms.get_masses()
        masses[atoms.numbers == 1] = self.dynamics.hydrogen_mass
        atoms.set_masses(masses)
        widths = np.sqrt(masses * units.kB * self.temperature)  # Maxwell-Boltzmann momenta
        atoms.set_momenta(widths[:, None] * self.rng.normal(size=(len(atoms), 3)))
        return Langevin(
            atoms,
            timestep=self.dynamics.timestep * units.fs,
            temperature_K=self.temperature,
            friction=self.dynamics.friction / units.fs,
            fixcm=False,  # frames are centred when they are labelled
            rng=self.rng,
        )


def _bare_copy(atoms: "Atoms") -> "Atoms":
    """Return symbols, positions and info alone: no momenta, no heavy hydrogen."""
    from ase import Atoms

    return Atoms(atoms.symbols, positions=atoms.positions, info=dict(atoms.info))


def separate(
    first: "Atoms",
    second: "Atoms",
    distance: tuple[float, float],
    gap: float,
    rng: np.random.Generator,
) -> "Atoms":
    """Return two clusters, each turned at random, with their centres a random distance apart.

    Args:
        first, second: clusters of `random_cluster` or `Trajectory`.
        distance: Å, range of the distance between the centres: the ion, or the mean oxygen
            position of a cluster of water.
        gap: Å, no atom of one cluster is this close to an atom of the other.
        rng: the source of all randomness.

    Raises:
        DataError: no arrangement of the two has such a gap in the range.
    """
    turned = [part.positions - _centre(part) for part in (first, second)]
    for _ in range(2000):
        length = rng.uniform(*distance)
        positions = [points @ random_rotation(rng).T for points in turned]
        positions[1] = positions[1] + np.array([0.0, 0.0, length])
        if _gap(*positions) >= gap:
            return _pair(first, second, np.concatenate(positions), length)
    raise DataError(
        f"{first.info['composition']} and {second.info['composition']}: no arrangement with a gap"
        f" of {gap:g} Å at distances up to {distance[1]:g} Å; widen `distance`"
    )


def _centre(cluster: "Atoms") -> np.ndarray:
    ion = np.isin(cluster.numbers, (11, 17))
    chosen = ion if ion.any() else cluster.numbers == 8
    centre: np.ndarray = cluster.positions[chosen].mean(axis=0)
    return centre


def _pair(first: "Atoms", second: "Atoms", positions: np.ndarray, length: float) -> "Atoms":
    pair = first + second
    pair.positions = positions
    pair.info = {
        "total_charge": first.info["total_charge"] + second.info["total_charge"],
        "multiplicity": 1,
        "composition": f"{first.info['composition']}|{second.info['composition']}",
        "distance": round(float(length), 4),
    }
    return pair


def random_stream(seed: int, *names: object) -> np.random.Generator:
    """Return a generator of its own for each (seed, names), whatever was drawn elsewhere before."""
    return np.random.default_rng([seed, zlib.crc32("/".join(map(str, names)).encode())])
