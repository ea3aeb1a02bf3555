"""The kinds of other packages that a training file names."""

from collections.abc import Iterator, Sequence

from electrojax.config.document import Entry, Location
from electrojax.config.kinds import Tables, default_tables
from electrojax.config.problems import Problem, as_written, config_error
from electrojax.errors import ConfigError
from electrojax.plugins import KindTable, import_class


def kind_tables() -> tuple[KindTable, ...]:
    """Returns the kinds of every trade; importing them imports jax."""
    from electrojax.nn.base import BACKBONE_KINDS
    from electrojax.solvers.table import SOLVER_KINDS
    from electrojax.training.loggers import LOGGER_KINDS

    return BACKBONE_KINDS, SOLVER_KINDS, LOGGER_KINDS


def with_plugins(tables: Tables, root: Entry) -> Tables:
    """Returns the tables with the classes of other packages that a document names.

    Args:
        tables: the kinds known so far.
        root: the document, which the user wrote: its ``module:Class`` are imported.

    Raises:
        ConfigError: a line per kind that no package has, cannot be imported, or is not of its
            trade.
    """
    problems = []
    for trade in ("backbone", "solver", "logger"):
        for location, kind in _kinds(root, trade):
            try:
                tables = with_kind(tables, trade, kind)
            except ConfigError as error:
                position = root.nearest(location).position
                problems.append(Problem(position, as_written(location, False), str(error)))
    if problems:
        raise config_error(problems)
    return tables


def with_kind(tables: Tables, trade: str, kind: str) -> Tables:
    """Returns the tables with a kind that a user names, if another package may have it.

    Raises:
        ConfigError: no package has it, it cannot be imported, or it is not of its trade.
    """
    if kind in tables.of(trade):
        return tables
    [table] = [table for table in kind_tables() if table.trade == trade]
    if ":" not in kind and not table.installed():
        return tables  # the schema says which kinds there are
    return tables.extended(trade, {kind: table.find(kind, trusted=True)})


def every_kind(plugins: Sequence[str] = ()) -> Tables:
    """Returns electrojax's own kinds, those of all installed packages, and classes by their path.

    Args:
        plugins: ``module:Class``, of whatever trade each is.

    Raises:
        ConfigError: one cannot be imported or is of no trade.
    """
    tables = default_tables()
    for table in kind_tables():
        classes = {kind: table.find(kind) for kind in table.installed()}
        tables = tables.extended(table.trade, classes)
    for path in plugins:
        module = import_class(path)
        trades = [table.trade for table in kind_tables() if not table.misfit(module)]
        if not trades:
            raise ConfigError(f'"{path}" is neither a backbone nor a solver nor a logger')
        tables = tables.extended(trades[0], {path: module})
    return tables


def _kinds(root: Entry, trade: str) -> Iterator[tuple[Location, str]]:
    """Yields where a document names kinds of a trade, and which."""
    places: list[Location] = [("model", trade, "kind")]
    if trade == "logger":
        loggers = root.child("loggers")
        count = len(loggers.value) if loggers is not None and isinstance(loggers.value, list) else 0
        places = [("loggers", index) for index in range(count)]
        places += [("loggers", index, "kind") for index in range(count)]
    for place in places:
        entry = _at(root, place)
        if entry is not None and isinstance(entry.value, str) and entry.value != "jsonl":
            yield place, entry.value


def _at(entry: Entry | None, place: Location) -> Entry | None:
    for key in place:
        entry = entry.child(key) if entry is not None else None
    return entry
