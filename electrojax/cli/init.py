"""electrojax init, check and schema: write a configuration, look it over, document it."""

import os
from pathlib import Path
from typing import Annotated

import typer

from electrojax.cli.options import PluginOption, SetOption


def init(
    solver: Annotated[str, typer.Option(help="Kind of charge solver, or module:Class.")] = "local",
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")] = Path(
        "run.yaml"
    ),
) -> None:
    """Write a commented starter file for a training run."""
    from electrojax.config.starter import starter
    from electrojax.errors import ConfigError
    from electrojax.files import write_whole

    text = starter(solver)
    if os.path.lexists(output):
        raise ConfigError(f"{output}: exists already and is kept; choose another name with -o")
    write_whole(output, text.encode())
    print(f"wrote {output}; next: electrojax check {output}")


def check(
    run: Annotated[Path, typer.Argument(help="A training file.")],
    set_: SetOption = None,
) -> None:
    """Check a training file and its data: labels, energies, batches, memory. Trains nothing."""
    from electrojax.runs.build import open_job
    from electrojax.runs.check import describe_job

    print(describe_job(open_job(run, set_ or [])))


def schema(
    section: Annotated[
        str | None, typer.Argument(help="A section, such as train or model.solver.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="As JSON schema, for editors.")] = False,
    plugin: PluginOption = None,
) -> None:
    """Print the configuration's keys, types, defaults and meaning."""
    from electrojax.config.plugins import every_kind
    from electrojax.config.starter import schema_json, schema_text

    tables = every_kind(plugin or [])
    print(schema_json(section, tables) if json_ else schema_text(section, tables))
