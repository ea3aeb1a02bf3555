"""Metrics for MLflow: a folder, a database or a server."""

import dataclasses
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from electrojax.nn.options import option
from electrojax.training.loggers.base import RunStart, Status
from electrojax.training.loggers.flat import flatten_keys

STATES: dict[Status, str] = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
LONGEST = 6000
"""Characters of a parameter's value that MLflow accepts; the model file holds all of them."""
AT_ONCE = 100
"""Parameters that MLflow accepts in one request."""


@dataclasses.dataclass
class MLflow:
    """MLflow: metrics, the configuration as parameters, the plots and the model.

    A resumed run continues the run of the same id. Parameters of MLflow never change: they stay
    those of the first start.
    """

    package: ClassVar[str] = "mlflow"

    experiment: str = option("electrojax", "experiment of MLflow")
    tracking_uri: str = option(
        "",
        "http://... of a server, sqlite:///... of a database, or file:///... of a folder; "
        "MLFLOW_TRACKING_URI, or else mlruns/ in the run folder",
    )
    _client: Any = dataclasses.field(default=None, init=False, repr=False)
    _id: str = dataclasses.field(default="", init=False, repr=False)
    _folder: Path = dataclasses.field(default=Path(), init=False, repr=False)

    def start(self, run: RunStart) -> str:
        """Opens a run in the experiment, or continues the one of the id."""
        # With MLflow's 7 an epoch would wait four minutes for a server that is away.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        uri = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI", "")
        uri = uri or (run.folder / "mlruns").absolute().as_uri()
        if uri.startswith("file:"):
            # MLflow 3 refuses folders, which it extends no more, unless one was asked for.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        # Nothing leaves the machine that was not asked for, such as MLflow's report of its own use.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        self._client, self._folder, self._id = MlflowClient(uri), run.folder, run.run_id
        if self._known():
            self._client.update_run(self._id, status="RUNNING")
        else:
            self._id = self._new(run)
        return self._id

    def _known(self) -> bool:
        """Whether the store has the run of the id; another one may have been configured since."""
        from mlflow.exceptions import MlflowException

        try:
            return bool(self._id) and self._client.get_run(self._id) is not None
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise

    def _new(self, run: RunStart) -> str:
        from mlflow.entities import Param

        found = self._client.get_experiment_by_name(self.experiment)
        experiment = (
            found.experiment_id if found else self._client.create_experiment(self.experiment)
        )
        opened = self._client.create_run(experiment, run_name=run.name).info.run_id
        values = {key: str(value)[:LONGEST] for key, value in flatten_keys(run.config).items()}
        parameters = [Param(key, value) for key, value in values.items()]
        for first in range(0, len(parameters), AT_ONCE):
            self._client.log_batch(opened, params=parameters[first : first + AT_ONCE])
        return str(opened)

    def log(self, epoch: int, scalars: Mapping[str, float]) -> None:
        """Records the metrics in one request."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, epoch) for name, value in scalars.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def artifact(self, path: Path) -> None:
        """Stores a file under its place in the run folder."""
        place = path.parent.relative_to(self._folder)
        self._client.log_artifact(self._id, str(path), None if place == Path() else str(place))

    def close(self, status: Status) -> None:
        """Ends the run."""
        self._client.set_terminated(self._id, STATES[status])
