"""All runs that a report is asked for, those of sweeps with what the sweep says of them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from electrojax.analysis.report.runs import RunRecord, read_run, run_folders


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What a sweep file asks a report for.

    Attributes:
        title: the sweep's name.
        metrics: columns.
        mean_over: dotted keys.
    """

    title: str = ""
    metrics: tuple[str, ...] = ()
    mean_over: tuple[str, ...] = ()


def read_all(paths: Sequence[Path]) -> tuple[list[RunRecord], Wishes]:
    """Returns the runs that paths stand for, each once, and what sweeps among them ask for.

    Raises:
        DataError: if a path is no run folder and holds none.
    """
    folders = dict.fromkeys(f.resolve() for path in paths for f in run_folders(path))
    return [read_run(folder) for folder in folders], Wishes()
