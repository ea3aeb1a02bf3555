"""A report as one HTML file that loads nothing."""

import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

from electrojax.analysis.report.report import Report
from electrojax.analysis.report.sections import Member, Section, members, sections, seed_name
from electrojax.analysis.report.tables import Table
from electrojax.errors import ConfigError

PRIVATE = "electrojax.analysis.report"


def html(report: Report) -> str:
    """Returns the page: tables, interactive figures and everything they need.

    Raises:
        ConfigError: if Bokeh is not installed.
    """
    parts = _with_bokeh(report)
    runs = members(report.groups)
    drawn, scripts = _drawn(parts)
    body = [
        f"<h1>{escape(report.title)}</h1>",
        f"<p>{_summary(report)}</p>",
        _toggles(report, runs) if len(runs) > 1 and scripts else "",
        _table(report.table, report.note, runs),
        _unfinished(report),
        *drawn,
        _differences(report, runs),
        _environment(report),
    ]
    return _document(report.title, "\n".join(b for b in body if b), scripts)


def _with_bokeh(report: Report) -> list[Section]:
    try:
        return sections(report.groups)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"report: HTML needs {error.name}; pip install 'electrojax[report]', or write "
            "Markdown, CSV or LaTeX"
        ) from None


def _drawn(parts: Sequence[Section]) -> tuple[list[str], str]:
    """The sections as HTML, and the scripts that draw their figures."""
    from bokeh.embed import components

    # One by one: in one document Bokeh walks through all figures again for each that it adds.
    pairs = [[components(figure) for figure in part.figures] for part in parts]
    written = [_section(part, [d for _, d in found]) for part, found in zip(parts, pairs)]
    return written, "".join(script for found in pairs for script, _ in found)


def _section(part: Section, divisions: Sequence[str]) -> str:
    tables = "".join(_bare_table(table, table.title) for table in part.tables)
    boxes = "".join(f'<div class="figure">{division}</div>' for division in divisions)
    note = f'<p class="note">{escape(part.note)}</p>' if part.note else ""
    shown = f'<div class="figures">{boxes}</div>' if boxes else ""
    return f"<section><h2>{part.title}</h2>{note}{tables}{shown}</section>"


def _summary(report: Report) -> str:
    runs, groups = len(report.runs), len(report.groups)
    text = f"{runs} finished run{'s' * (runs != 1)}"
    if 1 < groups < runs:
        text += f" in {groups} groups"
    if report.unfinished:
        text += f", {len(report.unfinished)} not finished"
    return f"{text}."


def _toggles(report: Report, runs: Sequence[Member]) -> str:
    chips = []
    for index, group in enumerate(report.groups):
        own = [m for m in runs if m.group == index]
        boxes = "".join(
            f'<label><input type="checkbox" checked data-run="{m.number}" data-of="{index}">'
            f"{escape(seed_name(m.run))}</label>"
            for m in own
        )
        chips.append(
            f'<span class="group" data-of="{index}"><label>'
            f'<input type="checkbox" checked data-group="{index}">'
            f"{_swatch(own[0].color)}{escape(group.label)}</label>"
            f'<span class="seeds"{" hidden" * (len(own) == 1)}>{boxes}</span></span>'
        )
    buttons = "".join(
        f'<button type="button" data-tick="{what}">{what}</button>' for what in ("all", "none")
    )
    hint = '<span class="hint">double click: only this one</span>'
    return f'<div id="runs">{buttons}{"".join(chips)}{hint}</div>'


def _table(table: Table, note: str, runs: Sequence[Member]) -> str:
    text = f'<p class="note">{escape(note)}</p>' if note else ""
    colors = {m.group: m.color for m in runs}
    return f"<section><h2>{table.title}</h2>{_bare_table(table, '', colors)}{text}</section>"


def _bare_table(table: Table, title: str, colors: dict[int, str] | None = None) -> str:
    head = "".join(
        f'<th scope="col" class="number">{_breakable(c.name)}'
        f'<span class="unit">{escape(c.unit)}</span></th>'
        for c in table.columns
    )
    rows = []
    for i, (label, count) in enumerate(zip(table.rows, table.counts)):
        swatch = _swatch(colors[i]) if colors and len(table.rows) > 1 else ""
        cells = "".join(
            f'<td class="number{" best" * (table.best(j) == i)}">'
            f"{'' if cell is None else escape(str(cell))}</td>"
            for j, cell in enumerate(table.cells[i])
        )
        rows.append(
            f'<tr data-group="{i}"><th scope="row">{swatch}{escape(label)}</th>'
            f'<td class="number">{count}</td>{cells}</tr>'
        )
    heading = f"<h3>{escape(title)}</h3>" if title else ""
    return (
        f'{heading}<div class="scroll"><table class="groups"><thead><tr><th></th>'
        f'<th class="number">runs</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _unfinished(report: Report) -> str:
    if not report.unfinished:
        return ""
    return _plain("Not finished", ("run", "reason"), report.unfinished)


def _differences(report: Report, runs: Sequence[Member]) -> str:
    if not report.differences:
        return ""
    rows = [(key, *values) for key, values in report.differences]
    labels = [group.label for group in report.groups]
    return _plain("Differences of the configurations", ("key", *labels), rows)


def _environment(report: Report) -> str:
    parts = [
        _plain("Data", ("file", "SHA-256", "runs"), report.data) if report.data else "",
        _plain("Environment", ("", "", "runs"), report.environment) if report.environment else "",
        _plain("Warnings", ("warning", "runs"), report.warnings) if report.warnings else "",
    ]
    return "".join(parts)


def _plain(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f'<th scope="col">{escape(h)}</th>' for h in head)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f'<td class="text">{escape(text)}</td>' for text in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        f'<section><h2>{escape(title)}</h2><div class="scroll"><table class="texts">'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div></section>"
    )


def _breakable(name: str) -> str:
    """A metric's name, which may go on in a new line after a stroke."""
    return re.sub(r"([/_])", r"\1<wbr>", escape(name))


def _swatch(color: str) -> str:
    return f'<span class="swatch" style="background:{color}"></span>'


def _document(title: str, body: str, scripts: str) -> str:
    own = "" if not scripts else f"{_bokeh()}<script>{_asset('page.js')}</script>{scripts}"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n'
        f"<style>{_asset('page.css')}</style>\n</head>\n<body>\n{body}\n{own}</body>\n</html>\n"
    )


def _bokeh() -> str:
    """Bokeh's own script, without the parts for widgets, tables and formulas."""
    from bokeh.resources import Resources

    script: Any = Resources(mode="inline", components=["bokeh"], log_level="error").render_js()
    return re.sub(r"\n//# sourceMappingURL=\S+", "", script)


def _asset(name: str) -> str:
    return (files(PRIVATE) / name).read_text(encoding="utf-8")
