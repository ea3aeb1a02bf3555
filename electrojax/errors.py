"""The errors a user can meet: each says what was wrong, what was needed, got, and what to do."""

from collections.abc import Iterable


class ElectrojaxError(Exception):
    """Base of every error raised on purpose; the CLI prints it without a traceback."""


class ConfigError(ElectrojaxError):
    """A configuration is wrong; nothing was started (exit code 2)."""


class DataError(ElectrojaxError):
    """A data or model file is missing, damaged or inconsistent (exit code 2)."""


class CapacityError(ElectrojaxError):
    """A batch or system does not fit the array sizes that were planned for it."""


class ConvergenceError(ElectrojaxError):
    """An iteration or a training run failed numerically (exit code 3)."""


def shown(text: str, length: int = 40) -> str:
    """Returns a foreign text for a message of one line: short, without control characters."""
    plain = text if text.isprintable() else ascii(text)[1:-1]
    return plain if len(plain) <= length else f"{plain[:length]}..."


def listed(names: Iterable[str], count: int = 20) -> str:
    """Returns foreign names for a message of one line, and how many more there are."""
    every = list(names)
    more = f" and {len(every) - count} more" if len(every) > count else ""
    return (", ".join(shown(name) for name in every[:count]) or "none") + more
