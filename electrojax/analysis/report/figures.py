"""Interactive figures by Bokeh; every line and point knows its run, so that a page can hide it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

INK, MUTED = "#1f2933", "#8a94a0"
COLORS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00",
    "#56b4e9", "#8c510a", "#6a3d9a", "#737373", "#a6a600",
)  # fmt: skip
HEIGHT = 320
MOST_SVG = 2500
"""Points up to which a figure is drawn as vectors, which print sharp."""


@dataclasses.dataclass(frozen=True)
class Marks:
    """The line or the points of one run in a figure.

    Attributes:
        run: its number in the report; of a mean over the group of label g, −(g + 1).
        label: what hovering tells.
        color: of its group.
        x, y: [n].
        low, high: [n] ends of error bars, if there are any.
        faint: whether it is one of several seeds and not the first.
    """

    run: int
    label: str
    color: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    faint: bool = False


@dataclasses.dataclass(frozen=True)
class Axes:
    """What a figure's axes are called, and whether they are logarithmic."""

    title: str
    x: str
    y: str
    x_log: bool = False
    y_log: bool = False


def palette(count: int) -> list[str]:
    """Returns that many colours, well apart up to ten of them."""
    if count <= len(COLORS):
        return list(COLORS[:count])
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    # Neighbours in a list of groups are far apart in hue: the golden section's multiples.
    hues = np.modf(np.arange(count) * 0.6180339887)[0]
    return [to_hex(colormaps["turbo"](0.05 + 0.9 * hue)) for hue in hues]


def line_figure(axes: Axes, marks: Sequence[Marks]) -> Any:
    """Returns a figure with one line for each run; hovering tells run and values.

    Args:
        axes: titles and scales.
        marks: of the runs; what cannot be shown on a logarithmic axis is left out.
    """
    figure = _figure(axes, sum(len(m.x) for m in marks))
    shown = [_positive(axes, m) for m in marks]
    source = _source(shown, x=[m.x for m in shown], y=[m.y for m in shown])
    renderer = figure.multi_line(
        "x", "y", source=source, line_color="color", line_width=1.8, line_alpha="alpha"
    )
    _hideable(renderer)
    _hover(figure, renderer, axes, "$snap_x", "$snap_y")
    return figure


def point_figure(axes: Axes, marks: Sequence[Marks], size: int, alpha: float) -> Any:
    """Returns a figure with the points of each run, with error bars where they are given.

    Args:
        axes: titles and scales.
        marks: of the runs.
        size: of a point, in pixels.
        alpha: opacity.
    """
    from bokeh.models import ColumnDataSource

    figure = _figure(axes, sum(len(m.x) for m in marks))
    lengths = [len(m.x) for m in marks]
    labels, colors = [m.label for m in marks], [m.color for m in marks]
    columns: dict[str, Any] = {
        "x": np.concatenate([m.x for m in marks]).astype(np.float32),
        "y": np.concatenate([m.y for m in marks]).astype(np.float32),
        "run": np.repeat([m.run for m in marks], lengths).astype(np.int32),
    }
    single = max(lengths) == 1
    if single:
        columns |= {"label": labels, "color": colors}
    # Texts would weigh more than many points: these find colour and name by the run's number.
    color = "color" if single else _run_colors(marks)
    source = ColumnDataSource(columns)
    bars = [m for m in marks if m.low is not None]
    if bars:
        _bars(figure, bars)
    renderer = figure.scatter(
        "x", "y", source=source, size=size, fill_color=color, line_color=None, fill_alpha=alpha
    )
    _hideable(renderer)
    names = None if single else {str(m.run): m.label for m in marks}
    _hover(figure, renderer, axes, "@x{0.[0000]}", "@y{0.[0000]}", names)
    return figure


def add_reference(figure: Any, x: np.ndarray, y: np.ndarray, dash: str) -> None:
    """Draws what the runs are compared with, in black; solid lines have their points marked."""
    figure.line(x, y, line_color=INK, line_dash=dash, line_width=1.4)
    if dash == "solid":
        figure.scatter(x, y, size=5, fill_color=INK, line_color=None)


def add_limit(figure: Any, x: float) -> None:
    """Draws a dotted line across a figure."""
    figure.vspan(x=[x], line_color=MUTED, line_dash="dotted")


def add_diagonal(figure: Any, values: Sequence[np.ndarray]) -> None:
    """Draws the line on which predictions equal references."""
    low = min(float(v.min()) for v in values)
    high = max(float(v.max()) for v in values)
    figure.line([low, high], [low, high], line_color=MUTED, line_width=1, level="underlay")


def thinned(x: np.ndarray, y: np.ndarray, most: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Returns at most that many points of a curve, both ends among them."""
    chosen = np.unique(np.linspace(0, len(x) - 1, min(most, len(x))).round().astype(int))
    return x[chosen], y[chosen]


def _figure(axes: Axes, points: int) -> Any:
    from bokeh.plotting import figure

    made: Any = figure(
        title=axes.title,
        x_axis_label=axes.x,
        y_axis_label=axes.y,
        x_axis_type="log" if axes.x_log else "linear",
        y_axis_type="log" if axes.y_log else "linear",
        height=HEIGHT,
        sizing_mode="stretch_width",
        tools="pan,box_zoom,wheel_zoom,reset,save",
        toolbar_location="above",
        output_backend="svg" if points <= MOST_SVG else "canvas",
    )
    # A drag or a wheel over a figure scrolls the page, until the reader chooses a tool.
    made.toolbar.active_drag = made.toolbar.active_scroll = None
    made.toolbar.logo, made.toolbar.autohide = None, True
    made.title.text_color = INK
    made.title.text_font_size = "13px"
    for axis in (*made.xaxis, *made.yaxis):
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = "12px"
        axis.major_label_text_font_size = "11px"
        axis.axis_label_text_color = axis.major_label_text_color = INK
    made.grid.grid_line_alpha = 0.4
    made.outline_line_color = None
    return made


def _source(marks: Sequence[Marks], **columns: Any) -> Any:
    from bokeh.models import ColumnDataSource

    return ColumnDataSource(
        {
            **{k: [np.asarray(v, np.float32) for v in values] for k, values in columns.items()},
            "run": [m.run for m in marks],
            "label": [m.label for m in marks],
            "color": [m.color for m in marks],
            "alpha": [0.45 if m.faint else 1.0 for m in marks],
        }
    )


def _bars(figure: Any, marks: Sequence[Marks]) -> None:
    """Error bars: a segment of each point."""
    from bokeh.models import ColumnDataSource

    lows = [m.low for m in marks if m.low is not None]
    highs = [m.high for m in marks if m.high is not None]
    source = ColumnDataSource(
        {
            "x": np.concatenate([m.x for m in marks]).astype(np.float32),
            "low": np.concatenate(lows).astype(np.float32),
            "high": np.concatenate(highs).astype(np.float32),
            "run": [m.run for m in marks for _ in m.x],
            "color": [m.color for m in marks for _ in m.x],
        }
    )
    bars = figure.segment(
        "x", "low", "x", "high", source=source, line_color="color", line_width=1.5
    )
    _hideable(bars)


def _hideable(renderer: Any) -> None:
    """Gives a renderer the filter through which the page shows some of its runs only."""
    from bokeh.models import BooleanFilter, CDSView

    renderer.view = CDSView(filter=BooleanFilter())


def _run_colors(marks: Sequence[Marks]) -> Any:
    from bokeh.transform import linear_cmap

    count = max(m.run for m in marks) + 1
    colors = {m.run: m.color for m in marks}
    names = [colors.get(i, MUTED) for i in range(count)]
    return linear_cmap("run", names, low=-0.5, high=count - 0.5)


def _hover(
    figure: Any,
    renderer: Any,
    axes: Axes,
    x: str,
    y: str,
    names: Mapping[str, str] | None = None,
) -> None:
    """Tells run and values under the pointer; the run by its number if names are given."""
    from bokeh.models import CustomJSHover, HoverTool

    label, formatters = "@label", dict[str, Any]()
    if names is not None:
        label = "@run{custom}"
        formatters = {"@run": CustomJSHover(args={"names": names}, code="return names[value]")}
    tool = HoverTool(
        renderers=[renderer],
        tooltips=[("", label), (axes.x, x), (axes.y, y)],
        formatters=formatters,
        line_policy="nearest",
    )
    figure.add_tools(tool)


def _positive(axes: Axes, marks: Marks) -> Marks:
    """Drops values that a logarithmic axis has no place for."""
    keep = np.isfinite(marks.y) & ((marks.y > 0) if axes.y_log else True)
    return dataclasses.replace(marks, x=marks.x[keep], y=marks.y[keep])
