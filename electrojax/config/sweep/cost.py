"""What the points of a sweep cost: an estimate, and what it rests on."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from electrojax.config.resolve import resolved
from electrojax.config.sweep.points import LoadedSweep, Point
from electrojax.config.sweep.state import ENDED, PointFolder
from electrojax.errors import ElectrojaxError

MS_PER_FEATURE = {"light": 3.0e-4, "mace": 2.0e-3}
"""Milliseconds of a training step per edge, channel and layer, without charges."""

SOLVER_FACTORS = {
    "none": 1.0,
    "local": 1.2,
    "split": 1.4,
    "latent": 1.2,
    "qeq": 1.6,
    "functional": 2.5,
    "scf": 2.5,
    "non_scf": 2.0,
}
"""Cost of a step with a solver beside that without charges."""

COMPILE_S = {"light": 20.0, "mace": 60.0}
"""Seconds of compilation and start of a run."""

BASIS = (
    "steps x a table measured with the built-in sets on 2 cores of an AMD EPYC, within a factor 3"
)
MEASURED = "steps x the mean step of finished points that differ in the seed alone"


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
        return self.overhead_s + 1e-3 * self.steps * self.step_ms


def plan_lines(sweep: LoadedSweep) -> Iterator[str]:
    """Yields the lines of `sweep plan`."""
    if sweep.config.search is not None:
        yield from _search_lines(sweep)
        return
    costs: dict[str, Cost | str] = {}
    total, impossible = 0.0, 0
    for point in sweep.points:
        key = _group(point)
        if key not in costs:
            costs[key] = estimate(point, _siblings(sweep, key))
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
    left = f"{len(sweep.points)} points in {sweep.folder}; what is left takes about {_time(total)}"
    yield f"{left} of one worker"
    known = [cost for cost in costs if isinstance(cost, Cost)]
    if any(not cost.measured for cost in known):
        yield f"times: {BASIS}"
    if any(cost.measured for cost in known):
        yield f"times marked *: {MEASURED}"
    if impossible:
        yield f"{impossible} of them cannot be trained as they are, and will fail alone"


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
        yield f"times: {BASIS}"


def _group(point: Point) -> str:
    """What points share that differ in the seed alone."""
    data = resolved(point.run.config)
    data["run"] = {"precision": data["run"]["precision"]}
    return json.dumps(data, sort_keys=True)


def _siblings(sweep: LoadedSweep, group: str) -> list[PointFolder]:
    folders = [PointFolder(p.folder) for p in sweep.points if _group(p) == group]
    return [folder for folder in folders if folder.final() is not None]


def estimate(point: Point, finished: list[PointFolder]) -> Cost | str:
    """Returns the cost of a point, or why it cannot be trained.

    Args:
        point: the point; its data are read.
        finished: points that differ in the seed alone.
    """
    import jax

    from electrojax.config.build import build_job

    try:
        job = build_job(point.run)
    except ElectrojaxError as error:
        return str(error)
    config, loader = point.run.config, job.loaders["train"]
    batch, _ = next(iter(loader.epoch(0)))
    shapes = jax.eval_shape(lambda: job.potential.init(0, batch.system))
    epochs = sum(stage.epochs for stage in config.train.stages)
    backbone = config.model.backbone
    options = backbone.options()
    width = options.get("channels", 32) * options.get("layers", 2)
    features = float(batch.system.n_edges * width)
    factor = SOLVER_FACTORS.get(config.model.solver.kind, 2.0)
    cost = Cost(
        parameters=sum(leaf.size for leaf in jax.tree.leaves(shapes)),
        frames=len(job.frames["train"]),
        epochs=epochs,
        steps=epochs * len(loader),
        step_ms=features * MS_PER_FEATURE.get(backbone.kind, 1e-3) * factor,
        overhead_s=COMPILE_S.get(backbone.kind, 60.0),
    )
    return _measured(cost, finished)


def _measured(cost: Cost, finished: list[PointFolder]) -> Cost:
    """The estimate with the times of finished points, where there are some."""
    records = [[r for r in folder.records() if "time/step_ms" in r] for folder in finished]
    records = [run for run in records if run]
    if not records:
        return cost
    steps = [record["time/step_ms"] for run in records for record in run]
    compiled = [sum(record.get("time/compile_s", 0.0) for record in run) for run in records]
    return Cost(
        cost.parameters,
        cost.frames,
        cost.epochs,
        cost.steps,
        sum(steps) / len(steps),
        10.0 + sum(compiled) / len(compiled),
        True,
    )


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
