"""Labelled structures from and to extxyz files, plain or gzipped."""

import dataclasses
import difflib
import gzip
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from electrojax.data import syntax
from electrojax.data.tags import TAGS, read_tags
from electrojax.data.text import read_text
from electrojax.data.virial import with_stress
from electrojax.errors import ConfigError, DataError, listed, shown
from electrojax.files import write_whole
from electrojax.system.atoms import checked_control, motion_of
from electrojax.system.quantities import DEFAULT_KEYS, INPUTS, QUANTITIES, READ_LABELS
from electrojax.system.types import Frame
from electrojax.system.validation import (
    LARGEST,
    atoms_of,
    check_frame,
    check_letter_case,
    check_range,
    structure,
)

RESERVOIR = ("charge_control", "fermi_level")
"""What says that a structure is at fixed potential, and at which, in a frame's info."""

MOTION = ("masses", "momenta")
"""Columns of masses in amu and of momenta in ASE's unit; no model reads them."""

BESIDE = ("split", *RESERVOIR, *MOTION)
"""Names that are read beside the labels, inputs and tags."""

COMPONENTS: dict[str, dict[int, tuple[int, ...]]] = {
    "stress": {6: (6,), 9: (3, 3)},
    "virial": {6: (6,), 9: (3, 3)},
    **{q.name: {n: (n,) for n in q.components} for q in QUANTITIES.values() if q.components},
}
"""Numbers of components accepted where a quantity may be written in more than one way."""

VOIGT = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])
"""Where a 3 x 3 stress finds its components in ASE's order xx, yy, zz, yz, xz, xy."""


@dataclasses.dataclass(frozen=True)
class _Fields:
    """What one frame of a file carries: per structure, and per atom."""

    info: Mapping[str, Any]
    arrays: Mapping[str, Any]

    def find(self, key: str, axis: str) -> Any:
        """The value under a key, from the expected side first; None if it is on neither."""
        sides = (self.arrays, self.info) if axis == "nodes" else (self.info, self.arrays)
        return next((side[key] for side in sides if key in side), None)


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A structure as a file or ASE holds it."""

    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    pbc: tuple[bool, bool, bool]
    fields: _Fields


def read_frames(
    path: str | os.PathLike,
    keys: Mapping[str, str] | None = None,
    require: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
) -> list[Frame]:
    """Returns every structure of an extxyz file with its labels and inputs, in file order.

    A stress or virial is nine numbers (rows) or six in the order xx, yy, zz, yz, xz, xy; Born
    charges and polarisabilities as nine numbers, row by row. ``Lattice``, ``Properties`` and
    ``pbc`` may have any letter case; every other name stands as it is.

    Args:
        path: extxyz, gzipped or not.
        keys: the file's name of each label and input; what is left out keeps its default
            (:data:`electrojax.system.quantities.DEFAULT_KEYS`).
        require: labels or inputs that every frame must have.
        where: the place in a configuration where an option was written, such as
            ``{"data.keys.forces": "run.yaml:12"}``; error messages then point there.

    Raises:
        ConfigError: if ``keys`` or ``require`` name a quantity that does not exist.
        DataError: if the file is missing, damaged or empty, a required quantity or a renamed input
            is not there, a header and its rows disagree, or a value has a wrong shape, is not
            finite or is out of range; with file and frame.
    """
    path = Path(path)
    names = _complete(keys or {}, require)
    fields, frames = [], []
    for index, block in enumerate(syntax.blocks(read_text(path), path.name)):
        source = f"{path.name} frame {index}"
        entry = _parse(block, names.values(), f"{source} (line {block.line})")
        fields.append(entry.fields)
        frames.append(_frame(entry, names, source))
    if not frames:
        raise DataError(f"{path}: holds no structures; needed an extxyz file with at least one")
    needed = [*require, *(name for name in INPUTS if names[name] != DEFAULT_KEYS[name])]
    for name in dict.fromkeys(needed):
        _check_present(name, names[name], frames, fields, path.name, name in require, where or {})
    return frames


def frames_of(structures: Sequence[Any], name: str) -> list[Frame]:
    """Returns structures whose labels and inputs have their default names (``REF_energy`` ...).

    Args:
        structures: ``ase.Atoms``.
        name: of the file that they will stand in, for messages.

    Raises:
        DataError: if a value has a wrong shape or is not finite.
    """
    return [
        _frame(_entry_of(atoms), DEFAULT_KEYS, f"{name} frame {index}")
        for index, atoms in enumerate(structures)
    ]


def frame_texts(path: str | os.PathLike) -> list[str]:
    """Returns the text of each frame of an extxyz file, as it stands there.

    Raises:
        DataError: if the file is missing, damaged or cut short.
    """
    path = Path(path)
    return [block.text for block in syntax.blocks(read_text(path), path.name)]


def read_atoms(path: str | os.PathLike) -> list[Any]:
    """Returns the structures of an extxyz file as ``ase.Atoms`` with all that ASE reads of them.

    Elements, positions, cell and periodicity are those of :func:`read_frames`.

    Raises:
        DataError: as there, and for what ASE cannot read.
    """
    from ase.io.extxyz import read_xyz

    frames, structures = read_frames(path), []
    for frame, text in zip(frames, frame_texts(path)):
        try:
            atoms = next(iter(read_xyz(io.StringIO(text), 0)))
        except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
            reason = shown(" ".join(str(error).split()), 120)
            raise DataError(
                f"{frame.source}: not readable as extxyz by ASE ({reason}); correct the file"
            ) from None
        atoms.set_cell(frame.cell)
        atoms.pbc = frame.pbc
        structures.append(atoms)
    return structures


def unread_names(path: str | os.PathLike, keys: Mapping[str, str] | None = None) -> list[str]:
    """Returns the names in an extxyz file that stand for no label, input, split or tag."""
    path = Path(path)
    known = {*BESIDE, *_complete(keys or {}, ()).values()}
    found: set[str] = set()
    for index, block in enumerate(syntax.blocks(read_text(path), path.name)):
        place = f"{path.name} frame {index} (line {block.line})"
        header = syntax.parse_header(block.header, place)
        columns = _columns(header, place)
        found.update(header, (column.name for column in columns))
        known.update(read_tags({k: syntax.parse_value(v) for k, v in header.items() if k in TAGS}))
    return sorted(found - known - {"pbc", "Lattice", "pos", "species", "Z"})


def write_frames(path: str | os.PathLike, structures: Sequence[Any]) -> None:
    """Writes ``ase.Atoms`` with their info, arrays and results as extxyz, whole or not at all.

    Args:
        path: gzipped if it ends in ``.gz``.
        structures: in the order of the file.

    Raises:
        DataError: if the file cannot be written; then nothing is left behind.
    """
    import ase.io

    text = io.StringIO()
    ase.io.write(text, [_writable(atoms) for atoms in structures], format="extxyz")
    content = text.getvalue().encode()
    compressed = Path(path).suffix == ".gz"
    write_whole(path, gzip.compress(content, mtime=0) if compressed else content)


def _complete(keys: Mapping[str, str], require: Sequence[str]) -> dict[str, str]:
    for name in [*keys, *require]:
        if name not in DEFAULT_KEYS:
            near = difflib.get_close_matches(name, DEFAULT_KEYS, n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"known: {', '.join(DEFAULT_KEYS)}"
            raise ConfigError(f'"{name}" is not a label or input of a frame; {hint}')
    return {**DEFAULT_KEYS, **keys}


def _columns(header: dict[str, str], place: str) -> list[syntax.Column]:
    """Takes the columns of the rows out of a header."""
    announced = syntax.take(header, "Properties", place)
    return syntax.parse_columns("species:S:1:pos:R:3" if announced is None else announced, place)


def _parse(block: syntax.Block, keys: Iterable[str], place: str) -> _Entry:
    """Reads a frame; of its header, the values under the keys, the others stay texts."""
    header = syntax.parse_header(block.header, place)
    arrays = syntax.parse_rows(block, _columns(header, place), place)
    lattice, pbc = (syntax.take(header, name, place) for name in ("Lattice", "pbc"))
    read = {*keys, *TAGS}
    return _Entry(
        numbers=_numbers(arrays.pop("species", None), arrays.pop("Z", None), place),
        positions=arrays.pop("pos"),
        cell=np.zeros((3, 3)) if lattice is None else syntax.parse_cell(lattice, place),
        # The extxyz format: a structure with a lattice is periodic unless it says otherwise.
        pbc=(lattice is not None,) * 3 if pbc is None else syntax.parse_pbc(pbc, place),
        fields=_Fields(
            {k: syntax.parse_value(v) if k in read else v for k, v in header.items()}, arrays
        ),
    )


def _numbers(symbols: np.ndarray | None, numbers: np.ndarray | None, place: str) -> np.ndarray:
    from ase.data import atomic_numbers

    if symbols is None:
        assert numbers is not None  # the header announces one of them
        return numbers
    found = np.array([atomic_numbers.get(s.capitalize(), 0) for s in symbols], dtype=np.int64)
    unknown = np.flatnonzero(found == 0)
    if len(unknown):
        atom = int(unknown[0])
        raise DataError(
            f'{place}: atom {atom} is "{shown(symbols[atom])}", which is no element; give every '
            "atom its element"
        )
    if numbers is not None and np.any(found != numbers):
        atom = int(np.flatnonzero(found != numbers)[0])
        raise DataError(
            f"{place}: atom {atom} is {symbols[atom]} by species and {numbers[atom]} by Z; "
            "correct one"
        )
    return found


def _entry_of(atoms: Any) -> _Entry:
    pbc = [bool(flag) for flag in atoms.pbc]
    return _Entry(
        numbers=np.asarray(atoms.numbers),
        positions=np.array(atoms.positions, dtype=np.float64),
        cell=np.array(atoms.cell, dtype=np.float64).reshape(3, 3),
        pbc=(pbc[0], pbc[1], pbc[2]),
        fields=_fields_of(atoms),
    )


def _fields_of(atoms: Any) -> _Fields:
    """Gathers info, arrays and what ASE moved into a calculator."""
    from ase.io.extxyz import per_atom_properties

    results = {} if atoms.calc is None else atoms.calc.results
    of_atoms = {name: value for name, value in results.items() if name in per_atom_properties}
    of_frame = {name: value for name, value in results.items() if name not in of_atoms}
    arrays = {k: v for k, v in atoms.arrays.items() if k not in ("numbers", "positions")}
    return _Fields({**atoms.info, **of_frame}, {**arrays, **of_atoms})


def _frame(entry: _Entry, names: Mapping[str, str], source: str) -> Frame:
    fields, atoms = entry.fields, len(entry.numbers)
    given = (*fields.info, *fields.arrays)
    check_letter_case(given, (*names.values(), "split"), source)
    found = {
        name: _value(value, name, key, atoms, source)
        for name, key in names.items()
        if (value := fields.find(key, QUANTITIES[name].axis)) is not None
    }
    inputs: dict[str, Any] = {
        name: float(found[name]) if found[name].ndim == 0 else found[name]
        for name in INPUTS
        if name in found
    }
    frame = Frame(
        numbers=entry.numbers,
        positions=entry.positions,
        cell=entry.cell,
        pbc=entry.pbc,
        labels={name: value for name, value in found.items() if name in READ_LABELS},
        source=source,
        split=str(fields.info.get("split", "")),
        given=frozenset(inputs),
        tags=(tags := read_tags(fields.info)),
        unread=frozenset(given).difference(names.values(), BESIDE, tags),
        **inputs,
        **_reservoir(fields, names, source),
        **motion_of(fields.arrays, entry.numbers, source),
    )
    check_frame(frame)
    labels = with_stress(frame.labels, frame.cell, frame.pbc, source)
    return dataclasses.replace(frame, labels=labels, numbers=frame.numbers.astype(np.int32))


def _reservoir(fields: _Fields, names: Mapping[str, str], source: str) -> dict[str, Any]:
    """Charge control and the level that is an input; one read as a label reaches the model too."""
    found: dict[str, Any] = {}
    if (control := fields.find("charge_control", "graphs")) is not None:
        found["charge_control"] = checked_control(_parsed(control), source)
    level = fields.find("fermi_level", "graphs")
    if level is not None and names["fermi_level"] != "fermi_level":
        value = _value(_parsed(level), "fermi_level", "fermi_level", 1, source)
        found["fermi_level"] = float(value)
    return found


def _parsed(value: Any) -> Any:
    return syntax.parse_value(value) if isinstance(value, str) else value


def _value(value: Any, name: str, key: str, atoms: int, source: str) -> np.ndarray:
    """Returns a quantity in its canonical shape, in float64; refuses what is not finite."""
    array = np.asarray(value)
    spec = QUANTITIES[name]
    leading = (atoms,) if spec.axis == "nodes" else ()
    shapes = COMPONENTS.get(name, {int(np.prod(spec.shape)): spec.shape})
    components = array.size // atoms if leading else array.size
    per_atom = not leading or array.shape[:1] == leading
    if array.dtype.kind not in "iuf" or not per_atom or components not in shapes:
        wanted = " or ".join(str((*leading, *shape)) for shape in shapes.values())
        got = f"shape {array.shape}" if array.dtype.kind in "iuf" else f'"{shown(str(value))}"'
        raise DataError(
            f"{source}: {key} has {got}, needed numbers of shape {wanted}; correct it or map "
            f"{name} to another key"
        )
    shaped = array.astype(np.float64).reshape((*leading, *shapes[components]))
    rows = shaped if leading else shaped[None]
    check_range(rows, LARGEST, key, atoms_of(source) if leading else structure(source))
    return shaped[VOIGT] if shaped.shape == (6,) and 6 in shapes else shaped


def _check_present(
    name: str,
    key: str,
    frames: Sequence[Frame],
    fields: Sequence[_Fields],
    file: str,
    everywhere: bool,
    where: Mapping[str, str],
) -> None:
    """Refuses a quantity that is missing: everywhere, or (if required) in some frames."""
    axis = QUANTITIES[name].axis
    lacking = [i for i, f in enumerate(frames) if name not in f.labels and name not in f.given]
    if not lacking or (len(lacking) < len(fields) and not everywhere):
        return
    side = "arrays" if axis == "nodes" else "info"
    there = sorted({k for i in lacking for k in getattr(fields[i], side)})
    some = f" (first without it: frame {lacking[0]})" if len(lacking) < len(fields) else ""
    raise DataError(
        f'{_prefix(name, file, where)}"{key}" is in {len(fields) - len(lacking)} of {len(fields)} '
        f"frames of {file}{some}; {side} there: {listed(there)}"
    )


def _prefix(name: str, file: str, where: Mapping[str, str]) -> str:
    option = next((option for option in where if option.endswith(f"keys.{name}")), None)
    return f"{file}: {name}: " if option is None else f"{where[option]}  {option}   "


def _writable(atoms: Any) -> Any:
    """Returns a copy whose tensors are rows of numbers, which is all that extxyz can hold."""
    copied = atoms.copy()
    copied.calc = atoms.calc
    copied.info = {key: _row(value) for key, value in atoms.info.items()}
    for key, value in atoms.arrays.items():
        if value.ndim > 2:
            copied.arrays[key] = value.reshape(len(atoms), -1)
    return copied


def _row(value: Any) -> Any:
    return value.reshape(-1) if isinstance(value, np.ndarray) and value.ndim > 1 else value
