"""The errors a user can meet: each says what was wrong, what was needed, got, and what to do."""


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
