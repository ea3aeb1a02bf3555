"""electrojax data: built-in sets and labelling."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Data sets: list, inspect, convert, split and label.", no_args_is_help=True)

ForceOption = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]


@app.command("list")
def list_() -> None:
    """List the built-in data sets."""
    from electrojax.data.datasets import BUILTIN, split_sizes

    for name, entry in BUILTIN.items():
        sizes = ", ".join(f"{split} {size}" for split, size in split_sizes(name).items())
        print(f"builtin:{name:<15} {sizes}\n    {entry.description} ({entry.level})")


@app.command()
def label(
    structures: Annotated[
        Path | None, typer.Argument(help="An extxyz file to label; not with --recipe.")
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The extxyz or HDF5 to write.")
    ] = Path("labelled.xyz"),
    calculator: Annotated[
        str, typer.Option(help='"tblite" (GFN1-xTB), or the dotted path of an ASE calculator.')
    ] = "tblite",
    recipe: Annotated[
        str | None, typer.Option(help="Make a whole data set: a recipe's name or file.")
    ] = None,
    force: ForceOption = False,
) -> None:
    """Label structures with an ASE calculator, or make a data set by a recipe."""
    from electrojax.data.making.labelling import label_file, run_recipe
    from electrojax.errors import ConfigError

    if (structures is None) == (recipe is None):
        raise ConfigError("data label: give either a file of structures or --recipe NAME, not both")
    if recipe is not None:
        made = run_recipe(recipe, output, report=print, force=force)
        print(f"wrote {made.path}: kept {sum(made.kept.values())}, dropped {made.dropped}")
    elif structures is not None:
        done = label_file(structures, output, calculator, force=force)
        print(f"wrote {output}: kept {done.kept}, dropped {done.dropped}")
        for line in done.first:
            print(line)


KeyOption = Annotated[
    list[str] | None,
    typer.Option("--key", metavar="LABEL=NAME", help="Name of a label in an extxyz file."),
]


@app.command()
def inspect(
    file: Annotated[str, typer.Argument(help="An extxyz or HDF5 file, or builtin:NAME.")],
    key: KeyOption = None,
    json_: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Count what a file holds, and name duplicates and suspicious frames."""
    import json

    from electrojax.data.conversion import read_with_rest
    from electrojax.data.datasets import resolve_source
    from electrojax.data.inspection import inspect as inspect_frames
    from electrojax.data.reader import parse_keys
    from electrojax.errors import listed

    frames, rest = read_with_rest(resolve_source(file), parse_keys(key or []))
    found = inspect_frames(frames)
    if json_:
        print(json.dumps({**found.plain(), "other_names": rest}, indent=1))
    else:
        print(found)
        print(f"{'other names':<16}{listed(rest)}")


@app.command()
def convert(
    source: Annotated[str, typer.Argument(help="An extxyz or HDF5 file, or builtin:NAME.")],
    target: Annotated[Path, typer.Argument(help="The file to write: .xyz, .xyz.gz, .h5 ...")],
    key: KeyOption = None,
    force: ForceOption = False,
) -> None:
    """Convert between extxyz and HDF5, by the suffixes; labels and inputs keep every digit."""
    from electrojax.data.conversion import convert as convert_file
    from electrojax.data.dataset import census
    from electrojax.data.datasets import resolve_source
    from electrojax.data.reader import parse_keys
    from electrojax.errors import listed

    frames, left = convert_file(resolve_source(source), target, parse_keys(key or []), force)
    print(census(frames))
    if left:
        print(f"left behind     {listed(left)} (no label or input; name labels with --key)")
    print(f"wrote {target}: {len(frames)} frames")


@app.command()
def split(
    source: Annotated[str, typer.Argument(help="An extxyz or HDF5 file, or builtin:NAME.")],
    train: Annotated[float, typer.Option(help="Share of the training set.")] = 0.8,
    valid: Annotated[float, typer.Option(help="Share of the validation set.")] = 0.1,
    test: Annotated[float, typer.Option(help="Share of the test set.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Seed of the drawing.", min=0)] = 0,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="PREFIX", help="Write PREFIX_train.xyz and so on."),
    ] = None,
    stored: Annotated[
        Path | None,
        typer.Option("--stored", help="Write one file whose key `split` names the splits."),
    ] = None,
    force: ForceOption = False,
) -> None:
    """Split a file at random, by composition and charge, duplicates on the same side."""
    from collections import Counter

    from electrojax.data.conversion import write_splits, write_stored
    from electrojax.data.datasets import resolve_source
    from electrojax.data.reader import read_frames
    from electrojax.data.splitting import assign_splits
    from electrojax.errors import ConfigError

    if (output is None) == (stored is None):
        raise ConfigError("data split: give either -o PREFIX or --stored FILE, not both")
    file = resolve_source(source)
    frames = read_frames(file)
    splits = assign_splits(frames, {"train": train, "valid": valid, "test": test}, seed)
    if stored is not None:
        write_stored(file, frames, splits, stored, force)
        counts = ", ".join(f"{name} {n}" for name, n in Counter(splits).items())
        print(f"wrote {stored}: {counts}")
    elif output is not None:
        for path, count in write_splits(file, frames, splits, output, force).items():
            print(f"wrote {path}: {count} frames")
