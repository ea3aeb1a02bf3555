"""What the points of a sweep cost: an estimate, and what it rests on."""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass

from electrojax.config.resolve import resolved
from electrojax.config.schema import RunConfig
from electrojax.errors import ElectrojaxError
from electrojax.sweep.points import LoadedSweep, Point
from electrojax.sweep.state import ENDED, PointFolder

MS_PER_FEATURE = {"light": 1.2e-4, "mace": 1.0e-3}
"""Milliseconds of a training step per edge, channel and layer, without charges, on one core."""

COMPILE_S = {"light": 11.0, "mace": 40.0}
"""Seconds of compilation of training and validation, without charges."""

SOLVERS = {
    "none": (1.0, 1.0),
    "local": (1.3, 1.7),
    "split": (2.2, 2.0),
    "latent": (1.2, 1.7),
    "qeq": (1.3, 2.3),
    "functional": (2.6, 4.6),
    "scf": (1.4, 2.8),
    "non_scf": (4.4, 5.6),
}
"""Cost of a step and of compilation with a solver, beside those without charges."""

START_S = 15.0
"""Seconds of start, checkpoints, the final evaluation and plots."""
VALIDATION = 1.2
"""Time of an epoch over that of its steps."""

BASIS = (
    "times: steps x a table of step and compile times, measured for ion_water on one core of an "
    "AMD EPYC; within a factor of 2 there, otherwise an order of magnitude"
)
MEASURED = "times marked *: steps x the mean step of finished points that differ in the seed alone"


@dataclass(frozen=True)
class Cost:
    """An estimate of what training a point costs.

    Attributes:
        parameters: of the model.
        frames: of the training set.
        epochs: over all stages.
        steps: optimizer steps.
        step_ms: milliseconds of one.
        overhead_s: seconds of start and compilation.
        measured: whether the times come from finished points.
    """

    parameters: int
    frames: int
    epochs: int
    steps: int
    step_ms: float
    overhead_s: float
    measured: bool = False

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return self.overhead_s + 1e-3 * self.steps * self.step_ms * VALIDATION


def plan_lines(sweep: LoadedSweep) -> Iterator[str]:
    """Yields the lines of `sweep plan`."""
    if sweep.config.search is not None:
        yield from _search_lines(sweep)
        return
    costs: dict[str, Cost | str] = {}
    total, impossible = 0.0, 0
    groups = [_group(point) for point in sweep.points]
    for point, key in zip(sweep.points, groups):
        if key not in costs:
            mates = [p for p, group in zip(sweep.points, groups) if group == key]
            costs[key] = estimate(point, _finished(mates))
        cost, state = costs[key], PointFolder(point.folder).state().name
        yield f"{point.name}  {state:<8}  {point.label}\n    {_told(cost)}"
        if isinstance(cost, str):
            impossible += 1
        elif state not in ENDED:
            total += cost.seconds
    yield from _summary(sweep, total, impossible, list(costs.values()))


def _summary(
    sweep: LoadedSweep, total: float, impossible: int, costs: list[Cost | str]
) -> Iterator[str]:
    yield (
        f"{len(sweep.points)} points in {sweep.folder}; what is left takes about {_time(total)} of "
        f"one worker{_together(sweep, total)}"
    )
    known = [cost for cost in costs if isinstance(cost, Cost)]
    if any(not cost.measured for cost in known):
        yield BASIS
    if any(cost.measured for cost in known):
        yield MEASURED
    if impossible:
        yield f"{impossible} of them cannot be trained as they are, and will fail alone"


def _together(sweep: LoadedSweep, seconds: float) -> str:
    executor = sweep.config.executor
    workers = getattr(executor, "workers", getattr(executor, "jobs", 1))
    return f", {_time(seconds / workers)} of {workers}" if workers > 1 else ""


def _search_lines(sweep: LoadedSweep) -> Iterator[str]:
    for axis in sweep.axes:
        drawn = axis.range
        names = ", ".join(choice.name for choice in axis.choices)
        log = ", logarithmic" if drawn and drawn.log else ""
        yield f"{axis.key}: {f'{drawn.low:g} to {drawn.high:g}{log}' if drawn else names}"
    first = {axis.key: axis.ends[0] for axis in sweep.axes}
    cost = estimate(sweep.point(first), [])
    trials = sweep.config.search.trials if sweep.config.search else 0
    yield f"first corner: {_told(cost)}"
    if isinstance(cost, Cost):
        yield (
            f"{trials} trials in {sweep.folder}; about {_time(trials * cost.seconds)} of one "
            "worker if all were like it and none were pruned"
        )
        yield BASIS


def _group(point: Point) -> str:
    """What points share that differ in the seed alone."""
    data = resolved(point.run.config)
    data["run"] = {"precision": data["run"]["precision"]}
    return json.dumps(data, sort_keys=True)


def _finished(points: list[Point]) -> list[PointFolder]:
    folders = [PointFolder(point.folder) for point in points]
    return [folder for folder in folders if folder.final() is not None]


def estimate(point: Point, finished: list[PointFolder]) -> Cost | str:
    """Returns the cost of a point, or why it cannot be trained.

    Args:
        point: the point; its data are read.
        finished: points that differ in the seed alone.
    """
    import jax

    from electrojax.runs.build import build_job

    try:
        job = build_job(point.run)
    except ElectrojaxError as error:
        return str(error)
    config, loader = point.run.config, job.loaders["train"]
    batch, _ = next(iter(loader.epoch(0)))
    shapes = jax.eval_shape(lambda: job.potential.init(0, batch.system))
    epochs = sum(stage.epochs for stage in config.train.stages)
    step_ms, compile_s = _table(config, batch.system.n_edges)
    cost = Cost(
        parameters=sum(leaf.size for leaf in jax.tree.leaves(shapes)),
        frames=len(job.frames["train"]),
        epochs=epochs,
        steps=epochs * len(loader),
        step_ms=step_ms,
        overhead_s=START_S + compile_s,
    )
    return _measured(cost, finished)


def _table(config: RunConfig, edges: int) -> tuple[float, float]:
    """Milliseconds of a step and seconds of compilation, from the tables."""
    backbone = config.model.backbone
    options = backbone.options()
    features = edges * options.get("channels", 32) * options.get("layers", 2)
    step, compilation = SOLVERS.get(config.model.solver.kind, (2.0, 3.0))
    per_feature = MS_PER_FEATURE.get(backbone.kind, MS_PER_FEATURE["mace"])
    compiled = COMPILE_S.get(backbone.kind, COMPILE_S["mace"])
    return features * per_feature * step, compiled * compilation


def _measured(cost: Cost, finished: list[PointFolder]) -> Cost:
    """The estimate with the times of finished points, where there are some."""
    records = [[r for r in folder.records() if "time/step_ms" in r] for folder in finished]
    records = [run for run in records if run]
    if not records:
        return cost
    steps = [record["time/step_ms"] for run in records for record in run]
    compiled = [sum(record.get("time/compile_s", 0.0) for record in run) for run in records]
    overhead = START_S + sum(compiled) / len(compiled)
    mean = sum(steps) / len(steps)
    return dataclasses.replace(cost, step_ms=mean, overhead_s=overhead, measured=True)


def _told(cost: Cost | str) -> str:
    if isinstance(cost, str):
        return f"cannot be trained: {cost}"
    mark = "*" if cost.measured else ""
    return (
        f"{cost.parameters} parameters, {cost.frames} frames, {cost.epochs} epochs, "
        f"{cost.steps} steps of {cost.step_ms:.3g} ms: about {_time(cost.seconds)}{mark}"
    )


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
