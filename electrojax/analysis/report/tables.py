"""Tables of means over seeds with their spread, and which of them may be called the best."""

import dataclasses
import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence

from electrojax.analysis.report.groups import Group
from electrojax.analysis.report.runs import RunRecord
from electrojax.errors import ConfigError
from electrojax.system.quantities import LABELS, quantity_of

USUAL = ("scf/steps", "scf/unconverged", "time/step_ms", "time/training_s", "memory/peak_mib")
"""Columns beside the errors of the last evaluation, where no metrics are asked for."""

OTHER_UNITS = {"scf/unconverged": "share", "scf/steps": "", "memory/peak_mib": "MiB"}


@dataclasses.dataclass(frozen=True)
class Statistic:
    """Mean over seeds.

    Attributes:
        mean: arithmetic.
        spread: sample standard deviation (n − 1); None for a single value, which has none.
        count: values.
    """

    mean: float
    spread: float | None
    count: int

    def __str__(self) -> str:
        """The mean ± the spread, to the spread's second digit or the mean's fifth."""
        if self.spread is None:
            return f"{self.mean:.4g}"
        if not self.spread > 0 or not math.isfinite(self.spread):
            return f"{self.mean:.4g} ± {self.spread:.1g}"
        wanted = 1 - math.floor(math.log10(self.spread))
        most = 4 - math.floor(math.log10(abs(self.mean))) if self.mean else wanted
        decimals = max(min(wanted, most), 0)
        spread = f"{self.spread:.{decimals}f}"
        return f"{self.mean:.{decimals}f} ± {spread if float(spread) else f'{self.spread:.1g}'}"


@dataclasses.dataclass(frozen=True)
class Column:
    """One metric of a table.

    Attributes:
        name: as it was measured.
        unit: of its numbers.
        better: ``low``, ``high``, or nothing where neither is.
    """

    name: str
    unit: str = ""
    better: str = "low"


@dataclasses.dataclass(frozen=True)
class Table:
    """Groups of runs by metrics.

    Attributes:
        title: what it compares.
        columns: the metrics.
        rows: labels of the groups.
        counts: runs of each group.
        cells: [row][column]; None where nothing was measured.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[str]
    counts: Sequence[int]
    cells: Sequence[Sequence[Statistic | None]]

    def best(self, column: int) -> int | None:
        """Returns the row that is the best in a column by more than the spread, if there is one."""
        return best_of([row[column] for row in self.cells], self.columns[column].better)


def statistic(values: Sequence[float]) -> Statistic | None:
    """Returns mean and sample standard deviation, None of nothing."""
    if not values:
        return None
    spread = statistics.stdev(values) if len(values) > 1 else None
    return Statistic(statistics.fmean(values), spread, len(values))


def best_of(cells: Sequence[Statistic | None], better: str) -> int | None:
    """Returns the index of the best mean if it leads every other by more than the spread.

    The spread of a difference is √(s₁² + s₂²). Where one of the two has no spread, because there is
    a single seed, nobody can say that it is the better one.

    Args:
        cells: of one metric.
        better: ``low`` or ``high``.
    """
    there = [i for i, cell in enumerate(cells) if cell is not None]
    if len(there) < 2 or better not in ("low", "high"):
        return None
    sign = 1.0 if better == "low" else -1.0
    means = {i: sign * cells[i].mean for i in there}  # type: ignore[union-attr]
    first = min(there, key=means.__getitem__)
    leads = all(_leads(cells[first], cells[i]) for i in there if i != first)
    return first if leads else None


def comparison(groups: Sequence[Group], metrics: Sequence[str], title: str) -> Table:
    """Returns the table of groups by metrics; what nobody measured is an empty column."""
    return table(groups, [column(name) for name in metrics], title, lambda run: run.metrics)


def check_measured(runs: Sequence[RunRecord], metrics: Sequence[str]) -> None:
    """Refuses metrics that no run measured.

    Raises:
        ConfigError: tells which there are.
    """
    known = measured(runs)
    for name in metrics:
        if name not in known:
            raise ConfigError(
                f'report: "{name}" was measured by none of the runs; there: {", ".join(known)}'
            )


def table(
    groups: Sequence[Group],
    columns: Sequence[Column],
    title: str,
    measure: Callable[[RunRecord], Mapping[str, float]],
) -> Table:
    """Returns the statistics over each group of what is measured of its runs, by column."""
    cells = []
    for group in groups:
        values = [measure(run) for run in group.runs]
        cells.append([statistic([v[c.name] for v in values if c.name in v]) for c in columns])
    counts = [len(group.runs) for group in groups]
    return Table(title, columns, [group.label for group in groups], counts, cells)


def measured(runs: Sequence[RunRecord]) -> list[str]:
    """Returns the names of all metrics of all runs, those of the last evaluation first."""
    names = dict.fromkeys(n for run in runs for n in run.final)
    more = dict.fromkeys(n for run in runs for n in run.metrics)
    return [n for n in dict.fromkeys([*names, *more]) if n in more]


def usual_metrics(groups: Sequence[Group]) -> list[str]:
    """Returns the metrics that are shown where none are asked for.

    Beside the error of a response stands that of the training mean. The solver's steps and its
    unconverged share appear where some run takes steps.
    """
    runs = [run for group in groups for run in group.runs]
    known = measured(runs)
    errors = [
        name
        for quantity in LABELS
        for name in known
        if name.endswith((f"/{quantity}_rmse", f"/{quantity}_baseline"))
        and not name.startswith(("train/", "valid/"))
    ] or [n for n in known if n.endswith("_rmse") and not n.startswith("train/")]
    return [*errors, *(n for n in USUAL if n in known and _says_something(runs, n))]


def column(name: str) -> Column:
    """Returns the column of a metric, with its unit and which way is better."""
    if "/" not in name or name.endswith("_baseline"):
        better = ""
    else:
        better = "high" if re.search(r"_r2(_[xyz]+)?$", name) else "low"
    return Column(name, unit_of(name), better)


def unit_of(name: str) -> str:
    """Returns the unit of a metric's numbers, empty for pure ones."""
    prefix, _, rest = name.partition("/")
    if name in OTHER_UNITS or prefix == "time":
        return OTHER_UNITS.get(name, rest.rpartition("_")[2])
    quantity, _, kind = rest.rpartition("_")
    if kind not in ("rmse", "mae", "baseline"):
        return ""
    row = quantity_of(quantity)
    return "" if row is None else row.error_unit


def _leads(first: Statistic | None, other: Statistic | None) -> bool:
    if first is None or other is None or first.spread is None or other.spread is None:
        return False
    return abs(first.mean - other.mean) > math.hypot(first.spread, other.spread)


def _says_something(runs: Sequence[RunRecord], name: str) -> bool:
    """Whether a metric is none of the solver's, or some solver takes steps."""
    return any(run.metrics.get("scf/steps") for run in runs) or not name.startswith("scf/")
