"""Solvers, backbones and loggers of other packages, by name.

A kind is one of electrojax's own, the name of an installed entry point, or ``module:Class``. Only
what an administrator has installed or a user has named is imported: a module's name that merely
stands in a model file is never enough.
"""

import dataclasses
import importlib
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from electrojax.errors import ConfigError

Classes = Mapping[tuple[str, str], type]
"""Classes by trade ("solver", "backbone", "logger") and kind, as a user has named them."""


@dataclasses.dataclass(frozen=True, eq=False)
class KindTable:
    """The kinds of one trade: electrojax's own, and those of other packages.

    Attributes:
        trade: "solver", "backbone" or "logger".
        own: electrojax's classes by kind.
        misfit: what a class lacks to be one of the trade; empty if nothing.
    """

    trade: str
    own: Mapping[str, type]
    misfit: Callable[[type], str]

    @property
    def group(self) -> str:
        """The group of entry points, such as ``electrojax.solvers``."""
        return f"electrojax.{self.trade}s"

    def installed(self) -> dict[str, EntryPoint]:
        """Returns the entry points of installed packages by name; nothing is imported.

        Raises:
            ConfigError: two packages give the same name, or one gives the name of an own kind.
        """
        found: dict[str, EntryPoint] = {}
        for entry in entry_points(group=self.group):
            other = found.setdefault(entry.name, entry)
            if entry.name in self.own or _package(other) != _package(entry):
                owner = "electrojax" if entry.name in self.own else _package(other)
                raise ConfigError(
                    f'package {_package(entry)} names a {self.trade} "{entry.name}", as '
                    f"{owner} does; uninstall one"
                )
        return found

    def entry(self, kind: str) -> EntryPoint | None:
        """Returns the installed entry point that a kind names, by its name or ``module:Class``."""
        if kind in self.own:
            return None
        installed = self.installed()
        by_path = (entry for entry in installed.values() if entry.value == kind)
        return installed.get(kind) or next(by_path, None)

    def find(self, kind: str, named: Classes | None = None, trusted: bool = False) -> type:
        """Returns the class of a kind.

        Args:
            kind: its name.
            named: classes that the user gave; they come first.
            trusted: whether the kind was written by the user, so that ``module:Class`` may be
                imported; not for what stands in a model file.

        Raises:
            ConfigError: there is none, it cannot be imported, or it is not of this trade.
        """
        if (self.trade, kind) in (named or {}):
            return self.checked(kind, (named or {})[self.trade, kind])
        if kind in self.own:
            return self.own[kind]
        if (entry := self.entry(kind)) is not None:
            return self.checked(kind, _loaded(entry))
        if trusted and ":" in kind:
            return self.checked(kind, import_class(kind))
        known = sorted({*self.own, *self.installed()})
        raise ConfigError(f'"{kind}" does not exist; choose from {known}')

    def checked(self, kind: str, found: Any) -> type:
        """Returns a class if it is one of the trade.

        Raises:
            ConfigError: if it is not.
        """
        reason = self.misfit(found) if isinstance(found, type) else "it is not a class"
        if reason:
            raise ConfigError(f'"{kind}" is not a {self.trade}: {reason}')
        return found  # type: ignore[no-any-return]

    def origin(self, kind: str, module: type) -> dict[str, str]:
        """Returns entry point, distribution and version of a class, as far as it has them.

        Args:
            kind: its name in the configuration.
            module: the class.
        """
        entry = self.entry(kind)
        if entry is None or entry.dist is None or _loaded(entry) is not module:
            return {}
        place = {"entry_point": entry.name, "distribution": entry.dist.name}
        return {**place, "version": entry.dist.version}


def import_class(path: str) -> type:
    """Returns the class that a user names as ``module:Class``, imported.

    Raises:
        ConfigError: there is no such module or class, or importing it fails.
    """
    module, colon, name = path.partition(":")
    if not (module and colon and name):
        raise ConfigError(f'"{path}" is not of the form my_package.my_module:MyClass')
    hint = "install its package, or put its folder on PYTHONPATH"
    return _imported(path, lambda: getattr(importlib.import_module(module), name), hint)


def _loaded(entry: EntryPoint) -> type:
    hint = f"mend or uninstall package {_package(entry)}"
    return _imported(entry.name, entry.load, hint)


def _imported(name: str, load: Callable[[], Any], hint: str) -> type:
    try:
        return load()  # type: ignore[no-any-return]
    except Exception as error:  # another author's module raises what it likes when imported
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f'"{name}" cannot be imported ({reason}); {hint}') from error


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.module


def classes_for(
    tables: Sequence[KindTable], kinds: Mapping[str, str], plugins: Sequence[type | str]
) -> dict[tuple[str, str], type]:
    """Returns the classes that a user names for the kinds of a model, every one of them in use.

    A class serves the kind that is its ``module:Class``, else the only kind of its trade that is
    not electrojax's own.

    Args:
        tables: of the trades.
        kinds: of the model, by trade.
        plugins: classes, or ``module:Class``.

    Raises:
        ConfigError: a class is of no trade, or the model has no use for it.
    """
    found: dict[tuple[str, str], type] = {}
    for plugin in plugins:
        module = import_class(plugin) if isinstance(plugin, str) else plugin
        name = plugin if isinstance(plugin, str) else f"{plugin.__module__}:{plugin.__qualname__}"
        trades = [t for t in tables if isinstance(module, type) and not t.misfit(module)]
        if not trades:
            raise ConfigError(f'"{name}" is neither a {" nor a ".join(t.trade for t in tables)}')
        table = trades[0]
        kind = kinds[table.trade]
        if kind in table.own or (table.trade, kind) in found:
            owner = "electrojax's own" if kind in table.own else "given already"
            raise ConfigError(f'"{name}": the model\'s {table.trade} "{kind}" is {owner}; drop it')
        found[table.trade, kind] = module
    return found
