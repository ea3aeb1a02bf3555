"""The sections of a report: which tables and figures there are, each only where its data are."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from electrojax.analysis.report import figures
from electrojax.analysis.report.curves import (
    CURVE_KINDS,
    DISSOCIATION,
    Curve,
    asymptote,
    curve_table,
    curves,
)
from electrojax.analysis.report.elements import BY_ELEMENT, POINTS, element_table, parity
from electrojax.analysis.report.figures import Axes, Marks
from electrojax.analysis.report.groups import Group
from electrojax.analysis.report.runs import RunRecord
from electrojax.analysis.report.tables import Table, statistic, unit_of
from electrojax.system.quantities import QUANTITIES

CURVES = ("train/loss", "valid/loss", "valid/forces_rmse", "valid/energy_rmse",
          "valid/charges_rmse", "valid/dipole_rmse", "valid/stress_rmse")  # fmt: skip
COST = "time/step_ms"
MOST_SYSTEMS = 12
"""Systems whose curves are drawn, those with the strongest asymptotes first."""


@dataclasses.dataclass(frozen=True)
class Section:
    """One section of a report.

    Attributes:
        title: what it shows.
        note: how to read it, and what is missing, in words.
        tables: of numbers.
        figures: by Bokeh.
    """

    title: str
    note: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[Any] = ()


@dataclasses.dataclass(frozen=True)
class Member:
    """A finished run as figures show it.

    Attributes:
        run: the run.
        number: of it in the report.
        group: its group.
        place: of the group's label among all labels.
        label: of its group, and its seed where there are several.
        color: of the label.
        first: whether it is the first of its group.
    """

    run: RunRecord
    number: int
    group: Group
    place: int
    label: str
    color: str
    first: bool


def members(groups: Sequence[Group], labels: Sequence[str]) -> list[Member]:
    """Returns the runs of all groups, numbered, with the colours of their labels."""
    colors = figures.palette(len(labels))
    found: list[Member] = []
    for group in groups:
        place = labels.index(group.label)
        for run in group.runs:
            several = len(group.runs) > 1
            label = f"{group.label}, {seed_name(run)}" if several else group.label
            first = run is group.runs[0]
            found.append(Member(run, len(found), group, place, label, colors[place], first))
    return found


def seed_name(run: RunRecord) -> str:
    """Returns what tells a run from the others of its group."""
    return run.name if run.seed is None else f"seed {run.seed}"


def sections(runs: Sequence[Member]) -> list[Section]:
    """Returns every section for which some run has data.

    Args:
        runs: judged on one set of structures.
    """
    groups = [member.group for member in runs if member.first]
    found = (
        accuracy_and_cost(runs),
        learning_curves(runs),
        convergence(runs),
        parities(runs),
        by_element(groups),
        *(parting(groups, runs, kind) for kind in CURVE_KINDS),
    )
    return [section for section in found if section is not None]


def accuracy_and_cost(runs: Sequence[Member]) -> Section | None:
    """Errors of the last evaluation against the time of a training step, with the seeds' spread."""
    firsts = [member for member in runs if member.first]
    names = dict.fromkeys(n for m in runs for n in m.run.final)
    errors = [n for n in names if n.endswith(("/forces_rmse", "/energy_rmse"))]
    made = [f for error in errors if (f := _cost_figure(firsts, COST, error)) is not None]
    if not made or len(firsts) < 2:
        return None
    note = "A point is the mean over the runs of a group, a bar their spread. Lower left is better."
    return Section("Accuracy against cost", note, figures=made)


def learning_curves(runs: Sequence[Member]) -> Section | None:
    """Losses and validation errors by epoch."""
    note = "Faint lines are further seeds. Losses compare only between runs with the same weights."
    return _histories("Learning curves", note, runs, CURVES)


def convergence(runs: Sequence[Member]) -> Section | None:
    """Iterations and failures of the charge solver by epoch."""
    iterating = [m for m in runs if any(r.get("scf/steps") for r in m.run.epochs)]
    note = (
        "Mean iterations of the charge solver, and the share of structures that it left "
        "unconverged, over the training steps of each epoch; runs whose solver takes no steps "
        "are left out."
    )
    return _histories(
        "Convergence of the charges", note, iterating, ("scf/steps", "scf/unconverged")
    )


def parities(runs: Sequence[Member]) -> Section | None:
    """Predictions of the last evaluation against their labels."""
    stored = [m for m in runs if m.run.predictions is not None and m.first]
    names = dict.fromkeys(n for m in stored for n in m.run.predictions.predicted)  # type: ignore[union-attr]
    made = [figure for name in names if (figure := _parity_figure(name, stored)) is not None]
    if not made:
        return None
    note = (
        f"The first run of each group; at most {POINTS} values of a run: those with the largest "
        f"errors, and others evenly drawn. {_missing(runs)}"
    )
    return Section("Parity", note, figures=made)


def by_element(groups: Sequence[Group]) -> Section | None:
    """Errors of the last evaluation by element."""
    tables = [t for q in BY_ELEMENT if (t := element_table(groups, q)) is not None]
    if not tables:
        return None
    return Section("Errors by element", "", tables=tables)


def parting(groups: Sequence[Group], runs: Sequence[Member], kind: str) -> Section | None:
    """Energies and forces along a distance, beside the asymptote of point charges."""
    drawn: dict[str, list[tuple[Member, Curve]]] = {}
    for member in runs:
        for curve in (c for c in curves(member.run) if c.kind == kind):
            drawn.setdefault(curve.system, []).append((member, curve))
    if not drawn:
        return None
    order = sorted(drawn, key=lambda name: -abs(np.nan_to_num(drawn[name][0][1].strength)))
    made = [f for name in order[:MOST_SYSTEMS] for f in _parting_figures(name, drawn[name])]
    found = curve_table(groups, kind, order[:MOST_SYSTEMS])
    law = "k·qA·qB/r" if kind == DISSOCIATION else "−k·q²/(4r)"
    left = len(order) - MOST_SYSTEMS
    note = (
        f"Black with points: the reference; dashed: point charges, {law}; left of the dotted line "
        "are structures that models were trained on. Every energy is moved onto the dashed line "
        "at its largest distance; forces are not moved, and push apart where they are positive."
        + (f" {left} further systems are in the first columns only." if left > 0 else "")
    )
    title = "Dissociation curves" if kind == DISSOCIATION else "Image-charge curves"
    return Section(title, note, [found] if found else [], made)


def _cost_figure(firsts: Sequence[Member], cost: str, error: str) -> Any | None:
    marks = []
    for member in firsts:
        found = [run.metrics for run in member.group.runs]
        x = statistic([m[cost] for m in found if cost in m])
        y = statistic([m[error] for m in found if error in m])
        if x is None or y is None or not (x.mean > 0 and y.mean > 0):
            continue
        spread = y.spread or 0.0
        ends = (np.array([max(y.mean - spread, 0.01 * y.mean)]), np.array([y.mean + spread]))
        label = f"{member.group.label}: {y} {unit_of(error)}"
        point = np.array([x.mean]), np.array([y.mean])
        marks.append(Marks(-(member.place + 1), label, member.color, *point, *ends))
    if not marks:
        return None
    axes = Axes(error, "training step (ms)", f"{error} ({unit_of(error)})", True, True)
    return figures.point_figure(axes, marks, 11, 1.0)


def _histories(
    title: str, note: str, runs: Sequence[Member], names: Sequence[str]
) -> Section | None:
    made = []
    for name in names:
        marks = [m for m in (_history(member, name) for member in runs) if m is not None]
        if marks and any(np.any(m.y != 0) for m in marks):
            unit = unit_of(name)
            log = not name.startswith("scf/")
            axes = Axes(name, "epoch", f"{name} ({unit})" if unit else name, y_log=log)
            made.append(figures.line_figure(axes, marks))
    return Section(title, note, figures=made) if made else None


def _history(member: Member, name: str) -> Marks | None:
    told = [(r["epoch"], r[name]) for r in member.run.epochs if r.get(name) is not None]
    if not told:
        return None
    epochs, values = (np.array(column, float) for column in zip(*told))
    x, y = figures.thinned(epochs, values)
    return Marks(member.number, member.label, member.color, x, y, faint=not member.first)


def _parity_figure(name: str, stored: Sequence[Member]) -> Any | None:
    marks = []
    for member in stored:
        predictions = member.run.predictions
        if predictions is None or name not in predictions.predicted:
            continue
        reference, predicted = parity(predictions, name)
        if reference.size:
            marks.append(Marks(member.number, member.label, member.color, reference, predicted))
    if not marks:
        return None
    label = QUANTITIES[name].plot
    figure = figures.point_figure(Axes(name, f"reference {label}", "predicted"), marks, 4, 0.5)
    figures.add_diagonal(figure, [v for m in marks for v in (m.x, m.y)])
    return figure


def _missing(runs: Sequence[Member]) -> str:
    without = [m.label for m in runs if m.run.predictions is None]
    if not without:
        return ""
    return f"No stored predictions (from an older version, or damaged): {', '.join(without)}."


def _parting_figures(name: str, drawn: Sequence[tuple[Member, Curve]]) -> Iterator[Any]:
    first = drawn[0][1]
    yield _curve_figure(name, "energy (eV)", drawn, lambda c: (c.reference, c.predicted), 1)
    if first.has_forces:
        pairs: Callable[[Curve], Any] = lambda c: (c.reference_force, c.predicted_force)  # noqa: E731
        yield _curve_figure(name, "force along r (eV/Å)", drawn, pairs, 2)


def _curve_figure(
    name: str,
    label: str,
    drawn: Sequence[tuple[Member, Curve]],
    sides: Callable[[Curve], tuple[np.ndarray, np.ndarray]],
    column: int,
) -> Any:
    marks = [
        Marks(m.number, m.label, m.color, c.distance, sides(c)[1], faint=not m.first)
        for m, c in drawn
    ]
    figure = figures.line_figure(Axes(name, "distance (Å)", label), marks)
    run = drawn[0][0].run
    for curve in (c for m, c in drawn if m.run is run):
        figures.add_reference(figure, curve.distance, sides(curve)[0], "solid")
    first = drawn[0][1]
    if np.isfinite(first.strength) and first.strength != 0:
        along = asymptote(first)
        figures.add_reference(figure, along[0], along[column], "dashed")
    seen = [r for _, c in drawn for r in c.distance[c.seen]]
    if seen:
        figures.add_limit(figure, float(max(seen)))
    return figure
