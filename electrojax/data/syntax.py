"""The syntax of extxyz: blocks of lines, a header of names and values, and columns of atoms."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from electrojax.errors import DataError, listed, shown

_PLAIN = r"""[^\s=\\"'{\[]"""
_GROUPED = r"""\\.|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\{(?:\\.|[^}\\])*\}|\[(?:\\.|[^\]\\])*\]"""
NAME = re.compile(rf"(?:{_GROUPED}|{_PLAIN})+", re.DOTALL)
VALUE = re.compile(rf"(?:{_GROUPED}|{_PLAIN}|=)+", re.DOTALL)
EQUALS = re.compile(r"\s*=\s*")
BLANKS = re.compile(r"\s*")
PART = re.compile(rf"({_GROUPED})", re.DOTALL)
BETWEEN = re.compile(r"[\s,\[\](){}\"']+")
WORDS = {"t": True, "true": True, "1": True, "f": False, "false": False, "0": False}
INTEGER = re.compile(r"\s*\d+\s*", re.ASCII)

SPELLINGS = {"positions": "pos", "symbols": "species", "numbers": "Z"}
"""Other names of the columns that every structure has."""

TYPES = {"R": "a number", "I": "an integer", "L": "T or F", "S": "a text"}


class Block(NamedTuple):
    """The lines of one frame.

    Attributes:
        line: number of the first, from 1.
        header: the second line.
        rows: a line for each atom.
    """

    line: int
    header: str
    rows: Sequence[str]

    @property
    def text(self) -> str:
        """The frame as it stands in the file."""
        return "\n".join([str(len(self.rows)), self.header, *self.rows]) + "\n"


class Column(NamedTuple):
    """A column, or several under one name, of the rows of a frame."""

    name: str
    kind: str
    width: int


def blocks(text: str, name: str) -> Iterator[Block]:
    """Yields the frames of a file; blank lines between them are skipped.

    Args:
        text: of the file.
        name: of the file, for messages.

    Raises:
        DataError: with file, frame and line, if a number of atoms is missing or too large.
    """
    lines = text.split("\n")
    start = index = 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        place = f"{name} frame {index} (line {start + 1})"
        atoms = _count(lines[start], place, index)
        stop = start + 2 + atoms
        rows = lines[start + 2 : stop]
        there = sum(1 for row in rows if row.strip())
        if there < atoms:
            raise DataError(
                f"{place}: announces {atoms} atoms, but only {there} lines follow; "
                "the file is cut short or the count is wrong"
            )
        yield Block(start + 1, lines[start + 1], rows)
        start, index = stop, index + 1


def _count(line: str, place: str, index: int) -> int:
    if not INTEGER.fullmatch(line) or len(line) > 30:
        before = " and does the frame before have as many atoms as it announces" if index else ""
        raise DataError(
            f'{place}: needed the number of atoms, got "{shown(line.strip())}"; is this an extxyz '
            f"file{before}?"
        )
    if int(line) < 1:
        raise DataError(f"{place}: has 0 atoms; needed at least one, remove the frame")
    return int(line)


def parse_header(line: str, place: str) -> dict[str, str]:
    """Returns the names and values of a header, as texts without quotes.

    A name without a value stands for true; a line without any ``=`` is a comment, not a header.

    Raises:
        DataError: for an open quote, a name that occurs twice with different values, or an ``=``
            without a name.
    """
    pairs: dict[str, str] = {}
    at = BLANKS.match(line).end()  # type: ignore[union-attr]
    while "=" in line and at < len(line):
        name = NAME.match(line, at)
        if name is None:
            problem = "a stray =" if line[at] == "=" else f"an unclosed {line[at]}"
            raise DataError(
                f'{place}: the header has {problem} at "{shown(line[at:].rstrip())}"; needed '
                'name=value, or name="several values"'
            )
        equals, key, value, at = EQUALS.match(line, name.end()), name.group(), "T", name.end()
        if equals is not None:
            text = VALUE.match(line, equals.end())
            value, at = ("", equals.end()) if text is None else (text.group(), text.end())
        at = BLANKS.match(line, at).end()  # type: ignore[union-attr]
        key, value = _unquoted(key), _unquoted(value)
        if not _same(pairs.setdefault(key, value), value):
            raise DataError(
                f'{place}: "{shown(key)}" is there twice, as "{shown(pairs[key])}" and as '
                f'"{shown(value)}"; keep one'
            )
    return pairs


def _unquoted(text: str) -> str:
    """Takes away one layer of quotes or brackets, and the backslash of an escaped character."""
    if not any(c in text for c in "\\\"'{["):
        return text
    return "".join(
        part if not i % 2 else part[1:] if part[0] == "\\" else re.sub(r"\\(.)", r"\1", part[1:-1])
        for i, part in enumerate(PART.split(text))
    )


def _same(one: str, other: str) -> bool:
    if one == other:
        return True
    return np.array_equal(np.asarray(parse_value(one)), np.asarray(parse_value(other)))


def take(pairs: dict[str, str], name: str, place: str) -> str | None:
    """Removes a name, in whatever letter case, from a header and returns its value.

    Raises:
        DataError: if it stands there in two ways with different values.
    """
    found = {key: pairs.pop(key) for key in list(pairs) if key.lower() == name.lower()}
    if len(set(found.values())) > 1:
        raise DataError(f"{place}: {listed(found)} differ; keep one")
    return next(iter(found.values()), None)


def parse_value(text: str) -> Any:
    """Returns the number, the numbers or the array that a text stands for, or else the text."""
    if text.startswith("_JSON "):
        return _json(text)
    words = text.replace(",", " ").split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return text
    if "_" in text or not text.isascii():  # Python reads 1_0 and other digits than 0 to 9
        return text
    return np.float64(numbers[0]) if len(numbers) == 1 else np.array(numbers)


def _json(text: str) -> Any:
    """Returns an array of numbers in JSON, as ASE writes arrays of two axes."""
    try:
        array = np.array(json.loads(text.removeprefix("_JSON ")))
        return array.astype(np.float64) if array.dtype.kind in "iuf" else text
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError):
        return text


def parse_pbc(text: str, place: str) -> tuple[bool, bool, bool]:
    """Returns which axes repeat, from one or three of T, F, true, false, 1, 0 in any letter case.

    Brackets and commas may stand around them, and three letters need no blanks between them.

    Raises:
        DataError: for anything else.
    """
    words = [word for word in BETWEEN.split(text.lower()) if word]
    if len(words) == 1 and re.fullmatch("[tf01]{3}", words[0]):
        words = list(words[0])
    flags = [WORDS[word] for word in words if word in WORDS]
    if len(flags) != len(words) or len(flags) not in (1, 3):
        raise DataError(
            f'{place}: pbc is "{shown(text)}"; needed T or F for each of the three axes, such as '
            'pbc="T T F"'
        )
    return (flags[0], flags[0], flags[0]) if len(flags) == 1 else (flags[0], flags[1], flags[2])


def parse_cell(text: str, place: str) -> np.ndarray:
    """Returns the lattice vectors [3, 3] Å, as rows.

    Raises:
        DataError: if there are not nine numbers.
    """
    values = parse_value(text)
    if not isinstance(values, np.ndarray) or values.shape != (9,):
        raise DataError(
            f'{place}: Lattice is "{shown(text)}"; needed nine numbers in Å, the components of the '
            "three lattice vectors one after the other"
        )
    return values.reshape(3, 3)


def parse_columns(text: str, place: str) -> list[Column]:
    """Returns the columns that ``Properties`` announces.

    Raises:
        DataError: for another form, a name that occurs twice, or no element or no position.
    """
    parts = text.split(":")
    triples = list(zip(parts[::3], parts[1::3], parts[2::3]))
    good = all(n and k in TYPES and INTEGER.fullmatch(c) and len(c) < 10 for n, k, c in triples)
    if len(parts) % 3 or not good or not all(int(c) > 0 for _, _, c in triples):
        raise DataError(
            f'{place}: Properties is "{shown(text)}"; needed name:type:columns of each quantity '
            "with the types R, I, L or S, such as species:S:1:pos:R:3"
        )
    columns = [Column(SPELLINGS.get(n, n), k, int(c)) for n, k, c in triples]
    names = [column.name for column in columns]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise DataError(f"{place}: Properties names {listed(twice)} twice; keep one")
    wanted = {"pos": "R:3", "species": "S:1", "Z": "I:1"}
    wrong = [
        c for c in columns if f"{c.kind}:{c.width}" != wanted.get(c.name, f"{c.kind}:{c.width}")
    ]
    if wrong:
        name, kind, count = wrong[0]
        raise DataError(
            f"{place}: Properties has {name}:{kind}:{count}; needed {name}:{wanted[name]}"
        )
    if "pos" not in names or not {"species", "Z"} & set(names):
        raise DataError(
            f"{place}: Properties has no {'element (species or Z)' if 'pos' in names else 'pos'}; "
            f"columns there: {listed(names)}"
        )
    return columns


def parse_rows(block: Block, columns: Sequence[Column], place: str) -> dict[str, np.ndarray]:
    """Returns the columns of the atoms by name: numbers, booleans or texts.

    Args:
        block: the frame.
        columns: as its header announces them.
        place: of the frame, for messages.

    Returns:
        [N] for a single column and [N, columns] for several.

    Raises:
        DataError: naming atom and line, if a row has fewer or more entries than the header
            announces, or one of another type.
    """
    width = sum(column.width for column in columns)
    rows = [row.split() for row in block.rows]
    for atom, row in enumerate(rows):
        if len(row) != width:
            raise DataError(
                f"{place}: atom {atom} (line {block.line + 2 + atom}) has {len(row)} entries, but "
                f"the header announces {width} ({_announced(columns)}); correct the row or "
                "Properties"
            )
    entries = list(zip(*rows))
    odd = any("_" in row or not row.isascii() for row in block.rows)
    found: dict[str, np.ndarray] = {}
    start = 0
    for column in columns:
        part = entries[start : start + column.width]
        values = [_converted(texts, column, odd, block, place) for texts in part]
        found[column.name] = values[0] if column.width == 1 else np.stack(values, axis=1)
        start += column.width
    return found


def _announced(columns: Sequence[Column]) -> str:
    return shown(":".join(f"{name}:{kind}:{count}" for name, kind, count in columns), 120)


def _converted(
    texts: Sequence[str], column: Column, odd: bool, block: Block, place: str
) -> np.ndarray:
    if column.kind == "S":
        return np.array(texts, dtype=object)
    convert = CONVERTERS[column.kind]
    try:
        if not odd:
            return np.array([convert(text) for text in texts], dtype=DTYPES[column.kind])
    except (ValueError, KeyError, OverflowError):
        pass
    return np.array(
        [_entry(t, column, a, block, place) for a, t in enumerate(texts)], DTYPES[column.kind]
    )


def _entry(text: str, column: Column, atom: int, block: Block, place: str) -> Any:
    """One entry of a row, or an error that names it."""
    try:
        if "_" in text or not text.isascii():  # Python reads 1_0 and other digits than 0 to 9
            raise ValueError
        return np.array(CONVERTERS[column.kind](text), dtype=DTYPES[column.kind])
    except (ValueError, KeyError, OverflowError):
        raise DataError(
            f"{place}: {shown(column.name)} of atom {atom} (line {block.line + 2 + atom}) is "
            f'"{shown(text)}"; needed {TYPES[column.kind]}'
        ) from None


def _boolean(text: str) -> bool:
    return WORDS[text.lower()]


CONVERTERS: Mapping[str, Any] = {"R": float, "I": int, "L": _boolean}
DTYPES = {"R": np.float64, "I": np.int64, "L": np.bool_}
