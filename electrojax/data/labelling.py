"""Files of labelled structures: label those of a file, or make a whole data set from a recipe.

What the labels are and their units: `electrojax.data.calculators`.
"""

import gzip
import hashlib
import importlib.metadata
import io
import itertools
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from electrojax.data.calculators import (
    ATOM_MULTIPLICITIES,
    atom_energies,
    finite,
    import_tblite,
    label_with_calculator,
    label_with_tblite,
    rounded,
)
from electrojax.data.extxyz import frames_of
from electrojax.data.hdf5 import is_hdf5, write_hdf5
from electrojax.data.sampling import (
    Limits,
    Recipe,
    Trajectory,
    fragments,
    load_recipe,
    random_stream,
    separate,
)
from electrojax.errors import ConvergenceError, DataError

if TYPE_CHECKING:
    from ase import Atoms

DROP_REASONS = (
    "not_converged",
    "fragment_charge",
    "large_force",
    "not_finite",
    "evaporated",
    "md_not_converged",
)
"""Labelled frames that are not kept (see `rejection`), and trajectories that are begun anew."""

Report = Callable[[str], object]
Stream = Iterator["Atoms"]


@dataclass(frozen=True)
class LabelReport:
    """How many frames were labelled, and how many were dropped for which reason."""

    kept: int
    dropped: dict[str, int]


@dataclass(frozen=True)
class RecipeReport:
    """What a recipe made: its two files, the frames kept and dropped, the isolated atoms (eV)."""

    path: Path
    metadata_path: Path
    kept: dict[str, int]
    splits: dict[str, int]
    dropped: dict[str, int]
    atom_energies: dict[str, float]


def label_file(
    source: str | Path,
    output: str | Path,
    calculator: str = "tblite",
    options: Mapping[str, Any] | None = None,
) -> LabelReport:
    """Label every frame of an extxyz file (.gz too) and write those that converge, whole or not.

    Args:
        source: extxyz, plain or .gz.
        output: HDF5 if it ends in .h5 or .hdf5, which keeps labels and inputs alone; else extxyz,
            compressed when it ends in .gz.
        calculator, options: as in `label_with_calculator`.

    Raises:
        ConfigError, DataError: as there; the source cannot be read; no frame converged; the output
            cannot be written.
    """
    _check_output(Path(output))
    frames, dropped = label_with_calculator(_read_frames(Path(source)), calculator, options)
    if not frames:
        raise DataError(f"{source}: {calculator} labelled none of the frames; dropped: {dropped}")
    if is_hdf5(output):
        write_hdf5(output, frames_of(frames, Path(output).name))
    else:
        _write_whole(Path(output), _extxyz_bytes(frames, Path(output)))
    return LabelReport(len(frames), dropped)


def _read_frames(path: Path) -> list["Atoms"]:
    import ase.io

    try:
        return ase.io.read(path, index=":", format="extxyz")  # type: ignore[no-any-return]
    except (OSError, ValueError, KeyError, IndexError, EOFError) as error:
        # ASE's own XYZError is an OSError too, without the system's reason.
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from None
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: not a readable extxyz file: {reason}") from None


def _extxyz_bytes(frames: Sequence["Atoms"], path: Path) -> bytes:
    import ase.io

    text = io.StringIO()
    ase.io.write(text, list(frames), format="extxyz", write_results=False)
    raw = text.getvalue().encode()
    return gzip.compress(raw, compresslevel=9, mtime=0) if path.suffix == ".gz" else raw


def _check_output(path: Path) -> None:
    """Fail before hours of labelling rather than after."""
    if not path.parent.is_dir():
        raise DataError(f"{path}: the folder {path.parent} does not exist; create it first")


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a temporary name in the same folder, then a rename."""
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # NamedTemporaryFile lets nobody else read
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


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


def run_recipe(
    recipe: str | Path, output: str | Path, report: Report = lambda line: None
) -> RecipeReport:
    """Sample and label the data set of a recipe; write it and a .json beside it.

    The frames follow from the recipe's seed: the same machine and package versions give the same
    file; elsewhere trajectories drift apart in the last digit, as MD does.

    Args:
        recipe: a path that ends in .yaml, or the name of a recipe that ships, e.g. ion_water.
        output: the extxyz file, compressed when it ends in .gz. The isolated-atom energies, the
            counts and the versions go to the same name with .json.
        report: called with a line of progress now and then.

    Raises:
        ConfigError: no such recipe, a mistake in it, tblite not installed.
        DataError: a composition loses too many frames, or a file cannot be written.
    """
    path = Path(output)
    _check_output(path)
    loaded = load_recipe(recipe)
    energies = atom_energies(
        list(ATOM_MULTIPLICITIES),
        loaded.method,
        loaded.labels.accuracy,
        loaded.labels.electronic_temperature,
    )
    report(f"isolated atoms, eV: {energies}")
    run = _RecipeRun(loaded, report)
    frames = run.frames()
    content = _extxyz_bytes(frames, path)
    metadata_path = path.with_name(path.name.removesuffix(".gz")).with_suffix(".json")
    result = RecipeReport(
        path,
        metadata_path,
        dict(Counter(frame.info["composition"] for frame in frames)),
        dict(Counter(frame.info["split"] for frame in frames)),
        {reason: run.dropped[reason] for reason in DROP_REASONS},
        energies,
    )
    _write_whole(metadata_path, _metadata(result, loaded, content))
    _write_whole(path, content)
    return result


def _metadata(result: RecipeReport, recipe: Recipe, content: bytes) -> bytes:
    """Return the .json that ships beside a data set: levels, isolated atoms, counts, versions."""
    version = importlib.metadata.version
    metadata = {
        "level": f"{recipe.method} (tblite {version('tblite')}, ase {version('ase')})",
        "electronic_temperature": recipe.labels.electronic_temperature,
        "atom_energies": result.atom_energies,
        "atom_multiplicities": ATOM_MULTIPLICITIES,
        "frames": sum(result.kept.values()),
        "counts": result.kept,
        "splits": result.splits,
        "dropped": result.dropped,
        "seed": recipe.seed,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    return (json.dumps(metadata, indent=1) + "\n").encode()


class _RecipeRun:
    """One run of a recipe: its trajectories, shared by what samples from them, and the losses."""

    def __init__(self, recipe: Recipe, report: Report):
        self.recipe = recipe
        self.report = report
        self.dropped: Counter[str] = Counter()
        self.streams: dict[tuple[str, float, str], Stream] = {}
        self.evaluation_splits = itertools.cycle(("valid", "test"))

    def frames(self) -> list["Atoms"]:
        """Return every frame of the recipe, labelled, in the order of its file."""
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
                    stream = self.stream(composition, temperature, role)
                    yield f"{composition} {temperature:g} K", role, count, stream
        for index, entry in enumerate(self.recipe.separated):
            for role, count in vars(entry.frames).items():
                yield "|".join(entry.parts), role, count, self.pairs(index, role)

    def stream(self, composition: str, temperature: float, role: str) -> Stream:
        """Return the one trajectory of a composition, temperature and role."""
        key = (composition, temperature, role)
        if key not in self.streams:
            rng = random_stream(self.recipe.seed, *key)
            self.streams[key] = self.clusters(composition, temperature, rng)
        return self.streams[key]

    def clusters(self, composition: str, temperature: float, rng: np.random.Generator) -> Stream:
        recipe = self.recipe
        for atoms in Trajectory(
            composition,
            temperature,
            recipe.dynamics,
            recipe.limits.fragment_gap,
            self.dynamics_calculator,
            rng,
            self.dropped,
        ):
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

    def dynamics_calculator(self, charge: int) -> Any:
        return import_tblite("tblite.ase").TBLite(
            method=self.recipe.method,
            charge=charge,
            multiplicity=1,
            accuracy=self.recipe.dynamics.accuracy,
            verbosity=0,
        )

    def labelled(self, name: str, role: str, source: Stream) -> "Atoms":
        """Return the next frame that converges and is kept; count the others."""
        settings = self.recipe.labels
        for _ in range(self.recipe.limits.attempts):
            frame = next(source)
            # Rounded before it is labelled: the labels are those of the positions in the file.
            frame.positions = rounded(frame.positions - frame.get_center_of_mass())
            try:
                frame = label_with_tblite(
                    frame, self.recipe.method, settings.accuracy, settings.electronic_temperature
                )
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
