"""Points on Dask workers: each trained once, whatever dies in between."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from electrojax.errors import ConfigError, ConvergenceError, DataError
from electrojax.locking import lock_folder
from electrojax.sweep import cluster, coordinator, verbs
from electrojax.sweep.points import load_sweep
from electrojax.sweep.state import FAILED, FINISHED, RUNNING, STOPPED, PointFolder

from .conftest import FAKE, alive, edited, journal, until
from .fake_train import FAILING, KILLED_ONCE

FOLDER = Path("runs/small")


def run(sweep_file: Path, *overrides: str) -> list[str]:
    lines: list[str] = []
    verbs.run(sweep_file, overrides, lines.append, FAKE)
    return lines


def states(sweep_file: Path) -> dict[str, str]:
    return {words: state.name for _, words, state in verbs.states(load_sweep(sweep_file))}


def begins(folder: Path = FOLDER) -> Counter[str]:
    return Counter(point for event, point, _, _ in journal(folder) if event == "begin")


def overlaps(folder: Path = FOLDER) -> list[str]:
    """Points that a second process began while the first had neither ended nor died."""
    running: dict[str, int] = {}
    found = []
    for event, point, pid, _ in journal(folder):
        if event == "begin":
            if point in running and alive(running[point]):
                found.append(point)
            running[point] = int(pid)
        else:
            running.pop(point, None)
    return found


@pytest.fixture
def mixed(sweep_file: Path) -> Path:
    """Eight points: one impossible and one killed in its first attempt for each solver."""
    return edited(sweep_file, "[1, 2]", f"[1, 2, {FAILING}, {KILLED_ONCE}]")


def test_two_workers_train_each_point_once_and_an_impossible_one_fails_alone(
    mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening: list[str] = []

    def notice(*arguments: object) -> dict[str, str]:
        """Called when the cluster is up."""
        here = psutil.Process()
        for process in (here, *here.children(recursive=True)):
            found = process.net_connections("tcp")
            listening.extend(c.laddr.ip for c in found if c.status == psutil.CONN_LISTEN)
        return {}

    monkeypatch.setattr(coordinator, "point_environment", notice)
    with pytest.raises(ConvergenceError, match="^2 points failed; `electrojax sweep status`"):
        run(mixed)
    found = states(mixed)
    assert Counter(found.values()) == {FINISHED: 6, FAILED: 2}
    assert {words for words, state in found.items() if state == FAILED} == {
        f"solver=none seed={FAILING}",
        f"solver=scf seed={FAILING}",
    }
    killed = {p.name for p in load_sweep(mixed).points if p.values["run.seed"] == str(KILLED_ONCE)}
    assert begins() == {p.name: 1 + (p.name in killed) for p in load_sweep(mixed).points}
    assert set(listening) == {"127.0.0.1"}
    lines: list[str] = []
    verbs.status(mixed, [], lines.append)
    assert sum("(exit 3: epoch 3: the loss is not a finite number)" in line for line in lines) == 2
    assert lines[-1].endswith("6 finished, 2 failed; nobody at work")


def test_a_lost_worker_gives_its_point_back_and_leaves_no_orphan(sweep_file: Path) -> None:
    edited(Path("base.yaml"), "epochs: 4", "epochs: 60")
    point = load_sweep(sweep_file).points[0]
    folder = PointFolder(point.folder)
    orphans: list[int] = []

    def kill() -> None:
        until(lambda: folder.state().epoch >= 3)
        training = next(int(pid) for _, name, pid, _ in journal(FOLDER) if name == point.name)
        os.kill(next(e["pid"] for e in folder.events()), signal.SIGKILL)
        until(lambda: not alive(training), 5)
        orphans.append(training)

    thread = threading.Thread(target=kill)
    thread.start()
    run(sweep_file)
    thread.join()
    assert orphans
    assert set(states(sweep_file).values()) == {FINISHED}
    assert begins() == {p.name: 1 + (p.name == point.name) for p in load_sweep(sweep_file).points}
    again = [int(epoch) for event, name, _, epoch in journal(FOLDER) if name == point.name]
    assert again[1] >= 3  # resumed, not repeated
    assert folder.state().attempts == 2
    assert not overlaps()


def test_what_has_ended_is_not_trained_again(
    sweep_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = load_sweep(sweep_file)
    for point in sweep.points:
        point.folder.mkdir(parents=True)
        (point.folder / "metrics.jsonl").write_text('{"final": true, "epoch": 4}\n')
    monkeypatch.setattr(coordinator, "open_client", lambda *arguments: pytest.fail("a cluster"))
    assert run(sweep_file) == [f"{sweep.folder}: all 4 points are complete"]
    index = (FOLDER / "sweep.json").read_text()
    assert all(point.name in index for point in sweep.points)


def test_one_coordinator_at_a_time(sweep_file: Path) -> None:
    FOLDER.mkdir(parents=True)
    with lock_folder(FOLDER), pytest.raises(DataError, match="choose another sweep.name"):
        run(sweep_file)
    assert not (FOLDER / "journal").exists()


def test_more_workers_than_gpus_are_refused(
    sweep_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    with pytest.raises(ConfigError, match=r"^sweep.yaml:6  executor.workers   one point computes"):
        run(sweep_file)


COORDINATOR = """
import sys
from pathlib import Path
from electrojax.sweep import verbs
if __name__ == "__main__":
    try:
        verbs.run(Path("sweep.yaml"), sys.argv[3:], print, sys.argv[1:3])
    except KeyboardInterrupt:
        raise SystemExit(130)
"""


@contextmanager
def coordinated(*overrides: str) -> Iterator[subprocess.Popen[str]]:
    """A coordinator in a process of its own."""
    Path("coordinate.py").write_text(COORDINATOR)
    command = [sys.executable, "coordinate.py", *FAKE, *overrides]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def trainings() -> list[int]:
    """Training processes that live, of all that ever began here."""
    begun = [int(pid) for event, _, pid, _ in journal(FOLDER) if event == "begin"]
    return [pid for pid in begun if alive(pid)]


@pytest.mark.slow
def test_a_killed_coordinator_leaves_no_orphan_and_the_next_one_goes_on(sweep_file: Path) -> None:
    edited(Path("base.yaml"), "epochs: 4", "epochs: 60")
    edited(sweep_file, "[1, 2]", "[1, 2, 3]")
    points = load_sweep(sweep_file).points
    with coordinated() as first:
        until(lambda: sum(event == "end" for event, *_ in journal(FOLDER)) >= 2)
        until(lambda: len(trainings()) == 2)
        until(lambda: all(e >= 3 for e in epochs_of_running()))
        first.kill()
        first.wait()
        until(lambda: not trainings(), 10)
        until(lambda: RUNNING not in states(sweep_file).values(), 10)  # the workers die, too
    before, found = begins(), states(sweep_file)
    assert Counter(found.values())[STOPPED] == 2
    run(sweep_file)
    assert set(states(sweep_file).values()) == {FINISHED}
    after = begins()
    for point in points:
        finished = found[point.label] == FINISHED
        assert after[point.name] == before[point.name] + (not finished)
    assert not overlaps()


def epochs_of_running() -> list[int]:
    """Epochs of the points whose training lives."""
    living = {name for _, name, pid, _ in journal(FOLDER) if alive(int(pid))}
    return [PointFolder(FOLDER / name).state().epoch for name in living]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_coordinator_lets_its_points_save(number: int, sweep_file: Path) -> None:
    edited(Path("base.yaml"), "epochs: 4", "epochs: 100")
    with coordinated() as process:
        until(lambda: len(epochs_of_running()) == 2 and min(epochs_of_running()) > 1)
        process.send_signal(number)
        assert process.wait(30) == 130
    assert [event for event, *_ in journal(FOLDER)] == ["begin", "begin", "stop", "stop"]
    assert Counter(states(sweep_file).values()) == {STOPPED: 2, "waiting": 2}


@contextmanager
def dask_cluster(resources: str | None) -> Iterator[str]:
    """A `dask scheduler` and two `dask worker` processes on the loopback; yields the address."""
    dask = [sys.executable, "-m", "dask"]
    processes = [
        subprocess.Popen(
            [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
             "--dashboard-address", "127.0.0.1:0"],
            stderr=subprocess.PIPE, text=True,
        )
    ]  # fmt: skip
    stream = processes[0].stderr
    assert stream is not None
    told = re.compile(r"Scheduler at:\s+(tcp://\S+)")
    address = next(match[1] for line in stream if (match := told.search(line)))
    threading.Thread(target=stream.read, daemon=True).start()
    given = ["--resources", resources] if resources else []
    for _ in range(2):
        worker = [*dask, "worker", address, "--nthreads", "1", "--no-dashboard", *given]
        processes.append(subprocess.Popen(worker, stderr=subprocess.DEVNULL))
    try:
        yield address
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(20)


@pytest.mark.slow
def test_workers_of_a_running_scheduler_and_a_coordinator_that_vanishes(
    sweep_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited(Path("base.yaml"), "epochs: 4", "epochs: 40")
    with dask_cluster("point=1") as address:
        edited(sweep_file, "kind: local, workers: 2", f'kind: dask, scheduler: "{address}"')
        with coordinated() as first:
            until(lambda: len(trainings()) == 2)
            first.kill()
            first.wait()
        # The workers go on for a while; the next coordinator waits for them and takes the results.
        run(sweep_file)
    assert set(states(sweep_file).values()) == {FINISHED}
    assert max(begins().values()) == 1 and not overlaps()


@pytest.mark.slow
def test_a_scheduler_whose_workers_lack_the_resource(sweep_file: Path) -> None:
    with dask_cluster(None) as address:
        edited(sweep_file, "kind: local, workers: 2", f'kind: dask, scheduler: "{address}"')
        with pytest.raises(
            ConfigError, match="has the resource point; start them with `dask worker"
        ):
            run(sweep_file)


def test_a_scheduler_that_does_not_answer(
    sweep_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "CONNECT", 0.5)
    edited(sweep_file, "kind: local, workers: 2", 'kind: dask, scheduler: "tcp://127.0.0.1:1"')
    with pytest.raises(ConfigError, match=r"^sweep.yaml:6  executor.scheduler   no Dask scheduler"):
        run(sweep_file)


REAL = """\
include: [model/light, solver/local, coulomb/default, data/ion_water]
data:
  train: {path: builtin:ion_water, split: valid}
  valid: {path: builtin:ion_water, split: test, fraction: 0.3}
  test: {path: builtin:ion_water, split: test, fraction: 0.4}
model: {backbone: {kind: light, channels: 8, layers: 1, cutoff: 4.0}}
train: {stages: [{epochs: 3, learning_rate: 0.01, loss: {energy: 1, forces: 10}}]}
"""


@pytest.mark.slow
def test_a_real_training(sweep_file: Path) -> None:
    Path("base.yaml").write_text(REAL)
    edited(sweep_file, "{none: {kind: none}, scf: solver/scf}", "[{kind: local}]")
    edited(sweep_file, "workers: 2", "workers: 1, compile_cache: true")
    lines: list[str] = []
    verbs.run(sweep_file, [], lines.append)
    assert set(states(sweep_file).values()) == {FINISHED}
    finished = [line for line in lines if " finished after " in line]
    assert all("test/forces_rmse" in line and "scf/steps 0" in line for line in finished)
    assert any((FOLDER / "compiled").iterdir())
    for point in load_sweep(sweep_file).points:
        assert (point.folder / "model.ejx").exists()
        assert "is complete after" in PointFolder(point.folder).log.read_text()
    lines.clear()
    verbs.plan(sweep_file, [], lines.append)
    assert any(line.endswith("s*") for line in lines)  # the estimate now rests on these runs


def test_complete_points_of_other_data_are_not_passed_off(sweep_file: Path) -> None:
    point = load_sweep(sweep_file).points[1]
    point.folder.mkdir(parents=True)
    (point.folder / "environment.json").write_text('{"data": {"/old/place.xyz": "0123"}}')
    with pytest.raises(DataError, match=f"is not the file that {point.folder} was trained on"):
        run(sweep_file)
    assert not (FOLDER / "journal").exists()
