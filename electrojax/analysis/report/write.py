"""Reports as files, in the form that their names say."""

from collections.abc import Sequence
from pathlib import Path

from electrojax.analysis.report import formats
from electrojax.analysis.report.curves import CURVE_KINDS, curve_table
from electrojax.analysis.report.elements import BY_ELEMENT, element_table
from electrojax.analysis.report.report import Report, make_report
from electrojax.analysis.report.tables import Table
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
    tables = [element_table(report.groups, quantity) for quantity in BY_ELEMENT]
    tables += [curve_table(report.groups, kind, ()) for kind in CURVE_KINDS]
    labels = [group.label for group in report.groups]
    differing = [(key, *values) for key, values in report.differences]
    parts = [
        f"# {report.title}\n",
        formats.markdown(report.table),
        f"{report.note}\n" if report.note else "",
        _titled("Not finished", ("run", "reason"), report.unfinished),
        *(_of_table(table) for table in tables if table is not None),
        _titled("Differences of the configurations", ("key", *labels), differing),
        _titled("Data", ("file", "SHA-256", "runs"), report.data),
        _titled("Environment", ("", "", "runs"), report.environment),
        _titled("Warnings", ("warning", "runs"), report.warnings),
    ]
    return "\n".join(part for part in parts if part)


def _text(report: Report, suffix: str) -> str:
    if suffix == ".html":
        from electrojax.analysis.report.page import html

        return html(report)
    if suffix == ".md":
        return markdown(report)
    return formats.csv(report.table) if suffix == ".csv" else formats.latex(report.table)


def _of_table(table: Table) -> str:
    return f"## {table.title}\n\n{formats.markdown(table)}"


def _titled(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return f"## {title}\n\n{formats.markdown_rows(head, rows)}" if rows else ""
