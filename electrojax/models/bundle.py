"""model.ejx: a zip of JSON and arrays that holds a trained model. Data only, no code."""

import dataclasses
import io
import json
import math
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
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
from electrojax.models.former import completed, written
from electrojax.models.manifest import Manifest, checked_manifest
from electrojax.models.potential import Potential, assemble
from electrojax.nn.base import BACKBONE_KINDS
from electrojax.plugins import Classes, classes_for
from electrojax.solvers.base import consistency_note
from electrojax.solvers.table import SOLVER_KINDS
from electrojax.system.composition import symbols
from electrojax.text import cut, visible

FORMAT = 1
MANIFEST = "manifest.json"
KINDS = (SOLVER_KINDS, BACKBONE_KINDS)

MOST_MANIFEST, MOST_HEADER, MOST_ARRAY = 2**24, 2**14, 2**30
"""Bytes of the manifest, of the head of an array, and of one whose size nobody knows."""

SUMMARY = ("file", "format", "solver", "backbone", "density", "coulomb", "precision",
           "heads", "elements", "atomic_energies", "parameters", "responses")  # fmt: skip
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
    save_heads({"": potential}, path, info)


def save_heads(
    potentials: Mapping[str, Potential],
    path: str | os.PathLike,
    info: Mapping[str, Any] | None = None,
) -> None:
    """Writes the heads of one model to a bundle, what they share once; whole or not at all.

    Args:
        potentials: by name; they differ in statistics and values of parameters only.
        path: the file to write.
        info: further plain data to keep.

    Raises:
        DataError: if the file cannot be written.
    """
    first, *_ = potentials.values()
    arrays = flatten_dict(first.params, sep="/")
    manifest = {
        "format": FORMAT,
        "model": written(first.config, first.network.solver),
        "precision": first.precision,
        "statistics": dataclasses.asdict(first.statistics),
        "parameters": sorted(arrays),
        "info": dict(info or {}),
    }
    if origins := _origins(first):
        manifest["plugins"] = origins
    members = {f"parameters/{i}.npy": arrays[name] for i, name in enumerate(sorted(arrays))}
    if len(potentials) > 1:
        heads: dict[str, Any] = {}
        for number, (head, potential) in enumerate(potentials.items()):
            flat = flatten_dict(potential.params, sep="/")
            own = [name for name in sorted(flat) if not np.array_equal(flat[name], arrays[name])]
            members |= {f"heads/{number}/{i}.npy": flat[name] for i, name in enumerate(own)}
            statistics = dataclasses.asdict(potential.statistics)
            heads[head] = {"statistics": statistics, "parameters": own}
        manifest["heads"] = heads
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, json.dumps(manifest, indent=1))
        for name, array in members.items():
            archive.writestr(name, _npy(array))
    write_whole(path, buffer.getvalue())


def load(path: str | os.PathLike, plugins: Sequence[type | str] = (), head: str = "") -> Potential:
    """Returns the potential that a bundle holds, with its parameters.

    A solver or backbone of another package is that of the installed entry point which the bundle
    names, or a class that is given here. Nothing else that the file names is imported.

    Args:
        path: the file.
        plugins: classes for kinds that are not electrojax's own, or their ``module:Class``.
        head: which head, of a model with several.

    Raises:
        DataError: if the file is missing, damaged, not a bundle or of a newer format, its
            parameters are not those of its model or not finite, it needs a class that is neither
            installed nor given, or has no such head.
        ConfigError: if a class is given that the model has no use for.
    """
    with _opened(path) as (plain, archive):
        named = classes_for(KINDS, _kinds(plain), plugins)
        if missing := _missing(plain, named):
            raise DataError(f"{path}: {missing[0]}")
        if error := _wrong_head(list(plain.get("heads", {})), head):
            raise DataError(f"{path}: {error}")
        return _loaded(plain, archive, named, head)


def _wrong_head(heads: Sequence[str], head: str) -> str:
    """What is wrong with a choice among heads; empty if nothing is."""
    listed = ", ".join(visible(cut(name, 60)) for name in heads)
    if not heads:
        return f'has one head alone, not "{head}"; leave the head out' if head else ""
    if head in heads:
        return ""
    if head:
        return f'has no head "{head}"; it has {listed}'
    return (
        f"has the heads {listed}; choose one: evaluate --head NAME, load(path, head=NAME), or make "
        "a file of it: electrojax import MODEL.ejx --head NAME -o ONE.ejx"
    )


def _loaded(
    plain: Mapping[str, Any], archive: zipfile.ZipFile, named: Classes, head: str = ""
) -> Potential:
    classes = {t.trade: t.find(_kinds(plain)[t.trade], named) for t in KINDS}
    manifest = checked_manifest(plain, classes)
    config = manifest.model.model_dump(mode="json")
    statistics = manifest.heads[head].fitted() if head else manifest.fitted()
    try:
        model = assemble(config, statistics, manifest.precision, named=named)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    shapes = _checked_shapes(model, manifest)
    arrays = {
        name: _array(archive, f"parameters/{index}.npy", name, model.dtype, shapes[name])
        for index, name in enumerate(manifest.parameters)
    }
    if head:
        number, own = list(manifest.heads).index(head), manifest.heads[head].parameters
        for index, name in enumerate(own):
            member = f"heads/{number}/{index}.npy"
            arrays[name] = _array(archive, member, name, model.dtype, shapes[name])
    return dataclasses.replace(model, params=unflatten_dict(arrays, sep="/"))


@contextmanager
def _opened(path: str | os.PathLike) -> Iterator[tuple[Mapping[str, Any], zipfile.ZipFile]]:
    """The manifest of a bundle and the archive of its arrays; what damage raises is a DataError.

    Solver options of which an older version wrote nothing have the value of then.
    """
    if not is_file(path):
        raise DataError(f"{path}: no such model file; needed a model.ejx written by electrojax")
    try:
        with zipfile.ZipFile(path) as archive:
            plain = json.loads(read_member(archive, MANIFEST, MOST_MANIFEST))
            _check_format(path, plain)
            yield {**plain, "model": completed(plain["model"])}, archive
    except DAMAGE as error:
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
    archive: zipfile.ZipFile, member: str, name: str, dtype: np.dtype, shape: tuple[int, ...]
) -> np.ndarray:
    """A parameter, which has the shape and dtype of the model, and finite elements."""
    size = math.prod(shape) * dtype.itemsize
    content = read_member(archive, member, size + MOST_HEADER)
    got, kind = array_header(content)
    if got != shape or kind not in (dtype, np.float32):
        raise ValueError(f"parameter {name} has shape {got} and {kind}, not {shape} and {dtype}")
    array: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
    if not np.all(np.isfinite(array)):
        raise ValueError(f"parameter {name} is not finite")
    return array.astype(dtype)


def describe(path: str | os.PathLike, plugins: Sequence[type | str] = ()) -> dict[str, Any]:
    """Returns a summary of a bundle: its model, elements, number of parameters and history.

    No class of another package is imported but those given; ``needs`` says which are missing, and
    then the parameters are only counted.

    Args:
        path: the file.
        plugins: as of :func:`load`.

    Raises:
        DataError: if the file is missing, damaged, not a bundle or of a newer format, or its
            parameters are not those of its model or not finite.
        ConfigError: if a class is given that the model has no use for.
    """
    with _opened(path) as (plain, archive):
        kinds = _kinds(plain)
        named = classes_for(KINDS, kinds, plugins)
        here = {
            t.trade: t.own.get(kinds[t.trade]) or named.get((t.trade, kinds[t.trade]))
            for t in KINDS
        }
        manifest = checked_manifest(plain, here)
        if all(here.values()):
            for head in manifest.heads or [""]:
                model = _loaded(plain, archive, named, head)
            count = sum(np.size(leaf) for leaf in jax.tree.leaves(model.params))
            note = consistency_note(model.network.solver, kinds["solver"])
            told = {"responses": note or "derivatives of the energy are those of the density"}
        else:
            told = {}
            count = sum(_size(archive, index) for index in range(len(manifest.parameters)))
        config, info = manifest.model.model_dump(mode="json"), manifest.info
        return {
            "file": str(path),
            "format": manifest.format,
            **{name: config[name] for name in ("solver", "backbone", "density", "coulomb")},
            **told,
            "precision": manifest.precision,
            **({"heads": list(manifest.heads)} if manifest.heads else {}),
            **_needs(plain, plugins),
            "elements": symbols(manifest.statistics.numbers),
            "atomic_energies": list(manifest.statistics.atomic_energies),
            "parameters": int(count),
            **{name: value for name, value in info.items() if name not in SUMMARY},
        }


def notes(path: str | os.PathLike) -> dict[str, Any]:
    """Returns what was noted in a bundle beside its model: the training's summary and the like.

    Args:
        path: the file.

    Raises:
        DataError: if the file is missing, damaged, not a bundle or of a newer format.
    """
    with _opened(path) as (plain, _):
        return dict(plain.get("info") or {})


def _size(archive: zipfile.ZipFile, index: int) -> int:
    """The number of elements of an array, whose class is not here to say what it must have."""
    return math.prod(array_header(read_member(archive, f"parameters/{index}.npy", MOST_ARRAY))[0])


def _kinds(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The kinds of a manifest by trade.

    Raises:
        KeyError, TypeError, ValueError: it does not name them.
    """
    kinds = {table.trade: manifest["model"][table.trade]["kind"] for table in KINDS}
    if wrong := [trade for trade, kind in kinds.items() if not isinstance(kind, str)]:
        raise ValueError(f"model.{wrong[0]}.kind must be text")
    return kinds


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
        shown = visible(cut(kind, 60))
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
            f'model.{table.trade}.kind: "{shown}"{whose} {state}; {cure}: '
            "--plugin my_module:MyClass, or in Python electrojax.load(..., plugins=[MyClass])"
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
