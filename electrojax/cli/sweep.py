"""electrojax sweep: many training runs from one file."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from electrojax.cli.options import SetOption

app = typer.Typer(help="Sweeps: plan, run and watch many training runs.", no_args_is_help=True)

SweepFile = Annotated[Path, typer.Argument(help="A sweep file.")]


@app.command()
def plan(sweep: SweepFile, set_: SetOption = None) -> None:
    """Print every point and what it costs; nothing is trained."""
    from electrojax.sweep import verbs

    verbs.plan(sweep, set_ or [], print)


@app.command()
def run(sweep: SweepFile, set_: SetOption = None) -> None:
    """Train every point; finished ones are skipped, broken ones resumed."""
    from electrojax.sweep import verbs

    try:
        verbs.run(sweep, set_ or [], flushed(print))
    except KeyboardInterrupt:
        print("interrupted; the same command goes on with what is left", file=sys.stderr)
        raise SystemExit(130) from None


@app.command()
def status(sweep: SweepFile, set_: SetOption = None) -> None:
    """Print how every point stands, and why some failed."""
    from electrojax.sweep import verbs

    verbs.status(sweep, set_ or [], print)


def flushed(show: Callable[..., None]) -> Callable[[str], None]:
    """Returns a reporter whose lines are seen at once, in a pipe too."""
    return lambda line: show(line, flush=True)
