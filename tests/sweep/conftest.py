"""A training file, a sweep of it, and a command that trains in no time."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

BASE = """\
include: [model/light, solver/local, coulomb/default, data/ion_water]
train: {stages: [{epochs: 4, learning_rate: 0.02, loss: {energy: 1, forces: 10}}]}
"""

SWEEP = """\
sweep: {name: small, base: base}
axes:
  model.solver: {none: {kind: none}, scf: solver/scf}
  run.seed: [1, 2]
report: {metrics: [test/forces_rmse, scf/steps], mean_over: run.seed}
executor: {kind: local, workers: 2}
"""

FAKE = (sys.executable, str(Path(__file__).with_name("fake_train.py")))


@pytest.fixture
def sweep_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A complete sweep file in the current directory, named without its folder."""
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(BASE)
    path = Path("sweep.yaml")
    path.write_text(SWEEP)
    return path


def edited(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


def journal(folder: Path) -> list[list[str]]:
    """What the stand-ins wrote: event, point, pid, epoch."""
    path = folder / "journal"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def until(found: Callable[[], bool], seconds: float = 60.0) -> None:
    """Waits for something; fails if it does not come."""
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
