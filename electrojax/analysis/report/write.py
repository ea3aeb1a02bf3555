"""Reports as files, in the form that their names say."""

from collections.abc import Sequence
from pathlib import Path

from electrojax.analysis.report import formats
from electrojax.analysis.report.curves import CURVE_KINDS, curve_table
from electrojax.analysis.report.elements import BY_ELEMENT, element_table
from electrojax.analysis.report.report import Part, Report, make_report
from electrojax.errors import ConfigError
from electrojax.files import write_whole

SUFFIXES = (".html", ".md", ".csv", ".tex")


def write_reports(
    paths: Sequence[Path],
    outputs: Sequence[Path],
    metrics: Sequence[str] = (),
    mean_over: Sequence[str] = (),
) -> Report:
    """Reads runs, compares them and writes the comparison.

    Args:
        paths: run folders, and folders of them such as a sweep's.
        outputs: files to write: a page (.html), the report as text (.md), the table of metrics
            (.csv, .tex).
        metrics: the columns of the table; chosen where none are given.
        mean_over: dotted keys over which means are taken; ``run.seed`` where none are given.

    Raises:
        ConfigError, DataError: for a wrong folder, metric or name of a file; nothing is written.
    """
    for output in outputs:
        if output.suffix not in SUFFIXES:
            raise ConfigError(f"{output}: needed a name that ends in {', '.join(SUFFIXES)}")
    report = make_report(paths, metrics, mean_over)
    texts = [_text(report, output.suffix) for output in outputs]
    for output, text in zip(outputs, texts):
        write_whole(output, text.encode())
    return report


def markdown(report: Report) -> str:
    """Returns the tables of a report as Markdown."""
    parts = [
        f"# {formats.plain_markdown(report.title)}\n",
        *(text for part in report.parts for text in _part(part, len(report.parts) > 1)),
        _titled("Not finished", ("run", "reason"), report.unfinished),
        _titled("Data", ("file", "SHA-256", "runs"), report.data),
        _titled("Environment", ("", "", "runs"), report.environment),
        _titled("Warnings", ("warning", "runs"), report.warnings),
    ]
    return "\n".join(part for part in parts if part)


def _part(part: Part, several: bool) -> list[str]:
    tables = [element_table(part.groups, quantity) for quantity in BY_ELEMENT]
    tables += [curve_table(part.groups, kind, ()) for kind in CURVE_KINDS]
    labels = [group.label for group in part.groups]
    differing = [(key, *values) for key, values in part.differences]
    of = f": {formats.plain_markdown(part.name)}" if several else ""
    return [
        f"## Comparison{of}\n" if several else "",
        formats.markdown(part.table),
        f"{part.note}\n" if part.note else "",
        *(f"## {t.title}{of}\n\n{formats.markdown(t)}" for t in tables if t is not None),
        _titled(f"Differences of the configurations{of}", ("key", *labels), differing),
    ]


def _text(report: Report, suffix: str) -> str:
    if suffix == ".html":
        from electrojax.analysis.report.page import html

        return html(report)
    if suffix == ".md":
        return markdown(report)
    tables = [part.table for part in report.parts]
    return formats.csv(tables) if suffix == ".csv" else formats.latex(tables)


def _titled(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return f"## {title}\n\n{formats.markdown_rows(head, rows)}" if rows else ""
