"""Metrics for TensorBoard: an event file, written by tensorboardX."""

import dataclasses
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from electrojax.nn.options import option
from electrojax.training.loggers.base import RunStart, Status


@dataclasses.dataclass
class TensorBoard:
    """Event files for TensorBoard: metrics, the configuration and the plots.

    Every epoch is on the disk when it ends. tensorboardX's own SummaryWriter leaves that to a
    thread, which a full disk ends silently and whose queue then blocks the run for ever.
    """

    package: ClassVar[str] = "tensorboardX"

    directory: str = option("", "where event files go; tensorboard/ in the run folder", path=True)
    _file: Any = dataclasses.field(default=None, init=False, repr=False)
    _epoch: int = dataclasses.field(default=0, init=False, repr=False)

    def start(self, run: RunStart) -> str:
        """Opens a new event file; a resumed run hides what came after its checkpoint."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog
        from tensorboardX.summary import text

        from electrojax.training.loggers.flat import indent_text

        folder = Path(self.directory) / run.name if self.directory else run.folder / "tensorboard"
        folder.mkdir(parents=True, exist_ok=True)
        # The name of an event file tells seconds, and a second writer would empty the first's.
        self._file = EventsWriter(str(folder / "events"), f".{time.time_ns()}")
        self._epoch = run.epoch
        if run.epoch:
            started = SessionLog(status=SessionLog.START)
            self._write(step=run.epoch + 1, session_log=started)
        else:
            self._write(step=0, summary=text("configuration", indent_text(run.config)))
        self._file.flush()
        return ""

    def log(self, epoch: int, scalars: Mapping[str, float]) -> None:
        """Writes one event with a value per metric."""
        from tensorboardX.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._epoch = epoch
        self._write(step=epoch, summary=Summary(value=values))
        self._file.flush()

    def artifact(self, path: Path) -> None:
        """Writes a plot; TensorBoard has no place for other files."""
        from tensorboardX.proto.summary_pb2 import Summary

        if path.suffix != ".png":
            return
        content = path.read_bytes()
        width, height = struct.unpack(">II", content[16:24])  # PNG specification, chunk IHDR
        image = Summary.Image(
            width=width, height=height, colorspace=4, encoded_image_string=content
        )
        value = Summary.Value(tag=f"plots/{path.stem}", image=image)
        self._write(step=self._epoch, summary=Summary(value=[value]))

    def close(self, status: Status) -> None:
        """Closes the event file; TensorBoard knows no status."""
        self._file.close()

    def _write(self, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._file.write_event(Event(wall_time=time.time(), **content))
