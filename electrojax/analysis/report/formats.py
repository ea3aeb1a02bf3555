"""Tables as Markdown, CSV and LaTeX."""

import csv as csv_module
import io
from collections.abc import Sequence

from electrojax.analysis.report.tables import Table

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
    lines = [head, rule, *rows]
    return "".join(
        f"| {' | '.join(str(t).replace('|', chr(92) + '|') for t in line)} |\n" for line in lines
    )


def csv(table: Table) -> str:
    """Returns a table as CSV: every mean, spread (n − 1) and count with all its digits."""
    out = io.StringIO()
    writer = csv_module.writer(out, lineterminator="\n")
    parts = ("mean", "std", "n", "best")
    named = [f"{c.name}{f' ({c.unit})' if c.unit else ''}" for c in table.columns]
    writer.writerow(["label", "runs", *(f"{n} {part}" for n in named for part in parts)])
    for i, (label, count) in enumerate(zip(table.rows, table.counts)):
        cells: list[object] = []
        for j, cell in enumerate(table.cells[i]):
            if cell is None:
                cells += ["", "", 0, ""]
                continue
            spread = "" if cell.spread is None else repr(cell.spread)
            cells += [repr(cell.mean), spread, cell.count, int(table.best(j) == i)]
        writer.writerow([label, count, *cells])
    return out.getvalue()


def latex(table: Table) -> str:
    """Returns a table for LaTeX with the package booktabs, the best in bold."""
    head = ["", "runs", *(_heading(c.name, c.unit) for c in table.columns)]
    body = [
        [escape(label), str(n), *(rf"\textbf{{{escape(t)}}}" if b else escape(t)
                                  for t, b in _texts(table, i))]
        for i, (label, n) in enumerate(zip(table.rows, table.counts))
    ]  # fmt: skip
    lines = [
        r"% needs \usepackage{booktabs}; mean ± sample standard deviation over the runs",
        rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        r"\toprule",
        " & ".join(escape(h) for h in head) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in body),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Returns text for LaTeX, in ASCII."""
    return "".join(LATEX.get(character, character) for character in text)


def _heading(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name


def _texts(table: Table, row: int) -> list[tuple[str, bool]]:
    """The cells of a row as text, and whether each is the best of its column."""
    cells = table.cells[row]
    return [
        ("" if cell is None else str(cell), table.best(j) == row) for j, cell in enumerate(cells)
    ]
