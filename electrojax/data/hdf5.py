"""Labelled structures from and to HDF5: atoms of all structures in a row, with offsets.

Layout (format 1), for F structures of N atoms in all:

- ``offsets`` [F + 1]: structure f has the atoms ``offsets[f]`` to ``offsets[f + 1]``;
- ``numbers`` [N], ``positions`` [N, 3] Å;
- ``cell`` [F, 3, 3] Å, ``pbc`` [F, 3];
- ``split`` [F] and ``source`` [F]: texts, empty where there is none;
- ``inputs/NAME`` and ``labels/NAME``: groups with ``present`` [F], true where the structure has
  the quantity, and ``values``: of those structures in a row, per structure or per atom; quantities
  with a varying number of components also have ``components`` [F], and ``values`` padded by zeros;
- ``tags/NAME``: likewise, what the file says of structures on a curve (``system``, ``distance``);
- ``predictions/NAME``: likewise, what a model predicts; the reader leaves them aside.
"""

import dataclasses
import io
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from electrojax.data.tags import TAGS, read_tags
from electrojax.errors import ConfigError, DataError
from electrojax.files import write_whole
from electrojax.system.quantities import DEFAULT_KEYS, INPUTS, LABELS, QUANTITIES
from electrojax.system.types import Frame

SUFFIXES = (".h5", ".hdf5")
FORMAT, VERSION = "electrojax structures", 1
RAGGED = {q.name: max(q.components) for q in QUANTITIES.values() if q.components}
"""Quantities whose number of components varies, and its largest value."""


def is_hdf5(path: str | os.PathLike) -> bool:
    """Returns whether a file name ends in .h5 or .hdf5."""
    return Path(path).suffix in SUFFIXES


def write_hdf5(
    path: str | os.PathLike,
    frames: Sequence[Frame],
    predictions: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Writes structures with labels and inputs as HDF5, whole or not at all.

    Args:
        path: the file.
        frames: at least one; weights are not stored.
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
        for name in TAGS:
            _put_quantity(file, f"tags/{name}", name, [f.tags.get(name) for f in frames])
        for name in dict.fromkeys(itertools.chain(*predictions)):
            _put_quantity(file, f"predictions/{name}", name, [p.get(name) for p in predictions])
    write_whole(path, buffer.getvalue())


def read_hdf5(
    path: str | os.PathLike,
    keys: Mapping[str, str] | None = None,
    require: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
) -> list[Frame]:
    """Returns every structure of an HDF5 file with its labels and inputs, in file order.

    Args:
        path: a file written by :func:`write_hdf5`.
        keys: names of labels and inputs in extxyz files; HDF5 files have one name for each
            quantity, so a key that differs from its default is refused.
        require: labels or inputs that every structure must have.
        where: the place in a configuration where an option was written; messages point there.

    Raises:
        ConfigError: if a key was renamed.
        DataError: if the file is missing, damaged, foreign or empty, a required quantity is not
            there, or a value has a wrong shape or is not finite.
    """
    path = Path(path)
    _refuse_renamed(path.name, keys or {}, where or {})
    content = _content(path)
    try:
        frames = _frames(content, path.name)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise DataError(
            f"{path}: is damaged ({error}); write it again with electrojax data convert"
        ) from error
    if not frames:
        raise DataError(f"{path}: holds no structures; needed at least one")
    for name in require:
        _check_present(name, frames, path.name, where or {})
    return frames


def _put(group: Any, name: str, values: np.ndarray) -> None:
    packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if values.size else {}
    group.create_dataset(name, data=values, track_times=False, **packed)


def _put_quantity(file: Any, path: str, name: str, values: Sequence[np.ndarray | None]) -> None:
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
    per_atom = name in QUANTITIES and QUANTITIES[name].axis == "nodes"
    column = np.concatenate(there) if per_atom else np.stack(there)
    if column.dtype.kind == "U":
        column = column.astype(h5py.string_dtype())
    _put(group, "values", column)


def _input(frame: Frame, name: str) -> np.ndarray | None:
    """An input that the structure was given, or that differs from its default."""
    value = getattr(frame, name)
    default = 1.0 if name == "multiplicity" else 0.0
    per_atom = INPUTS[name].axis == "nodes"
    there = value is not None and (per_atom or name in frame.given or np.any(value != default))
    return np.asarray(value) if there else None


def _refuse_renamed(file: str, keys: Mapping[str, str], where: Mapping[str, str]) -> None:
    for name, key in keys.items():
        if key == DEFAULT_KEYS.get(name):
            continue
        option = next((o for o in where if o.endswith(f"keys.{name}")), None)
        prefix = "" if option is None else f"{where[option]}  {option}   "
        raise ConfigError(
            f'{prefix}"{key}" renames {name}, but {file} is HDF5, where every quantity has one '
            f'name ("{name}"); remove the key, and give it to electrojax data convert instead'
        )


def _content(path: Path) -> dict[str, Any]:
    """Every dataset of the file, by its path inside it."""
    import h5py

    found: dict[str, Any] = {}

    def take(name: str, entry: Any) -> None:
        if isinstance(entry, h5py.Dataset):
            text = h5py.check_string_dtype(entry.dtype) is not None
            found[name] = list(entry.asstr()[()]) if text else entry[()]

    try:
        with h5py.File(path, "r") as file:
            _check_format(file.attrs, path)
            file.visititems(take)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the path") from None
    except (OSError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{path}: not readable as HDF5 ({reason}); copy it again") from None
    return found


def _check_format(attributes: Mapping[str, Any], path: Path) -> None:
    written, version = attributes.get("format"), attributes.get("version")
    if written != FORMAT:
        raise DataError(
            f'{path}: needed HDF5 of format "{FORMAT}", got "{written}"; '
            "write it with electrojax data convert"
        )
    if version != VERSION:
        raise DataError(
            f"{path}: format version {version}, this version of electrojax reads {VERSION}; "
            "update electrojax"
        )


def _frames(content: Mapping[str, Any], name: str) -> list[Frame]:
    offsets = content["offsets"]
    count = len(offsets) - 1
    bounds = list(itertools.pairwise(offsets))
    quantities = {
        quantity: _values(content, f"{group}/{quantity}", quantity, bounds, name)
        for group, names in (("labels", LABELS), ("inputs", INPUTS))
        for quantity in names
        if f"{group}/{quantity}/present" in content
    }
    tags = _tags(content, count)
    _check_finite(content["positions"], "positions", offsets, name)
    _check_finite(content["cell"], "cell", range(count + 1), name)
    return [
        dataclasses.replace(
            _frame(content, i, slice(*bounds[i]), {k: v[i] for k, v in quantities.items()}, name),
            tags=tags[i],
        )
        for i in range(count)
    ]


def _tags(content: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """The tags of every structure."""
    told: list[dict[str, Any]] = [{} for _ in range(count)]
    for name in [n for n in TAGS if f"tags/{n}/present" in content]:
        where = np.flatnonzero(content[f"tags/{name}/present"])
        for index, value in zip(where, content[f"tags/{name}/values"], strict=True):
            told[index][name] = value
    return [read_tags(info) for info in told]


def _frame(
    content: Mapping[str, Any], index: int, atoms: slice, found: Mapping[str, Any], name: str
) -> Frame:
    source = f"{name} frame {index}"
    numbers, positions = content["numbers"][atoms], content["positions"][atoms]
    if len(numbers) == 0 or positions.shape != (len(numbers), 3) or np.any(numbers < 1):
        raise DataError(f"{source}: has no atoms, or atoms without element or position; remove it")
    given = {k: v for k, v in found.items() if k in INPUTS and v is not None}
    inputs: dict[str, Any] = {k: float(v) if v.ndim == 0 else v for k, v in given.items()}
    pbc = content["pbc"][index]
    frame = Frame(
        numbers=numbers,
        positions=positions,
        cell=content["cell"][index],
        pbc=(bool(pbc[0]), bool(pbc[1]), bool(pbc[2])),
        labels={k: v for k, v in found.items() if k in LABELS and v is not None},
        source=source,
        split=content["split"][index],
        given=frozenset(given),
        **inputs,
    )
    _ = frame.boundary  # a single periodic axis is refused here, with the frame's name
    return frame


def _values(
    content: Mapping[str, Any],
    path: str,
    quantity: str,
    bounds: Sequence[tuple[int, int]],
    name: str,
) -> list[np.ndarray | None]:
    """The values of a quantity by structure, None where it has none."""
    present, values = content[f"{path}/present"], content[f"{path}/values"]
    if len(present) != len(bounds):
        raise ValueError(f"{path}: {len(present)} structures instead of {len(bounds)}")
    per_atom = QUANTITIES[quantity].axis == "nodes"
    sizes = np.array([b - a if per_atom else 1 for a, b in bounds]) * present
    ends = np.cumsum(sizes)
    components = RAGGED.get(quantity)
    shape = QUANTITIES[quantity].shape if components is None else (components,)
    if values.shape != (ends[-1], *shape):
        raise ValueError(f"{path}: shape {values.shape} instead of {(int(ends[-1]), *shape)}")
    _check_finite(values, quantity, [0, *ends], name)
    kept: Any = iter(content[f"{path}/components"]) if components else None
    found: list[np.ndarray | None] = []
    for there, size, end in zip(present, sizes, ends):
        if not there:
            found.append(None)
            continue
        part = values[end - size : end] if per_atom else values[end - size]
        found.append(np.asarray(part if kept is None else part[..., : next(kept)]))
    return found


def _check_finite(values: np.ndarray, what: str, offsets: Any, name: str) -> None:
    bad = np.flatnonzero(~np.all(np.isfinite(values.reshape(len(values), -1)), axis=1))
    if bad.size:
        frame = int(np.searchsorted(np.asarray(offsets), bad[0], side="right")) - 1
        raise DataError(f"{name} frame {frame}: {what} is not finite; correct it or remove it")


def _check_present(name: str, frames: Sequence[Frame], file: str, where: Mapping[str, str]) -> None:
    lacking = [i for i, f in enumerate(frames) if name not in f.labels and name not in f.given]
    if not lacking:
        return
    option = next((o for o in where if o.endswith(f"keys.{name}")), None)
    prefix = f"{file}: " if option is None else f"{where[option]}  {option}   "
    there = sorted({k for i in lacking for k in (*frames[i].labels, *frames[i].given)})
    first = f" (first without it: frame {lacking[0]})" if len(lacking) < len(frames) else ""
    raise DataError(
        f'{prefix}"{name}" is in {len(frames) - len(lacking)} of {len(frames)} frames of '
        f"{file}{first}; there: {', '.join(there) or 'none'}"
    )
