"""electrojax import: a model of mace-torch becomes a model.ejx."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer


def import_model(
    model: Annotated[
        Path,
        typer.Argument(help="A model of mace-torch: MACE, ScaleShiftMACE, MACELES or PolarMACE."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model.ejx to write.")],
    head: Annotated[
        str, typer.Option(help="Which head, of a model with several; all keeps all.")
    ] = "",
    precision: Annotated[
        Literal["stored", "float32", "float64"], typer.Option(help="Of parameters and predictions.")
    ] = "stored",
    trust: Annotated[
        bool, typer.Option("--trust", help="Open the file, which may run any code of its author.")
    ] = False,
    verify: Annotated[
        str,
        typer.Option(
            help="Structures on which torch runs beside the result: a file or builtin:NAME."
        ),
    ] = "",
    frames: Annotated[int, typer.Option(help="How many of them, evenly spread.", min=1)] = 10,
    tolerance: Annotated[
        float,
        typer.Option(
            help="Largest difference allowed, in eV/atom, eV/Å, eV/Å³ and e; "
            "0: 1e-4 for float32, also of the file, 1e-6 for float64.",
            min=0.0,
        ),
    ] = 0.0,
) -> None:
    """Turn a model of mace-torch into a model.ejx that predicts the same.

    A model.ejx with several heads gives one of one head.
    """
    from electrojax.runs.import_model import import_file

    def report(text: str) -> None:
        print(text, file=sys.stderr)

    import_file(model, output, head, precision, trust, report, verify, frames, tolerance)
    print(f"{model} -> {output}")
