"""Labelled structures from HDF5: atoms of all structures in a row, with offsets.

Layout (format 1), for F structures of N atoms in all:

- ``offsets`` [F + 1]: structure f has the atoms ``offsets[f]`` to ``offsets[f + 1]``;
- ``numbers`` [N], ``positions`` [N, 3] Å;
- ``cell`` [F, 3, 3] Å, ``pbc`` [F, 3];
- ``split`` [F] and ``source`` [F]: texts, empty where there is none;
- ``inputs/NAME`` and ``labels/NAME``: groups with ``present`` [F], true where the structure has
  the quantity, and ``values``: of those structures in a row, per structure or per atom; quantities
  with a varying number of components also have ``components`` [F], and ``values`` padded by zeros;
- ``reservoir/charge_control``, ``reservoir/fermi_level``, ``motion/masses`` (amu) and
  ``motion/velocities`` (Å/fs): likewise, of the structures that have them;
- ``tags/NAME``: likewise, what the file says of structures on a curve (``system``, ``distance``);
- ``predictions/NAME``: likewise, what a model predicts; the reader leaves them aside.
"""

import itertools
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from electrojax.data.hdf5_columns import FLAGS, INTEGERS, NUMBERS, TEXTS, Columns
from electrojax.data.hdf5_heaps import check_heaps
from electrojax.data.tags import NUMBERS as TAG_NUMBERS
from electrojax.data.tags import TAGS, read_tags
from electrojax.data.virial import with_stress
from electrojax.errors import ConfigError, DataError, listed, shown
from electrojax.system.atoms import checked_control
from electrojax.system.neighbors import complete_cell
from electrojax.system.quantities import (
    DEFAULT_KEYS,
    INPUTS,
    QUANTITIES,
    READ_LABELS,
    Quantity,
)
from electrojax.system.types import Frame, boundary_of
from electrojax.system.validation import (
    FARTHEST,
    LARGEST,
    Place,
    check_multiplicity,
    check_numbers,
    check_range,
)
from electrojax.typing import AxisSpec

T = TypeVar("T")

SUFFIXES = (".h5", ".hdf5")
FORMAT, VERSION = "electrojax structures", 1
RAGGED = {q.name: max(q.components) for q in QUANTITIES.values() if q.components}
"""Quantities whose number of components varies, and its largest value."""

BESIDE = (("reservoir", "fermi_level"), ("motion", "masses"), ("motion", "velocities"))
"""Groups and names of what a structure may carry beside its inputs and labels, and a text."""

CONTROL = "reservoir/charge_control"

PLAIN = ("offsets", "numbers", "positions", "cell", "pbc", "split", "source")
"""Data sets outside groups."""

GROUPS: dict[str, Collection[str]] = {
    "inputs": INPUTS,
    "labels": READ_LABELS,
    "tags": TAGS,
    "reservoir": ("charge_control", "fermi_level"),
    "motion": ("masses", "velocities"),
}
"""Groups, and the names that are read in them."""

STORED: dict[str, Quantity | AxisSpec] = {
    **QUANTITIES,
    "masses": AxisSpec("nodes"),
    "velocities": AxisSpec("nodes", (3,)),
}
"""Axis and trailing shape of every quantity of numbers."""


def is_hdf5(path: str | os.PathLike) -> bool:
    """Returns whether a file name ends in .h5 or .hdf5."""
    return Path(path).suffix in SUFFIXES


def read_hdf5(
    path: str | os.PathLike,
    keys: Mapping[str, str] | None = None,
    require: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
) -> list[Frame]:
    """Returns every structure of an HDF5 file with its labels and inputs, in file order.

    Args:
        path: a file written by :func:`electrojax.data.hdf5_writer.write_hdf5`.
        keys: names of labels and inputs in extxyz files; HDF5 files have one name for each
            quantity, so a key that differs from its default is refused.
        require: labels or inputs that every structure must have.
        where: the place in a configuration where an option was written; messages point there.

    Raises:
        ConfigError: if a key was renamed.
        DataError: if the file is missing, damaged, foreign or empty, a data set has another type
            or shape than declared or lies in another file, a required quantity is not there, or a
            value is not finite or out of range.
    """
    path = Path(path)
    _refuse_renamed(path.name, keys or {}, where or {})
    frames = _content(path)
    for name in require:
        _check_present(name, frames, path.name, where or {})
    return frames


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


def _content(path: Path) -> list[Frame]:
    return _opened(path, lambda columns: _frames(columns, path.name))


def _opened(path: Path, read: Callable[[Columns], T]) -> T:
    """What is read of a file, whose damage is a DataError."""
    import h5py

    try:
        if not path.is_file():
            raise DataError(f"{path}: no such file; check the path")
        check_heaps(path)
        with h5py.File(path, "r") as file:
            _check_format(file.attrs, path)
            return read(Columns.of(file, path))
    except DataError:
        raise
    # What h5py raises of a damaged file depends on the byte.
    except (
        OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, MemoryError,
        OverflowError,
    ) as error:  # fmt: skip
        reason = shown(" ".join(str(error).split()), 120)
        raise DataError(f"{path}: not readable as HDF5 ({reason}); copy it again") from None


def _check_format(attributes: Mapping[str, Any], path: Path) -> None:
    written, version = attributes.get("format"), attributes.get("version")
    if not isinstance(written, str) or written != FORMAT:
        raise DataError(
            f'{path}: needed HDF5 of format "{FORMAT}", got "{shown(str(written))}"; '
            "write it with electrojax data convert"
        )
    if not isinstance(version, int | np.integer) or version != VERSION:
        raise DataError(
            f"{path}: format version {shown(str(version))}, this version of electrojax reads "
            f"{VERSION}; update electrojax"
        )


def _frames(columns: Columns, name: str) -> list[Frame]:
    offsets = _offsets(columns, name)
    count, atoms = len(offsets) - 1, int(offsets[-1])

    def structure(row: int) -> tuple[str, int | None]:
        return f"{name} frame {row}", None

    numbers = columns.read("numbers", INTEGERS, (atoms,))
    check_numbers(numbers, _atoms(offsets, range(count), name))
    positions = columns.read("positions", NUMBERS, (atoms, 3)).astype(np.float64)
    check_range(positions, FARTHEST, "the position", _atoms(offsets, range(count), name))
    cell = columns.read("cell", NUMBERS, (count, 3, 3)).astype(np.float64)
    check_range(cell, FARTHEST, "the cell", structure)
    pbc = _flags(columns, "pbc", (count, 3), name)
    _check_volumes(cell, pbc, name)
    numbers = numbers.astype(np.int32)
    splits = columns.read("split", TEXTS, (count,))
    labels, inputs = (
        {
            quantity: _values(columns, f"{group}/{quantity}", quantity, offsets, name)
            for quantity in quantities
            if f"{group}/{quantity}" in columns
        }
        for group, quantities in (("labels", READ_LABELS), ("inputs", INPUTS))
    )
    for index, value in inputs.get("multiplicity", {}).items():
        check_multiplicity(float(value), f"{name} frame {index}")
    tags, beside = _tags(columns, count, name), _beside(columns, offsets, name)
    unread = _unread(columns)
    return [
        _frame(
            numbers[a:b], positions[a:b], cell[i], pbc[i], splits[i], tags[i], f"{name} frame {i}",
            {k: v[i] for k, v in labels.items() if i in v},
            {k: v[i] for k, v in inputs.items() if i in v},
            beside[i], unread,
        )
        for i, (a, b) in enumerate(itertools.pairwise(offsets.tolist()))
    ]  # fmt: skip


def _unread(columns: Columns) -> frozenset[str]:
    """The names of data sets that stand for nothing here; predictions are left aside on purpose."""
    found = set()
    for path in columns.names():
        group, _, rest = path.partition("/")
        name = rest.split("/")[0]
        if not rest:
            found |= {path} - set(PLAIN)
        elif group != "predictions" and name not in GROUPS.get(group, ()):
            found.add(name if group in GROUPS else f"{group}/{name}")
    return frozenset(found)


def unread_names(path: str | os.PathLike) -> list[str]:
    """Returns the names in a file that stand for no label, input, split or tag.

    Args:
        path: of the file.

    Raises:
        DataError: if it is missing, damaged or foreign.
    """
    return sorted(_opened(Path(path), lambda columns: _unread(columns)))


def _beside(columns: Columns, offsets: np.ndarray, name: str) -> list[dict[str, Any]]:
    """Charge control, level, masses and velocities of every structure that has them."""
    count = len(offsets) - 1
    found: list[dict[str, Any]] = [{} for _ in range(count)]
    for group, quantity in BESIDE:
        if f"{group}/{quantity}" in columns:
            values = _values(columns, f"{group}/{quantity}", quantity, offsets, name)
            for index, value in values.items():
                found[index][quantity] = value if value.ndim else float(value)
    if CONTROL in columns:
        where = np.flatnonzero(_flags(columns, f"{CONTROL}/present", (count,), name))
        texts = columns.read(f"{CONTROL}/values", TEXTS, (len(where),))
        for index, text in zip(where.tolist(), texts):
            found[index]["charge_control"] = checked_control(str(text), f"{name} frame {index}")
    return found


def _offsets(columns: Columns, name: str) -> np.ndarray:
    """The bounds of the structures in the arrays of atoms: from 0, each with an atom at least."""
    offsets = columns.read("offsets", INTEGERS, (None,)).astype(np.int64)
    if len(offsets) < 2:
        raise DataError(f"{columns.path}: holds no structures; needed at least one")
    empty = np.flatnonzero((np.diff(offsets) < 1) | (offsets[1:] > offsets[-1]))
    if offsets[0] != 0 or len(empty):
        frame = int(empty[0]) if len(empty) else 0
        raise DataError(f"{name} frame {frame}: has no atoms by its offsets; write the file again")
    return offsets


def _atoms(ends: np.ndarray, frames: Sequence[int], name: str) -> Place:
    """Returns the places of atoms in a row.

    Args:
        ends: 0, and where the atoms of each structure end.
        frames: their numbers in the file.
        name: of the file.
    """

    def place(row: int) -> tuple[str, int | None]:
        index = int(np.searchsorted(ends, row, side="right")) - 1
        return f"{name} frame {frames[index]}", row - int(ends[index])

    return place


def _flags(columns: Columns, path: str, shape: tuple[int, ...], name: str) -> np.ndarray:
    values = columns.read(path, FLAGS, shape)
    wrong = np.argwhere((values != 0) & (values != 1))
    if len(wrong):
        value = values[tuple(wrong[0])]
        raise DataError(f"{name} frame {wrong[0, 0]}: {path} is {value}; needed 0 or 1")
    return values.astype(bool)


def _check_volumes(cell: np.ndarray, pbc: np.ndarray, name: str) -> None:
    """Refuses single periodic axes and periodic vectors without volume, over all structures."""
    lengths = np.linalg.norm(cell, axis=2)
    units = np.where(pbc[..., None], cell / np.maximum(lengths, 1e-300)[..., None], 0.0)
    repeats = pbc.sum(axis=1)
    spans = np.linalg.svd(units, compute_uv=False)
    last = np.take_along_axis(spans, np.maximum(repeats - 1, 0)[:, None], axis=1)[:, 0]
    short = np.any(pbc & (lengths < 1.0), axis=1)
    for index in np.flatnonzero((repeats == 1) | ((repeats > 0) & ((last < 1e-3) | short))):
        axes, source = tuple(bool(p) for p in pbc[index]), f"{name} frame {index}"
        boundary_of((axes[0], axes[1], axes[2]), source)
        complete_cell(cell[index], (axes[0], axes[1], axes[2]), source)


def _tags(columns: Columns, count: int, name: str) -> list[dict[str, Any]]:
    """The tags of every structure."""
    found: list[dict[str, Any]] = [{} for _ in range(count)]
    for tag in [tag for tag in TAGS if f"tags/{tag}" in columns]:
        where = np.flatnonzero(_flags(columns, f"tags/{tag}/present", (count,), name))
        size = TAG_NUMBERS.get(tag, 0)
        shape = (len(where), size) if size > 1 else (len(where),)
        kinds = NUMBERS if size else TEXTS
        for index, value in zip(where, columns.read(f"tags/{tag}/values", kinds, shape)):
            found[index][tag] = value
    return [read_tags(info) for info in found]


def _frame(
    numbers: np.ndarray,
    positions: np.ndarray,
    cell: np.ndarray,
    pbc: np.ndarray,
    split: str,
    tags: Mapping[str, Any],
    source: str,
    labels: Mapping[str, np.ndarray],
    given: Mapping[str, np.ndarray],
    beside: Mapping[str, Any],
    unread: frozenset[str],
) -> Frame:
    inputs: dict[str, Any] = {k: float(v) if v.ndim == 0 else v for k, v in given.items()}
    axes = (bool(pbc[0]), bool(pbc[1]), bool(pbc[2]))
    return Frame(
        numbers=numbers,
        positions=positions,
        cell=cell,
        pbc=axes,
        labels=with_stress(labels, cell, axes, source),
        source=source,
        split=split,
        given=frozenset(given),
        tags=tags,
        unread=unread,
        **inputs,
        **beside,
    )


def _values(
    columns: Columns, path: str, quantity: str, offsets: np.ndarray, name: str
) -> dict[int, np.ndarray]:
    """The values of a quantity by structure, of those that have it."""
    count = len(offsets) - 1
    present = _flags(columns, f"{path}/present", (count,), name)
    frames = np.flatnonzero(present)
    per_atom = STORED[quantity].axis == "nodes"
    sizes = np.diff(offsets)[frames] if per_atom else np.ones(len(frames), dtype=np.int64)
    ends = np.concatenate([[0], np.cumsum(sizes)])
    largest = RAGGED.get(quantity)
    shape = STORED[quantity].shape if largest is None else (largest,)
    values = columns.read(f"{path}/values", NUMBERS, (int(ends[-1]), *shape)).astype(np.float64)
    place = _atoms(ends, frames.tolist(), name)
    check_range(values, LARGEST, quantity, place if per_atom else lambda row: (place(row)[0], None))
    kept = _components(columns, path, quantity, frames, name) if largest else None
    found = {}
    for row, frame in enumerate(frames.tolist()):
        part = values[ends[row] : ends[row + 1]] if per_atom else np.asarray(values[row])
        found[frame] = part if kept is None else part[..., : kept[row]]
    return found


def _components(
    columns: Columns, path: str, quantity: str, frames: np.ndarray, name: str
) -> list[int]:
    """How many components each structure has of a quantity."""
    kept = columns.read(f"{path}/components", INTEGERS, (len(frames),)).tolist()
    allowed = QUANTITIES[quantity].components
    for frame, number in zip(frames, kept):
        if number not in allowed:
            raise DataError(
                f"{name} frame {frame}: {quantity} has {number} components; needed "
                f"{' or '.join(map(str, allowed))}"
            )
    return kept


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
        f"{file}{first}; there: {listed(there)}"
    )
