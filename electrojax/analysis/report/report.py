"""Everything a report says, before it is written in some form."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from electrojax.analysis.report.environment import data_rows, environment_rows, warning_rows
from electrojax.analysis.report.groups import ABSENT, SEED, Group, group_runs
from electrojax.analysis.report.runs import RunRecord
from electrojax.analysis.report.sweeps import read_all
from electrojax.analysis.report.tables import Table, comparison, measured, usual_metrics
from electrojax.errors import DataError

MARKS = (
    "Mean ± sample standard deviation over the runs of a group. Bold: better than every other by "
    "more than the spread of the difference, √(s₁² + s₂²)."
)
NO_MARKS = "Groups with a single run have no spread: next to them nothing can be called the best."


@dataclasses.dataclass(frozen=True)
class Report:
    """A comparison of runs.

    Attributes:
        title: of the page.
        groups: of finished runs.
        table: of their metrics.
        unfinished: (name, reason) of runs that do not count.
        differences: the keys in which groups differ, with the value of each group.
        environment: (what, value, which runs).
        data: (file, SHA-256, which runs).
        warnings: (warning, which runs).
    """

    title: str
    groups: Sequence[Group]
    table: Table
    unfinished: Sequence[tuple[str, str]]
    differences: Sequence[tuple[str, Sequence[str]]]
    environment: Sequence[tuple[str, str, str]]
    data: Sequence[tuple[str, str, str]]
    warnings: Sequence[tuple[str, str]]

    @property
    def note(self) -> str:
        """How to read the table."""
        if len(self.groups) == 1:
            return MARKS.partition(" Bold")[0] if self.table.counts[0] > 1 else ""
        return f"{MARKS} {NO_MARKS}" if min(self.table.counts) < 2 else MARKS

    @property
    def runs(self) -> list[RunRecord]:
        """The finished runs, group by group."""
        return [run for group in self.groups for run in group.runs]


def make_report(
    paths: Sequence[Path], metrics: Sequence[str] = (), mean_over: Sequence[str] = ()
) -> Report:
    """Returns the comparison of all runs that are found.

    Args:
        paths: run folders, and folders of them such as a sweep's.
        metrics: the columns; where none are given those that the sweep asks for and some run has
            measured by now, else the errors of the last evaluation and the costs.
        mean_over: dotted keys over which means are taken; as above, else ``run.seed``.

    Raises:
        DataError: if a folder is no run and holds none, or no run is finished.
        ConfigError: if no run measured a metric.
    """
    runs, wishes = read_all(paths)
    finished = [run for run in runs if not run.reason]
    unfinished = [(run.called, run.reason) for run in runs if run.reason]
    if not finished:
        told = "; ".join(f"{name}: {reason}" for name, reason in unfinished[:3])
        more = f" and {len(unfinished) - 3} more" if len(unfinished) > 3 else ""
        raise DataError(
            f"{', '.join(str(p) for p in paths)}: no run is finished ({told}{more}); "
            "a report needs at least one"
        )
    groups = group_runs(finished, mean_over or wishes.mean_over or (SEED,))
    known = measured(groups)
    wished = [name for name in wishes.metrics if name in known]
    chosen = list(metrics) or wished or usual_metrics(groups)
    title = wishes.title or (finished[0].name if len(runs) == 1 else f"{len(runs)} runs")
    return Report(
        title=title,
        groups=groups,
        table=comparison(groups, chosen, "Comparison" if len(groups) > 1 else "Errors and costs"),
        unfinished=unfinished,
        differences=_differences(groups),
        environment=environment_rows(finished),
        data=data_rows(finished),
        warnings=warning_rows(finished),
    )


def _differences(groups: Sequence[Group]) -> list[tuple[str, list[str]]]:
    keys: Mapping[str, Any] = groups[0].values
    return [(key, [group.values.get(key, ABSENT) for group in groups]) for key in keys]
