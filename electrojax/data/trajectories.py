"""Frames of the HDF5 trajectories that ``electrojax md`` writes."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from electrojax.data.hdf5_columns import FLAGS, INTEGERS, NUMBERS, Columns
from electrojax.data.hdf5_heaps import check_heaps
from electrojax.errors import DataError
from electrojax.journal import JournaledFile
from electrojax.system.atoms import checked_control
from electrojax.system.quantities import LABELS
from electrojax.system.types import Frame

FORMAT = "electrojax trajectory 1"
PER_ATOM = ("formal_charges", "fragment")
"""Inputs of the model that stay with the atoms along a trajectory."""

INPUTS = ("total_charge", "multiplicity", "external_field", "charge_control", "fermi_level")
"""Inputs of the model that stay with the structure, attributes of the file."""

LAST_ELEMENT = 118
DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, IndexError)


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Opens a file as its writer last committed it: ``h5py.File``, to be read.

    Raises:
        DataError: if it is damaged so that libhdf5 would never end reading it.
        OSError: if it cannot be opened as HDF5.
    """
    import h5py

    check_heaps(path)
    with JournaledFile(Path(path), write=False) as disk, h5py.File(disk, "r") as file:
        yield file


def is_trajectory(path: str | os.PathLike[str]) -> bool:
    """Returns whether a file is an HDF5 trajectory, as its writer last committed it.

    Raises:
        DataError: if it is damaged so that libhdf5 would never end reading it.
    """
    try:
        with opened(path) as file:
            return bool(file.attrs.get("format") == FORMAT)
    except DAMAGE:
        return False


def read_trajectory(
    path: str | os.PathLike[str],
    keys: Mapping[str, str] | None = None,
    require: Sequence[str] = (),
    index: int | None = None,
) -> list[Frame]:
    """Returns the frames of a trajectory with the inputs, masses and velocities of its atoms.

    What the model predicted along it, such as ``energy``, becomes a label where a key names it.

    Args:
        path: the file.
        keys: the quantity of the file that each label is to be taken from, such as
            ``{"energy": "energy"}``.
        require: labels that every frame must have.
        index: of a single frame, from 0 or, if negative, from the end; None reads all.

    Raises:
        DataError: if the file is damaged, holds no frames, or lacks a label that is required.
        IndexError: if there is no frame of that index.
    """
    path = Path(path)
    try:
        with opened(path) as file:
            columns, count = Columns.of(file, path), len(file["step"])
            chosen = range(count) if index is None else [range(count)[index]]
            labels = _labels(file, path.name, keys or {}, require)
            return _frames(columns, path.name, chosen, labels)
    except (IndexError, DataError):
        raise
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{path}: is damaged ({reason}); write the trajectory again") from None


def other_quantities(path: str | os.PathLike[str], keys: Mapping[str, str]) -> list[str]:
    """Returns what a trajectory holds and :func:`read_trajectory` leaves aside with these keys."""
    with opened(path) as file:
        found = {str(name) for name in file.attrs["quantities"]}
    return sorted(found - {"positions", "velocities", *keys.values()})


def _labels(
    file: Any, name: str, keys: Mapping[str, str], require: Sequence[str]
) -> dict[str, str]:
    """The quantity of the file behind each label."""
    there = [str(quantity) for quantity in file.attrs["quantities"]]
    labels = {label: key for label, key in keys.items() if label in LABELS and key in there}
    for label in require:
        if label in LABELS and label not in labels:
            raise DataError(
                f'{name}: "{keys.get(label, label)}" ({label}) is in no frame; there: '
                f"{', '.join(there)}"
            )
    return labels


def _frames(
    columns: Columns, name: str, chosen: Sequence[int], labels: Mapping[str, str]
) -> list[Frame]:
    if not len(chosen):
        raise DataError(f"{name}: holds no frames; needed at least one")
    where = slice(chosen[0], chosen[-1] + 1)
    same = _same(columns)
    atoms = {"nodes": (len(same.numbers),), "graphs": ()}
    shapes = {key: (*atoms[LABELS[label].axis], *_shape(label)) for label, key in labels.items()}
    moving = ["positions", *(["velocities"] if "velocities" in columns else [])]
    shapes |= {key: (len(same.numbers), 3) for key in moving}
    rows = {k: columns.read(k, NUMBERS, (None, *shape), where) for k, shape in shapes.items()}
    return [
        dataclasses.replace(
            same,
            source=f"{name} frame {index}",
            labels={
                label: _finite(rows[key][i], key, f"{name} frame {index}")
                for label, key in labels.items()
            },
            **_moving(rows, i, same, f"{name} frame {index}"),
        )
        for i, index in enumerate(chosen)
    ]


def _shape(label: str) -> tuple[int | None, ...]:
    """The trailing shape of a label; the number of components of multipoles varies."""
    return (None,) if LABELS[label].components else LABELS[label].shape


def _finite(values: Any, key: str, source: str) -> np.ndarray:
    if not np.all(np.isfinite(values)):
        raise DataError(f"{source}: {key} is not finite; leave out the frame, or the label")
    return np.asarray(values)


def _moving(rows: Mapping[str, np.ndarray], i: int, same: Frame, source: str) -> dict[str, Any]:
    moving = {key: rows[key][i] for key in ("positions", "velocities") if key in rows}
    for key, values in moving.items():
        if not np.all(np.isfinite(values)):
            raise DataError(f"{source}: {key} are not three finite numbers per atom")
    return moving


def _same(columns: Columns) -> Frame:
    """What stays the same along the trajectory, as a frame without positions."""
    numbers = columns.read("numbers", INTEGERS, (None,)).astype(np.int32)
    if not np.all((numbers > 0) & (numbers <= LAST_ELEMENT)):
        raise ValueError("numbers are not one element per atom")
    pbc = columns.read("pbc", FLAGS, (3,)).astype(bool)
    attributes = columns.file.attrs
    told = {name: _plain(attributes[name]) for name in INPUTS if name in attributes}
    checked_control(told.get("charge_control", ""), "trajectory")
    arrays: dict[str, Any] = {
        name: _per_atom(columns, name, len(numbers)) for name in PER_ATOM if name in columns
    }
    frame = Frame(
        numbers=numbers,
        positions=np.zeros((len(numbers), 3)),
        cell=columns.read("cell", NUMBERS, (3, 3)).astype(np.float64),
        pbc=(bool(pbc[0]), bool(pbc[1]), bool(pbc[2])),
        masses=_per_atom(columns, "masses", len(numbers)),
        given=frozenset({*told, *arrays}),
        **told,
        **arrays,
    )
    _ = frame.boundary
    return frame


def _per_atom(columns: Columns, name: str, size: int) -> np.ndarray:
    values = columns.read(name, NUMBERS, (size,))
    if not np.all(np.isfinite(values)):
        raise ValueError(f"{name} are not one finite number per atom")
    return values


def _plain(value: Any) -> Any:
    """A text, a number or an array, as HDF5's attributes hold them."""
    if isinstance(value, str | bytes):
        return value.decode() if isinstance(value, bytes) else value
    array = np.asarray(value, dtype=np.float64)
    return array if array.ndim else float(array)
