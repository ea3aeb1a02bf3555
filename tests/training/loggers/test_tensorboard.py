"""Event files, read back record by record."""

import dataclasses
import json

import pytest

from electrojax.training.loggers.tensorboard import TensorBoard
from tests.training.loggers.conftest import CONFIG, told
from tests.training.loggers.events import read_events, scalars


def test_metrics_configuration_and_plots_are_in_the_run_folder(start, files):
    assert told(TensorBoard(), start, (1, 2, 3), files) == ""
    events = read_events(start.folder / "tensorboard")
    assert events[0].file_version == "brain.Event:2"
    assert scalars(events, "train/loss") == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert scalars(events, "valid/forces_rmse") == [(1, 10.0), (2, 20.0), (3, 30.0)]
    values = {value.tag: value for event in events for value in event.summary.value}
    [text] = values["configuration/text_summary"].tensor.string_val
    assert json.loads(text) == CONFIG
    image = values["plots/curve"].image
    assert image.encoded_image_string == files[1].read_bytes()
    assert (image.width, image.height) == size_of(files[1])


def size_of(path):
    import matplotlib.image

    height, width, _ = matplotlib.image.imread(path).shape
    return width, height


def test_every_epoch_is_on_the_disk_when_it_ends(start):
    logger = TensorBoard()
    logger.start(start)
    logger.log(1, {"train/loss": 2.0})
    assert scalars(read_events(start.folder / "tensorboard"), "train/loss") == [(1, 2.0)]
    logger.close("finished")


def test_a_resumed_run_hides_what_came_after_its_checkpoint(start):
    told(TensorBoard(), start, (1, 2, 3), status="failed")
    told(TensorBoard(), dataclasses.replace(start, epoch=1), (2, 3, 4))
    assert len(list((start.folder / "tensorboard").iterdir())) == 2
    found = scalars(read_events(start.folder / "tensorboard"), "valid/forces_rmse")
    assert found == [(1, 10.0), (2, 20.0), (3, 30.0), (4, 40.0)]


def test_a_folder_of_several_runs(start, tmp_path):
    told(TensorBoard(directory=str(tmp_path / "all")), start, (1,))
    assert scalars(read_events(tmp_path / "all" / "water"), "train/loss") == [(1, 1.0)]
    assert not (start.folder / "tensorboard").exists()


def test_tensorboard_itself_reads_them(start, files):
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="tensorboard, the viewer, is no part of any extra; the records are parsed above",
    )
    told(TensorBoard(), start, (1, 2, 3), files, status="failed")
    told(TensorBoard(), dataclasses.replace(start, epoch=1), (2, 3, 4))
    read = reader.EventAccumulator(str(start.folder / "tensorboard"))
    read.Reload()
    assert [event.step for event in read.Scalars("train/loss")] == [1, 2, 3, 4]
    assert read.Tags()["images"] == ["plots/curve"]
