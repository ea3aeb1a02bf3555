"""The design space: errors of every kind of solver on three built-in sets, and how they part.

    python benchmarks/run.py design_space                            # trains what is not trained
    python benchmarks/run.py design_space --data runs/design_space   # the sweep as it stands there

A row per set and kind: runs, and mean and sample standard deviation over seeds of the test errors,
of the error of the training mean and of R² about it by component; for charged_dimers also of the
forces along the distance beyond the training set, by the charges of the fragments. Makes the
README's figure of those forces, benchmarks/results/design_space.png, and
docs/results/design_space.md.
"""

import functools
import subprocess
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.run import environment
from electrojax.analysis.baseline import baseline_metrics, training_means
from electrojax.analysis.report import tables
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
from electrojax.analysis.report.runs import RunRecord
from electrojax.analysis.report.tables import Table
from electrojax.data.dataset import stored_split
from electrojax.data.datasets import resolve_source
from electrojax.data.reader import read_frames
from electrojax.files import write_whole
from electrojax.system.types import Frame

SWEEP = "configs/sweep/design_space.yaml"
FOLDER = Path("runs/design_space")
PAGE = Path("docs/results/design_space.md")
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
        for table in (part.table, _baselines(part), forces):
            for label, values in _values(table).items():
                own[label] |= values
        found += own.values()
        if forces is not None:
            _picture(part, forces, options.results / "design_space.png")
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    write_whole(PAGE, page(found).encode())
    return found


TITLE = "# The design space: every rule, one backbone, one budget"
COMMAND = "python benchmarks/run.py design_space"
READING = (
    "Light backbone, 150 epochs on energies and forces alone. Test errors, mean ± sample standard "
    "deviation over the seeds. Beside dipoles and charges stands the error of a constant, the "
    "training mean (of charges by element), and R² about it by component. Far F: force along the "
    "distance beyond the training set, in meV/Å. Times were measured with other work on the "
    "machine."
)

COLUMNS = {
    "test/energy_rmse": "E (meV/atom)",
    "test/forces_rmse": "F (meV/Å)",
    "far_force/all": "far F, all",
    "far_force/charge – charge": "far F, charged",
    "test/dipole_rmse": "dipole (me·Å)",
    "test/dipole_baseline": "its training mean",
    "test/dipole_r2_x": "R² x",
    "test/dipole_r2_y": "R² y",
    "test/dipole_r2_z": "R² z",
    "test/charges_rmse": "charges (me)",
    "test/charges_baseline": "their training mean",
    "scf/steps": "solver steps",
    "time/step_ms": "step (ms)",
}
"""What the page shows of a row, in this order."""


def page(rows: Sequence[dict]) -> str:
    """Returns the page of docs/results: a table per set, mean ± spread over seeds."""
    host = environment()
    made = f"commit {host['commit']}, {host['utc']}, {host['cores']} cores of {host['processor']}"
    parts = [f"{TITLE}\n\n`{COMMAND}` (configuration `{SWEEP}`; {made}). {READING}\n"]
    for case in dict.fromkeys(row["case"] for row in rows):
        own = [row for row in rows if row["case"] == case]
        shown = [name for name in COLUMNS if any(name in row for row in own)]
        lines = [["rule", "seeds", *(COLUMNS[name] for name in shown)]]
        lines.append(["---"] * len(lines[0]))
        lines += [
            [f"`{r['solver']}`", str(r["runs"]), *(_cell(r, name) for name in shown)] for r in own
        ]
        parts.append(f"## {case}\n\n" + "\n".join(f"| {' | '.join(x)} |" for x in lines) + "\n")
    return "\n".join(parts)


def _cell(row: dict, name: str) -> str:
    if name not in row:
        return ""
    spread = row.get(f"{name} spread") or None
    return str(tables.Statistic(row[name], spread, row["runs"]))


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


def _baselines(part: Part) -> Table:
    """The errors of the training mean, and R² about it, of every run's stored predictions."""
    measured = {run.folder: _baseline(run) for group in part.groups for run in group.runs}
    names = dict.fromkeys(name for found in measured.values() for name in found)
    columns = [tables.column(name) for name in names]
    return tables.table(part.groups, columns, part.name, lambda run: measured[run.folder])


def _baseline(run: RunRecord) -> dict[str, float]:
    source = run.config["data"]["train"]
    means = training_means(stored_split(_frames(source["path"]), source["split"], source["path"]))
    return {} if run.predictions is None else baseline_metrics(run.predictions, means, "test")


@functools.cache
def _frames(path: str) -> list[Frame]:
    return read_frames(resolve_source(path))


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
