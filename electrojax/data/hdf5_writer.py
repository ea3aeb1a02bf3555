"""Labelled structures to HDF5, in the layout of :mod:`electrojax.data.hdf5`."""

import io
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from electrojax.data.hdf5 import BESIDE, CONTROL, FORMAT, RAGGED, STORED, VERSION
from electrojax.data.tags import TAGS
from electrojax.errors import DataError
from electrojax.files import write_whole
from electrojax.system.quantities import INPUTS, LABELS
from electrojax.system.types import Frame


def write_hdf5(
    path: str | os.PathLike,
    frames: Sequence[Frame],
    predictions: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Writes structures with labels and inputs as HDF5, whole or not at all.

    Args:
        path: the file.
        frames: at least one.
        predictions: of a model for each frame, by name, in the shapes of labels; or none at all.

    Raises:
        DataError: if there is no structure, or the file cannot be written.
    """
    import h5py

    if not frames:
        raise DataError(f"{path}: no structures to write; needed at least one")
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver="v110") as file:
        file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
        sizes = [len(frame.numbers) for frame in frames]
        _put(file, "offsets", np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))
        _put(file, "numbers", np.concatenate([f.numbers for f in frames]).astype(np.int32))
        _put(file, "positions", np.concatenate([f.positions for f in frames]))
        _put(file, "cell", np.stack([f.cell for f in frames]))
        _put(file, "pbc", np.array([f.pbc for f in frames], dtype=bool))
        for name in ("split", "source"):
            file[name] = np.array([getattr(f, name) for f in frames], dtype=h5py.string_dtype())
        for name in LABELS:
            _put_quantity(file, f"labels/{name}", name, [f.labels.get(name) for f in frames])
        for name in INPUTS:
            _put_quantity(file, f"inputs/{name}", name, [_input(f, name) for f in frames])
        for group, name in BESIDE:
            _put_quantity(file, f"{group}/{name}", name, [getattr(f, name) for f in frames])
        controls = [f.charge_control or None for f in frames]
        _put_quantity(file, CONTROL, "charge_control", controls)
        for name in TAGS:
            _put_quantity(file, f"tags/{name}", name, [f.tags.get(name) for f in frames])
        for name in dict.fromkeys(itertools.chain(*predictions)):
            _put_quantity(file, f"predictions/{name}", name, [p.get(name) for p in predictions])
    write_whole(path, buffer.getvalue())


def _put(group: Any, name: str, values: np.ndarray) -> None:
    packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if values.size else {}
    group.create_dataset(name, data=values, track_times=False, **packed)


def _put_quantity(file: Any, path: str, name: str, values: Sequence[Any]) -> None:
    """Writes one quantity, unless no structure has it."""
    import h5py

    there = [np.asarray(v) for v in values if v is not None]
    if not there:
        return
    group = file.create_group(path)
    _put(group, "present", np.array([v is not None for v in values]))
    if name in RAGGED:
        _put(group, "components", np.array([v.shape[-1] for v in there], dtype=np.int32))
        there = [np.pad(v, [(0, 0), (0, RAGGED[name] - v.shape[-1])]) for v in there]
    per_atom = name in STORED and STORED[name].axis == "nodes"
    column = np.concatenate(there) if per_atom else np.stack(there)
    if column.dtype.kind == "U":
        column = column.astype(h5py.string_dtype())
    _put(group, "values", column)


def _input(frame: Frame, name: str) -> np.ndarray | None:
    """An input that the structure was given, or that differs from its default."""
    value = getattr(frame, name)
    default, per_atom = INPUTS[name].default, INPUTS[name].axis == "nodes"
    there = value is not None and (per_atom or name in frame.given or np.any(value != default))
    return np.asarray(value) if there else None
