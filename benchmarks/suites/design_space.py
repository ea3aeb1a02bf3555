"""The design space: errors of every kind of solver on three built-in sets, and how they part.

    python benchmarks/run.py design_space                            # trains what is not trained
    python benchmarks/run.py design_space --data runs/design_space   # the sweep as it stands there

A row per set and kind: runs, and mean and sample standard deviation over seeds of the test errors;
for charged_dimers also of the forces along the distance beyond the training set, by the charges of
the fragments. Makes the README's figure, benchmarks/results/design_space.png: those forces.
"""

import subprocess
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from electrojax.analysis.report.curves import (
    CLASSES,
    DISSOCIATION,
    Curve,
    asymptote,
    curve_table,
    curves,
)
from electrojax.analysis.report.figures import palette
from electrojax.analysis.report.report import Part, make_report
from electrojax.analysis.report.tables import Table

SWEEP = "configs/sweep/design_space.yaml"
FOLDER = Path("runs/design_space")
SHOWN = ("NH4+|NH4+", "Na+|Cl-(H2O)4", "H2CO+|Na+")
"""Systems for the figure; the first that there is, is in it."""


def rows(options: Namespace) -> list[dict]:
    """Returns the rows of a finished or partly finished sweep, and draws the figure."""
    if options.data is None:
        command = [sys.executable, "-m", "electrojax.cli", "sweep", "run", SWEEP]
        subprocess.run(command, check=True)
    found = []
    for part in make_report([options.data or FOLDER]).parts:
        own = {
            g.label: {"case": part.name, "solver": g.label, "runs": len(g.runs)}
            for g in part.groups
        }
        forces = curve_table(part.groups, DISSOCIATION, [])
        for table in (part.table, forces):
            for label, values in _values(table).items():
                own[label] |= values
        found += own.values()
        if forces is not None:
            _picture(part, forces, options.results / "design_space.png")
    return found


def _values(table: Table | None) -> dict[str, dict[str, float]]:
    """Mean and spread of every column, by row."""
    found: dict[str, dict[str, float]] = {}
    for label, cells in zip(table.rows, table.cells) if table else ():
        own = found.setdefault(label, {})
        for column, cell in zip(table.columns, cells):
            if cell is not None:
                name = column.name if "/" in column.name else f"far_force/{column.name}"
                own[name] = cell.mean
                own |= {} if cell.spread is None else {f"{name} spread": cell.spread}
    return found


def _picture(part: Part, table: Table, target: Path) -> None:
    """Force against distance of one system, and the error over all by kind."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    scans = {g.label: [curves(run) for run in g.runs] for g in part.groups}
    every = [curve for runs in scans.values() for run in runs for curve in run]
    known = {curve.system for curve in every}
    system = next((name for name in SHOWN if name in known), min(known))
    colors = palette(len(part.groups))
    for (label, runs), color in zip(scans.items(), colors):
        first = [next((c for c in run if c.system == system), None) for run in runs]
        _draw(left, [c for c in first if c is not None], label, color)
    left.axvspan(0, _seen([c for c in every if c.system == system]), color="0.93", zorder=0)
    left.set(title=f"{system}: force along the distance", xlabel="distance (Å)", ylabel="eV/Å")
    left.set(xlim=(2.5, None), ylim=(-0.6, 1.6))
    left.legend(fontsize=8, ncols=2)
    places = np.arange(len(table.rows))
    shown = [name for name in (CLASSES[0], CLASSES[1]) if name in [c.name for c in table.columns]]
    for shift, name in enumerate(shown):
        column = [c.name for c in table.columns].index(name)
        cells = [row[column] for row in table.cells]
        right.barh(
            places + 0.38 * shift,
            [0.0 if c is None else c.mean for c in cells],
            0.36,
            xerr=[0.0 if c is None else c.spread or 0.0 for c in cells],
            color=colors,
            alpha=1.0 - 0.5 * shift,
        )
    right.set_yticks(places + 0.19, table.rows)
    right.invert_yaxis()
    right.set(
        title="beyond the training set, all systems" + f"\n({'; faint: '.join(shown)})",
        xlabel="RMSE of the force along the distance (meV/Å)",
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110)


def _draw(axes: Axes, scans: Sequence[Curve], label: str, color: str) -> None:
    """One kind's scans of a system, a seed each; the reference and asymptote once."""
    for index, curve in enumerate(scans):
        style = {"color": color, "alpha": 1.0 if index == 0 else 0.35, "lw": 1.5}
        name = label if index == 0 else None
        axes.plot(curve.distance, curve.predicted_force, label=name, **style)
        if not axes.collections:
            axes.scatter(
                curve.distance, curve.reference_force, color="k", s=18, zorder=3, label="xTB"
            )
            r, _, force = asymptote(curve)
            axes.plot(r, force, "k--", lw=1, label=r"$k_e q_A q_B/r^2$")


def _seen(scans: Sequence[Curve]) -> float:
    """The largest distance in Å of a structure that models were trained on."""
    return max((float(c.distance[c.seen].max(initial=0)) for c in scans), default=0.0)
