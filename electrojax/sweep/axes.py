"""The axes of a sweep: which keys of the training file take which values."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from pydantic import BaseModel, ValidationError

from electrojax.config.document import Entry, Position
from electrojax.config.layers import ConfigFile, find_beside, read_layers, replace_at
from electrojax.config.problems import Problem, blocks_in, config_error, schema_problems
from electrojax.config.schema import Stage, Train
from electrojax.errors import ConfigError
from electrojax.sweep.schema import ENDS, Range, is_dotted_key

Setting = tuple[tuple[str, ...], Entry]
"""A dotted key, split, and the value that is put there."""


@dataclass(frozen=True)
class Choice:
    """One variant of an axis: its name and what it sets."""

    name: str
    settings: tuple[Setting, ...]


@dataclass(frozen=True)
class Axis:
    """A key of the training file with its variants, or an interval that a search draws from."""

    key: str
    position: Position
    choices: tuple[Choice, ...] = ()
    range: Range | None = None

    @property
    def ends(self) -> tuple[Choice, ...]:
        """Its variants, or those of the ends of its interval."""
        if self.range is None:
            return self.choices
        return self.drawn(self.range.low), self.drawn(self.range.high)

    def drawn(self, value: int | float) -> Choice:
        """Returns the variant of a value out of the interval."""
        return Choice(_shown(value), ((_split(self.key), Entry(value, self.position)),))


def read_axes(
    axes: Entry, file: ConfigFile, schema: type[BaseModel], search: bool
) -> tuple[Axis, ...]:
    """Returns the axes of a sweep file.

    Args:
        axes: the block `axes`.
        file: the sweep file, beside which files that variants name are looked for.
        schema: of the training file.
        search: whether intervals are allowed.

    Raises:
        ConfigError: an unknown key, an axis without values, variants without names.
    """
    found, problems = [], []
    for key, entry in (axes.value if isinstance(axes.value, dict) else {}).items():
        try:
            found.append(_axis(key, entry, file, schema, search))
        except _Wrong as wrong:
            problems.append(Problem(wrong.position, f"axes.{key}", wrong.message))
    if problems:
        raise config_error(problems)
    return tuple(found)


def read_points(points: Entry, file: ConfigFile, schema: type[BaseModel]) -> Axis:
    """Returns the named points of mode list as one axis, whose variants set several keys each.

    Raises:
        ConfigError: a point is not a block of dotted keys, or sets an unknown key.
    """
    if not isinstance(points.value, dict):
        message = "must be a block of named points, each a block of dotted keys"
        raise config_error([Problem(points.position, "points", message)])
    choices, problems = [], []
    for name, entry in points.value.items():
        if not isinstance(entry.value, dict):
            message = "must be a block of dotted keys, such as {model.density.l_max: 0}"
            problems.append(Problem(entry.position, f"points.{name}", message))
            continue
        settings: list[Setting] = []
        for key, value in entry.value.items():
            try:
                settings.append(
                    (_split(key), _value(key, value, file, _blocks(key, entry, schema)))
                )
            except _Wrong as wrong:
                where = value.position if wrong.position == entry.position else wrong.position
                problems.append(Problem(where, f"points.{name}.{key}", wrong.message))
        choices.append(Choice(name, tuple(settings)))
    if problems:
        raise config_error(problems)
    return Axis("points", points.position, tuple(choices))


def apply_choices(base: Entry, choices: Sequence[Choice]) -> Entry:
    """Returns the base with the settings of some variants, whole blocks before keys inside them.

    Raises:
        ConfigError: a key leads through a value or outside a list.
    """
    settings = [setting for choice in choices for setting in choice.settings]
    for keys, value in sorted(settings, key=lambda item: len(item[0]) - (item[0][-1] == "kind")):
        base = replace_at(base, keys, value)
    return base


class _Wrong(Exception):
    """Something is wrong with an axis, at a place."""

    def __init__(self, position: Position, message: str) -> None:
        super().__init__(message)
        self.position, self.message = position, message


def _split(key: str) -> tuple[str, ...]:
    return tuple(key.split("."))


def _axis(key: str, entry: Entry, file: ConfigFile, schema: type[BaseModel], search: bool) -> Axis:
    blocks = _blocks(key, entry, schema)
    if search and isinstance(entry.value, dict) and ENDS & set(entry.value):
        return Axis(key, entry.position, range=_range(entry))
    choices = tuple(
        Choice(name, ((_split(key), _value(key, value, file, blocks)),))
        for name, value in _variants(entry)
    )
    names = [choice.name for choice in choices]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        message = f'"{twice}" is there twice; name the variants: {{first: ..., second: ...}}'
        raise _Wrong(entry.position, message)
    return Axis(key, entry.position, choices)


def _range(entry: Entry) -> Range:
    try:
        return Range.model_validate(entry.plain())
    except ValidationError as error:
        first = schema_problems(error, entry, Range, False)[0]
        raise _Wrong(first.position, f"{first.path} {first.message}") from None


def _variants(entry: Entry) -> Iterator[tuple[str, Entry]]:
    """Yields the names and values of an axis."""
    if not isinstance(entry.value, dict | list):
        message = "must be a list of values, or a block of named variants"
        raise _Wrong(entry.position, message)
    if not entry.value:
        raise _Wrong(entry.position, "is empty; give it at least one value, or drop it")
    if isinstance(entry.value, dict):
        yield from entry.value.items()
        return
    for item in entry.value:
        yield _name(item), item


def _name(item: Entry) -> str:
    if isinstance(item.value, dict):
        kind = item.child("kind")
        if kind is None:
            message = "a list of blocks has no names; write {first: {...}, second: {...}}"
            raise _Wrong(item.position, message)
        return str(kind.value)
    if isinstance(item.value, str):
        return Path(item.value).stem if "/" in item.value else item.value
    return _shown(item.plain())


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _value(key: str, value: Entry, file: ConfigFile, blocks: list[type[BaseModel]]) -> Entry:
    """The value of a variant; a text for a block is a file that holds the block."""
    if not blocks or not isinstance(value.value, str):
        return value
    try:
        found = find_beside(value, file, f"axes.{key}")
    except ConfigError as error:
        raise _Wrong(value.position, _without_place(error)) from None
    document, _ = read_layers(found)
    for part in _split(key):
        child = document.child(part)
        if child is None:
            raise _Wrong(value.position, f"{found.source} has no block {key}")
        document = child
    return document


def _without_place(error: ConfigError) -> str:
    said = str(error).split("   ", 1)[-1]
    return f"is a block, so a text names a file that holds it: {said}"


def _blocks(key: str, entry: Entry, schema: type[BaseModel]) -> list[type[BaseModel]]:
    """The schemas of the block that a dotted key holds; empty for a value."""
    if not is_dotted_key(key):
        raise _Wrong(entry.position, "is not a dotted key, such as model.solver")
    if key in ("run", "run.name", "run.dir"):
        raise _Wrong(entry.position, "the sweep names its runs itself; sweep other keys")
    blocks: list[type[BaseModel]] = [schema]
    for part in _split(key):
        if part.isdecimal() or not blocks:
            continue  # an element of a list, or of a free table: its block knows best
        fields = [block.model_fields[part] for block in blocks if part in block.model_fields]
        if Train in (base for block in blocks for base in block.__mro__) and part in Train.FLAT:
            fields.append(Stage.model_fields[part])
        if not fields:
            raise _Wrong(entry.position, _unknown(part, blocks))
        blocks = [found for field in fields for found in blocks_in(field.annotation)]
    return [] if _split(key)[-1] == "kind" else blocks


def _unknown(part: str, blocks: list[type[BaseModel]]) -> str:
    known = list(dict.fromkeys(name for block in blocks for name in block.model_fields))
    near = get_close_matches(part, known, n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"known here: {', '.join(known)}"
    return f'unknown axis: no key "{part}" in the training file; {hint}'
