"""A report as one HTML file that loads nothing."""

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from electrojax.analysis.report.report import Part, Report
from electrojax.analysis.report.sections import Member, Section, members, sections, seed_name
from electrojax.errors import ConfigError

PRIVATE = "electrojax.analysis.report"


def html(report: Report) -> str:
    """Returns the page: tables, interactive figures and everything they need.

    What runs and files are called is escaped by the template; only Bokeh's output and the page's
    own style and script are not.

    Raises:
        ConfigError: if Bokeh, or Jinja2 which comes with it, is not installed.
    """
    _check_installed()
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(PRIVATE, "."), autoescape=True, undefined=StrictUndefined
    )
    environment.filters.update(breakable=_breakable, seed_name=seed_name)
    runs = members(report.groups, report.labels)
    drawn = [_part(part, runs) for part in report.parts]
    scripts = "".join(script for _, script in drawn)
    return environment.get_template("page.html.j2").render(
        report=report,
        parts=[part for part, _ in drawn],
        toggles=list(_toggles(report, runs)) if len(runs) > 1 else [],
        scripts=scripts,
        bokeh=_bokeh() if scripts else "",
        style=_asset("page.css"),
        code=_asset("page.js"),
    )


def _check_installed() -> None:
    try:
        import bokeh.embed  # noqa: F401
        import jinja2  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"report: HTML needs {error.name}; pip install 'electrojax[report]', or write "
            "Markdown, CSV or LaTeX"
        ) from None


def _part(part: Part, runs: Sequence[Member]) -> tuple[Mapping[str, Any], str]:
    """What the template shows of one data set's runs, and the scripts that draw its figures."""
    own = [m for m in runs if any(m.group is group for group in part.groups)]
    firsts = [m for m in own if m.first]
    found = sections(own)
    divisions, scripts = _drawn(found)
    shown = {
        "name": part.name,
        "note": part.note,
        "table": part.table,
        "places": [m.place for m in firsts],
        "colors": [m.color for m in firsts] if len(firsts) > 1 else None,
        "sections": [
            {"title": s.title, "note": s.note, "tables": s.tables, "divisions": d}
            for s, d in zip(found, divisions)
        ],
        "differing_head": ("key", *(group.label for group in part.groups)),
        "differences": [(key, *values) for key, values in part.differences],
    }
    return shown, scripts


def _drawn(found: Sequence[Section]) -> tuple[list[list[str]], str]:
    """The places of the figures of each section, and the scripts that draw them there."""
    from bokeh.embed import components

    # One by one: in one document Bokeh walks through all figures again for each that it adds.
    pairs = [[components(figure) for figure in section.figures] for section in found]
    divisions = [[division for _, division in pair] for pair in pairs]
    return divisions, "".join(script for pair in pairs for script, _ in pair)


def _toggles(report: Report, runs: Sequence[Member]) -> Iterator[Mapping[str, Any]]:
    """The boxes that show and hide runs: one group for each label."""
    for place, label in enumerate(report.labels):
        own = [m for m in runs if m.place == place]
        hidden = len(own) == 1 or len(report.parts) > 1
        color = own[0].color
        yield {"place": place, "label": label, "color": color, "members": own, "hidden": hidden}


def _breakable(name: str) -> Any:
    """A metric's name, which may go on in a new line after a stroke."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"([/_])", r"\1<wbr>", str(escape(name))))


def _bokeh() -> str:
    """Bokeh's own script, without the parts for widgets, tables and formulas."""
    from bokeh.resources import Resources

    script: Any = Resources(mode="inline", components=["bokeh"], log_level="error").render_js()
    return re.sub(r"\n//# sourceMappingURL=\S+", "", script)


def _asset(name: str) -> str:
    return (files(PRIVATE) / name).read_text(encoding="utf-8")
