"""Several YAML files and the command line laid over each other: includes, merging and `--set`."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from electrojax.config.document import Entry, Position, parse_value, read_document
from electrojax.errors import ConfigError
from electrojax.files import is_file, is_folder
from electrojax.text import cut

MOST_FILES = 200
"""Files laid over each other: includes of includes grow exponentially."""

PACKAGE_CONFIGS = Path(__file__).resolve().parents[1] / "configs"


@dataclass(frozen=True)
class ConfigFile:
    """A configuration file and the name under which errors show it."""

    path: Path
    source: str

    @property
    def folder(self) -> Path:
        """Where the file's relative paths start.

        A file shipped with the package has no place of its own that one may write to or keep data
        in, so its paths start at the current directory; likewise one in a clone of the repository,
        whether or not the package was installed from there in place.
        """
        place = self.path.resolve()
        shipped = place.is_relative_to(PACKAGE_CONFIGS) or any(map(_in_clone, place.parents))
        return Path.cwd() if shipped else Path(os.path.abspath(self.path.parent))


def _in_clone(folder: Path) -> bool:
    """Whether a folder is that of the shipped files in a clone of the repository."""
    package = folder.parent
    named = (package.name, folder.name) == ("electrojax", "configs")
    return named and (package / "__init__.py").is_file()


def find_file(path: str | os.PathLike[str]) -> ConfigFile:
    """Returns the file that a command names: as given, else the shipped one of that name.

    The second way lets `configs/quickstart.yaml` work without a clone of the repository.

    Raises:
        ConfigError: there is no such file.
    """
    given = Path(path)
    if is_file(given):
        return ConfigFile(given, str(path))
    parts = given.parts[1:] if given.parts[:1] == ("configs",) else given.parts
    if parts and not given.is_absolute() and (shipped := _existing(PACKAGE_CONFIGS, Path(*parts))):
        return shipped
    if is_folder(given):
        raise ConfigError(f"{path}  is a folder; name a YAML file")
    hint = f"`electrojax init -o {cut(given.name)}` writes a starter file"
    raise ConfigError(f"{cut(str(path))}  no such file; {hint}")


def _existing(folder: Path, name: Path, source: str | None = None) -> ConfigFile | None:
    for candidate in (folder / name, folder / f"{name}.yaml"):
        if is_file(candidate):
            shown = os.path.relpath(candidate, folder)
            prefix = Path("electrojax/configs") if source is None else Path(source).parent
            return ConfigFile(candidate, str(prefix / shown))
    return None


def read_layers(file: ConfigFile, overrides: Sequence[str] = ()) -> tuple[Entry, list[ConfigFile]]:
    """Returns a file laid over what it includes, with the command line on top, and all files read.

    Raises:
        ConfigError: a file is missing, is not YAML, or includes itself; an override is malformed.
    """
    files: list[ConfigFile] = []
    entry = _read(file, (), files)
    return apply_overrides(entry, overrides), files


def _read(file: ConfigFile, above: tuple[ConfigFile, ...], files: list[ConfigFile]) -> Entry:
    document = read_document(file.path, file.source, file.folder)
    if not isinstance(document.value, dict):
        return document
    members = dict(document.value)
    include = members.pop("include", None)
    files.append(file)
    if len(files) > MOST_FILES:
        message = f"includes more than {MOST_FILES} files, each of which may include others"
        raise ConfigError(f"{files[0].source}  include   {message}; write out what they hold")
    layered = Entry({}, document.position)
    for name in [] if include is None else _included(include):
        found = _find_include(name, file, (*above, file))
        layered = merge(layered, _read(found, (*above, file), files))
    return merge(layered, Entry(members, document.position))


def _included(include: Entry) -> list[Entry]:
    names = include.value
    if not isinstance(names, list) or not all(isinstance(name.value, str) for name in names):
        message = "must be a list of file names, such as [model/light, solver/local]"
        raise ConfigError(f"{include.position}  include   {message}")
    return names


def _find_include(name: Entry, file: ConfigFile, chain: tuple[ConfigFile, ...]) -> ConfigFile:
    found = find_beside(name, file, "include")
    if any(found.path.resolve() == earlier.path.resolve() for earlier in chain):
        names = " -> ".join(item.source for item in (*chain, found))
        raise ConfigError(f"{name.position}  include   files include each other: {names}")
    return found


def find_beside(name: Entry, file: ConfigFile, path: str) -> ConfigFile:
    """Returns the file that a configuration names: beside that file, else among the shipped ones.

    Args:
        name: the name as written, with or without `.yaml`.
        file: where it was written.
        path: the dotted key that it is the value of, for the error.

    Raises:
        ConfigError: there is no such file.
    """
    wanted = Path(str(name.value))
    found = _existing(file.path.parent, wanted, file.source) or _existing(PACKAGE_CONFIGS, wanted)
    if found is None:
        near = get_close_matches(cut(str(wanted)).removesuffix(".yaml"), shipped_configs(), n=1)
        hint = (
            f'; did you mean "{near[0]}"?' if near else f"; shipped: {', '.join(shipped_configs())}"
        )
        place = f"beside {file.source} or among the shipped configurations"
        raise ConfigError(f"{name.position}  {path}   no file {cut(str(wanted))} {place}{hint}")
    return found


def shipped_configs() -> list[str]:
    """Returns the names under which `include:` finds the package's own configuration files."""
    files = sorted(PACKAGE_CONFIGS.glob("*/*.yaml"))
    return [file.relative_to(PACKAGE_CONFIGS).with_suffix("").as_posix() for file in files]


def merge(earlier: Entry, later: Entry) -> Entry:
    """Returns two values laid over each other.

    Blocks merge key by key and the later key wins; lists are replaced whole; a block of another
    `kind` replaces the earlier block, whose options belong to the earlier kind.
    """
    if not isinstance(earlier.value, dict) or not isinstance(later.value, dict):
        return later
    kinds = [block["kind"].value for block in (earlier.value, later.value) if "kind" in block]
    if len(kinds) == 2 and kinds[0] != kinds[1]:
        return later
    merged = dict(earlier.value)
    for key, entry in later.value.items():
        merged[key] = merge(merged[key], entry) if key in merged else entry
    return Entry(merged, later.position)


def replace_at(entry: Entry, keys: tuple[str, ...], value: Entry) -> Entry:
    """Returns a document with the value of a dotted key replaced whole, blocks included.

    A `kind` alone still merges, and drops the block of another kind, as `--set` does.

    Raises:
        ConfigError: the key leads through a value or outside a list.
    """
    return _set(entry, keys, value, (), lambda earlier, later: later)


def apply_overrides(entry: Entry, overrides: Sequence[str]) -> Entry:
    """Returns a document with `--set a.b=value` texts laid over it, in order.

    A change of `kind` goes first, so that it cannot drop an option set for the new kind.

    Raises:
        ConfigError: an override is not `path=value`, or leads through a value or outside a list.
    """
    here = Path.cwd()
    parsed = [_parse(text, number, here) for number, text in enumerate(overrides, start=1)]
    for keys, value in sorted(parsed, key=lambda item: item[0][-1] != "kind"):
        entry = _set(entry, keys, value, ())
    return entry


def _parse(text: str, number: int, here: Path) -> tuple[tuple[str, ...], Entry]:
    position = Position(f"--set #{number}", None, here)
    path, equals, value = text.partition("=")
    keys = tuple(key.strip() for key in path.split("."))
    if not equals or not all(re.fullmatch(r"[^\s.=]+", key) for key in keys):
        raise ConfigError(f'{position}  "{text}" is not of the form section.key=value')
    if not value.strip():
        raise ConfigError(f"{position}  {path}   has no value after the equals sign")
    return keys, parse_value(value, position)


Join = Callable[[Entry, Entry], Entry]
"""How a new value meets the one that stands in its place."""


def _set(
    entry: Entry, keys: tuple[str, ...], value: Entry, above: tuple[str, ...], join: Join = merge
) -> Entry:
    if not keys:
        return join(entry, value)
    key, rest, here = keys[0], keys[1:], (*above, keys[0])
    if isinstance(entry.value, list):
        return _set_item(entry, keys, value, above, join)
    if not isinstance(entry.value, dict):
        name, where = ".".join(above), entry.position
        message = f"{name} is a value, not a block of keys ({where})"
        raise ConfigError(f"{value.position}  {'.'.join((*above, *keys))}   {message}")
    if (key, rest) == ("kind", ()):
        return merge(entry, Entry({"kind": value}, value.position))
    child = entry.value.get(key)
    new = _nest(rest, value) if child is None else _set(child, rest, value, here, join)
    return Entry({**entry.value, key: new}, entry.position)


def _set_item(
    entry: Entry, keys: tuple[str, ...], value: Entry, above: tuple[str, ...], join: Join
) -> Entry:
    items = list(entry.value) if isinstance(entry.value, list) else []
    index = int(keys[0]) if keys[0].isdecimal() else len(items)
    if index >= len(items):
        count = f"{len(items)} element{'s' if len(items) != 1 else ''}"
        name, where = ".".join(above), entry.position
        message = f"{name} is a list of {count}, counted from 0 ({where}); there is no {keys[0]}"
        raise ConfigError(f"{value.position}  {'.'.join((*above, *keys))}   {message}")
    items[index] = _set(items[index], keys[1:], value, (*above, keys[0]), join)
    return Entry(items, entry.position)


def _nest(keys: tuple[str, ...], value: Entry) -> Entry:
    for key in reversed(keys):
        value = Entry({key: value}, value.position)
    return value
