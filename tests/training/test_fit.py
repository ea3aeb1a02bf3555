"""The loop: falling loss, programs, best parameters, early stop, bad numbers, interruption."""

import io
import json
import os
import signal

import jax
import numpy as np
import pytest

from electrojax.errors import ConfigError, ConvergenceError, DataError
from electrojax.system.batching import Capacity, build_sample
from electrojax.training.callbacks import (
    Checkpointer,
    ConvergenceLimit,
    JsonlLogger,
    Progress,
)
from electrojax.training.checkpoints import CheckpointStore
from electrojax.training.loop import fit
from electrojax.training.optimizer import Schedule, make_optimizer
from electrojax.training.position import Selection
from electrojax.training.run import Callback, NonFiniteError, Stage
from electrojax.training.step import init_state, make_eval_step, make_train_step
from electrojax.typing import replace
from tests.training import toy

WEIGHTS = {"energy": 1.0, "forces": 1.0, "charges": 1.0, "dipole": 1.0}
OPTIMIZER = make_optimizer()
TRAIN_STEP = make_train_step(toy.apply, OPTIMIZER, ema=0.9)
EVAL_STEP = make_eval_step(toy.apply)
WIDE = Capacity(nodes=40, edges=300, graphs=6, graph_nodes=7)


@pytest.fixture(scope="module")
def train_set():
    return toy.samples(14)


@pytest.fixture(scope="module")
def valid_loader():
    return toy.Loader(toy.samples(6, seed=3), shuffle=False)


def stage(epochs=4, name="main", weights=WEIGHTS, rate=0.03, step=TRAIN_STEP):
    return Stage(name, epochs, Schedule(rate, "cosine"), weights, step)


def run(train_set, valid_loader=None, stages=None, **options):
    state = init_state(toy.params(), OPTIMIZER)
    loader = options.pop("loader", None) or toy.Loader(train_set)
    eval_step = options.pop("eval_step", EVAL_STEP)
    return fit(state, stages or [stage()], eval_step, loader, valid_loader, toy.PROVIDES, **options)


def same(one, other):
    return jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(a, b), one, other))


class StopAt(Callback):
    """Sends itself an interrupt after a number of steps."""

    def __init__(self, step, number=signal.SIGINT):
        self.step, self.number = step, number

    def on_step(self, run):
        if run.position.step == self.step:
            os.kill(os.getpid(), self.number)


class Closed(Callback):
    """Remembers what it heard."""

    def __init__(self):
        self.heard = []

    def on_start(self, run):
        self.heard.append("start")

    def on_interrupt(self, run):
        self.heard.append("interrupt")

    def on_complete(self, run):
        self.heard.append("complete")

    def on_close(self, run):
        self.heard.append("close")


def test_the_loss_falls_and_the_truth_is_found(train_set, valid_loader):
    result = run(train_set, valid_loader, [stage(epochs=40, rate=0.05)])
    losses = [r["train/loss"] for r in result.records]
    assert losses[-1] < 1e-2 * losses[0]
    assert result.records[-1]["valid/forces_rmse_relative"] < 0.1
    assert result.params["w"][0, 0] == pytest.approx(float(toy.params(99)["w"][0, 0]), rel=0.1)


def test_one_program_per_capacity_whatever_the_stages(train_set, valid_loader):
    # Of a function of this test's own: jit counts the programs of a function, whoever made them.
    train_step = make_train_step(toy.apply, OPTIMIZER, ema=0.9)
    eval_step = make_eval_step(lambda params, system: toy.apply(params, system))
    stages = [
        stage(2, "warm", {"energy": 1.0, "charges": 3.0}, step=train_step),
        stage(2, "main", {"energy": 9.0, "forces": 4.0}, rate=0.01, step=train_step),
    ]
    loader = toy.Loader(train_set, capacities=(toy.CAPACITY, WIDE))
    result = run(train_set, valid_loader, stages, loader=loader, eval_step=eval_step)
    assert train_step._cache_size() == 2 and eval_step._cache_size() == 1
    assert [r["compiled_programs"] for r in result.records] == [3, 3, 3, 3]
    assert result.records[0]["time/compile_s"] > 0
    assert [r["time/compile_s"] for r in result.records[1:]] == [0, 0, 0]


def test_a_record_tells_what_its_stage_was(train_set, valid_loader):
    stages = [stage(1, "warm", {"energy": 2.0}), stage(2, "main", {"energy": 1.0, "forces": 3.0})]
    records = run(train_set, valid_loader, stages).records
    assert [r["stage"] for r in records] == ["warm", "main", "main"]
    assert [(r["epoch"], r["step"]) for r in records] == [(1, 4), (2, 8), (3, 12)]
    for record, (energy, forces) in zip(records, [(2.0, 0.0), (1.0, 3.0), (1.0, 3.0)]):
        for prefix in ("train", "valid"):
            expected = energy * (record[f"{prefix}/energy_rmse"] / 1e3) ** 2
            expected += forces * (record[f"{prefix}/forces_rmse"] / 1e3) ** 2
            assert record[f"{prefix}/loss"] == pytest.approx(expected, rel=1e-5)
    wanted = {"time/step_ms", "time/epoch_s", "time/compile_s", "memory/peak_mib"}
    assert wanted | {"learning_rate", "scf/steps", "scf/unconverged"} <= set(records[0])


def test_training_metrics_are_those_of_the_parameters_before_each_step(train_set):
    record = run(train_set[:4], stages=[stage(1)]).records[0]
    batch, _ = next(iter(toy.Loader(train_set[:4]).epoch(0)))
    forces = np.asarray(EVAL_STEP(toy.params(), batch.system).forces)
    difference = (forces - batch.targets.forces.value)[batch.targets.forces.mask]
    expected = 1e3 * np.sqrt(np.mean(difference**2))
    assert record["train/forces_rmse"] == pytest.approx(expected, rel=1e-5)


def test_the_best_epoch_is_kept_not_the_last(train_set, valid_loader):
    # The second stage's rate is far too large: validation rises.
    selection = Selection(metric="valid/charges_rmse")
    stages = [stage(12, rate=0.05), Stage("spoil", 3, Schedule(20.0), {"charges": 1.0}, TRAIN_STEP)]
    result = run(train_set, valid_loader, stages, selection=selection)
    values = [r["valid/charges_rmse"] for r in result.records]
    assert result.kept == "best" and result.value == min(values)
    assert result.epoch == 1 + int(np.argmin(values)) < len(values)
    check = run(train_set, valid_loader, stages, selection=replace(selection, keep="last"))
    assert check.kept == "last" and same(check.params, jax.device_get(check.state.ema))
    assert not same(check.params, result.params)


def test_a_loss_with_other_weights_starts_a_new_search(train_set, valid_loader):
    stages = [stage(2, "warm", {"charges": 1e-9}), stage(2, "main")]
    result = run(train_set, valid_loader, stages)
    assert result.epoch in (3, 4)
    assert result.value == min(r["valid/loss"] for r in result.records[2:])


def test_patience_ends_a_stage_and_the_next_one_begins(train_set, valid_loader):
    frozen = Schedule(1e-30)
    stages = [
        Stage("stuck", 50, frozen, WEIGHTS, TRAIN_STEP),
        Stage("stuck too", 50, frozen, WEIGHTS, TRAIN_STEP),
    ]
    selection = Selection("valid/forces_rmse", patience=3)
    records = run(train_set, valid_loader, stages, selection=selection).records
    assert [r["stage"] for r in records] == ["stuck"] * 4 + ["stuck too"] * 3


def test_an_unmeasured_metric_is_refused(train_set, valid_loader):
    with pytest.raises(ConfigError, match=r"valid/stress_rmse is not measured.*valid/energy_rmse"):
        run(train_set, valid_loader, selection=Selection("valid/stress_rmse"))


def test_an_empty_training_set_is_refused():
    with pytest.raises(DataError, match="no batches"):
        run([])


def test_bad_numbers_stop_the_run_and_name_the_structures(train_set, valid_loader):
    bad = list(train_set)
    bad[9] = replace(bad[9], labels={**bad[9].labels, "energy": np.float64(np.inf)})
    order = [int(i) for _, batch in toy.Loader(bad).epoch(0) for i in batch]
    step = 1 + order.index(9) // 4
    saved = []

    class Watch(Callback):
        def on_close(self, run):
            saved.append(jax.device_get(run.state.params))

    with pytest.raises(NonFiniteError) as caught:
        run(bad, valid_loader, callbacks=[Watch()])
    error = caught.value
    assert isinstance(error, ConvergenceError)
    assert (error.epoch, error.step) == (1, step) and 9 in error.indices
    assert f"epoch 1, step {step}" in str(error) and "9" in str(error)
    assert all(np.all(np.isfinite(p)) for p in jax.tree.leaves(saved[0]))


def test_structures_are_named_as_the_caller_likes(train_set):
    bad = [replace(s, labels={"energy": np.float64(np.nan)}) for s in train_set]
    with pytest.raises(NonFiniteError, match="toy frame"):
        run(bad, describe=lambda split, indices: ", ".join(bad[i].source for i in indices))


def test_bad_numbers_in_validation_name_its_structures(train_set):
    bad = toy.samples(6, seed=3)
    bad[4] = replace(bad[4], labels={"energy": np.float64(np.nan)})
    with pytest.raises(NonFiniteError, match="validation error.*valid structures 4, 5"):
        run(train_set, toy.Loader(bad, shuffle=False))


def test_validation_without_the_labels_of_the_loss_is_refused(train_set):
    valid = toy.Loader([replace(s, labels={}) for s in toy.samples(3)], shuffle=False)
    with pytest.raises(ConfigError, match="valid/loss is not measured"):
        run(train_set, valid)


def test_too_many_unconverged_structures_end_the_run():
    frames = toy.frames(4)
    frames[2] = replace(frames[2], total_charge=99.0)
    samples = [build_sample(f, toy.CUTOFF) for f in frames]
    run(samples, stages=[stage(1)], callbacks=[ConvergenceLimit(0.25)])
    with pytest.raises(ConvergenceError, match=r"25\.0%"):
        run(samples, stages=[stage(1)], callbacks=[ConvergenceLimit(0.2)])


def test_callbacks_hear_how_it_ended(train_set):
    good, interrupted, before = Closed(), Closed(), signal.getsignal(signal.SIGINT)
    run(train_set, stages=[stage(1)], callbacks=[good])
    assert good.heard == ["start", "complete", "close"]
    with pytest.raises(KeyboardInterrupt):
        run(train_set, stages=[stage(2)], callbacks=[StopAt(2, signal.SIGTERM), interrupted])
    assert interrupted.heard == ["start", "interrupt", "close"]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("at", [8, 10], ids=["after an epoch", "within an epoch"])
def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(train_set, valid_loader, tmp_path, at):
    stages = [stage(2, "warm", {"energy": 1.0, "charges": 2.0}), stage(2)]
    straight = run(train_set, valid_loader, stages)

    with pytest.raises(KeyboardInterrupt):
        first = [Checkpointer(CheckpointStore(tmp_path), every_epochs=100), StopAt(at)]
        run(train_set, valid_loader, stages, callbacks=first)

    store = CheckpointStore(tmp_path)
    start = store.restore(init_state(toy.params(5), OPTIMIZER))
    resumed = run(train_set, valid_loader, stages, start=start)
    assert start.position.step == at
    assert same(jax.device_get(resumed.state), jax.device_get(straight.state))
    assert same(resumed.params, straight.params) and resumed.epoch == straight.epoch
    drop = ("time/", "memory/", "compiled")
    last = [
        {k: v for k, v in r.records[-1].items() if not k.startswith(drop)}
        for r in (straight, resumed)
    ]
    assert last[0] == last[1]
    store.close()


def test_checkpoints_are_taken_at_intervals_and_the_last_two_stay(train_set, tmp_path):
    store = CheckpointStore(tmp_path / "checkpoints")
    assert store.latest is None
    run(train_set, stages=[stage(5)], callbacks=[Checkpointer(store, every_epochs=2)])
    assert sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir()) == [16, 20]


def test_a_checkpoint_is_taken_when_the_last_one_is_old(train_set, tmp_path):
    now = iter(range(0, 10_000, 40))
    store = CheckpointStore(tmp_path)
    saver = Checkpointer(store, every_epochs=100, every_minutes=1.0, clock=lambda: next(now))
    saved = []
    store.save = lambda snapshot: saved.append(
        (snapshot.position.epoch, snapshot.position.batch, snapshot.position.sums.steps)
    )
    run(train_set, stages=[stage(1)], callbacks=[saver])
    assert saved[0] == (0, 2, 2) and saved[-1] == (1, 0, 0)


def test_a_finished_run_resumes_to_its_end(train_set, valid_loader, tmp_path):
    store = CheckpointStore(tmp_path)
    result = run(train_set, valid_loader, [stage(2)], callbacks=[Checkpointer(store)])
    start = store.restore(init_state(toy.params(), OPTIMIZER))
    again = run(train_set, valid_loader, [stage(2)], start=start)
    assert again.records == [] and same(again.params, result.params)
    store.close()


def test_foreign_or_missing_checkpoints_are_refused(train_set, tmp_path):
    state = init_state(toy.params(), OPTIMIZER)
    with pytest.raises(DataError, match="holds no checkpoint"):
        CheckpointStore(tmp_path / "none").restore(state)
    store = CheckpointStore(tmp_path)
    run(train_set, stages=[stage(1)], callbacks=[Checkpointer(store)])
    other = {**toy.params(), "b": np.zeros(13, np.float32)}
    with pytest.raises(DataError, match="does not fit"):
        store.restore(init_state(other, OPTIMIZER))
    with pytest.raises(DataError, match="does not fit"):
        store.restore(init_state({"other": np.zeros(3, np.float32)}, OPTIMIZER))
    store.close()


def test_a_checkpoint_that_cannot_be_written_is_an_error(train_set, tmp_path):
    (tmp_path / "checkpoints").write_text("not a folder")
    store = CheckpointStore(tmp_path / "checkpoints")
    with pytest.raises(DataError, match="could not be written"):
        run(train_set, stages=[stage(1)], callbacks=[Checkpointer(store)])


def test_a_metrics_file_that_cannot_be_written_is_an_error(train_set, tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(DataError, match="could not be written"):
        run(train_set, stages=[stage(1)], callbacks=[JsonlLogger(tmp_path / "metrics.jsonl")])


def test_the_step_is_exported_for_every_platform(train_set):
    from electrojax.training.step import Controls

    batch, _ = next(iter(toy.Loader(train_set).epoch(0)))
    controls = Controls(np.float32(0.1), {k: np.float32(w) for k, w in WEIGHTS.items()})
    state = init_state(toy.params(), OPTIMIZER)
    exported = jax.export.export(TRAIN_STEP, platforms=("cpu", "cuda", "tpu"))
    assert exported(state, batch, controls).platforms == ("cpu", "cuda", "tpu")


def test_the_metrics_file_is_appended_to_and_a_torn_line_cut(train_set, tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    run(train_set, stages=[stage(2)], callbacks=[JsonlLogger(path)])
    first = path.read_bytes()
    path.write_bytes(first + b'{"epoch": 3, "train/lo')
    logger = JsonlLogger(path)
    run(train_set, stages=[stage(1)], callbacks=[logger])
    logger.write({"test/loss": float("nan")})
    content = path.read_bytes()
    assert content.startswith(first)
    lines = [json.loads(line) for line in content.splitlines()]
    assert [r.get("epoch") for r in lines] == [1, 2, 1, None]
    assert lines[-1] == {"test/loss": None}


def test_plain_progress_is_one_line_per_epoch_at_most(train_set, valid_loader):
    stream = io.StringIO()
    run(train_set, valid_loader, [stage(3)], callbacks=[Progress(stream, interval=0.0)])
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4 and lines[0].startswith("compiled in")
    assert lines[3].startswith("epoch 3/3 main") and lines[3].endswith("0:00:00 left")
    assert all(text in lines[1] for text in ("loss", "valid", "forces", "meV/Å"))
    stream = io.StringIO()
    run(train_set, stages=[stage(6)], callbacks=[Progress(stream, interval=1e9)])
    shown = [line.split()[1] for line in stream.getvalue().splitlines()[1:]]
    assert shown == ["1/6", "6/6"]


def test_a_terminal_gets_a_bar(train_set):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    run(train_set, stages=[stage(2)], callbacks=[Progress(stream)])
    assert "training" in stream.getvalue() and "8/8" in stream.getvalue()
