"""What is wrong with a configuration, one line each: where, which key, what, and what to do."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from electrojax.config.document import Entry, Location, Position
from electrojax.config.schema import KindOptions, Section
from electrojax.errors import ConfigError
from electrojax.text import cut

MOST, LOOKED_AT = 40, 1000
"""Problems that an error lists, and that are put into words at all."""

Blocks = list[type[BaseModel]]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and where it was written."""

    position: Position
    path: str
    message: str


def config_error(problems: Iterable[Problem]) -> ConfigError:
    """Returns one error with a line per problem, in the order of the file, as far as one reads."""
    every = sorted(problems, key=lambda item: (item.position.source, item.position.line or 0))
    ordered, left = every[:MOST], len(every) - MOST
    place = max(len(str(problem.position)) for problem in ordered)
    path = max(len(problem.path) for problem in ordered)
    lines = [
        f"{problem.position!s:<{place}}  {problem.path:<{path}}   {problem.message}"
        for problem in ordered
    ]
    return ConfigError("\n".join([*lines, *([f"and {left} more"] if left > 0 else [])]))


def schema_problems(
    error: ValidationError, root: Entry, schema: type[BaseModel], flat: bool
) -> list[Problem]:
    """Returns what pydantic refused, in the words and at the place of the file.

    Args:
        error: pydantic's findings.
        root: the document that was validated.
        schema: what it was validated against.
        flat: whether the document's single stage was written directly under `train`.
    """
    found = [details for details in error.errors() if not _follows_from_another(details)]
    return [_problem(details, root, schema, flat) for details in found[:LOOKED_AT]]


def _follows_from_another(details: ErrorDetails) -> bool:
    # Pydantic counts the elements left after dropping bad ones, and then misses those.
    return details["type"] == "too_short" and len(details["input"]) > 0


def _problem(details: ErrorDetails, root: Entry, schema: type[BaseModel], flat: bool) -> Problem:
    location, blocks = _follow(schema, details["loc"])
    if details["type"] == "misplaced":
        location += tuple(key for key in details["ctx"]["key"].split(".") if key)
    message = _message(details, location, blocks)
    written = root.nearest(location).value
    if details["type"] == "union_tag_invalid" and isinstance(written, dict):
        location += ("kind",)  # and a logger may be written as its name alone
    message += _of_kind(location, blocks)
    return Problem(root.nearest(location).position, as_written(location, flat), message)


def as_written(location: Location, flat: bool) -> str:
    """Returns a dotted key; that of a single stage without its list where the file has none."""
    if flat and location[:3] == ("train", "stages", 0):
        location = ("train", *location[3:])
    return ".".join(map(str, location))


def _follow(schema: type[BaseModel], loc: Location) -> tuple[Location, Blocks]:
    """Returns the location as a path in the file and the blocks that the last key may belong to.

    Pydantic puts the kind it chose into the location ("model", "solver", "local", "mixing").
    """
    path: list[str | int] = []
    blocks: Blocks = [schema]
    inside = blocks
    for part in loc:
        chosen = [block for block in inside if len(inside) > 1 and kind_of(block) == part]
        if chosen:
            inside = blocks = chosen
            continue
        path.append(part)
        if isinstance(part, str):
            blocks, inside = inside or blocks, _below(inside, part)
    return tuple(path), blocks


def kind_of(block: type[BaseModel]) -> str | None:
    """Returns the kind whose options a block holds, or None for a block that has no kinds."""
    return block.model_fields["kind"].default if issubclass(block, KindOptions) else None


def _below(blocks: Blocks, key: str) -> Blocks:
    fields = [block.model_fields[key] for block in blocks if key in block.model_fields]
    return [found for field in fields for found in blocks_in(field.annotation)]


def blocks_in(annotation: Any) -> Blocks:
    """Returns the schemas of the blocks that a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in blocks_in(part)]


def _of_kind(path: Location, blocks: Blocks) -> str:
    kinds = [kind_of(block) for block in blocks]
    if len(kinds) != 1 or kinds[0] is None or len(path) < 2:
        return ""
    return f'  ({_named(path[:-1]).removesuffix("s")} kind "{kinds[0]}")'


def _message(details: ErrorDetails, path: Location, blocks: Blocks) -> str:
    kind, context = details["type"], details.get("ctx", {})
    got = show(details["input"])
    if kind == "extra_forbidden":
        return "unknown key" + _hint(str(path[-1]), _suggestions(blocks))
    if kind == "missing":
        return "is required" + _help(str(path[-1]), blocks)
    if kind == "literal_error":
        choices = list(_choices(blocks, path))
        return f"{got} is not known{_hint(str(details['input']), choices)}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _kind_message(details, [kind_of(block) for block in _below(blocks, _named(path))])
    if kind == "string_pattern_mismatch":
        return f"{got} does not fit" + _help(str(path[-1]), blocks)
    if kind in _NEEDED:
        return f"must be {_NEEDED[kind]}, got {got}"
    if kind in _BOUNDS:
        return f"must be {_BOUNDS[kind]} {next(iter(context.values())):g}, got {got}"
    return context.get("message") or f"{details['msg'][:1].lower()}{details['msg'][1:]}, got {got}"


_NEEDED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text (put it in quotes)",
    "string_too_short": "a name, not an empty text",
    "tuple_type": "a list, such as [a, b]",
    "list_type": "a list, such as [a, b]",
    "dict_type": "a block of keys",
    "model_type": "a block of keys",
    "model_attributes_type": "a block of keys",
    "too_short": "a list of at least one element",
}
_BOUNDS = {
    "greater_than": "greater than",
    "greater_than_equal": "at least",
    "less_than": "less than",
    "less_than_equal": "at most",
}


def show(value: Any) -> str:
    """Returns a value as it would be written in the file, cut to a readable length."""
    if value is None:
        return "nothing (null)"
    return cut(json.dumps(value, ensure_ascii=False, default=str), 60)


def _hint(word: str, known: Sequence[str]) -> str:
    near = get_close_matches(cut(word), known, n=1)
    return f'; did you mean "{near[0]}"?' if near else f"; known here: {', '.join(known)}"


def _suggestions(blocks: Blocks) -> list[str]:
    groups = [block.suggestions() for block in blocks if issubclass(block, Section)]
    return list(dict.fromkeys(name for group in groups for name in group))


def _help(key: str, blocks: Blocks) -> str:
    for block in blocks:
        if key in block.model_fields and (text := block.model_fields[key].description):
            return f": {text}"
    return ""


def _choices(blocks: Blocks, path: Location) -> Iterable[str]:
    key = _named(path)
    fields = [block.model_fields[key] for block in blocks if key in block.model_fields]
    pending = [field.annotation for field in fields]
    for annotation in pending:
        for part in get_args(annotation):
            if isinstance(part, str):
                yield part
            else:
                pending.append(part)


def _named(path: Location) -> str:
    """The key of a value, or that of its list."""
    return next(part for part in reversed(path) if isinstance(part, str))


def _kind_message(details: ErrorDetails, kinds: Sequence[str | None]) -> str:
    known = [kind for kind in kinds if kind is not None]
    if details["type"] == "union_tag_invalid":
        given = details["input"]["kind"]
        return f"{show(given)} is not a kind{_hint(str(given), known)}"
    return f"needs a kind: {', '.join(known)}"
