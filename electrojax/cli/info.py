"""electrojax info: what a bundle holds."""

from pathlib import Path
from typing import Annotated

import typer

from electrojax.cli.options import PluginOption


def info(
    model: Annotated[Path, typer.Argument(help="A model.ejx.")],
    json_: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    plugin: PluginOption = None,
) -> None:
    """Say what a model file holds: model, elements, parameters, training."""
    import json

    from electrojax.models.bundle import describe
    from electrojax.text import visible

    summary = describe(model, plugin or [])
    if json_:
        print(json.dumps(summary, indent=1))
        return
    for key, value in summary.items():
        if key != "training_means":
            print(visible(f"{key:<18} {value}"))
