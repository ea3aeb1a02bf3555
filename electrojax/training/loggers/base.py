"""The protocol of experiment trackers, and what one is told of a run."""

import dataclasses
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

Status = Literal["finished", "failed", "interrupted"]
"""How a run ended; interrupted runs are resumed."""


@dataclasses.dataclass(frozen=True)
class RunStart:
    """What a tracker is told when a run starts or is resumed.

    Attributes:
        name: of the run.
        folder: the run folder, where a tracker keeps its files unless told otherwise.
        config: the resolved configuration, as plain data.
        epoch: finished epochs; more than 0 only where a checkpoint is continued.
        run_id: what the tracker called this run before; empty for one that it does not know.
    """

    name: str
    folder: Path
    config: Mapping[str, Any]
    epoch: int = 0
    run_id: str = ""


class Logger(Protocol):
    """A data class whose fields are its options and whose heavy imports are inside its methods.

    Every method may raise anything: :class:`electrojax.training.tracking.Tracking` keeps that from
    the run.

    Attributes:
        package: the module it needs, from the extra ``track``.
    """

    package: ClassVar[str]

    def start(self, run: RunStart) -> str:
        """Opens or continues the tracker's run; returns its name for it, empty if it has none."""
        ...

    def log(self, epoch: int, scalars: Mapping[str, float]) -> None:
        """Records the metrics after an epoch, counted from 1; all of them are finite."""
        ...

    def artifact(self, path: Path) -> None:
        """Keeps a file of the run folder, such as the model or a plot, as far as it can."""
        ...

    def close(self, status: Status) -> None:
        """Says how the run ended and sees everything onto the disk or the server."""
        ...


def is_installed(package: str) -> bool:
    """Returns whether a module can be imported, without importing it.

    A folder of that name in the current directory, as W&B leaves one, is not the module.
    """
    spec = find_spec(package)
    return spec is not None and spec.has_location
