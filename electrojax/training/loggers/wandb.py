"""Metrics for Weights & Biases, online or offline."""

import dataclasses
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from electrojax.nn.options import option
from electrojax.training.loggers.base import RunStart, Status

PATIENCE = 120.0
"""Seconds that the end of a run waits for uploads; ``wandb sync`` sends what is left."""

EXIT_CODES: dict[Status, int] = {"finished": 0, "failed": 3, "interrupted": 130}
"""The exit codes of the command line, which W&B shows as finished, failed and failed."""


@dataclasses.dataclass
class WeightsAndBiases:
    """Weights & Biases: metrics, the configuration, the plots and the model.

    A resumed run continues the run of the same id. Offline, it leaves a second folder of that id,
    which ``wandb sync --append`` adds to the first.
    """

    package: ClassVar[str] = "wandb"

    project: str = option("electrojax", "project of W&B")
    entity: str = option("", "user or team; that of the login")
    group: str = option("", "group of runs, such as the seeds of one setting; none")
    mode: str = option(
        "default",
        "online, offline (send later by `wandb sync`), or default: as WANDB_MODE says",
        choices=("default", "online", "offline"),
    )
    directory: str = option("", "folder for wandb/ with its files; the run folder", path=True)
    _run: Any = dataclasses.field(default=None, init=False, repr=False)
    _folder: Path = dataclasses.field(default=Path(), init=False, repr=False)

    def start(self, run: RunStart) -> str:
        """Opens a run of W&B, or continues the one of the id."""
        import wandb

        folder = Path(self.directory) if self.directory else run.folder
        folder.mkdir(parents=True, exist_ok=True)
        mode: Any = None if self.mode == "default" else self.mode
        # W&B's copy of the terminal would take the progress bar apart.
        settings = wandb.Settings(console="off", finish_timeout=PATIENCE)
        self._folder = run.folder
        self._run = wandb.init(
            project=self.project,
            entity=self.entity or None,
            group=self.group or None,
            name=run.name,
            dir=str(folder),
            id=run.run_id or secrets.token_hex(4),
            config=dict(run.config),
            allow_val_change=True,
            mode=mode,
            resume="allow",
            reinit="create_new",
            settings=settings,
        )
        # Epochs that a resumed run does again have a step that W&B's own counter has passed.
        self._run.define_metric("epoch", hidden=True)
        self._run.define_metric("*", step_metric="epoch")
        return str(self._run.id)

    def log(self, epoch: int, scalars: Mapping[str, float]) -> None:
        """Records one row, drawn against the epoch."""
        self._run.log({"epoch": epoch, **scalars})

    def artifact(self, path: Path) -> None:
        """Keeps a file, and shows it if it is a plot."""
        import wandb

        self._run.save(str(path), base_path=str(self._folder), policy="now")
        if path.suffix == ".png":
            self._run.log({f"plots/{path.stem}": wandb.Image(str(path))})

    def close(self, status: Status) -> None:
        """Ends the run with the exit code of the command line."""
        self._run.finish(exit_code=EXIT_CODES[status])
