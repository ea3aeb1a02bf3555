"""electrojax data: built-in sets and labelling."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Data sets: list the built-in ones, label structures.", no_args_is_help=True)


@app.command("list")
def list_() -> None:
    """List the built-in data sets."""
    from electrojax.data.datasets import BUILTIN

    for name, entry in BUILTIN.items():
        print(f"builtin:{name:<14} {entry.description}")
