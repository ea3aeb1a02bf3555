"""A report as one HTML file that loads nothing."""

import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

from electrojax.analysis.report.report import Part, Report
from electrojax.analysis.report.sections import Member, Section, members, sections, seed_name
from electrojax.analysis.report.tables import Table
from electrojax.errors import ConfigError

PRIVATE = "electrojax.analysis.report"


def html(report: Report) -> str:
    """Returns the page: tables, interactive figures and everything they need.

    Raises:
        ConfigError: if Bokeh is not installed.
    """
    _check_bokeh()
    runs = members(report.groups, report.labels)
    parts = [_part(report, part, runs) for part in report.parts]
    scripts = "".join(script for _, script in parts)
    body = [
        f"<h1>{escape(report.title)}</h1>",
        f"<p>{_summary(report)}</p>",
        _toggles(report, runs) if len(runs) > 1 and scripts else "",
        *(text for text, _ in parts),
        _unfinished(report),
        _environment(report),
    ]
    return _document(report.title, "\n".join(b for b in body if b), scripts)


def _check_bokeh() -> None:
    try:
        import bokeh.embed  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"report: HTML needs {error.name}; pip install 'electrojax[report]', or write "
            "Markdown, CSV or LaTeX"
        ) from None


def _part(report: Report, part: Part, runs: Sequence[Member]) -> tuple[str, str]:
    """The runs of one data set as HTML, and the scripts that draw their figures."""
    own = [m for m in runs if any(m.group is group for group in part.groups)]
    found = sections(own)
    drawn, scripts = _drawn(found)
    places = [m.place for m in own if m.first]
    written = [_section(s, d, places) for s, d in zip(found, drawn)]
    head = f'<h2 class="part">{escape(part.name)}</h2>' if len(report.parts) > 1 else ""
    return "\n".join([head, _table(part, own), *written, _differences(part)]), scripts


def _drawn(found: Sequence[Section]) -> tuple[list[list[str]], str]:
    """The places of the figures of each section, and the scripts that draw them there."""
    from bokeh.embed import components

    # One by one: in one document Bokeh walks through all figures again for each that it adds.
    pairs = [[components(figure) for figure in section.figures] for section in found]
    divisions = [[division for _, division in pair] for pair in pairs]
    return divisions, "".join(script for pair in pairs for script, _ in pair)


def _section(section: Section, divisions: Sequence[str], places: Sequence[int]) -> str:
    tables = "".join(_bare_table(table, table.title, places) for table in section.tables)
    boxes = "".join(f'<div class="figure">{division}</div>' for division in divisions)
    note = f'<p class="note">{escape(section.note)}</p>' if section.note else ""
    shown = f'<div class="figures">{boxes}</div>' if boxes else ""
    return f"<section><h2>{escape(section.title)}</h2>{note}{tables}{shown}</section>"


def _summary(report: Report) -> str:
    runs, groups = len(report.runs), len(report.groups)
    text = f"{runs} finished run{'s' * (runs != 1)}"
    if 1 < groups < runs:
        text += f" in {groups} groups"
    if report.unfinished:
        text += f', <a href="#unfinished">{len(report.unfinished)} not finished</a>'
    return f"{text}."


def _toggles(report: Report, runs: Sequence[Member]) -> str:
    chips = []
    for index, label in enumerate(report.labels):
        own = [m for m in runs if m.place == index]
        boxes = "".join(
            f'<label><input type="checkbox" checked data-run="{m.number}" data-of="{index}">'
            f"{escape(seed_name(m.run))}</label>"
            for m in own
        )
        hidden = " hidden" * (len(own) == 1 or len(report.parts) > 1)
        chips.append(
            f'<span class="group" data-of="{index}"><label>'
            f'<input type="checkbox" checked data-group="{index}">'
            f"{_swatch(own[0].color)}{escape(label)}</label>"
            f'<span class="seeds"{hidden}>{boxes}</span></span>'
        )
    buttons = "".join(
        f'<button type="button" data-tick="{what}">{what}</button>' for what in ("all", "none")
    )
    hint = '<span class="hint">double click: only this one</span>'
    return f'<div id="runs">{buttons}{"".join(chips)}{hint}</div>'


def _table(part: Part, own: Sequence[Member]) -> str:
    firsts = [m for m in own if m.first]
    colors = [m.color for m in firsts] if len(firsts) > 1 else None
    title = "Comparison" if len(firsts) > 1 else "Errors and costs"
    note = f'<p class="note">{escape(part.note)}</p>' if part.note else ""
    table = _bare_table(part.table, "", [m.place for m in firsts], colors)
    return f"<section><h2>{title}</h2>{table}{note}</section>"


def _bare_table(
    table: Table, title: str, places: Sequence[int], colors: Sequence[str] | None = None
) -> str:
    head = "".join(
        f'<th scope="col" class="number">{_breakable(c.name)}'
        f'<span class="unit">{escape(c.unit)}</span></th>'
        for c in table.columns
    )
    rows = []
    for i, (label, count) in enumerate(zip(table.rows, table.counts)):
        swatch = _swatch(colors[i]) if colors else ""
        cells = "".join(
            f'<td class="number{" best" * (table.best(j) == i)}">'
            f"{'' if cell is None else escape(str(cell))}</td>"
            for j, cell in enumerate(table.cells[i])
        )
        rows.append(
            f'<tr data-group="{places[i]}"><th scope="row">{swatch}{escape(label)}</th>'
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
    listed = _plain("Not finished", ("run", "reason"), report.unfinished)
    return f'<div id="unfinished">{listed}</div>'


def _differences(part: Part) -> str:
    if not part.differences:
        return ""
    rows = [(key, *values) for key, values in part.differences]
    labels = [group.label for group in part.groups]
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
