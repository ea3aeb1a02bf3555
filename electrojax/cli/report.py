"""electrojax report: runs and sweeps, compared."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of them (a sweep).")],
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "-o", "--output", help="A file to write: .html, .md, .csv or .tex; may be repeated."
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", help="A column, such as test/forces_rmse; may be repeated."),
    ] = None,
    mean_over: Annotated[
        list[str] | None,
        typer.Option(
            "--mean-over", metavar="KEY", help="Average over this key; run.seed if not given."
        ),
    ] = None,
) -> None:
    """Compare runs: tables with spread over seeds, learning curves, parity, costs, differences."""
    from electrojax.analysis.report.write import write_reports

    outputs = output or [Path("report.html")]
    made = write_reports(runs, outputs, metric or [], mean_over or [])
    for name, reason in made.unfinished:
        print(f"not finished: {name}: {reason}")
    print(f"wrote {', '.join(str(o) for o in outputs)}: {len(made.runs)} runs")
