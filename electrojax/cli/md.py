"""electrojax md: simulate with a trained model."""

from pathlib import Path
from typing import Annotated

import typer

from electrojax.cli.options import PluginOption, SetOption
from electrojax.interruption import StartUp


def md(
    run: Annotated[Path, typer.Argument(help="An md file.")],
    set_: SetOption = None,
    resume: Annotated[
        str, typer.Option(help="auto: go on from the last checkpoint; never: refuse a used folder.")
    ] = "never",
    plugin: PluginOption = None,
) -> None:
    """Simulate molecular dynamics with a trained model, as a file describes."""
    with StartUp():
        from electrojax.runs.md import run_md

        run_md(run, set_ or [], resume, print, plugin or [])
