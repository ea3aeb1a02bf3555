"""Files of labelled structures: label those of a file, or make a whole data set from a recipe.

What the labels are and their units: `electrojax.data.making.calculators`.
"""

import gzip
import hashlib
import importlib.metadata
import io
import json
import os
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electrojax.data.conversion import check_absent
from electrojax.data.extxyz import frames_of, read_atoms
from electrojax.data.hdf5 import is_hdf5
from electrojax.data.hdf5_writer import write_hdf5
from electrojax.data.making.calculators import (
    ATOM_MULTIPLICITIES,
    atom_energies,
    label_with_calculator,
)
from electrojax.data.making.production import Production, Report, produce
from electrojax.data.making.recipe import Recipe, load_recipe
from electrojax.errors import DataError

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
"""Labelled frames that are not kept (see `electrojax.data.making.production.rejection`), and
trajectories that are begun anew."""


@dataclass(frozen=True)
class LabelReport:
    """How many frames were labelled, and how many were dropped for which reason.

    `first` says for each reason which frame was the first, and what the calculator said of it.
    """

    kept: int
    dropped: dict[str, int]
    first: tuple[str, ...] = ()


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
    force: bool = False,
) -> LabelReport:
    """Label every frame of an extxyz file (.gz too) and write those that converge, whole or not.

    Args:
        source: extxyz, plain or .gz.
        output: HDF5 if it ends in .h5 or .hdf5, which keeps labels and inputs alone; else extxyz,
            compressed when it ends in .gz.
        calculator, options: as in `label_with_calculator`.
        force: whether an existing output may be replaced.

    Raises:
        ConfigError, DataError: as there; the output exists; the source cannot be read or is empty;
            no frame converged; the output cannot be written.
    """
    _check_output(Path(output), force)
    structures = read_atoms(source)
    first: list[str] = []
    try:
        frames, dropped = label_with_calculator(structures, calculator, options, first.append)
    except DataError as error:  # says which frame, and not of which file
        raise DataError(f"{Path(source).name} {error}") from None
    if not frames:
        raise DataError(
            f"{source}: {calculator} labelled none of the frames; dropped: {dropped};"
            f" {'; '.join(first)}"
        )
    if is_hdf5(output):
        write_hdf5(output, frames_of(frames, Path(output).name))
    else:
        _write_whole(Path(output), _extxyz_bytes(frames, Path(output)))
    return LabelReport(len(frames), dropped, tuple(first))


def _extxyz_bytes(frames: Sequence["Atoms"], path: Path) -> bytes:
    import ase.io

    text = io.StringIO()
    ase.io.write(text, list(frames), format="extxyz", write_results=False)
    raw = text.getvalue().encode()
    return gzip.compress(raw, compresslevel=9, mtime=0) if path.suffix == ".gz" else raw


def _check_output(path: Path, force: bool) -> None:
    """Fail before hours of labelling rather than after."""
    check_absent(path, force)
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


def run_recipe(
    recipe: str | Path,
    output: str | Path,
    report: Report = lambda line: None,
    force: bool = False,
) -> RecipeReport:
    """Sample and label the data set of a recipe; write it and a .json beside it.

    The frames follow from the recipe's seed: the same machine and package versions give the same
    file; elsewhere trajectories drift apart in the last digit, as MD does.

    Args:
        recipe: a path that ends in .yaml, or the name of a recipe that ships, e.g. ion_water.
        output: the extxyz file, compressed when it ends in .gz. The isolated-atom energies, the
            counts and the versions go to the same name with .json.
        report: called with a line of progress now and then.
        force: whether the two files may be replaced where they exist.

    Raises:
        ConfigError: no such recipe, a mistake in it, tblite not installed, a file that exists.
        DataError: a composition loses too many frames, or a file cannot be written.
    """
    path = Path(output)
    metadata_path = path.with_name(path.name.removesuffix(".gz")).with_suffix(".json")
    for target in (path, metadata_path):
        _check_output(target, force)
    loaded = load_recipe(recipe)
    made = produce(loaded, report)
    energies = atom_energies(
        _elements(made.frames),
        loaded.method,
        loaded.labels.accuracy,
        loaded.labels.electronic_temperature,
    )
    report(f"isolated atoms, eV: {energies}")
    content = _extxyz_bytes(made.frames, path)
    result = RecipeReport(
        path,
        metadata_path,
        dict(Counter(_kind(frame) for frame in made.frames)),
        dict(Counter(frame.info["split"] for frame in made.frames)),
        {reason: made.dropped[reason] for reason in DROP_REASONS},
        energies,
    )
    _write_whole(metadata_path, _metadata(result, loaded, made, content))
    _write_whole(path, content)
    return result


def _elements(frames: Sequence["Atoms"]) -> list[str]:
    """Return the symbols of a set by atomic number."""
    from ase.data import chemical_symbols

    return [chemical_symbols[z] for z in sorted({int(z) for f in frames for z in f.numbers})]


def _kind(frame: "Atoms") -> str:
    return str(frame.info["system"] if "system" in frame.info else frame.info["composition"])


def _metadata(result: RecipeReport, recipe: Recipe, made: Production, content: bytes) -> bytes:
    """Return the .json that ships beside a data set: levels, isolated atoms, counts, versions."""
    version = importlib.metadata.version
    metadata = {
        "level": f"{recipe.method} (tblite {version('tblite')}, ase {version('ase')})",
        "electronic_temperature": recipe.labels.electronic_temperature,
        "atom_energies": result.atom_energies,
        "atom_multiplicities": {s: ATOM_MULTIPLICITIES[s] for s in result.atom_energies},
        "frames": sum(result.kept.values()),
        "counts": result.kept,
        "splits": result.splits,
        "dropped": result.dropped,
        **({"left_out": made.left_out} if made.left_out else {}),
        "seed": recipe.seed,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    return (json.dumps(metadata, indent=1) + "\n").encode()
