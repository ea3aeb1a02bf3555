"""Loggers as names and as blocks with their options."""

import json
from pathlib import Path

import pytest

from electrojax.config.kinds import Tables
from electrojax.config.resolve import config_hash, load_run, resolved, resolved_yaml
from electrojax.config.starter import schema_json, schema_text
from electrojax.errors import ConfigError
from electrojax.training.loggers import LOGGERS

LISTED = "loggers=[jsonl, tensorboard, {kind: wandb, project: ions, mode: offline}]"


def test_a_name_is_a_block_of_defaults(run_file: Path, tables: Tables) -> None:
    default = load_run(run_file, (), tables).config
    assert resolved(default)["loggers"] == [{"kind": "jsonl"}]
    config = load_run(run_file, [LISTED], tables).config
    jsonl, board, wandb = config.loggers
    assert (jsonl.kind, board.kind, wandb.kind) == ("jsonl", "tensorboard", "wandb")
    assert LOGGERS["tensorboard"](**board.options()) == LOGGERS["tensorboard"]()
    assert wandb.options() == {
        "project": "ions", "entity": "", "group": "", "mode": "offline", "directory": "",
    }  # fmt: skip


def test_resolved_yaml_round_trips_and_the_hash_ignores_them(
    run_file: Path, tables: Tables
) -> None:
    config = load_run(run_file, [LISTED], tables).config
    Path("resolved.yaml").write_text(resolved_yaml(config))
    assert load_run("resolved.yaml", (), tables).config == config
    assert config_hash(config) == config_hash(load_run(run_file, (), tables).config)


def test_folders_start_at_the_file(tmp_path: Path, run_file: Path, tables: Tables) -> None:
    (tmp_path / "deep").mkdir()
    text = run_file.read_text() + "loggers: [{kind: tensorboard, directory: board}]\n"
    Path("deep/run.yaml").write_text(text)
    [board] = load_run("deep/run.yaml", (), tables).config.loggers
    assert board.options() == {"directory": str(tmp_path / "deep" / "board")}


REFUSED = {
    "[jsonl, tensorbord]": 'loggers.1   "tensorbord" is not a kind; did you mean "tensorboard"?',
    "[{kind: mlfow}]": 'loggers.0.kind   "mlfow" is not a kind; did you mean "mlflow"?',
    "[{project: ions}]": "loggers.0   needs a kind: jsonl, tensorboard, wandb, mlflow",
    "[{kind: wandb, projct: ions}]": 'loggers.0.projct   unknown key; did you mean "project"?',
    "[{kind: wandb, mode: onlin}]": 'loggers.0.mode   "onlin" is not known; did you mean "online"?',
    "[{kind: jsonl, path: a}]": "loggers.0.path   unknown key",
    "[wandb, jsonl, {kind: wandb}]": 'loggers.2   "wandb" is listed twice; keep one',
    "[3]": "loggers.0   must be a block of keys, got 3",
    "wandb": "loggers   must be a list",
}


@pytest.mark.parametrize("written", REFUSED)
def test_mistakes_are_answered_at_their_line(written: str, run_file: Path, tables: Tables) -> None:
    run_file.write_text(run_file.read_text() + f"loggers: {written}\n")
    with pytest.raises(ConfigError) as caught:
        load_run(run_file, (), tables)
    [line] = str(caught.value).splitlines()
    assert " ".join(line.split()).startswith(" ".join(f"run.yaml:16 {REFUSED[written]}".split()))


def test_the_kind_is_named_where_an_option_is_wrong(run_file: Path, tables: Tables) -> None:
    run_file.write_text(run_file.read_text() + "loggers: [{kind: wandb, projct: ions}]\n")
    with pytest.raises(ConfigError, match=r'\(logger kind "wandb"\)'):
        load_run(run_file, (), tables)


def test_editors_and_the_schema_know_names_and_blocks(tables: Tables) -> None:
    items = json.loads(schema_json(None, tables))["properties"]["loggers"]["items"]["anyOf"]
    assert {"enum": ["jsonl", *LOGGERS], "type": "string"} in items
    assert len(next(item for item in items if "oneOf" in item)["oneOf"]) == 1 + len(LOGGERS)
    assert "loggers (kind: mlflow): MLflow" in schema_text("loggers", tables)
    assert '["jsonl"]' in schema_text(None, tables)
