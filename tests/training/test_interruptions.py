"""What can stop a training run: bad numbers inside it; signals, kills and full disks around it."""

import contextlib
import gzip
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import jax
import numpy as np
import pytest

import electrojax as ej
from electrojax.analysis.plots import epoch_records, read_metrics
from electrojax.data.datasets import builtin_path
from electrojax.locking import lock_folder
from electrojax.training.callbacks import Checkpointer, JsonlLogger
from electrojax.training.checkpoints import CheckpointStore
from electrojax.training.optimizer import Schedule
from electrojax.training.run import LOWERED, NonFiniteError, Stage
from electrojax.training.step import init_state
from tests.training import toy
from tests.training.test_fit import OPTIMIZER, TRAIN_STEP, StopAt, run, same


class Exploding:
    """A step that reports a loss of NaN from a step on, unless the learning rate is low."""

    def __init__(self, first, limit):
        self.first, self.limit = first, limit

    def __call__(self, state, batch, controls):
        bad = int(state.step) + 1 >= self.first and controls.learning_rate > self.limit
        state, report = TRAIN_STEP(state, batch, controls)
        return state, np.full(report.shape, np.nan, np.float32) if bad else report


@pytest.fixture(scope="module")
def train_set():
    return toy.samples(14)


def exploding(epochs, limit, first=10):
    weights = {"energy": 1.0, "forces": 1.0}
    return Stage("main", epochs, Schedule(0.03, "constant"), weights, Exploding(first, limit))


def test_a_first_bad_loss_leads_back_to_the_checkpoint_with_half_the_rate(train_set, tmp_path):
    store, stages = CheckpointStore(tmp_path / "checkpoints"), [exploding(5, limit=0.02)]
    path = tmp_path / "metrics.jsonl"
    watching = [JsonlLogger(path), Checkpointer(store, every_epochs=1)]
    result = run(train_set, stages=stages, callbacks=watching)
    lines = read_metrics(path)
    (event,) = [r for r in lines if "event" in r]
    assert (event["event"], event["step"], event["to_step"]) == ("rollback", 10, 8)
    assert event["to_epoch"] == 2 and event["rate_factor"] == LOWERED
    assert "train structures" in event["reason"]
    records = epoch_records(lines)
    assert [r["epoch"] for r in records] == [r["epoch"] for r in result.records] == [1, 2, 3, 4, 5]
    assert [r["learning_rate"] for r in records] == [0.03] * 2 + [0.015] * 3

    # the same by hand: two epochs at the full rate, then three at half of it
    gentle = exploding(5, limit=1.0)
    start = CheckpointStore(tmp_path / "by_hand")
    with pytest.raises(KeyboardInterrupt):
        run(train_set, stages=[gentle], callbacks=[Checkpointer(start, 100), StopAt(8)])
    snapshot = start.restore(init_state(toy.params(5), OPTIMIZER))
    snapshot.position.rate_factor = 0.5
    by_hand = run(train_set, stages=[gentle], start=snapshot)
    assert same(jax.device_get(by_hand.state), jax.device_get(result.state))


def test_without_a_checkpoint_it_leads_back_to_the_start(train_set):
    result = run(train_set, stages=[exploding(3, limit=0.02)])
    assert [r["learning_rate"] for r in result.records] == [0.015] * 3
    assert int(result.state.step) == 12


def test_a_second_bad_loss_ends_the_run_and_names_the_structures(train_set, tmp_path):
    path = tmp_path / "metrics.jsonl"
    with pytest.raises(
        NonFiniteError, match=r"again, at a lowered learning rate; train structures"
    ):
        run(train_set, stages=[exploding(5, limit=0.0)], callbacks=[JsonlLogger(path)])
    events = [r for r in read_metrics(path) if "event" in r]
    assert [r["event"] for r in events] == ["rollback", "stop"]
    assert events[1]["step"] == 10 and "rate_factor" not in events[1]


def test_a_resumed_run_keeps_the_lowered_rate(train_set, tmp_path):
    straight = run(train_set, stages=[exploding(5, limit=0.02)])
    store = CheckpointStore(tmp_path / "checkpoints")
    with pytest.raises(KeyboardInterrupt):
        # step 10 is bad; going on from the start, step 14 is met at the lowered rate
        watching = [Checkpointer(store, 100), StopAt(14)]
        run(train_set, stages=[exploding(5, limit=0.02)], callbacks=watching)
    start = store.restore(init_state(toy.params(5), OPTIMIZER))
    assert start.position.rate_factor == LOWERED
    path = tmp_path / "metrics.jsonl"
    resumed = run(train_set, stages=[exploding(5, limit=0.02)], start=start,
                  callbacks=[JsonlLogger(path)])  # fmt: skip
    assert same(jax.device_get(resumed.state), jax.device_get(straight.state))
    assert read_metrics(path)[0] == {"event": "resume", "epoch": 3, "step": 14}


def test_an_interrupt_on_top_of_a_bad_loss_saves_no_bad_numbers(train_set, tmp_path):
    store = CheckpointStore(tmp_path / "checkpoints")
    watching = [Checkpointer(store, every_epochs=1), StopAt(10)]
    with pytest.raises(KeyboardInterrupt):
        run(train_set, stages=[exploding(5, limit=0.02)], callbacks=watching)
    start = store.restore(init_state(toy.params(5), OPTIMIZER))
    assert start.position.step == 8
    straight = run(train_set, stages=[exploding(5, limit=0.02)],
                   callbacks=[Checkpointer(CheckpointStore(tmp_path / "straight"), 1)])  # fmt: skip
    resumed = run(train_set, stages=[exploding(5, limit=0.02)], start=start)
    assert same(jax.device_get(resumed.state), jax.device_get(straight.state))


def test_of_an_epoch_that_was_done_again_the_last_record_counts():
    lines = [
        {"epoch": 1, "train/loss": 4.0},
        {"epoch": 2, "train/loss": 3.0},
        {"event": "resume", "epoch": 1, "step": 4},
        {"epoch": 2, "train/loss": 2.0},
        {"final": True, "epoch": 2, "test/loss": 9.0},
    ]
    assert epoch_records(lines) == [lines[0], lines[3]]


CONFIG = """\
include: [model/light, solver/local, coulomb/default]
run: {name: tiny, seed: 1}
data:
  train: {path: data.xyz}
  valid: {path: data.xyz, fraction: 0.25}
  batching: {graphs: 6, buckets: 1}
model:
  backbone: {kind: light, channels: 4, layers: 1, cutoff: 3.0}
train:
  epochs: 24
  checkpoint: {every_epochs: 4}
  learning_rate: 0.01
  loss: {energy: 1, forces: 10}
"""


class Workplace:
    """A folder with a small training file and data, and processes started in it."""

    def __init__(self, folder, cache):
        self.folder = Path(folder)
        self.processes = []
        self.folder.mkdir(parents=True, exist_ok=True)
        with gzip.open(builtin_path("ion_water"), "rt") as file:
            self.frames = ase.io.read(file, ":24", format="extxyz")
        self.write_data()
        (self.folder / "run.yaml").write_text(CONFIG)
        # Compiled programs are kept between the processes: one compiles, the others are quick.
        self.environment = {
            **os.environ,
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "TF_CPP_MIN_LOG_LEVEL": "3",  # warnings about the cache
        }

    @property
    def run(self):
        return self.folder / "runs" / "tiny"

    @property
    def metrics(self):
        return self.run / "metrics.jsonl"

    def write_data(self):
        ase.io.write(self.folder / "data.xyz", self.frames, format="extxyz")

    def start(self, *options, **popen):
        command = [sys.executable, "-m", "electrojax.cli", "train", "run.yaml", *options]
        # Into a file: a pipe that nobody reads fills up, and the process would wait for ever.
        with (self.folder / "errors.txt").open("wb") as errors:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=subprocess.DEVNULL,
                stderr=errors, **popen,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def ends(self, process, seconds=900):
        """Waits for the end of a process; returns exit code and standard error."""
        process.wait(seconds)
        errors = (self.folder / "errors.txt").read_text()
        assert "Traceback" not in errors, errors
        return process.returncode, errors

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait()

    def train(self, *options, **popen):
        """Runs to the end; returns exit code and standard error."""
        return self.ends(self.start(*options, **popen))

    def epochs(self):
        if not self.metrics.exists():
            return 0
        return sum(b'"train/loss"' in line for line in self.metrics.read_bytes().splitlines())

    def wait_for(self, condition, process, seconds=900):
        end = time.monotonic() + seconds
        while not condition():
            if process.poll() is not None:
                raise AssertionError(f"ended too early: {self.ends(process)}")
            assert time.monotonic() < end, "waited too long"
            time.sleep(0.0005)

    def unfinished_saves(self):
        return [p.name for p in (self.run / "checkpoints").glob("*tmp*")]

    def outcome(self):
        """Parameters of the model, and the metrics that do not depend on the clock."""
        drop = ("time/", "memory/", "compiled")
        lines = read_metrics(self.metrics)
        final = [r for r in lines if r.get("final")]
        records = [
            {k: v for k, v in r.items() if not k.startswith(drop)}
            for r in [*epoch_records(lines), *final]
        ]
        return ej.load(self.run / "model.ejx").params, records


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def straight(tmp_path_factory, cache):
    """What the run leaves that nothing interrupts."""
    place = Workplace(tmp_path_factory.mktemp("straight"), cache)
    code, errors = place.train()
    assert code == 0, errors
    return place.outcome()


@pytest.fixture
def place(tmp_path, cache):
    place = Workplace(tmp_path / "place", cache)
    yield place
    place.close()


def finishes_as(place, straight):
    code, errors = place.train("--resume", "auto")
    assert code == 0, errors
    params, records = place.outcome()
    assert jax.tree.structure(params) == jax.tree.structure(straight[0])
    assert same(params, straight[0])
    assert records == straight[1]
    assert "resume" in [r.get("event") for r in read_metrics(place.metrics)]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_leave_a_resumable_run(place, straight, number):
    process = place.start()
    place.wait_for(lambda: place.epochs() >= 6, process)
    process.send_signal(number)
    code, errors = place.ends(process)
    assert code == 130, errors
    before = place.metrics.read_bytes()
    done = place.epochs()
    assert done < 24
    finishes_as(place, straight)
    assert place.metrics.read_bytes().startswith(before)
    # nothing was lost: every epoch is in the file once
    assert place.epochs() == 24


@pytest.mark.slow
def test_a_signal_before_the_first_step(place, straight):
    process = place.start()
    time.sleep(1.0)
    process.send_signal(signal.SIGTERM)
    code, errors = place.ends(process)
    assert code == 130, errors
    code, errors = place.train("--resume", "auto")
    assert code == 0, errors
    assert same(place.outcome()[0], straight[0])


@pytest.mark.slow
def test_a_kill_during_a_step_loses_at_most_the_interval(place, straight):
    process = place.start()
    place.wait_for(lambda: place.epochs() >= 6, process)
    process.kill()
    process.wait()
    before, done = place.metrics.read_bytes(), place.epochs()
    assert done < 24
    finishes_as(place, straight)
    content = place.metrics.read_bytes()
    assert content.startswith(before[: before.rfind(b"\n") + 1])
    (event,) = [r for r in read_metrics(place.metrics) if r.get("event") == "resume"]
    assert done - event["epoch"] <= 4 and event["epoch"] % 4 == 0


@pytest.mark.slow
def test_a_kill_during_a_checkpoint_keeps_the_one_before(place, straight):
    (place.folder / "run.yaml").write_text(CONFIG.replace("every_epochs: 4", "every_epochs: 1"))
    for _ in range(10):
        process = place.start("--resume", "auto")
        wanted = place.epochs() + 2
        place.wait_for(lambda: place.epochs() >= wanted, process)  # noqa: B023
        place.wait_for(place.unfinished_saves, process)
        process.kill()
        process.wait()
        if place.unfinished_saves():
            break
    assert place.unfinished_saves(), "never caught it while saving"
    finishes_as(place, straight)
    assert not place.unfinished_saves()


@contextlib.contextmanager
def small_disk(folder, size):
    """A file system of that size at a folder; None where the system does not let us mount one."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        yield None
        return
    try:
        yield lambda new: subprocess.run(
            ["mount", "-o", f"remount,size={new}", str(folder)], check=True
        )
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def no_large_files():
    """Lets no file grow over 20 KiB, less than a checkpoint's metadata needs."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_480, 20_480))


@pytest.mark.slow
def test_a_full_disk_stops_with_the_checkpoint_before_intact(place, straight):
    with small_disk(place.folder / "runs", "288k") as resize:
        if resize is None:
            # No mount allowed here: files that may not grow fail at the same place.
            process = place.start("--set", "train.checkpoint.every_epochs=4")
            place.wait_for(lambda: (place.run / "checkpoints" / "12").exists(), process)
            process.kill()
            process.wait()
            code, errors = place.train("--resume", "auto", preexec_fn=no_large_files)
        else:
            code, errors = place.train()
        assert code == 2 and "could not be written" in errors, errors
        assert "resume" in errors
        steps = [p.name for p in (place.run / "checkpoints").iterdir() if p.name.isdigit()]
        assert steps and place.epochs() < 24
        if resize is not None:
            resize("16m")
        finishes_as(place, straight)


@pytest.mark.slow
def test_an_enormous_label_rolls_back_stops_and_is_named(place):
    place.frames[7].arrays["REF_forces"][2] = 1e25  # its square is no float32
    place.write_data()
    # the scale of the model follows the forces; training on every frame meets this one at once
    code, errors = place.train("--set", "data.valid=null")
    assert code == 3, errors
    assert "data.xyz frame 7" in errors and "not a finite number again" in errors
    assert [r["event"] for r in read_metrics(place.metrics)] == ["rollback", "stop"]


@pytest.mark.slow
def test_a_second_process_is_refused_and_the_first_goes_on(place, straight):
    process = place.start()
    place.wait_for(lambda: place.epochs() >= 1, process)
    process.send_signal(signal.SIGSTOP)
    code, errors = place.train("--resume", "auto")
    process.send_signal(signal.SIGCONT)
    assert code == 2 and f"pid {process.pid}" in errors, errors
    code, errors = place.ends(process)
    assert code == 0, errors
    assert same(place.outcome()[0], straight[0])


def test_a_locked_folder_is_refused_and_not_written_to(tmp_path):
    """Without the command line: the lock alone decides."""
    from electrojax.errors import DataError
    from electrojax.runs.build import open_job
    from electrojax.runs.folder import run_folder

    place = Workplace(tmp_path, tmp_path)
    job = open_job(place.folder / "run.yaml", [f"run.dir={place.folder / 'runs'}"])
    place.run.mkdir(parents=True)
    with (
        lock_folder(place.run),
        pytest.raises(DataError, match=f"pid {os.getpid()}"),
        run_folder(job, resume=True),
    ):
        raise AssertionError("two at once")
    assert [p.name for p in place.run.iterdir()] == [".lock"]
    # A folder with nothing but the lock of an earlier process is free.
    with run_folder(job, resume=False) as existed:
        assert not existed
    with pytest.raises(DataError, match="--resume auto"), run_folder(job, resume=False):
        pass
    for change, word in (("run.seed=3", "run"), ("run.precision=float64", "run")):
        other = open_job(place.folder / "run.yaml", [f"run.dir={place.folder / 'runs'}", change])
        jax.config.update("jax_enable_x64", False)  # the job's precision is the process's
        with pytest.raises(DataError, match=f"another `{word}`"), run_folder(other, resume=True):
            pass
    place.frames[0].positions[0] += 0.01
    place.write_data()
    with pytest.raises(DataError, match=r"data\.xyz: is not the file"), run_folder(job, True):
        pass


def test_a_folder_that_cannot_be_prepared_is_not_left_behind(tmp_path, monkeypatch):
    from electrojax.errors import DataError
    from electrojax.runs import folder
    from electrojax.runs.build import open_job

    place = Workplace(tmp_path, tmp_path)
    job = open_job(place.folder / "run.yaml", [f"run.dir={place.folder / 'runs'}"])

    def no_space(path, content):
        raise DataError(f"{path}: could not be written (No space left on device)")

    monkeypatch.setattr(folder, "write_whole", no_space)
    with pytest.raises(DataError, match="No space left"), folder.run_folder(job, resume=False):
        pass
    assert not place.run.exists()
    assert json.loads(json.dumps(folder.environment(job)))["data"]
