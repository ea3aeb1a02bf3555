"""Tables as Markdown, CSV and LaTeX."""

import csv as csv_module
import io
import re
from collections.abc import Sequence

from electrojax.analysis.report.tables import Table
from electrojax.text import visible

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "Å": r"\AA{}", "²": r"$^2$", "³": r"$^3$", "·": r"$\cdot$", "–": "--",
    "−": "$-$", "μ": r"$\mu$", "°": r"$^\circ$", "<": r"$<$", ">": r"$>$",
}  # fmt: skip


def markdown(table: Table) -> str:
    """Returns a table as Markdown, the best in bold."""
    head = ["", "runs", *(_heading(c.name, c.unit) for c in table.columns)]
    rows = [
        [label, str(n), *(f"**{t}**" if b else t for t, b in _texts(table, i))]
        for i, (label, n) in enumerate(zip(table.rows, table.counts))
    ]
    return markdown_rows(head, rows, numbers=True)


def markdown_rows(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = False) -> str:
    """Returns rows of text as a Markdown table, numbers aligned to the right."""
    rule = ["---", *("---:" if numbers else "---" for _ in head[1:])]
    lines = [[plain_markdown(text) for text in line] for line in (head, *rows)]
    lines.insert(1, rule)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def plain_markdown(text: str) -> str:
    """Returns text that Markdown shows as it is: no HTML, link, image or second line."""
    shown = re.sub(r"&(?=#?\w+;)", "&amp;", _one_line(str(text)).replace("\\", r"\\"))
    for character, written in (("<", "&lt;"), ("|", r"\|"), ("](", r"]\("), ("`", r"\`")):
        shown = shown.replace(character, written)
    return shown


def csv(tables: Sequence[Table]) -> str:
    """Returns tables as one CSV: every mean, spread (n − 1) and count with all its digits.

    Args:
        tables: of one data set each, whose name is the first column.
    """
    out = io.StringIO()
    writer = csv_module.writer(out, lineterminator="\n")
    names = dict.fromkeys(_heading(c.name, c.unit) for table in tables for c in table.columns)
    titles = [f"{name} {part}" for name in names for part in ("mean", "std", "n", "best")]
    writer.writerow(["data", "label", "runs", *map(plain_cell, titles)])
    for table in tables:
        for i, (label, count) in enumerate(zip(table.rows, table.counts)):
            told = _columns(table, i)
            cells = [text for name in names for text in told.get(name, ("", "", 0, ""))]
            writer.writerow([plain_cell(table.title), plain_cell(label), count, *cells])
    return out.getvalue()


FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""Beginnings of what a spreadsheet computes."""


def plain_cell(text: str) -> str:
    """Returns text that a spreadsheet shows and does not compute, with an apostrophe before it.

    OWASP, CSV injection.
    """
    shown = _one_line(text)
    return f"'{shown}" if shown.lstrip().startswith(FORMULA) else shown


def latex(tables: Sequence[Table]) -> str:
    """Returns tables for LaTeX with the package booktabs, the best in bold."""
    note = r"% needs \usepackage{booktabs}; mean ± sample standard deviation over the runs"
    return "\n".join(
        [note, *(f"% {_one_line(table.title)}\n{_tabular(table)}" for table in tables)]
    )


def _tabular(table: Table) -> str:
    head = ["", "runs", *(_heading(c.name, c.unit) for c in table.columns)]
    body = [
        [escape(label), str(n), *(rf"\textbf{{{escape(t)}}}" if b else escape(t)
                                  for t, b in _texts(table, i))]
        for i, (label, n) in enumerate(zip(table.rows, table.counts))
    ]  # fmt: skip
    lines = [
        rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        r"\toprule",
        " & ".join(escape(h) for h in head) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in body),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _columns(table: Table, row: int) -> dict[str, tuple[object, ...]]:
    """Mean, spread, count and mark of each cell of a row, by the column's heading."""
    found: dict[str, tuple[object, ...]] = {}
    for j, (column, cell) in enumerate(zip(table.columns, table.cells[row])):
        if cell is not None:
            spread = "" if cell.spread is None else repr(cell.spread)
            mark = int(table.best(j) == row)
            found[_heading(column.name, column.unit)] = repr(cell.mean), spread, cell.count, mark
    return found


def escape(text: str) -> str:
    """Returns text for LaTeX, in ASCII."""
    return "".join(LATEX.get(character, character) for character in _one_line(text))


def _one_line(text: str) -> str:
    return visible(" ".join(text.splitlines()))


def _heading(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name


def _texts(table: Table, row: int) -> list[tuple[str, bool]]:
    """The cells of a row as text, and whether each is the best of its column."""
    cells = table.cells[row]
    return [
        ("" if cell is None else str(cell), table.best(j) == row) for j, cell in enumerate(cells)
    ]
