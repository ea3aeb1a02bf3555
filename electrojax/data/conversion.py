"""From one file of structures to others: between formats, and into splits."""

import dataclasses
import gzip
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from electrojax.data.extxyz import frame_texts
from electrojax.data.hdf5 import is_hdf5
from electrojax.data.hdf5_writer import write_hdf5
from electrojax.data.reader import other_names, read_frames
from electrojax.errors import ConfigError, DataError, listed
from electrojax.files import write_whole
from electrojax.system.atoms import atoms_from_frame
from electrojax.system.quantities import DEFAULT_KEYS, INPUTS, QUANTITIES
from electrojax.system.types import Frame

SPLIT = re.compile(r'(^|\s)split=("[^"]*"|\S+)')
SUFFIXES = (".xyz", ".extxyz", ".xyz.gz", ".extxyz.gz", ".h5", ".hdf5")


def convert(
    source: Path, target: Path, keys: Mapping[str, str], force: bool
) -> tuple[list[Frame], list[str]]:
    """Writes the structures of a file in the format of another file's suffix.

    Labels and inputs are kept to the last bit; in extxyz they get their default names.

    Args:
        source: extxyz or HDF5.
        target: extxyz (gzipped if it ends in .gz) or HDF5.
        keys: names of labels and inputs in an extxyz source, where they differ from the defaults.
        force: whether an existing target may be replaced.

    Returns:
        The structures, and the names in the source that are no label or input and stay behind.

    Raises:
        ConfigError, DataError: if the source is wrong, or the target exists or has no suffix that
            says its format; nothing is written then.
    """
    check_target(target, force)
    frames, left = read_with_rest(source, keys)
    write_structures(target, frames)
    return frames, left


def read_with_rest(source: Path, keys: Mapping[str, str]) -> tuple[list[Frame], list[str]]:
    """Returns the structures of a file, and the names in it that are no label, input or split.

    Raises:
        DataError: if a name of ``keys`` is nowhere in the file, or it cannot be read.
    """
    frames = read_frames(source, keys)
    rest = other_names(source, keys)
    for name, key in keys.items():
        if not any(name in frame.labels or name in frame.given for frame in frames):
            raise DataError(
                f'{source.name}: "{key}" ({name}) is in none of {len(frames)} frames; other names '
                f"there: {listed(rest)}"
            )
    return frames, rest


def check_target(target: Path, force: bool) -> None:
    """Refuses a target that exists (unless forced) or whose suffix says no format."""
    if not any(target.name.endswith(suffix) for suffix in SUFFIXES):
        raise ConfigError(f"{target}: needed a name that ends in {', '.join(SUFFIXES)}")
    check_absent(target, force)


def check_absent(target: Path, force: bool) -> None:
    """Refuses a target that exists, unless forced."""
    if target.exists() and not force:
        raise ConfigError(f"{target}: exists already and is kept; --force replaces it")


def write_structures(target: Path, frames: Sequence[Frame]) -> None:
    """Writes structures as HDF5 or extxyz, by suffix, whole or not at all."""
    if is_hdf5(target):
        write_hdf5(target, frames)
    else:
        _write_text(target, "".join(extxyz_text(frame) for frame in frames))


def write_splits(
    source: Path, frames: Sequence[Frame], splits: Sequence[str], prefix: str, force: bool
) -> dict[Path, int]:
    """Writes a file for each split, in the format of the source.

    The text of extxyz frames is copied as it is, with everything else that stands in it.

    Args:
        source: the file that the structures came from.
        frames: its structures.
        splits: the split of each.
        prefix: ``PREFIX_train.xyz`` and so on are written.
        force: whether existing files may be replaced.

    Returns:
        The files written, with their numbers of structures.
    """
    suffix = next(s for s in sorted(SUFFIXES, key=len)[::-1] if source.name.endswith(s))
    names = dict.fromkeys(splits)
    members = {n: [i for i, split in enumerate(splits) if split == n] for n in names}
    targets = {name: Path(f"{prefix}_{name}{suffix}") for name in names}
    for target in targets.values():
        check_target(target, force)
    texts = [] if is_hdf5(source) else frame_texts(source)
    for name, target in targets.items():
        if is_hdf5(source):
            write_hdf5(target, [frames[i] for i in members[name]])
        else:
            _write_text(target, "".join(texts[i] for i in members[name]))
    return {targets[name]: len(members[name]) for name in names}


def write_stored(
    source: Path, frames: Sequence[Frame], splits: Sequence[str], target: Path, force: bool
) -> None:
    """Writes all structures to one file, in which the key ``split`` names the split of each.

    The rest of an extxyz file's text stays as it is.

    Raises:
        ConfigError: if the target exists, or has another format than the source.
    """
    check_target(target, force)
    if is_hdf5(source) != is_hdf5(target):
        raise ConfigError(
            f"{target}: has another format than {source.name}; write the splits in the same format "
            "and use electrojax data convert"
        )
    if is_hdf5(source):
        write_hdf5(target, [dataclasses.replace(f, split=s) for f, s in zip(frames, splits)])
    else:
        texts = frame_texts(source)
        _write_text(target, "".join(_with_split(t, s) for t, s in zip(texts, splits)))


def extxyz_text(frame: Frame) -> str:
    """Returns a structure as the text of one extxyz frame, every number with all its digits."""
    atoms = atoms_from_frame(dataclasses.replace(frame, formal_charges=None, fragment=None))
    motion = {name: atoms.arrays[name] for name in ("masses", "momenta") if atoms.has(name)}
    per_atom: dict[str, Any] = {}
    per_frame: dict[str, Any] = {}
    for name, value in _quantities(frame).items():
        nodes = QUANTITIES[name].axis == "nodes"
        (per_atom if nodes else per_frame)[DEFAULT_KEYS[name]] = value
    per_frame |= {n: atoms.info[n] for n in ("charge_control", "fermi_level") if n in atoms.info}
    if frame.split:
        per_frame["split"] = frame.split
    return frame_text(atoms, {**per_atom, **motion}, {**per_frame, **frame.tags})


def frame_text(atoms: Any, per_atom: Mapping[str, Any], per_frame: Mapping[str, Any]) -> str:
    """Returns the text of one extxyz frame, every number with all its digits.

    Args:
        atoms: elements, positions, cell and pbc of ``ase.Atoms``; nothing else of it is written.
        per_atom: columns by name, [N, ...].
        per_frame: texts, numbers or arrays by name.
    """
    columns = {"species": "S:1", "pos": "R:3"}
    rows = [[s, *_numbers(r)] for s, r in zip(atoms.get_chemical_symbols(), atoms.positions)]
    for name, value in per_atom.items():
        table = np.asarray(value).reshape(len(rows), -1)
        columns[name] = f"{'I' if table.dtype.kind == 'i' else 'R'}:{table.shape[1]}"
        for row, values in zip(rows, table):
            row.extend(_numbers(values))
    cell = np.asarray(atoms.cell)
    header = {
        **({"Lattice": f'"{" ".join(_numbers(cell))}"'} if np.any(cell) else {}),
        "Properties": ":".join(f"{name}:{kind}" for name, kind in columns.items()),
        **{name: _tag(value) for name, value in per_frame.items()},
        "pbc": '"' + " ".join("T" if p else "F" for p in atoms.pbc) + '"',
    }
    lines = [str(len(rows)), " ".join(f"{key}={text}" for key, text in header.items())]
    return "\n".join([*lines, *(" ".join(row) for row in rows)]) + "\n"


def _quantities(frame: Frame) -> dict[str, np.ndarray]:
    """Labels, and the inputs that were given or differ from their defaults."""
    inputs = {name: getattr(frame, name) for name in INPUTS}
    there = {
        name: np.asarray(value)
        for name, value in inputs.items()
        if value is not None
        and (name in frame.given or np.any(np.asarray(value) != INPUTS[name].default))
    }
    return {**there, **frame.labels}


def _numbers(values: np.ndarray) -> list[str]:
    """The shortest texts that read back as the same numbers."""
    return [repr(value) for value in np.ravel(values).tolist()]


def _tag(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return _quoted(_numbers(value))


def _quoted(numbers: Sequence[str]) -> str:
    return numbers[0] if len(numbers) == 1 else f'"{" ".join(numbers)}"'


def _with_split(text: str, name: str) -> str:
    count, comment, rest = text.split("\n", 2)
    if comment.strip() and "=" not in comment:  # words alone, which would become names
        comment = f"comment={_tag(comment.strip())}"
    return f"{count}\n{SPLIT.sub('', comment).strip()} split={name}\n{rest}"


def _write_text(target: Path, text: str) -> None:
    if not text:
        raise DataError(f"{target}: no structures to write; needed at least one")
    content = text.encode()
    write_whole(target, gzip.compress(content, mtime=0) if target.suffix == ".gz" else content)
