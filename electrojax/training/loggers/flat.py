"""The resolved configuration in the forms that trackers show."""

import json
from collections.abc import Iterator, Mapping
from typing import Any


def indent_text(config: Mapping[str, Any]) -> str:
    """Returns the configuration as JSON in a block of Markdown code."""
    text = json.dumps(config, indent=2, ensure_ascii=False)
    return "\n".join(f"    {line}" for line in text.splitlines())


def flatten_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values by their dotted keys, such as ``train.stages.0.epochs``."""
    return dict(_leaves(config, ""))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    members = value.items() if isinstance(value, Mapping) else enumerate(value)
    for key, item in members:
        below = f"{path}.{key}".strip(".")
        if isinstance(item, Mapping | list | tuple) and item:
            yield from _leaves(item, below)
        else:
            yield below, item
