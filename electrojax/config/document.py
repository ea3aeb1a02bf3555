"""YAML documents that remember where every key was written.

The scalars follow the core schema of YAML 1.2 (yaml.org/spec/1.2.2, section 10.3) and not YAML 1.1,
PyYAML's default, under which `1e-5` is text, `no` is false and `12:30` is the number 750.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from electrojax.errors import ConfigError
from electrojax.text import LAYOUT, hidden_character

LARGEST = 2**20
"""Bytes of a configuration file; the shipped ones have two thousand."""

MOST = 100_000
"""Values and lines of text of a document, written out: aliases of aliases grow exponentially."""

LONGEST_KEY = 200

DEEPEST = 50
"""Blocks inside each other."""

Scalar = str | int | float | bool | None
Location = tuple[str | int, ...]


@dataclass(frozen=True)
class Position:
    """Where something was written: a file (or `--set #n`), its line, and its folder for paths."""

    source: str
    line: int | None
    folder: Path

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True)
class Entry:
    """One value of a document: a scalar, a block of entries or a list of entries, and its position.

    The position of a member of a block is that of its key.
    """

    value: "Scalar | dict[str, Entry] | list[Entry]"
    position: Position

    def plain(self) -> Any:
        """Returns the value without its positions, as `yaml.safe_load` would."""
        if isinstance(self.value, dict):
            return {key: entry.plain() for key, entry in self.value.items()}
        if isinstance(self.value, list):
            return [entry.plain() for entry in self.value]
        return self.value

    def child(self, key: str | int) -> "Entry | None":
        """Returns the member under a key or list index, or None where there is none."""
        if isinstance(self.value, dict):
            return self.value.get(str(key))
        if isinstance(self.value, list):
            index = key if isinstance(key, int) else int(key) if key.isdecimal() else -1
            return self.value[index] if 0 <= index < len(self.value) else None
        return None

    def nearest(self, location: Location) -> "Entry":
        """Returns the entry at a location, or the deepest block above it that was written."""
        if not location or (child := self.child(location[0])) is None:
            return self
        return child.nearest(location[1:])


class _Loader(yaml.SafeLoader):
    """A SafeLoader with YAML 1.2 scalars; only its composer is used, never a constructor."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


_SCALARS = {
    "null": (r"~|null|Null|NULL|", [*"~nN", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
}
for _name, (_pattern, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}", re.compile(f"(?:{_pattern})$"), _first
    )


def read_document(path: Path, source: str, folder: Path) -> Entry:
    """Returns the contents of a YAML file with the position of every key.

    Args:
        path: the file.
        source: the name to show in errors.
        folder: where relative paths written in the file start.

    Raises:
        ConfigError: the file is missing, unreadable, not YAML, or not a block of keys.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        message = f"{source}: is not UTF-8 text (byte {error.start}); save it as UTF-8"
        raise ConfigError(message) from error
    if len(content) > LARGEST:
        message = f"has more than {LARGEST // 2**20} MiB, too much for a configuration"
        raise ConfigError(f"{source}: {message}; name a YAML file of keys and values")
    return parse_document(text, Position(source, 1, folder))


def parse_document(text: str, start: Position) -> Entry:
    """Returns a YAML text whose outermost value is a block of keys.

    Args:
        text: the YAML.
        start: the position of its first line.

    Raises:
        ConfigError: the text is not YAML, or holds something else than a block of keys.
    """
    entry = parse_value(text, start)
    if entry.value is None:
        return Entry({}, start)
    if not isinstance(entry.value, dict):
        raise ConfigError(f"{entry.position}  must be a block of `key: value` lines")
    return entry


def parse_value(text: str, start: Position) -> Entry:
    """Returns any YAML value; a `start` without a line gives every part that same position.

    Raises:
        ConfigError: the text is not one YAML document, repeats a key, or uses a custom tag.
    """
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return Entry(None, start) if node is None else _Builder(start).entry(node, start, ())
    except yaml.MarkedYAMLError as error:
        where = _position(error.problem_mark, start)
        raise ConfigError(f"{where}  is not valid YAML: {_reason(error)}") from error
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{start.source}  is not valid YAML: {reason}") from error
    except RecursionError as error:
        raise ConfigError(f"{start.source}  is nested too deeply to be a configuration") from error
    except (ValueError, OverflowError) as error:  # an escape such as "\\UFFFFFFFF" is no character
        raise ConfigError(f"{start.source}  is not valid YAML: {error}") from error
    finally:
        if loader is not None:
            loader.dispose()


def _reason(error: yaml.MarkedYAMLError) -> str:
    parts = [part for part in (error.context, error.problem) if part]
    return " ".join(", ".join(parts).split())


def _position(mark: Any, start: Position) -> Position:
    if mark is None or start.line is None:
        return start
    return Position(start.source, start.line + mark.line, start.folder)


class _Builder:
    """Turns the nodes of one document into entries, aliases written out, and counts them.

    Args:
        start: the position of the document's first line.
    """

    def __init__(self, start: Position) -> None:
        self._start, self._count = start, 0

    def entry(self, node: yaml.Node, at: Position, above: tuple[int, ...]) -> Entry:
        self._check(node, at, above)
        above = (*above, id(node))
        if isinstance(node, yaml.MappingNode):
            return Entry(dict(self._members(node, above)), at)
        if isinstance(node, yaml.SequenceNode):
            items = [(item, _position(item.start_mark, self._start)) for item in node.value]
            return Entry([self.entry(item, where, above) for item, where in items], at)
        return Entry(_scalar(node, at), at)

    def _check(self, node: yaml.Node, at: Position, above: tuple[int, ...]) -> None:
        if id(node) in above:
            raise ConfigError(f"{at}  an alias contains itself; write the value out")
        if len(above) > DEEPEST:
            raise ConfigError(f"{at}  is nested too deeply; at most {DEEPEST} blocks inside others")
        self._count += 1 + (len(node.value) // 80 if isinstance(node, yaml.ScalarNode) else 0)
        if self._count > MOST:
            raise ConfigError(
                f"{at}  the file has more than {MOST} values when its aliases are written out; "
                "shorten it"
            )
        if node.tag.removeprefix("tag:yaml.org,2002:") not in ("map", "seq", "str", *_SCALARS):
            raise ConfigError(f"{at}  the tag {node.tag} is not accepted; write a plain value")

    def _members(
        self, node: yaml.MappingNode, above: tuple[int, ...]
    ) -> Iterator[tuple[str, Entry]]:
        first: dict[str, Position] = {}
        for key_node, value_node in node.value:
            at = _position(key_node.start_mark, self._start)
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"{at}  a key must be a word, not a list or a block")
            if len(key_node.value) > LONGEST_KEY:
                raise ConfigError(f"{at}  a key has more than {LONGEST_KEY} characters; shorten it")
            # The text as written: a chemical symbol such as No or a number stays a name.
            key = _shown(key_node.value, at)
            if key in first:
                raise ConfigError(
                    f'{at}  "{key}" is given twice in one block (first: {first[key]}); keep one'
                )
            first[key] = at
            yield key, self.entry(value_node, at, above)


def _shown(text: str, at: Position, allowed: str = "") -> str:
    """A text in which every character can be seen.

    Raises:
        ConfigError: if one cannot, such as one that turns the direction of writing.
    """
    if hidden := hidden_character(text, allowed):
        raise ConfigError(f"{at}  has the invisible character {hidden}; remove it")
    return text


def _scalar(node: yaml.Node, at: Position) -> Scalar:
    kind, text = node.tag.removeprefix("tag:yaml.org,2002:"), str(node.value)
    if kind == "str":
        return _shown(text, at, LAYOUT)
    if kind == "null":
        return None
    if kind not in _SCALARS or not re.fullmatch(_SCALARS[kind][0], text):
        raise ConfigError(f'{at}  "{text}" is not what its tag {node.tag} says; drop the tag')
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int" and len(text) < 400:
        return int(text)
    return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))


class _Dumper(yaml.SafeDumper):
    """A SafeDumper that also quotes the text which YAML 1.2 alone would read as a number."""


for _name, (_pattern, _first) in _SCALARS.items():
    _Dumper.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}", re.compile(f"(?:{_pattern})$"), _first
    )


def dump_document(data: dict[str, Any]) -> str:
    """Returns plain data as YAML that readers of YAML 1.1 and 1.2 read back equal."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
