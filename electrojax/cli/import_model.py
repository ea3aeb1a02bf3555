"""electrojax import: a model of mace-torch becomes a model.ejx."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer


def import_model(
    model: Annotated[
        Path, typer.Argument(help="A model of mace-torch: MACE, ScaleShiftMACE, PolarMACE.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model.ejx to write.")],
    head: Annotated[str, typer.Option(help="Which head, of a model with several.")] = "",
    precision: Annotated[
        Literal["stored", "float32", "float64"], typer.Option(help="Of parameters and predictions.")
    ] = "stored",
    trust: Annotated[
        bool, typer.Option("--trust", help="Open the file, which may run any code of its author.")
    ] = False,
) -> None:
    """Turn a model of mace-torch into a model.ejx that predicts the same."""
    from electrojax.runs.import_model import import_file

    import_file(model, output, head, precision, trust, lambda text: print(text, file=sys.stderr))
    print(f"{model} -> {output}")
