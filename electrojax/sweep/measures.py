"""Which metrics the runs of a sweep can have, so that a report is not asked for others."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from electrojax.analysis.baseline import WITH_MEAN, component_names
from electrojax.config.problems import Problem, config_error
from electrojax.config.resolve import LoadedRun, Provenance
from electrojax.config.schema import RunConfig
from electrojax.sweep.schema import SweepConfig
from electrojax.system.quantities import (
    ALWAYS,
    AT_NUCLEI,
    FIELD_RESPONSES,
    QUANTITIES,
    REQUIRES,
    metric_names,
)

GENERAL = (
    "scf/steps",
    "scf/unconverged",
    "time/step_ms",
    "time/epoch_s",
    "time/compile_s",
    "memory/peak_mib",
    "train/gradient_norm",
    "compiled_programs",
    "learning_rate",
)
"""What every run measures."""


def check_measures(sweep: SweepConfig, where: Provenance, runs: Sequence[LoadedRun]) -> None:
    """Checks that some run can have every metric of the report and of the search.

    Raises:
        ConfigError: one line per metric that no run could have, or a mean over what is no axis.
    """
    able = {name for run in runs for name in measures(run)}
    problems = []
    for index, name in enumerate(sweep.report.metrics):
        if name not in able:
            entry = where.root.nearest(("report", "metrics", index))
            problems.append(Problem(entry.position, f"report.metrics.{index}", _none(name, able)))
    over = sweep.report.mean_over
    if over is not None and over not in sweep.axes:
        message = f'"{over}" is not an axis; axes: {", ".join(sweep.axes) or "none"}'
        problems.append(where.problem("report.mean_over", message))
    if sweep.search is not None and sweep.search.metric not in able:
        problems.append(where.problem("search.metric", _none(sweep.search.metric, able)))
    if problems:
        raise config_error(problems)


def _none(name: str, able: set[str]) -> str:
    near = get_close_matches(name, able, n=1)
    hint = f'did you mean "{near[0]}"?' if near else "electrojax names them test/forces_rmse"
    return f'no run of this sweep could measure "{name}"; {hint}'


def measures(run: LoadedRun) -> Iterator[str]:
    """Yields the names of the metrics that a run may leave, if its data have the labels."""
    config = run.config
    solver = run.tables.solver(config.model.solver)
    at_nuclei = AT_NUCLEI if "charges" in solver.provides else ()
    responses = (*(FIELD_RESPONSES if solver.field_boundaries else ()), *at_nuclei)
    provides = (*ALWAYS, *solver.provides, *responses)
    yield from GENERAL
    yield from (f"scf/{name}" for name in solver.diagnoses)
    splits = [name for name in ("train", "valid", "test") if getattr(config.data, name)]
    for split in splits:
        yield f"{split}/loss"
        for quantity, needed in REQUIRES.items():
            if needed in provides and quantity not in solver.diagnoses:
                yield from (f"{split}/{name}" for name in _errors(quantity, config))


def _errors(quantity: str, config: RunConfig) -> Iterator[str]:
    for name in metric_names(quantity, config.model.density.l_max):
        yield from (f"{name}_{error}" for error in ("rmse", "mae", "r2"))
    if quantity == "forces":
        yield "forces_rmse_relative"
    if quantity in WITH_MEAN:
        yield f"{quantity}_baseline"
        yield from (f"{quantity}_r2_{c}" for c in component_names(QUANTITIES[quantity]))
