"""The labelled frames of a recipe: sampled, labelled with GFN1-xTB, and kept or left out."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from electrojax.data.making.calculators import (
    check_atoms,
    finite,
    import_tblite,
    label_with_tblite,
    rounded,
)
from electrojax.data.making.dimers import (
    Scan,
    far_distances,
    near_distances,
    parse_pair,
    random_part,
    random_scan,
)
from electrojax.data.making.recipe import Limits, Recipe
from electrojax.data.making.sampling import (
    Trajectory,
    fragments,
    random_cluster,
    random_stream,
    separate,
)
from electrojax.errors import ConvergenceError, DataError

if TYPE_CHECKING:
    from ase import Atoms

FIELD_DECIMALS = 6

Report = Callable[[str], object]
Stream = Iterator["Atoms"]


@dataclass(frozen=True)
class Production:
    """What a recipe gave.

    Attributes:
        frames: labelled, in the order of their file.
        dropped: labelled frames and trajectories that were not kept, counted by reason; those of
            `clusters` and `separated` were replaced by others.
        left_out: systems and frames of `dimers` that are missing, each with its reason.
    """

    frames: list["Atoms"]
    dropped: Counter[str]
    left_out: list[dict[str, Any]]


def produce(recipe: Recipe, report: Report) -> Production:
    """Return every frame of a recipe, labelled, and what was left out.

    Raises:
        ConfigError: a composition or system that cannot be read, tblite not installed.
        DataError: a composition loses too many frames, a pair is too large, or nothing is kept.
    """
    clusters, dimers = ClusterRun(recipe, report), DimerRun(recipe, report)
    frames = clusters.frames() + dimers.frames()
    if not frames:
        raise DataError(f"the recipe kept no frames; left out: {dimers.left_out}")
    return Production(frames, clusters.dropped + dimers.dropped, dimers.left_out)


def rejection(atoms: "Atoms", limits: Limits) -> str:
    """Return why a labelled frame is not kept, or "" when it is.

    The fragments of a frame are the connected components of all contacts closer than
    `limits.fragment_gap`: two clusters set apart, not the molecules within one cluster, between
    which a real density does move charge (0.1 e from Cl- to Na+ in contact). A fragment whose
    charge is far from every integer is a flaw of the method that no local model could learn.
    """
    if not finite(atoms):
        return "not_finite"
    if np.linalg.norm(atoms.arrays["REF_forces"], axis=1).max() > limits.max_force:
        return "large_force"
    component = fragments(atoms.positions, limits.fragment_gap)
    charges = np.bincount(component, weights=atoms.arrays["REF_charges"])
    if np.abs(charges - np.round(charges)).max() > limits.fragment_charge:
        return "fragment_charge"
    return ""


class _Run:
    """What all parts of a recipe share: settings of labels and dynamics, and the counters."""

    def __init__(self, recipe: Recipe, report: Report) -> None:
        self.recipe = recipe
        self.report = report
        self.dropped: Counter[str] = Counter()

    def label(self, frame: "Atoms") -> "Atoms":
        """Return a labelled copy with its centre of mass at the origin.

        Positions are rounded before they are labelled: the labels are those of the file.
        """
        settings = self.recipe.labels
        frame.positions = rounded(frame.positions - frame.get_center_of_mass())
        return label_with_tblite(
            frame, self.recipe.method, settings.accuracy, settings.electronic_temperature
        )

    def dynamics_calculator(self, atoms: "Atoms") -> Any:
        return import_tblite("tblite.ase").TBLite(
            method=self.recipe.method,
            charge=atoms.info["total_charge"],
            multiplicity=atoms.info["multiplicity"],
            accuracy=self.recipe.dynamics.accuracy,
            verbosity=0,
        )

    def trajectory(
        self,
        composition: str,
        temperature: float,
        rng: np.random.Generator,
        start: Callable[[str, np.random.Generator], "Atoms"],
    ) -> Trajectory:
        return Trajectory(
            composition,
            temperature,
            self.recipe.dynamics,
            self.recipe.limits.fragment_gap,
            self.dynamics_calculator,
            rng,
            self.dropped,
            start,
        )


class ClusterRun(_Run):
    """The clusters and separated pairs of a recipe; a frame that is not kept is replaced."""

    def __init__(self, recipe: Recipe, report: Report) -> None:
        super().__init__(recipe, report)
        self.streams: dict[tuple[str, float, str], Stream] = {}
        self.evaluation_splits = itertools.cycle(recipe.evaluation)

    def frames(self) -> list["Atoms"]:
        """Return every frame of the clusters, labelled, in the order of its file."""
        frames: list[Atoms] = []
        for name, role, count, source in self.plan():
            frames += [self.labelled(name, role, source) for _ in range(count)]
            self.report(f"{name} {role}: {count} kept, {len(frames)} in all; {dict(self.dropped)}")
        return frames

    def plan(self) -> Iterator[tuple[str, str, int, Stream]]:
        """Yield (name, role, frames wanted, where they come from), role train or evaluation."""
        for composition in self.recipe.clusters.compositions:
            for temperature in self.recipe.temperatures:
                for role, count in vars(self.recipe.clusters.frames).items():
                    key = (composition, temperature, role)
                    stream = self.in_field(self.stream(*key), *key)
                    yield f"{composition} {temperature:g} K", role, count, stream
        for index, entry in enumerate(self.recipe.separated):
            for role, count in vars(entry.frames).items():
                pairs = self.in_field(self.pairs(index, role), *entry.parts, role)
                yield "|".join(entry.parts), role, count, pairs

    def in_field(self, frames: Stream, *names: object) -> Stream:
        """Yield frames with a field of random direction and strength, if the recipe has one."""
        low, high = self.recipe.field
        rng = random_stream(self.recipe.seed, "field", *names)
        for atoms in frames:
            if high > 0:
                direction = rng.normal(size=3)
                field = direction / np.linalg.norm(direction) * rng.uniform(low, high)
                atoms.info["external_field"] = np.round(field, FIELD_DECIMALS)
            yield atoms

    def stream(self, composition: str, temperature: float, role: str) -> Stream:
        """Return the one trajectory of a composition, temperature and role."""
        key = (composition, temperature, role)
        if key not in self.streams:
            rng = random_stream(self.recipe.seed, *key)
            self.streams[key] = self.clusters(composition, temperature, rng)
        return self.streams[key]

    def clusters(self, composition: str, temperature: float, rng: np.random.Generator) -> Stream:
        for atoms in self.trajectory(composition, temperature, rng, random_cluster):
            atoms.info.update(origin="md", temperature=temperature)
            yield atoms

    def pairs(self, index: int, role: str) -> Stream:
        """Yield separated pairs of one entry, their temperatures in turn from `index` on."""
        entry, temperatures = self.recipe.separated[index], self.recipe.temperatures
        rng = random_stream(self.recipe.seed, *entry.parts, role)
        for turn in itertools.count(index):
            temperature = temperatures[turn % len(temperatures)]
            first, second = (next(self.stream(p, temperature, role)) for p in entry.parts)
            gap = self.recipe.limits.fragment_gap
            atoms = separate(first, second, entry.distance, gap, rng)
            atoms.info.update(origin="separated", temperature=temperature)
            yield atoms

    def labelled(self, name: str, role: str, source: Stream) -> "Atoms":
        """Return the next frame that converges and is kept; count the others."""
        for _ in range(self.recipe.limits.attempts):
            try:
                frame = self.label(next(source))
            except ConvergenceError:
                self.dropped["not_converged"] += 1
                continue
            reason = rejection(frame, self.recipe.limits)
            if not reason:
                evaluation = role == "evaluation"
                frame.info["split"] = next(self.evaluation_splits) if evaluation else "train"
                return frame
            self.dropped[reason] += 1
        raise DataError(
            f"{name}: {self.recipe.limits.attempts} frames in a row were dropped"
            f" ({dict(self.dropped)}); loosen limits or change the composition"
        )


class Pull(NamedTuple):
    """One orientation of a pair: whose frames it gives, its number, and its own randomness."""

    split: str
    number: int
    scan: Scan
    rng: np.random.Generator


class DimerRun(_Run):
    """The pairs of a recipe, pulled apart; what fails is left out and listed, not replaced."""

    def __init__(self, recipe: Recipe, report: Report) -> None:
        super().__init__(recipe, report)
        self.left_out: list[dict[str, Any]] = []
        for system in recipe.dimers.systems:
            parse_pair(system)
            for part in system.split("|"):
                check_atoms(random_part(part, recipe.molecules, np.random.default_rng(0)).symbols)

    def frames(self) -> list["Atoms"]:
        """Return every frame of every pair that is kept, labelled, by system, scan and distance."""
        frames: list[Atoms] = []
        for system in self.recipe.dimers.systems:
            pulls = list(self.pulls(system))
            reason = next(filter(None, (self.flaw(pull.scan) for pull in pulls)), "")
            if reason:
                self.left_out.append({"system": system, "reason": reason})
            else:
                frames += [frame for pull in pulls for frame in self.pulled(pull)]
            self.report(f"{system}: {reason or 'kept'}, {len(frames)} frames in all")
        return frames

    def pulls(self, system: str) -> Iterator[Pull]:
        """Yield the orientations of a pair, those of the training frames first."""
        dimers, names = self.recipe.dimers, system.split("|")
        for split, count in (("train", dimers.scans.train), ("valid", dimers.scans.valid)):
            one, other = (self.part(system, i, name, split) for i, name in enumerate(names))
            for number in range(count):
                rng = random_stream(self.recipe.seed, system, split, number)
                parts = next(one), next(other)
                scan = random_scan(*parts, dimers.contact, dimers.boundary, rng)
                yield Pull(split, number, scan, rng)

    def part(self, system: str, index: int, name: str, split: str) -> Stream:
        """Yield frames of the MD of one part, the temperatures in turn."""

        def start(part: str, rng: np.random.Generator) -> "Atoms":
            return random_part(part, self.recipe.molecules, rng)

        streams = []
        for temperature in self.recipe.temperatures:
            rng = random_stream(self.recipe.seed, system, index, split, temperature)
            streams.append(iter(self.trajectory(name, temperature, rng, start)))
        for stream in itertools.cycle(streams):
            yield next(stream)

    def flaw(self, scan: Scan) -> str:
        """Return why the charges of a scan are wrong where it ends, or "" where they are right."""
        try:
            frame = self.label(scan.at(self.recipe.dimers.farthest))
        except ConvergenceError:
            return "not_converged"
        sums = np.bincount(frame.arrays["fragment"], weights=frame.arrays["REF_charges"])
        wanted = np.array([scan.first.info["total_charge"], scan.second.info["total_charge"]])
        if np.abs(sums - wanted).max() > self.recipe.limits.fragment_charge:
            return f"fragment_charge: {sums[0]:+.3f} and {sums[1]:+.3f} e"
        return ""

    def pulled(self, pull: Pull) -> Iterator["Atoms"]:
        """Yield the labelled frames of a scan, nearest first; list those that are left out."""
        split, number, scan, rng = pull
        dimers = self.recipe.dimers
        low, count = scan.contact(dimers.contact), vars(dimers.distances)
        near = near_distances(low, dimers.boundary, count[split], rng)
        goes_on = split == "train" and number < dimers.scans.test
        far = far_distances(dimers.boundary, dimers.farthest, count["test"] if goes_on else 0, rng)
        for distance, role in [*((d, split) for d in near), *((d, "test") for d in far)]:
            frame, reason = self.attempt(scan.at(distance))
            frame.info.update(scan=f"{split}{number}", split=role)
            if reason:
                self.dropped[reason] += 1
                names = {key: frame.info[key] for key in ("system", "scan", "distance", "split")}
                self.left_out.append({**names, "reason": reason})
            else:
                yield frame

    def attempt(self, frame: "Atoms") -> tuple["Atoms", str]:
        """Return the labelled frame, or the bare one and why it is not kept."""
        try:
            labelled = self.label(frame)
        except ConvergenceError:
            return frame, "not_converged"
        return labelled, rejection(labelled, self.recipe.limits)
