"""The sweep file as typed, frozen blocks."""

import re
from ipaddress import ip_address
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, Strict, model_validator

from electrojax.config.schema import KindOptions
from electrojax.sections import (
    LARGEST,
    FilePath,
    FolderName,
    PositiveFloat,
    PositiveInt,
    PossiblePath,
    Section,
    misplaced,
)

Processes = Annotated[int, Field(ge=1, le=10_000)]


class SweepHead(Section):
    """What is swept, and where the results go."""

    name: FolderName = Field(
        description="name of the sweep's folder; the file's own name if not given"
    )
    base: PossiblePath = Field(
        description="the training file that every point changes: beside this file, or shipped",
    )
    mode: Literal["grid", "list", "search"] = Field(
        default="grid",
        description="grid: every combination of the axes; list: the given points, each with every "
        "combination of the axes; search: an Optuna study chooses",
    )
    dir: FilePath = Field(
        default="runs",
        description="folder that holds the sweep's folder; a relative path starts at this file, "
        "and the default at the current directory",
    )


class Report(Section):
    """What the points are compared by."""

    metrics: Annotated[tuple[str, ...], Strict(False)] = Field(
        default=(), description="names as in metrics.jsonl, such as test/forces_rmse"
    )
    mean_over: str | None = Field(
        default=None, description="the axis over which means and spreads are taken: run.seed"
    )


class Executor(KindOptions):
    """Where points run; one point is one process on one device."""

    retries: int = Field(
        default=2,
        ge=0,
        le=1000,
        description="how often a point is begun again after a crash or the loss of its worker",
    )
    compile_cache: bool = Field(
        default=False,
        description="keep compiled programs in the sweep's folder, for points and for resuming; "
        "on a cluster only if its nodes are alike",
    )


LOOPBACK = "127.0.0.1"


def is_loopback(host: str) -> bool:
    """Returns whether a host is this machine as nobody else reaches it; an empty one is not."""
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class LocalExecutor(Executor):
    """Processes on this machine."""

    kind: Literal["local"] = Field("local", description="processes on this machine")
    workers: Processes = Field(
        default=1, description="points at once; with GPUs at most one per GPU"
    )
    threads: Processes | None = Field(
        default=None, description="CPU threads of a point; the cores are shared where not given"
    )
    dashboard: str | None = Field(
        default=None,
        description="address of Dask's dashboard, such as 127.0.0.1:8787; none where not given",
    )
    public_dashboard: bool = Field(
        default=False,
        description="the dashboard may listen beyond this machine, where anybody can read it",
    )

    @model_validator(mode="after")
    def _private_dashboard(self) -> Self:
        if self.dashboard is None:
            return self
        host, colon, port = self.dashboard.rpartition(":")
        if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
            raise misplaced("dashboard", f"must be HOST:PORT, such as {LOOPBACK}:8787")
        if not self.public_dashboard and not is_loopback(host):
            message = (
                f"lets other machines in, without a password; write {LOOPBACK}:{port}, or set "
                "public_dashboard: true"
            )
            raise misplaced("dashboard", message)
        return self


class QueueExecutor(Executor):
    """Jobs of a batch system, through dask-jobqueue; each computes points one after the other."""

    MULTILINE: ClassVar[tuple[str, ...]] = ("prologue",)

    jobs: Processes = Field(description="jobs to submit; points at once")
    interface: str = Field(
        description="network interface of this machine that the nodes reach it by, such as ib0"
    )
    cores: Processes = Field(default=1, description="of a job")
    memory: str = Field(default="8GB", pattern=r"^\d+(\.\d+)? ?[kMGT]i?B$", description="of a job")
    directives: Annotated[tuple[str, ...], Strict(False)] = Field(
        default=(), description="more lines for the head of the script: [--gres=gpu:1]"
    )
    prologue: Annotated[tuple[str, ...], Strict(False)] = Field(
        default=(), description="commands before the worker: [module load cuda]"
    )
    python: str | None = Field(
        default=None, description="the interpreter on the nodes; the present one where not given"
    )


class TimedQueueExecutor(QueueExecutor):
    """A batch system whose jobs have a queue and a wall time."""

    queue: str | None = Field(default=None, description="or partition")
    account: str | None = Field(default=None, description="or project that is charged")
    walltime: str = Field(
        default="12:00:00",
        pattern=r"^(\d+-)?\d+(:\d\d){1,2}$",
        description="of a job; a point that it ends is resumed in the next",
    )


class SlurmExecutor(TimedQueueExecutor):
    """SLURM jobs."""

    kind: Literal["slurm"] = Field("slurm", description="sbatch")


class PbsExecutor(TimedQueueExecutor):
    """PBS jobs."""

    kind: Literal["pbs"] = Field("pbs", description="qsub of PBS")


class LsfExecutor(TimedQueueExecutor):
    """LSF jobs."""

    kind: Literal["lsf"] = Field("lsf", description="bsub")


class SgeExecutor(TimedQueueExecutor):
    """Grid Engine jobs."""

    kind: Literal["sge"] = Field("sge", description="qsub of Grid Engine")


class HtcondorExecutor(QueueExecutor):
    """HTCondor jobs."""

    kind: Literal["htcondor"] = Field("htcondor", description="condor_submit")
    disk: str = Field(default="4GB", pattern=r"^\d+(\.\d+)? ?[kMGT]i?B$", description="of a job")


class DaskExecutor(Executor):
    """Workers of a Dask scheduler that runs already."""

    kind: Literal["dask"] = Field("dask", description="a running scheduler")
    scheduler: str = Field(
        pattern=r"^(tcp|tls|ucx|ws|wss)://\S+:\d+$", description="its address: tcp://HOST:PORT"
    )


AnyExecutor = (
    LocalExecutor
    | SlurmExecutor
    | PbsExecutor
    | LsfExecutor
    | SgeExecutor
    | HtcondorExecutor
    | DaskExecutor
)


class Search(Section):
    """How an Optuna study chooses points."""

    trials: PositiveInt = Field(description="points to try, finished and pruned ones included")
    metric: str = Field(
        default="valid/loss",
        pattern=r"^valid/(loss|[a-z_0-9]+_(rmse|mae))$",
        description="what is minimised: its lowest value within the last stage",
    )
    startup: int = Field(default=8, ge=0, le=10**6, description="random trials before TPE")
    seed: int = Field(default=0, ge=0, lt=2**31, description="of the sampler")
    storage: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9+]+://",
        description="URL of a database, such as sqlite:///study.db; a journal file in the sweep's "
        "folder where not given",
    )
    prune: bool = Field(
        default=True, description="stop trials that are worse than the median of the others"
    )
    warmup_epochs: int = Field(
        default=10, ge=0, le=10**6, description="never prune before that many epochs"
    )


class SweepConfig(Section):
    """Everything that decides which points there are and where they run."""

    sweep: SweepHead = Field(description="what is swept")
    axes: dict[str, Any] = Field(
        default={}, description="by dotted key: a list, or a block of named variants"
    )
    points: Any = Field(
        default=None, description="mode list: a block of named points, each a block of dotted keys"
    )
    exclude: tuple[dict[str, Any], ...] = Field(
        default=(), description="points to leave out: blocks of axis: variant, or a list of them"
    )
    report: Report = Field(default_factory=Report, description="what points are compared by")
    executor: Annotated[AnyExecutor, Field(discriminator="kind")] = Field(
        default_factory=lambda: LocalExecutor(kind="local"), description="where points run"
    )
    search: Search | None = Field(default=None, description="mode search: the study")

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("exclude"), list):
            return {**data, "exclude": tuple(data["exclude"])}
        return data

    @model_validator(mode="after")
    def _mode_has_its_blocks(self) -> Self:
        mode = self.sweep.mode
        if mode == "list" and not self.points:
            raise misplaced("points", "mode list needs points: a block of named points")
        if mode != "list" and self.points is not None:
            raise misplaced("points", f"belong to mode list, not {mode}")
        if mode != "list" and not self.axes:
            raise misplaced("axes", f"mode {mode} needs at least one axis")
        if mode == "search" and self.search is None:
            raise misplaced("search", "mode search needs search: {trials: ...}")
        if mode != "search" and self.search is not None:
            raise misplaced("search", f"belongs to mode search, not {mode}")
        return self


Whole = Annotated[int, Field(gt=-(2**53), lt=2**53)]
"""Optuna keeps what it draws as float64."""

Real = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]

ENDS = frozenset({"low", "high"})
"""Keys of which a block that has one is an interval, in mode search."""


class Range(Section):
    """An interval that a search draws from; whole numbers if both ends are."""

    low: Whole | Real = Field(description="lowest value")
    high: Whole | Real = Field(description="highest value")
    log: bool = Field(default=False, description="draw evenly in the logarithm")
    step: PositiveInt | PositiveFloat | None = Field(default=None, description="spacing")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise misplaced("high", f"must be greater than low ({self.low:g}), got {self.high:g}")
        if self.log and self.low <= 0:
            raise misplaced("low", "must be greater than 0 with log")
        if self.log and self.step is not None:
            raise misplaced("step", "has no meaning with log; drop one")
        return self

    @property
    def whole(self) -> bool:
        """Whether it holds whole numbers only."""
        step = 1 if self.step is None else self.step
        return all(isinstance(value, int) for value in (self.low, self.high, step))


def is_dotted_key(text: str) -> bool:
    """Returns whether a text is a dotted key such as train.stages.0.epochs."""
    return all(re.fullmatch(r"[^\s.]+", part) for part in text.split("."))
