"""A damaged run folder is refused in one line, by every file that resuming reads."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from electrojax.config.resolve import load_run, resolved_yaml
from electrojax.errors import DataError
from electrojax.runs import folder as run_folder
from electrojax.training.position import Position

BOMB = "a: &a [1, 1]\nb: &b [*a, *a]\nc: [*b, *b]\n"

RESOLVED: dict[str, bytes | None] = {
    "empty": b"",
    "a list": b"- 1\n",
    "a number": b"5\n",
    "broken": b"run: {\n",
    "other bytes": b"\xff\xfe\x00run",
    "no train": b"run: {seed: 1, precision: float32}\n",
    "train is text": b"run: {seed: 1, precision: float32}\ntrain: fit\n",
    "run is empty": b"run: {}\ntrain: {stages: []}\n",
    "stages are numbers": b"run: {seed: 1, precision: float32}\ntrain: {stages: [1]}\n",
    "a tag": b"run: !!python/object:os.system {}\n",
    "aliases": BOMB.encode(),
    "deep": b"a: " + b"[" * 5000,
    "keys that are numbers": b"1: 2\n",
    "a folder": None,
}


@pytest.fixture(scope="module")
def job() -> Any:
    return SimpleNamespace(run=load_run("configs/quickstart.yaml", ["run.name=x"]))


@pytest.mark.parametrize("name", RESOLVED)
def test_a_damaged_resolved_yaml_is_refused(tmp_path: Path, job: Any, name: str) -> None:
    content, path = RESOLVED[name], tmp_path / "resolved.yaml"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(DataError, match=r"resolved\.yaml") as caught:
        run_folder._check_same(job, tmp_path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_the_same_run_goes_on_and_another_does_not(tmp_path: Path, job: Any) -> None:
    text = resolved_yaml(job.run.config)
    (tmp_path / "resolved.yaml").write_text(text.replace("epochs: 20", "epochs: 30"))
    run_folder._check_same(job, tmp_path)
    (tmp_path / "resolved.yaml").write_text(text.replace("width: 1.5", "width: 1.6"))
    with pytest.raises(DataError, match="another `model` section"):
        run_folder._check_same(job, tmp_path)


ENVIRONMENTS = (
    "[]",
    '{"data": null}',
    '{"data": {"a": 5}}',
    "5",
    "[" * 100_000,
    "{",
    '{"data": "x"}',
)


@pytest.mark.parametrize("text", ENVIRONMENTS, ids=range(len(ENVIRONMENTS)))
def test_a_damaged_environment_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "environment.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"environment\.json: is damaged") as caught:
        run_folder.check_same_data({"water.xyz": "0" * 64}, path)
    assert "\n" not in str(caught.value)


def test_the_files_of_a_run_are_known_by_their_content(tmp_path: Path) -> None:
    path = tmp_path / "environment.json"
    run_folder.check_same_data({"water.xyz": "1"}, path)  # killed before it was written
    path.write_text(json.dumps({"data": {"elsewhere/water.xyz": "1"}}))
    run_folder.check_same_data({"water.xyz": "1"}, path)
    with pytest.raises(DataError, match=r"water\.xyz: is not the file"):
        run_folder.check_same_data({"water.xyz": "2"}, path)


POSITIONS: dict[str, Any] = {
    "a list": [],
    "null": None,
    "best is null": {**Position().plain(), "best": None},
    "sums is null": {**Position().plain(), "sums": None},
    "stage is text": {**Position().plain(), "stage": "a"},
    "a negative step": {**Position().plain(), "step": -5},
    "half a step": {**Position().plain(), "step": 0.5},
    "a rate factor of 0": {**Position().plain(), "rate_factor": 0.0},
    "a rate factor of 2": {**Position().plain(), "rate_factor": 2.0},
    "terms of text": {**Position().plain(), "sums": {"terms": {"energy": "x"}}},
}


@pytest.mark.parametrize("name", POSITIONS)
def test_a_damaged_position_is_refused(name: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        Position.from_plain(POSITIONS[name])


def test_positions_survive_the_round_trip_exactly() -> None:
    position = Position(1, 2, 3, 4, 5, 0.5)
    position.best.value = 0.1 + 0.2
    position.sums.add("energy", square=1 / 3)
    assert Position.from_plain(json.loads(json.dumps(position.plain()))) == position
