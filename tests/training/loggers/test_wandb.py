"""W&B offline: what its own run file holds, made without a network."""

import dataclasses
import json
import struct

import pytest

from electrojax.training.loggers.wandb import WeightsAndBiases
from tests.training.loggers.conftest import CONFIG, told

wandb = pytest.importorskip(
    "wandb", reason="wandb weighs 80 MB and is in the extra `track` only: pip install '.[track]'"
)

BLOCK = 32768
"""Bytes of a block of the log format, in which no record's header crosses a border."""


@pytest.fixture(autouse=True)
def nowhere(tmp_path_factory, monkeypatch):
    """W&B keeps its own settings in the home folder, and its server is a closed port."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    yield
    wandb.teardown()  # it reads its environment once per process


def records(folder):
    """Returns the records of a run file, which is a LevelDB log after a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    [path] = folder.glob("*.wandb")
    content, at, parts, found = path.read_bytes(), 7, b"", []
    assert content[:4] == b":W&B"
    while at + 7 <= len(content):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            found.append(Record.FromString(parts))
            parts = b""
    return found


def rows(folder):
    """Returns the rows of metrics, without what W&B adds to them."""
    history = [record.history for record in records(folder) if record.HasField("history")]
    plain = [{"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in row.item}
             for row in history]  # fmt: skip
    return [{k: v for k, v in row.items() if not k.startswith("_")} for row in plain]


def test_an_offline_run_is_in_the_run_folder(start, files):
    run_id = told(WeightsAndBiases(project="ions", mode="offline"), start, (1, 2), files)
    [folder] = (start.folder / "wandb").glob(f"offline-run-*-{run_id}")
    first, second, picture = rows(folder)
    assert first == {"epoch": 1, "train/loss": 1.0, "valid/forces_rmse": 10.0}
    assert second == {"epoch": 2, "train/loss": 0.5, "valid/forces_rmse": 20.0}
    assert picture["plots/curve/_type"] == "image-file"
    [run] = [record.run for record in records(folder) if record.HasField("run")]
    assert (run.run_id, run.project, run.display_name) == (run_id, "ions", "water")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert {key: config[key] for key in CONFIG} == CONFIG
    [ended] = [record.exit for record in records(folder) if record.HasField("exit")]
    assert ended.exit_code == 0
    assert (folder / "files" / "model.ejx").read_bytes() == b"the model"
    assert (folder / "files" / "plots" / "curve.png").read_bytes() == files[1].read_bytes()


def test_a_resumed_run_is_the_same_run(start, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    run_id = told(WeightsAndBiases(), start, (1, 2), status="interrupted")
    resumed = dataclasses.replace(start, epoch=1, run_id=run_id)
    assert told(WeightsAndBiases(), resumed, (2, 3)) == run_id
    folders = sorted((start.folder / "wandb").glob("offline-run-*"))
    # A second folder within a second has "-1" behind its name.
    assert [path.name.split("-")[3] for path in folders] == [run_id, run_id]
    assert [[row["epoch"] for row in rows(folder)] for folder in folders] == [[1, 2], [2, 3]]
    [ended] = [record.exit for record in records(folders[0]) if record.HasField("exit")]
    assert ended.exit_code == 130


def test_without_a_login_it_says_so(start):
    with pytest.raises(Exception, match="wandb login"):
        WeightsAndBiases(mode="online").start(start)
