"""Runs the command line inside the test process, and one short training run for all tests."""

import dataclasses
import os
import sys

import pytest

from electrojax.cli import main

TINY = """\
include: [model/light, solver/local, coulomb/default, data/ion_water]
run: {name: tiny, seed: 1}
data:
  train: {path: builtin:ion_water, split: valid}
  valid: {path: builtin:ion_water, split: test, fraction: 0.3}
  test: {path: builtin:ion_water, split: test, fraction: 0.4}
  batching: {graphs: 20, buckets: 1}
model:
  backbone: {kind: light, channels: 8, layers: 1, cutoff: 4.0}
train:
  epochs: 3
  learning_rate: 0.01
  loss: {energy: 1, forces: 10, multipoles: 10, dipole: 1}
loggers: [jsonl, tensorboard]
"""


@dataclasses.dataclass
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def electrojax(monkeypatch, capsys):
    """Returns a function that runs a command line and gives its exit code and output."""

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["electrojax", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Returns the folder of a finished short run, with its training file beside it."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.yaml").write_text(TINY)
    before, argv = os.getcwd(), sys.argv
    os.chdir(folder)
    sys.argv = ["electrojax", "train", "tiny.yaml"]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code
    finally:
        sys.argv = argv
        os.chdir(before)
    return folder / "runs" / "tiny"
