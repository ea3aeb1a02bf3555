"""Trajectories as extxyz and HDF5, of which a reader never meets half a frame."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from electrojax.data.conversion import frame_text
from electrojax.data.hdf5_heaps import check_heaps
from electrojax.data.trajectories import FORMAT, opened
from electrojax.errors import ConfigError, DataError
from electrojax.files import write_whole
from electrojax.journal import JournaledFile
from electrojax.simulation.appending import GrowingFile

UNITS = {
    "positions": "Å",
    "velocities": "Å/fs",
    "forces": "eV/Å",
    "energy": "eV",
    "temperature": "K",
    "dipole": "e·Å",
    "charges": "e",
    "multipoles": "e·Å^l, [q, y, z, x]",
    "scf_steps": "",
}
"""Quantities that a trajectory may hold, with their units in HDF5."""


@dataclasses.dataclass(frozen=True)
class Structure:
    """What stays the same along a trajectory.

    Attributes:
        numbers: [N] atomic numbers.
        masses: [N] amu.
        cell: [3, 3] Å.
        pbc: which lattice vectors repeat.
        info: total charge (e), multiplicity, external field (V/Å), and where the structure has
            them charge control and Fermi level (eV).
        arrays: [N] formal charges (e) and fragments, where the structure has them.
    """

    numbers: np.ndarray
    masses: np.ndarray
    cell: np.ndarray
    pbc: tuple[bool, bool, bool]
    info: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """One frame.

    Attributes:
        step: steps taken.
        time: fs.
        values: by the names of ``UNITS``.
    """

    step: int
    time: float
    values: Mapping[str, np.ndarray]


class TrajectoryWriter(Protocol):
    """A trajectory file that is being written."""

    def append(self, frame: Snapshot) -> None:
        """Appends a frame."""
        ...

    def sync(self) -> int:
        """Sees every frame onto the disk and returns a mark to which the file can be cut back."""
        ...

    def close(self) -> None:
        """Closes the file."""
        ...


def open_trajectory(
    path: Path, structure: Structure, quantities: Sequence[str], mark: int | None = None
) -> TrajectoryWriter:
    """Returns the writer for a file's suffix: .h5 or .hdf5, else .xyz or .extxyz.

    Args:
        path: the file.
        structure: what stays the same.
        quantities: names of ``UNITS``; positions are always written.
        mark: from :meth:`TrajectoryWriter.sync`, to go on from there; None starts the file afresh.

    Raises:
        ConfigError: for another suffix.
        DataError: if the file cannot be written, or lacks frames that the mark says it has.
    """
    wanted = ("positions", *(q for q in quantities if q != "positions"))
    if path.suffix in (".h5", ".hdf5"):
        return Hdf5Trajectory(path, structure, wanted, mark)
    if path.suffix in (".xyz", ".extxyz"):
        return ExtxyzTrajectory(path, structure, wanted, mark)
    raise ConfigError(
        f"{path}: a trajectory needs the suffix .h5, .hdf5, .xyz or .extxyz, got {path.suffix!r}"
    )


class ExtxyzTrajectory:
    """An extxyz file with one write per frame; velocities are kept as ASE's momenta."""

    def __init__(
        self, path: Path, structure: Structure, quantities: Sequence[str], mark: int | None
    ) -> None:
        self._structure, self._quantities = structure, quantities
        self._file = GrowingFile(path, mark or 0)

    def append(self, frame: Snapshot) -> None:
        """Appends a frame, whole or not at all."""
        chosen = {name: frame.values[name] for name in self._quantities if name in frame.values}
        atoms = atoms_of(self._structure, dataclasses.replace(frame, values=chosen))
        self._file.append(extxyz(atoms))

    def sync(self) -> int:
        """Sees every frame onto the disk; the mark is the file's size."""
        self._file.sync()
        return self._file.size

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class Hdf5Trajectory:
    """An HDF5 file, one growing dataset per quantity, committed whole (see ``journal.py``)."""

    def __init__(
        self, path: Path, structure: Structure, quantities: Sequence[str], mark: int | None
    ) -> None:
        import h5py

        self.path, self._length = path, mark or 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if mark is not None:
                check_heaps(path)
            self._disk = JournaledFile(path, create=mark is None)
            self._file = h5py.File(self._disk, "w" if mark is None else "r+")
            if mark is None:
                _create(self._file, structure, quantities)
            self._datasets = self._growing()
            self._cut(self._length)
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise self._failed(error) from error

    def append(self, frame: Snapshot) -> None:
        """Appends a frame; it is on disk after :meth:`sync`."""
        values = {"time": frame.time, **frame.values, "step": frame.step}
        self._length += 1
        for name, dataset in self._datasets.items():
            dataset.resize(self._length, axis=0)
            dataset[-1] = values[name]

    def sync(self) -> int:
        """Sees every frame onto the disk; the mark is the number of frames."""
        try:
            self._file.flush()
            self._disk.commit()
        except OSError as error:
            raise self._failed(error) from error
        return self._length

    def close(self) -> None:
        """Closes the file with the frames of the last :meth:`sync`."""
        self._file.close()
        self._disk.close()

    def _growing(self) -> dict[str, Any]:
        names = ("time", *(str(q) for q in self._file.attrs["quantities"]), "step")
        return {name: self._file[name] for name in names}

    def _cut(self, frames: int) -> None:
        if len(self._datasets["step"]) < frames:
            raise DataError(
                f"{self.path}: holds {len(self._datasets['step'])} frames, but the checkpoint saw "
                f"{frames}; restore the file, or start the run afresh in another folder"
            )
        for dataset in self._datasets.values():
            dataset.resize(frames, axis=0)

    def _failed(self, error: Exception) -> DataError:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        return DataError(
            f"{self.path}: could not be written ({reason}); frames up to the last checkpoint are "
            "kept, free some space and resume"
        )


def _create(file: Any, structure: Structure, quantities: Sequence[str]) -> None:
    file.attrs["format"] = FORMAT
    file.attrs["quantities"] = list(quantities)
    for name, value in structure.info.items():
        file.attrs[name] = value
    for name in ("numbers", "masses", "cell", "pbc"):
        file[name] = np.asarray(getattr(structure, name))
    for name, values in structure.arrays.items():
        file[name] = values
    for name, (shape, dtype) in _shapes(len(structure.numbers), quantities, structure).items():
        # Chunks of about 16 KiB: the last one of every dataset is rewritten by each commit.
        chunk = (max(1, min(1024, 2048 // max(1, int(np.prod(shape))))), *shape)
        dataset = file.create_dataset(
            name, (0, *shape), dtype, maxshape=(None, *shape), chunks=chunk
        )
        dataset.attrs["unit"] = {"time": "fs", "step": ""}.get(name, UNITS.get(name, ""))


def _shapes(
    n: int, quantities: Sequence[str], structure: Structure
) -> dict[str, tuple[tuple[int, ...], str]]:
    """Trailing shape and dtype of every growing dataset."""
    components = int(structure.info.get("multipole_components", 1))
    by_name = {
        **dict.fromkeys(("positions", "velocities", "forces"), (n, 3)),
        "dipole": (3,),
        "charges": (n,),
        "multipoles": (n, components),
    }
    kinds = {"scf_steps": "i4", "step": "i8"}
    names = ("step", "time", *quantities)
    return {name: (by_name.get(name, ()), kinds.get(name, "f8")) for name in names}


def atoms_of(structure: Structure, frame: Snapshot) -> Any:
    """Returns a frame as ``ase.Atoms`` with its results in a calculator, in ASE's units."""
    from ase import Atoms, units
    from ase.calculators.singlepoint import SinglePointCalculator

    values = dict(frame.values)
    atoms = Atoms(
        numbers=structure.numbers,
        positions=values.pop("positions"),
        cell=structure.cell,
        pbc=structure.pbc,
    )
    if not np.array_equal(structure.masses, atoms.get_masses()):
        atoms.set_masses(structure.masses)
    for name, array in structure.arrays.items():
        atoms.set_array(name, array)
    atoms.info = {"step": frame.step, "time": frame.time, **structure.info}
    atoms.info.pop("multipole_components", None)
    if "velocities" in values:
        atoms.set_velocities(values.pop("velocities") / units.fs)
    for name in ("temperature", "scf_steps"):
        if name in values:
            atoms.info[name] = np.asarray(values.pop(name)).item()
    if "multipoles" in values:
        atoms.arrays["multipoles"] = np.asarray(values.pop("multipoles"))
    atoms.calc = SinglePointCalculator(atoms, **values)
    return atoms


def extxyz(atoms: Any) -> bytes:
    """Returns the text of one extxyz frame, info, arrays and results, with all digits."""
    from ase.io.extxyz import per_atom_properties

    beside = {k: v for k, v in atoms.arrays.items() if k not in ("numbers", "positions")}
    results = atoms.calc.results
    columns = {name: value for name, value in results.items() if name in per_atom_properties}
    header = {name: value for name, value in results.items() if name not in columns}
    return frame_text(atoms, {**beside, **columns}, {**atoms.info, **header}).encode()


def read_hdf5(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Returns every dataset of an HDF5 trajectory by name, as its writer last committed it.

    Raises:
        DataError: if it is missing, damaged or no trajectory of electrojax.
    """
    try:
        with opened(path) as file:
            if file.attrs.get("format") != FORMAT:
                raise DataError(f"{path}: is no trajectory written by electrojax")
            return {name: dataset[()] for name, dataset in file.items()}
    except OSError as error:
        raise DataError(f"{path}: cannot be read as HDF5 ({error})") from error


def write_frame(path: Path, structure: Structure, frame: Snapshot) -> None:
    """Writes one frame as extxyz, whole or not at all."""
    write_whole(path, extxyz(atoms_of(structure, frame)))
