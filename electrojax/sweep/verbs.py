"""What `electrojax sweep plan`, `run` and `status` do."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from electrojax.locking import LOCK, is_locked
from electrojax.sweep.coordinator import Listed, run_sweep, write_index
from electrojax.sweep.points import LoadedSweep, label, load_sweep
from electrojax.sweep.state import FAILED, PointFolder, State
from electrojax.typing import Reporter


def plan(path: Path, overrides: Sequence[str], report: Reporter) -> None:
    """Prints every point of a sweep with an estimate of its cost; nothing is trained.

    Raises:
        ConfigError: for everything that can be wrong before a run begins.
    """
    from electrojax.sweep.cost import plan_lines

    sweep = load_sweep(path, overrides)
    for line in plan_lines(sweep):
        report(line)


def run(
    path: Path,
    overrides: Sequence[str],
    report: Reporter,
    command: Sequence[str] | None = None,
) -> None:
    """Trains every point of a sweep that has not ended yet, and says how it went.

    Args:
        path: the sweep file.
        overrides: ``KEY=VALUE`` texts of the command line.
        report: receives lines of progress.
        command: what trains a file, for tests; electrojax itself where None.

    Raises:
        ConfigError, DataError: before anything starts.
        ConvergenceError: at the end, if points failed.
    """
    sweep = load_sweep(path, overrides)
    if sweep.config.search is not None:
        from electrojax.sweep.search import run_search

        run_search(sweep, report, command)
        return
    _check_data(sweep)
    work = Listed(sweep.points)
    write_index(sweep, sweep.points)
    if len(work):
        run_sweep(sweep, work, report, command)
    report(f"{sweep.folder}: all {len(sweep.points)} points are complete")


def _check_data(sweep: LoadedSweep) -> None:
    """Points that are complete must have been trained on the data of today.

    Raises:
        DataError: a file changed since; its points would be compared with those of another file.
    """
    from electrojax.runs.folder import check_same_data, data_digests

    otherwise = "move that folder away to train the point again"
    for point in sweep.points:
        environment = point.folder / "environment.json"
        if environment.exists():
            check_same_data(data_digests(point.run.config), environment, otherwise)


def status(path: Path, overrides: Sequence[str], report: Reporter) -> None:
    """Prints how every point of a sweep stands.

    Raises:
        ConfigError: for a wrong sweep file.
    """
    sweep = load_sweep(path, overrides)
    rows = states(sweep)
    for name, words, state in rows:
        report(_row(name, words, state))
    counts = Counter(state.name for _, _, state in rows)
    said = ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "no points yet"
    alive = is_locked(sweep.folder / LOCK)
    report(f"{sweep.folder}: {said}; {'a coordinator is at work' if alive else 'nobody at work'}")


def states(sweep: LoadedSweep) -> list[tuple[str, str, State]]:
    """Returns name, label and state of every point; in mode search of those that were tried."""
    if sweep.config.search is None:
        return [(p.name, p.label, PointFolder(p.folder).state()) for p in sweep.points]
    from electrojax.sweep.search import impossible

    folders = [PointFolder(file.parent) for file in sorted(sweep.folder.glob("*/point.json"))]
    rows = [(f.path.name, label(f.told().get("values", {})), f.state()) for f in folders]
    return [
        *rows,
        *((name, words, State(FAILED, reason=why)) for name, words, why in impossible(sweep)),
    ]


def _row(name: str, words: str, state: State) -> str:
    begun = f"{state.attempts} attempt{'s' if state.attempts != 1 else ''}"
    told = [f"{name}  {state.name:<8}  epoch {state.epoch:<4} {begun:<11}  {words}"]
    return "  ".join([*told, f"({state.reason})"] if state.reason else told)
