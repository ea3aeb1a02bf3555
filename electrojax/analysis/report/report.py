"""Everything a report says, before it is written in some form."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from electrojax.analysis.report.environment import data_rows, environment_rows, warning_rows
from electrojax.analysis.report.groups import SEED, Group, group_runs
from electrojax.analysis.report.judged import by_data_set
from electrojax.analysis.report.runs import RunRecord
from electrojax.analysis.report.sweeps import read_all
from electrojax.analysis.report.tables import (
    Table,
    check_measured,
    comparison,
    measured,
    usual_metrics,
)
from electrojax.errors import DataError

MARKS = (
    "Mean ± sample standard deviation over the runs of a group. Bold: better than every other by "
    "more than the spread of the difference, √(s₁² + s₂²)."
)
NO_MARKS = "Groups with a single run have no spread: next to them nothing can be called the best."


@dataclasses.dataclass(frozen=True)
class Part:
    """The runs that were judged on one set of structures.

    Attributes:
        name: of the set.
        groups: of finished runs.
        table: of their metrics.
    """

    name: str
    groups: Sequence[Group]
    table: Table

    @property
    def note(self) -> str:
        """How to read the table."""
        if len(self.groups) == 1:
            return MARKS.partition(" Bold")[0] if self.table.counts[0] > 1 else ""
        return f"{MARKS} {NO_MARKS}" if min(self.table.counts) < 2 else MARKS

    @property
    def differences(self) -> list[tuple[str, list[str]]]:
        """The keys in which groups differ, with the value of each group."""
        return [(key, [g.values[key] for g in self.groups]) for key in self.groups[0].values]


@dataclasses.dataclass(frozen=True)
class Report:
    """A comparison of runs.

    Attributes:
        title: of the page.
        parts: the finished runs, by what they were judged on.
        labels: of all groups; groups of two parts may share one.
        unfinished: (name, reason) of runs that do not count.
        environment: (what, value, which runs).
        data: (file, SHA-256, which runs).
        warnings: (warning, which runs).
    """

    title: str
    parts: Sequence[Part]
    labels: Sequence[str]
    unfinished: Sequence[tuple[str, str]]
    environment: Sequence[tuple[str, str, str]]
    data: Sequence[tuple[str, str, str]]
    warnings: Sequence[tuple[str, str]]

    @property
    def groups(self) -> list[Group]:
        """The groups of all parts."""
        return [group for part in self.parts for group in part.groups]

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
        raise DataError(_nothing(paths, unfinished))
    check_measured(finished, metrics)
    over = mean_over or wishes.mean_over or (SEED,)
    parts = [
        _part(name, group_runs(part, over), metrics, wishes.metrics)
        for name, part in by_data_set(finished).items()
    ]
    return Report(
        title=wishes.title or (finished[0].name if len(runs) == 1 else f"{len(runs)} runs"),
        parts=parts,
        labels=list(dict.fromkeys(group.label for part in parts for group in part.groups)),
        unfinished=unfinished,
        environment=environment_rows(finished),
        data=data_rows(finished),
        warnings=warning_rows(finished),
    )


def _part(
    name: str, groups: Sequence[Group], metrics: Sequence[str], wished: Sequence[str]
) -> Part:
    """A part with those columns that its runs have, the first kind of wish that leaves any."""
    known = measured([run for group in groups for run in group.runs])
    wishes = ([n for n in names if n in known] for names in (metrics, wished))
    chosen = next((names for names in wishes if names), None) or usual_metrics(groups)
    return Part(name, groups, comparison(groups, chosen, name))


def _nothing(paths: Sequence[Path], unfinished: Sequence[tuple[str, str]]) -> str:
    told = "; ".join(f"{name}: {reason}" for name, reason in unfinished[:3])
    more = f" and {len(unfinished) - 3} more" if len(unfinished) > 3 else ""
    return (
        f"{', '.join(str(p) for p in paths)}: no run is finished ({told}{more}); "
        "a report needs at least one"
    )
