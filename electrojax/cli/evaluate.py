"""electrojax evaluate: predictions, errors and plots of a model on a data file."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from electrojax.cli.options import PluginOption


def evaluate(
    model: Annotated[Path, typer.Argument(help="A model.ejx.")],
    data: Annotated[str, typer.Argument(help="An extxyz or HDF5 file, or builtin:NAME.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write predictions, as extxyz or HDF5.")
    ] = None,
    metrics: Annotated[
        Path | None, typer.Option("--metrics", help="Write the errors as JSON.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option("--plots", help="Write parity plots into this folder.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only the frames of this stored split.")] = None,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="LABEL=NAME", help="Name of a label in the file."),
    ] = None,
    batch_edges: Annotated[
        int, typer.Option(help="Neighbour pairs computed at once.", min=1)
    ] = 20_000,
    plugin: PluginOption = None,
    head: Annotated[str, typer.Option(help="Which head, of a model with several.")] = "",
) -> None:
    """Evaluate a model on a data file: errors against its labels, predictions, parity plots."""
    from electrojax.runs.evaluate import evaluate_file

    found = evaluate_file(
        model,
        data,
        output,
        metrics,
        plots,
        split,
        key or [],
        batch_edges,
        report=lambda text: print(text, file=sys.stderr),
        plugins=plugin or [],
        head=head,
    )
    for name, value in found.items():
        print(f"{name:<34} {value:.6g}")
