"""model.ejx: a zip of JSON and arrays that holds a trained model. Data only, no code."""

import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from electrojax.errors import DataError
from electrojax.files import write_whole
from electrojax.models.former import completed, written
from electrojax.models.potential import Potential, assemble
from electrojax.nn.base import BACKBONE_KINDS
from electrojax.plugins import Classes, classes_for
from electrojax.solvers.table import SOLVER_KINDS
from electrojax.system.composition import symbols
from electrojax.system.types import Statistics

FORMAT = 1
MANIFEST = "manifest.json"
KINDS = (SOLVER_KINDS, BACKBONE_KINDS)


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
    if origins := _origins(potential):
        manifest["plugins"] = origins
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, json.dumps(manifest, indent=1))
        for index, name in enumerate(sorted(arrays)):
            archive.writestr(f"parameters/{index}.npy", _npy(arrays[name]))
    write_whole(path, buffer.getvalue())


def load(path: str | os.PathLike, plugins: Sequence[type | str] = ()) -> Potential:
    """Returns the potential that a bundle holds, with its parameters.

    A solver or backbone of another package is that of the installed entry point which the bundle
    names, or a class that is given here. Nothing else that the file names is imported.

    Args:
        path: the file.
        plugins: classes for kinds that are not electrojax's own, or their ``module:Class``.

    Raises:
        DataError: if the file is missing, damaged, not a bundle or of a newer format, or needs a
            class that is neither installed nor given.
        ConfigError: if a class is given that the model has no use for.
    """
    manifest, params = read(path)
    statistics, model = _statistics(manifest["statistics"]), manifest["model"]
    named = classes_for(KINDS, _kinds(manifest), plugins)
    if missing := _missing(manifest, named):
        raise DataError(f"{path}: {missing[0]}")
    return assemble(model, statistics, manifest["precision"], params, named)


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


def describe(path: str | os.PathLike, plugins: Sequence[type | str] = ()) -> dict[str, Any]:
    """Returns a summary of a bundle: its model, elements, number of parameters and history.

    No class of another package is imported but those given; ``needs`` says which are missing.

    Args:
        path: the file.
        plugins: as of :func:`load`.

    Raises:
        DataError: if the file is missing, damaged, not a bundle or of a newer format.
        ConfigError: if a class is given that the model has no use for.
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
        **_needs(manifest, plugins),
        "elements": symbols(statistics.numbers),
        "atomic_energies": list(statistics.atomic_energies),
        "parameters": int(sum(np.size(a) for a in arrays.values())),
        **manifest["info"],
    }


def _kinds(manifest: Mapping[str, Any]) -> dict[str, str]:
    return {table.trade: manifest["model"][table.trade]["kind"] for table in KINDS}


def _origins(potential: Potential) -> dict[str, dict[str, str]]:
    """Entry point and distribution of every class that is not electrojax's own, by trade."""
    modules = {"backbone": potential.network.backbone, "solver": potential.network.solver}
    found = {}
    for table in KINDS:
        kind = potential.config[table.trade]["kind"]
        if kind not in table.own:
            found[table.trade] = table.origin(kind, type(modules[table.trade]))
    return found


def _missing(manifest: Mapping[str, Any], named: Classes) -> list[str]:
    """What a model needs of other packages and does not find here, a sentence each."""
    found = []
    for table in KINDS:
        kind = _kinds(manifest)[table.trade]
        if kind in table.own or (table.trade, kind) in named:
            continue
        origin = manifest.get("plugins", {}).get(table.trade, {})
        wanted, entry = origin.get("distribution"), table.entry(kind)
        here = None if entry is None or entry.dist is None else entry.dist.name
        if entry is not None and wanted in (None, here):
            continue
        whose = f" of package {wanted} {origin.get('version', '')}".rstrip() if wanted else ""
        state = "is not installed" if here is None else f"is not that of package {here}"
        cure = "give its class" if wanted is None else "install that package, or give the class"
        found.append(
            f'its {table.trade} "{kind}"{whose} {state}; {cure}: --plugin my_module:MyClass, or in '
            "Python electrojax.load(..., plugins=[MyClass])"
        )
    return found


def _needs(manifest: Mapping[str, Any], plugins: Sequence[type | str]) -> dict[str, Any]:
    """What a summary says of the other packages that a model needs; nothing if it needs none."""
    kinds, origins = _kinds(manifest), manifest.get("plugins", {})
    named = classes_for(KINDS, kinds, plugins)
    if all(kinds[table.trade] in table.own for table in KINDS):
        return {}
    return {"plugins": origins, "missing": _missing(manifest, named)}


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
