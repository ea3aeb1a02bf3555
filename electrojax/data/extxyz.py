"""Labelled structures from and to extxyz files, plain or gzipped, through ASE."""

import dataclasses
import difflib
import gzip
import io
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from electrojax.data.tags import read_tags
from electrojax.errors import ConfigError, DataError
from electrojax.files import write_whole
from electrojax.system.atoms import frame_from_atoms
from electrojax.system.quantities import DEFAULT_KEYS, INPUTS, LABELS, QUANTITIES
from electrojax.system.types import Frame

COMPONENTS: dict[str, dict[int, tuple[int, ...]]] = {
    "stress": {6: (6,), 9: (3, 3)},
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
        # ASE's reader renames a column `charge` to `charges`.
        column = "charges" if key == "charge" and axis == "nodes" else key
        sides = (self.arrays, self.info) if axis == "nodes" else (self.info, self.arrays)
        return next((side[k] for side in sides for k in (key, column) if k in side), None)


def read_frames(
    path: str | os.PathLike,
    keys: Mapping[str, str] | None = None,
    require: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
) -> list[Frame]:
    """Returns every structure of an extxyz file with its labels and inputs, in file order.

    A stress is taken as nine numbers (rows) or six in the order xx, yy, zz, yz, xz, xy; Born
    charges and polarisabilities as nine numbers, row by row. ASE moves plain names such as
    ``energy`` and ``forces`` into a calculator; they are found there.

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
            is not there, or a value has a wrong shape or is not finite.
    """
    path = Path(path)
    names = _complete(keys or {}, require)
    fields, frames = [], []
    for index, (line, block) in enumerate(_blocks(_text(path), path.name)):
        source = f"{path.name} frame {index}"
        atoms = _parse(block, f"{source} (line {line})")
        fields.append(_fields_of(atoms))
        frames.append(_frame(atoms, fields[-1], names, source))
    if not frames:
        raise DataError(f"{path}: holds no structures; needed an extxyz file with at least one")
    needed = [*require, *(name for name in INPUTS if names[name] != DEFAULT_KEYS[name])]
    for name in dict.fromkeys(needed):
        _check_present(name, names[name], fields, path.name, name in require, where or {})
    return frames


def frames_of(structures: Sequence[Any], name: str) -> list[Frame]:
    """Returns structures whose labels and inputs have their default names (``REF_energy`` ...).

    Args:
        structures: ``ase.Atoms``.
        name: of the file that they will stand in, for messages.

    Raises:
        DataError: if a value has a wrong shape or is not finite.
    """
    sources = [f"{name} frame {index}" for index in range(len(structures))]
    copies = [(atoms.copy(), _fields_of(atoms)) for atoms in structures]
    return [_frame(*copy, DEFAULT_KEYS, source) for copy, source in zip(copies, sources)]


def frame_texts(path: str | os.PathLike) -> list[str]:
    """Returns the text of each frame of an extxyz file, as it stands there.

    Raises:
        DataError: if the file is missing, damaged or cut short.
    """
    path = Path(path)
    return [text for _, text in _blocks(_text(path), path.name)]


def unread_names(path: str | os.PathLike, keys: Mapping[str, str] | None = None) -> list[str]:
    """Returns the names in an extxyz file that stand for no label, input, split or tag."""
    known = {"split", *_complete(keys or {}, ()).values()}
    found: set[str] = set()
    for text in frame_texts(path):
        fields = _fields_of(_parse(text, str(path)))
        found.update(fields.info, fields.arrays)
        known.update(read_tags(fields.info))
    # ASE's reader renames a column `charge` to `charges`.
    return sorted(found - known - ({"charges"} if "charge" in known else set()))


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


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        return content.decode()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: gzip data damaged or cut short; copy it again ({error})"
        ) from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not text; needed an extxyz file, plain or gzipped") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from None


def _blocks(text: str, name: str) -> Iterator[tuple[int, str]]:
    """Yields the line number and the text of each frame; blank lines between them are skipped.

    ASE's own scan ends without a word at a blank line, and a frame cut short has no number there.
    """
    lines = text.split("\n")
    start = index = 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        place = f"{name} frame {index} (line {start + 1})"
        atoms = _count(lines[start], place)
        stop = start + 2 + atoms
        body = [line for line in lines[start + 2 : stop] if line.strip()]
        if len(body) < atoms:
            raise DataError(
                f"{place}: announces {atoms} atoms, but only {len(body)} lines follow; "
                "the file is cut short or the count is wrong"
            )
        yield start + 1, "\n".join(lines[start:stop]) + "\n"
        start, index = stop, index + 1


def _count(line: str, place: str) -> int:
    try:
        atoms = int(line)
    except ValueError:
        shown = line.strip()[:40]
        message = f'{place}: needed the number of atoms, got "{shown}"; is this an extxyz file?'
        raise DataError(message) from None
    if atoms < 1:
        raise DataError(f"{place}: has {atoms} atoms; needed at least one, remove the frame")
    return atoms


def _parse(block: str, place: str) -> Any:
    from ase.io.extxyz import read_xyz

    try:
        atoms = next(iter(read_xyz(io.StringIO(block), 0)))
    except KeyError as error:
        raise DataError(f"{place}: {error} is not an element; correct the file") from None
    except (ValueError, TypeError, IndexError, AttributeError, AssertionError, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{place}: not readable as extxyz ({reason}); correct the file") from None
    if np.any(atoms.numbers < 1):
        atom = int(np.argmin(atoms.numbers))
        raise DataError(f"{place}: atom {atom} is no element (X); give every atom its element")
    if not np.all(np.isfinite(atoms.positions)):
        atom = int(np.argwhere(~np.isfinite(atoms.positions))[0, 0])
        raise DataError(f"{place}: the position of atom {atom} is not finite; correct the file")
    return atoms


def _fields_of(atoms: Any) -> _Fields:
    """Gathers info, arrays and what ASE moved into a calculator."""
    from ase.io.extxyz import per_atom_properties

    results = {} if atoms.calc is None else atoms.calc.results
    of_atoms = {name: value for name, value in results.items() if name in per_atom_properties}
    of_frame = {name: value for name, value in results.items() if name not in of_atoms}
    arrays = {k: v for k, v in atoms.arrays.items() if k not in ("numbers", "positions")}
    return _Fields({**atoms.info, **of_frame}, {**arrays, **of_atoms})


def _frame(atoms: Any, fields: _Fields, names: Mapping[str, str], source: str) -> Frame:
    found = {
        name: _value(value, name, key, len(atoms), source)
        for name, key in names.items()
        if (value := fields.find(key, QUANTITIES[name].axis)) is not None
    }
    atoms.info = {name: found[name] for name in ("total_charge", "multiplicity") if name in found}
    if "external_field" in found:
        atoms.info["external_field"] = found["external_field"]
    for name in ("formal_charges", "fragment"):
        atoms.arrays.pop(name, None)
        if name in found:
            atoms.arrays[name] = found[name]
    frame = frame_from_atoms(atoms, source)
    labels = {name: value for name, value in found.items() if name in LABELS}
    split = str(fields.info.get("split", ""))
    given = frozenset(name for name in found if name in INPUTS)
    tags = read_tags(fields.info)
    frame = dataclasses.replace(frame, labels=labels, split=split, given=given, tags=tags)
    _ = frame.boundary  # a single periodic axis is refused here, with the frame's name
    return frame


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
        got = f"shape {array.shape}" if array.dtype.kind in "iuf" else f'"{value}"'
        raise DataError(
            f"{source}: {key} has {got}, needed numbers of shape {wanted}; correct it or map "
            f"{name} to another key"
        )
    shaped = array.astype(np.float64).reshape((*leading, *shapes[components]))
    if not np.all(np.isfinite(shaped)):
        raise DataError(_not_finite(shaped, key, source, bool(leading)))
    return shaped[VOIGT] if name == "stress" and shaped.shape == (6,) else shaped


def _not_finite(values: np.ndarray, key: str, source: str, per_atom: bool) -> str:
    first = tuple(np.argwhere(~np.isfinite(np.atleast_1d(values)))[0])
    of_atom = f" of atom {first[0]}" if per_atom else ""
    bad = float(np.atleast_1d(values)[first])
    return f"{source}: {key}{of_atom} is {bad}; correct it, or remove the label from this frame"


def _check_present(
    name: str,
    key: str,
    fields: Sequence[_Fields],
    file: str,
    everywhere: bool,
    where: Mapping[str, str],
) -> None:
    """Refuses a quantity that is missing: everywhere, or (if required) in some frames."""
    axis = QUANTITIES[name].axis
    lacking = [i for i, f in enumerate(fields) if f.find(key, axis) is None]
    if not lacking or (len(lacking) < len(fields) and not everywhere):
        return
    side = "arrays" if axis == "nodes" else "info"
    there = sorted({k for i in lacking for k in getattr(fields[i], side)})
    some = f" (first without it: frame {lacking[0]})" if len(lacking) < len(fields) else ""
    raise DataError(
        f'{_prefix(name, file, where)}"{key}" is in {len(fields) - len(lacking)} of {len(fields)} '
        f"frames of {file}{some}; {side} there: {', '.join(there) or 'none'}"
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
