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


@app.command()
def label(
    structures: Annotated[
        Path | None, typer.Argument(help="An extxyz file to label; not with --recipe.")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="The extxyz to write.")] = Path(
        "labelled.xyz"
    ),
    calculator: Annotated[
        str, typer.Option(help='"tblite" (GFN1-xTB), or the dotted path of an ASE calculator.')
    ] = "tblite",
    recipe: Annotated[
        str | None, typer.Option(help="Make a whole data set: a recipe's name or file.")
    ] = None,
) -> None:
    """Label structures with an ASE calculator, or make a data set by a recipe."""
    from electrojax.data.labelling import label_file, run_recipe
    from electrojax.errors import ConfigError

    if (structures is None) == (recipe is None):
        raise ConfigError("data label: give either a file of structures or --recipe NAME, not both")
    if recipe is not None:
        made = run_recipe(recipe, output, report=print)
        print(f"wrote {made.path}: kept {sum(made.kept.values())}, dropped {made.dropped}")
    elif structures is not None:
        done = label_file(structures, output, calculator)
        print(f"wrote {output}: kept {done.kept}, dropped {done.dropped}")
