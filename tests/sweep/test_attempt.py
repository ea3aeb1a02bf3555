"""One attempt at a point: how a training process ends, is asked to end, and never is an orphan."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from electrojax.config.resolve import resolved_yaml
from electrojax.locking import try_lock
from electrojax.sweep import attempt, bound
from electrojax.sweep.attempt import CRASHED, Outcome, Task, run_attempt
from electrojax.sweep.points import Point, load_sweep
from electrojax.sweep.state import (
    FAILED,
    FINISHED,
    PRUNED,
    RUNNING,
    STOPPED,
    WAITING,
    PointFolder,
)

from .conftest import FAKE, alive, edited, journal, until
from .fake_train import FAILING, KILLED, KILLED_ONCE


@pytest.fixture
def task(sweep_file: Path) -> Task:
    """A task at a point of four epochs."""
    return prepared(load_sweep(sweep_file).points[0])


def prepared(point: Point) -> Task:
    PointFolder(point.folder).prepare(resolved_yaml(point.run.config), {"name": point.name})
    pulse = point.folder.parent / ".heartbeat"
    pulse.write_text("1")
    return Task(str(point.folder), "here", 2, FAKE, {}, (), str(pulse))


def of_seed(sweep_file: Path, seed: int) -> Task:
    edited(sweep_file, "[1, 2]", f"[{seed}]")
    return prepared(load_sweep(sweep_file).points[0])


def test_a_point_is_trained_once(task: Task) -> None:
    folder = PointFolder(task.folder)
    assert folder.state().name == WAITING
    assert run_attempt(task) == Outcome(FINISHED)
    state = folder.state()
    assert (state.name, state.attempts, state.epoch) == (FINISHED, 1, 4)
    assert run_attempt(task) == Outcome(FINISHED)
    assert [line[0] for line in journal(Path(task.folder).parent)] == ["begin", "end"]


def test_a_failure_has_its_reason_and_is_not_repeated(sweep_file: Path) -> None:
    task = of_seed(sweep_file, FAILING)
    outcome = run_attempt(task)
    assert outcome == Outcome(FAILED, "exit 3: epoch 3: the loss is not a finite number")
    state = PointFolder(task.folder).state()
    assert (state.name, state.reason) == (FAILED, outcome.reason)


def test_a_crash_is_begun_again_as_often_as_allowed(sweep_file: Path) -> None:
    task = of_seed(sweep_file, KILLED)
    assert run_attempt(task) == Outcome(CRASHED, "ended by SIGKILL (out of memory?)")
    assert run_attempt(task) == Outcome(FAILED, "ended by SIGKILL (out of memory?); 2 attempts")
    # Nothing is left of this session's attempts; the next one has its own, and resumes.
    assert run_attempt(task).state == FAILED
    assert len(journal(Path(task.folder).parent)) == 2
    assert run_attempt(replace(task, session="another")).state == CRASHED
    assert [line[3] for line in journal(Path(task.folder).parent)] == ["0", "1", "2"]


def test_an_attempt_goes_on_where_the_last_one_ended(sweep_file: Path) -> None:
    task = of_seed(sweep_file, KILLED_ONCE)
    assert [run_attempt(task).state, run_attempt(task).state] == [CRASHED, FINISHED]
    begins = [line[3] for line in journal(Path(task.folder).parent) if line[0] == "begin"]
    assert begins == ["0", "1"]


@pytest.mark.parametrize("why", [PRUNED, STOPPED])
def test_an_attempt_ends_when_it_is_asked_to(why: str, sweep_file: Path) -> None:
    edited(Path("base.yaml"), "epochs: 4", "epochs: 10000")
    task = prepared(load_sweep(sweep_file).points[0])
    folder = PointFolder(task.folder)
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(run_attempt(task)))
    thread.start()
    until(lambda: folder.state().epoch > 1)
    assert folder.state().name == RUNNING
    folder.ask_to_stop(why)
    thread.join(20)
    assert outcomes[0].state == folder.state().name == why
    assert [line[0] for line in journal(Path(task.folder).parent)] == ["begin", "stop"]
    # The wish holds until the point is prepared again.
    assert run_attempt(task).state == why
    assert len(journal(Path(task.folder).parent)) == 2


def test_a_process_that_does_not_stop_is_killed(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "GRACE", 0.3)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    folder = PointFolder(task.folder)
    task = replace(task, command=(sys.executable, "-c", deaf))
    thread = threading.Thread(target=run_attempt, args=(task,))
    thread.start()
    until(lambda: folder.state().name == RUNNING)
    time.sleep(0.3)
    folder.ask_to_stop(STOPPED)
    thread.join(20)
    assert not thread.is_alive() and folder.state().name == STOPPED


def test_without_a_sign_of_the_coordinator_it_ends(
    sweep_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "SILENCE", 4.0)  # the process has begun by then
    edited(Path("base.yaml"), "epochs: 4", "epochs: 10000")
    task = prepared(load_sweep(sweep_file).points[0])
    begun = time.monotonic()
    assert run_attempt(task).state == STOPPED
    assert time.monotonic() - begun < 20
    assert journal(Path(task.folder).parent)[-1][0] == "stop"


def test_a_point_that_another_process_trains_is_waited_for(task: Task) -> None:
    folder = PointFolder(task.folder)
    handle = try_lock(folder.lock)
    assert handle is not None
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(run_attempt(task)))
    thread.start()
    time.sleep(0.6)
    assert not outcomes and not journal(Path(task.folder).parent)
    os.close(handle)
    thread.join(20)
    assert outcomes == [Outcome(FINISHED)]


def test_the_training_process_itself_holds_the_point(task: Task) -> None:
    """So that a second one is impossible even where the first survived its watcher."""
    sleeper = "import sys, time; print('up', flush=True); time.sleep(600)"
    folder = PointFolder(task.folder)
    handle = try_lock(folder.lock)
    assert handle is not None
    command = [sys.executable, "-c", sleeper]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=(handle,))
    assert child.stdout is not None and child.stdout.readline() == b"up\n"
    os.close(handle)
    assert try_lock(folder.lock) is None
    child.kill()
    child.wait()
    child.stdout.close()
    freed = try_lock(folder.lock)
    assert freed is not None
    os.close(freed)


PARENT = """
import subprocess, sys, os
sleep = "import time; print('up', flush=True); time.sleep(600)"
bound = [sys.executable, "-m", "electrojax.sweep.bound", str(os.getpid())]
child = subprocess.Popen([*bound, sys.executable, "-c", sleep], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""


def test_a_bound_process_dies_with_its_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert alive(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: not alive(child), 10)


def test_a_bound_process_whose_parent_is_gone_already_does_not_start(tmp_path: Path) -> None:
    bound = [sys.executable, "-m", "electrojax.sweep.bound", "1"]
    assert subprocess.run([*bound, "touch", str(tmp_path / "x")]).returncode == 1
    assert not (tmp_path / "x").exists()


def test_where_the_kernel_does_not_watch_the_parent_is_looked_at() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        sleeping = [sys.executable, "-c", "import time; time.sleep(600)"]
        assert bound.watch(sleeping, parent=-1, interval=0.05) == 128 + signal.SIGKILL
        ends = [sys.executable, "-c", "raise SystemExit(7)"]
        assert bound.watch(ends, parent=os.getppid(), interval=0.05) == 7
    finally:
        signal.signal(signal.SIGTERM, before)


def test_lines_that_are_not_whole_yet_are_left_out(task: Task) -> None:
    folder = PointFolder(task.folder)
    (folder.path / "metrics.jsonl").write_text('{"epoch": 1}\n{"epoch": 2, "val')
    assert folder.records() == [{"epoch": 1}]
    assert folder.final() is None
