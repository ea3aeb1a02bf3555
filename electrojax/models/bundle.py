"""model.ejx: a zip of JSON and arrays that holds a trained model. Data only, no code."""

import io
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from electrojax.errors import DataError
from electrojax.files import write_whole
from electrojax.models.former import completed, written
from electrojax.models.potential import Potential, assemble
from electrojax.system.composition import symbols
from electrojax.system.types import Statistics

FORMAT = 1
MANIFEST = "manifest.json"


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
        "model": written(potential.config, potential.network.solver),
        "precision": potential.precision,
        "statistics": asdict(potential.statistics),
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
        DataError: if the file is missing, damaged, not a bundle or of a newer format.
    """
    manifest, params = read(path)
    statistics = _statistics(manifest["statistics"])
    return assemble(manifest["model"], statistics, manifest["precision"], params)


def read(path: str | os.PathLike) -> tuple[dict[str, Any], Any]:
    """Returns the manifest and the parameter tree of a bundle.

    Solver options of which a bundle of an older version says nothing have the value of then.

    Raises:
        DataError: if the file is missing, damaged, not a bundle or of a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such model file; needed a model.ejx written by electrojax")
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = json.loads(archive.read(MANIFEST))
            if manifest.get("format") != FORMAT:
                raise DataError(
                    f"{path}: model format {manifest.get('format')}, this version reads {FORMAT}; "
                    "use the electrojax version that wrote it"
                )
            arrays = {
                name: np.load(io.BytesIO(archive.read(f"parameters/{i}.npy")), allow_pickle=False)
                for i, name in enumerate(manifest["parameters"])
            }
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, OSError) as error:
        raise DataError(
            f"{path}: not an electrojax model, or a damaged one ({error}); "
            "needed a model.ejx written by electrojax"
        ) from error
    manifest["model"] = completed(manifest["model"])
    return manifest, unflatten_dict(arrays, sep="/")


def describe(path: str | os.PathLike) -> dict[str, Any]:
    """Returns a summary of a bundle: its model, elements, number of parameters and history.

    Raises:
        DataError: if the file is missing, damaged, not a bundle or of a newer format.
    """
    manifest, params = read(path)
    statistics = _statistics(manifest["statistics"])
    arrays = flatten_dict(params, sep="/")
    return {
        "file": str(path),
        "format": manifest["format"],
        "solver": manifest["model"]["solver"],
        "backbone": manifest["model"]["backbone"],
        "density": manifest["model"]["density"],
        "coulomb": manifest["model"]["coulomb"],
        "precision": manifest["precision"],
        "elements": symbols(statistics.numbers),
        "atomic_energies": list(statistics.atomic_energies),
        "parameters": int(sum(np.size(a) for a in arrays.values())),
        **manifest["info"],
    }


def _npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array), allow_pickle=False)
    return buffer.getvalue()


def _statistics(plain: Mapping[str, Any]) -> Statistics:
    """Rebuilds Statistics from JSON, where tuples have become lists."""
    values: dict[str, Any] = {
        name: tuple(tuple(v) if isinstance(v, list) else v for v in value)
        if isinstance(value, list)
        else value
        for name, value in plain.items()
    }
    return Statistics(**values)
