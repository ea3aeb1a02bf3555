"""electrojax train: fit, evaluate, save and plot."""

from pathlib import Path
from typing import Annotated

import typer

from electrojax.cli.options import SetOption
from electrojax.interruption import StartUp


def train(
    run: Annotated[Path, typer.Argument(help="A training file.")],
    set_: SetOption = None,
    resume: Annotated[
        str, typer.Option(help="auto: go on from the last checkpoint; never: refuse a used folder.")
    ] = "never",
) -> None:
    """Train a model as a file describes, then evaluate and plot it."""
    with StartUp():
        from electrojax.runs.train import run_training

        run_training(run, set_ or [], resume, print)
