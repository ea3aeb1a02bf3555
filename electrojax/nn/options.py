"""Fields of a module that are its configuration schema."""

import dataclasses
from typing import Any


def option(default: Any, help: str, **constraints: Any) -> Any:
    """Returns a module field that a user may set.

    Args:
        default: its value when nothing is configured.
        help: one sentence, with the unit.
        constraints: any of ``choices``, ``positive``, ``minimum``, ``maximum``; ``path``, true for
            a path that is relative to the configuration file; ``starter``, a value for the starter
            file where the default would not do for the built-in set.
    """
    return dataclasses.field(default=default, metadata={"help": help, **constraints})


def runtime(default: Any, help: str) -> Any:
    """Returns a module field that comes from the data set and is not part of the schema."""
    return dataclasses.field(default=default, metadata={"help": help, "config": False})
