"""model.ejx: a zip of JSON and arrays that holds a trained model. Data only, no code."""

import dataclasses
import io
import json
import math
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from electrojax.errors import ConfigError, DataError
from electrojax.files import (
    DAMAGE,
    array_header,
    first_line,
    is_file,
    read_member,
    write_whole,
)
from electrojax.models.manifest import Manifest, read_manifest
from electrojax.models.potential import Potential, assemble
from electrojax.system.composition import symbols
from electrojax.text import cut

FORMAT = 1
MANIFEST = "manifest.json"

MOST_MANIFEST, MOST_HEADER = 2**24, 2**14
"""Bytes of the manifest, and of the head of an array."""

SUMMARY = ("file", "format", "solver", "backbone", "density", "coulomb", "precision", "elements",
           "atomic_energies", "parameters")  # fmt: skip
"""What a summary says by itself, whatever the file's own notes are called."""


def save(
    potential: Potential, path: str | os.PathLike, info: Mapping[str, Any] | None = None
) -> None:
    """Writes a potential to a bundle, whole or not at all.

    Args:
        potential: the model with its parameters.
        path: the file to write, ending in ``.ejx`` by custom.
        info: further plain data to keep (training summary, versions).

    Raises:
        DataError: if the file cannot be written.
    """
    arrays = flatten_dict(potential.params, sep="/")
    manifest = {
        "format": FORMAT,
        "model": potential.config,
        "precision": potential.precision,
        "statistics": dataclasses.asdict(potential.statistics),
        "parameters": sorted(arrays),
        "info": dict(info or {}),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, json.dumps(manifest, indent=1))
        for index, name in enumerate(sorted(arrays)):
            archive.writestr(f"parameters/{index}.npy", _npy(arrays[name]))
    write_whole(path, buffer.getvalue())


def load(path: str | os.PathLike) -> Potential:
    """Returns the potential that a bundle holds, with its parameters.

    Raises:
        DataError: if the file is missing, damaged, not a bundle or of a newer format, or its
            parameters are not those of its model or not finite.
    """
    with _opened(path) as (manifest, archive):
        config = manifest.model.model_dump(mode="json")
        model = assemble(config, manifest.fitted(), manifest.precision)
        shapes = _checked_shapes(model, manifest)
        arrays = {
            name: _array(archive, index, name, model.dtype, shapes[name])
            for index, name in enumerate(manifest.parameters)
        }
    return dataclasses.replace(model, params=unflatten_dict(arrays, sep="/"))


@contextmanager
def _opened(path: str | os.PathLike) -> Iterator[tuple[Manifest, zipfile.ZipFile]]:
    """The manifest of a bundle and the archive of its arrays; what damage raises is a DataError."""
    if not is_file(path):
        raise DataError(f"{path}: no such model file; needed a model.ejx written by electrojax")
    try:
        with zipfile.ZipFile(path) as archive:
            content = read_member(archive, MANIFEST, MOST_MANIFEST)
            _check_format(path, json.loads(content))
            yield read_manifest(content), archive
    except (*DAMAGE, ConfigError) as error:
        raise DataError(
            f"{path}: not an electrojax model, or a damaged one ({first_line(error)}); "
            "needed a model.ejx written by electrojax"
        ) from error


def _check_format(path: str | os.PathLike, plain: Any) -> None:
    written = plain.get("format")
    if written != FORMAT:
        raise DataError(
            f"{path}: model format {cut(repr(written), 20)}, this version reads {FORMAT}; use the "
            "electrojax version that wrote it"
        )


def _checked_shapes(model: Potential, manifest: Manifest) -> dict[str, tuple[int, ...]]:
    """The shapes of a model's parameters, which are those that the manifest lists."""
    shapes = model.parameter_shapes()
    if differing := sorted(shapes.keys() ^ set(manifest.parameters)):
        kind = "missing" if differing[0] in shapes else "not one of this model"
        raise ValueError(f"parameter {differing[0]} is {kind}")
    return shapes


def _array(
    archive: zipfile.ZipFile, index: int, name: str, dtype: np.dtype, shape: tuple[int, ...]
) -> np.ndarray:
    """A parameter, which has the shape and dtype of the model, and finite elements."""
    size = math.prod(shape) * dtype.itemsize
    content = read_member(archive, f"parameters/{index}.npy", size + MOST_HEADER)
    got, kind = array_header(content)
    if got != shape or kind not in (dtype, np.float32):
        raise ValueError(f"parameter {name} has shape {got} and {kind}, not {shape} and {dtype}")
    array: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
    if not np.all(np.isfinite(array)):
        raise ValueError(f"parameter {name} is not finite")
    return array.astype(dtype)


def describe(path: str | os.PathLike) -> dict[str, Any]:
    """Returns a summary of a bundle: its model, elements, number of parameters and history.

    Raises:
        DataError: if the file is missing, damaged, not a bundle or of a newer format, or its
            parameters are not those of its model or not finite.
    """
    model = load(path)
    with _opened(path) as (manifest, _):
        info = manifest.info
    return {
        "file": str(path),
        "format": manifest.format,
        **{name: model.config[name] for name in ("solver", "backbone", "density", "coulomb")},
        "precision": manifest.precision,
        "elements": symbols(model.statistics.numbers),
        "atomic_energies": list(model.statistics.atomic_energies),
        "parameters": int(sum(np.size(a) for a in jax.tree.leaves(model.params))),
        **{name: value for name, value in info.items() if name not in SUMMARY},
    }


def _npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array), allow_pickle=False)
    return buffer.getvalue()
