"""Everything that can end an md process, and what is left of the run (pytest -m slow)."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from electrojax.simulation.trajectory import read_hdf5

pytestmark = pytest.mark.slow

STEPS, WRITE, CHECKPOINT = 6_000, 10, 200


def command(path, *arguments):
    return [sys.executable, "-m", "electrojax.cli", "md", str(path), *arguments]


def run(path, *arguments, **options):
    return subprocess.run(
        command(path, *arguments), capture_output=True, text=True, timeout=1800, **options
    )


def checkpoints(folder):
    return sorted(int(p.stem) for p in (folder / "checkpoints").glob("[0-9]*.npz"))


def wait_for(condition, process, seconds=900):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Keeps compiled programs between the processes: one compiles, the others are quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        patch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")  # warnings about the cache
        yield


@pytest.fixture(scope="module", params=["frames.xyz", "frames.h5"])
def reference(request, tmp_path_factory, model_file):
    """The md file and the run folder of a trajectory that was never interrupted."""
    folder = tmp_path_factory.mktemp(Path(request.param).suffix[1:])
    path = md_file(folder, model_file, "whole", request.param)
    assert run(path).returncode == 0
    return folder, request.param, model_file, folder / "runs" / "whole"


def md_file(folder, model_file, name, frames):
    import ase.io

    from tests.simulation.conftest import atoms_of, water

    ase.io.write(folder / "start.xyz", atoms_of(water(), total_charge=0.0))
    path = folder / f"{name}.yaml"
    path.write_text(
        f"run: {{name: {name}, dir: runs}}\nmodel: {model_file}\nstart: start.xyz\n"
        "ensemble: {kind: nvt_langevin, temperature: 300}\ntimestep: 0.02\n"
        f"steps: {STEPS}\nwrite: {{every: {WRITE}, path: {frames}}}\n"
        f"checkpoint_every: {CHECKPOINT}\n"
    )
    return path


def assert_same(folder, whole, frames):
    """Asserts that log and trajectory equal those of the uninterrupted run."""
    assert (folder / "thermo.jsonl").read_bytes() == (whole / "thermo.jsonl").read_bytes()
    if frames.endswith(".xyz"):
        assert (folder / frames).read_bytes() == (whole / frames).read_bytes()
        return
    mine, theirs = read_hdf5(folder / frames), read_hdf5(whole / frames)
    assert set(mine) == set(theirs)
    for name, values in theirs.items():
        np.testing.assert_array_equal(mine[name], values, err_msg=name)


def whole_frames(folder, frames):
    """Returns the steps of the frames that a reader finds; fails on a torn one."""
    if frames.endswith(".h5"):
        return list(read_hdf5(folder / frames)["step"])
    import ase.io

    return [a.info["step"] for a in ase.io.read(folder / frames, index=":")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_run_goes_on_as_if_nothing_had_happened(reference, number):
    folder, frames, model, whole = reference
    path = md_file(folder, model, f"signal{int(number)}", frames)
    mine = folder / "runs" / path.stem
    process = subprocess.Popen(command(path), stderr=subprocess.PIPE, text=True)
    wait_for(lambda: len(checkpoints(mine)) > 1, process)
    process.send_signal(number)
    _, message = process.communicate(timeout=600)
    assert process.returncode == 130, message
    stopped = checkpoints(mine)[-1]
    assert 0 < stopped < STEPS
    # Nothing is lost: the last frame is that of the last multiple of `every`.
    assert whole_frames(mine, frames)[-1] == stopped // WRITE * WRITE
    assert run(path, "--resume", "auto").returncode == 0
    assert_same(mine, whole, frames)


def test_kills_lose_at_most_one_interval_each(reference):
    folder, frames, model, whole = reference
    path = md_file(folder, model, "killed", frames)
    mine = folder / "runs" / "killed"
    rng = np.random.default_rng(0)
    for count in range(6):
        process = subprocess.Popen(
            command(path, "--resume", "auto"), stderr=subprocess.PIPE, text=True
        )
        before = checkpoints(mine)[-1] if count else -1
        wait_for(lambda b=before: bool(checkpoints(mine)) and checkpoints(mine)[-1] > b, process)
        time.sleep(rng.uniform(0.0, 0.15))
        process.kill()
        process.wait()
        saved = checkpoints(mine)[-1]
        steps = whole_frames(mine, frames)
        assert steps == list(range(0, steps[-1] + 1, WRITE))
        assert saved // WRITE * WRITE <= steps[-1] <= saved + 2 * CHECKPOINT
    assert run(path, "--resume", "auto").returncode == 0
    assert_same(mine, whole, frames)
    assert not [p for p in (mine / "checkpoints").iterdir() if p.name.startswith(".")]


HANG = """
import os, sys
import electrojax.files as files
count = 0
def replace(source, target):
    global count
    if str(target).endswith(".npz"):
        count += 1
        if count == 3:
            os.kill(os.getpid(), 9)
    original(source, target)
original = os.replace
files.os.replace = replace
sys.argv = ["electrojax", "md", sys.argv[1]]
from electrojax.cli import main
main()
"""


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(reference):
    folder, frames, model, whole = reference
    path = md_file(folder, model, "written", frames)
    mine = folder / "runs" / "written"
    done = subprocess.run([sys.executable, "-c", HANG, str(path)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    # Written were those of step 0 and 200; the third was complete but not yet renamed.
    assert checkpoints(mine) == [0, CHECKPOINT]
    assert [p for p in (mine / "checkpoints").iterdir() if p.name.startswith(".")]
    assert run(path, "--resume", "auto").returncode == 0
    assert_same(mine, whole, frames)
    assert not [p for p in (mine / "checkpoints").iterdir() if p.name.startswith(".")]


POISONED = """
import sys
import jax.numpy as jnp
from electrojax.simulation.integrators import Langevin
def second_half(self, motion, forces):
    return clean(self, motion, jnp.where(motion.step == 3543, jnp.nan, forces))
clean = Langevin.second_half
Langevin.second_half = second_half
sys.argv = ["electrojax", "md", sys.argv[1]]
from electrojax.cli import main
main()
"""


def test_a_bad_number_stops_the_run_before_it_is_kept(reference):
    folder, frames, model, whole = reference
    path = md_file(folder, model, "poisoned", frames)
    mine = folder / "runs" / "poisoned"
    done = subprocess.run(
        [sys.executable, "-c", POISONED, str(path)], capture_output=True, text=True
    )
    assert done.returncode == 3, done.stderr
    assert "step 3544: energy or velocities are not finite" in done.stderr
    assert "Traceback" not in done.stderr
    assert checkpoints(mine)[-1] == 3543
    assert whole_frames(mine, frames)[-1] == 3540
    assert whole_frames(mine, "last_good.xyz") == [3543]
    assert run(path, "--resume", "auto").returncode == 0
    assert_same(mine, whole, frames)


def test_a_signal_before_the_first_step(reference):
    folder, frames, model, whole = reference
    path = md_file(folder, model, "early", frames)
    process = subprocess.Popen(command(path), stderr=subprocess.PIPE, text=True)
    time.sleep(1.5)
    process.send_signal(signal.SIGTERM)
    _, message = process.communicate(timeout=600)
    assert process.returncode == 130, message
    assert "Traceback" not in message
    assert run(path, "--resume", "auto").returncode == 0
    assert_same(folder / "runs" / "early", whole, frames)


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
sys.argv = ["electrojax", "md", sys.argv[1]]
from electrojax.cli import main
main()
"""


def test_a_full_disk_stops_the_run_with_the_checkpoint_intact(reference):
    folder, frames, model, whole = reference
    path = md_file(folder, model, "full", frames)
    mine = folder / "runs" / "full"
    # Room for the first frames of an HDF5 file, whose empty chunks count too, but not for the log.
    size = (whole / "thermo.jsonl").stat().st_size * 3 // 4
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path), str(size)], capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "could not be written (File too large)" in errors[0]
    assert "Traceback" not in done.stderr
    saved = checkpoints(mine)
    assert len(saved) == 2 and 0 < saved[-1] < STEPS
    steps = whole_frames(mine, frames)
    assert steps[: saved[-1] // WRITE + 1] == list(range(0, saved[-1] + 1, WRITE))
    assert run(path, "--resume", "auto").returncode == 0
    assert_same(mine, whole, frames)


def mountable() -> bool:
    """Whether this process may mount a small file system of its own."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True
        )
        if done.returncode == 0:
            subprocess.run(["umount", folder], check=True)
        return done.returncode == 0


if os.geteuid() == 0 and shutil.which("mount") and mountable():

    def test_a_small_file_system_fills_up(reference, tmp_path):
        folder, frames, model, whole = reference
        small = tmp_path / "small"
        small.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o"]
        subprocess.run([*mount, "size=512k", "none", str(small)], check=True)
        try:
            path = md_file(folder, model, "small", frames)
            arguments = [f"--set=run.dir={small}"]
            done = run(path, *arguments)
            assert done.returncode == 2, done.stderr
            assert "could not be written (No space left on device)" in done.stderr
            saved = checkpoints(small / "small")
            assert saved and 0 < saved[-1] < STEPS
            subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
            assert run(path, *arguments, "--resume", "auto").returncode == 0
            assert_same(small / "small", whole, frames)
        finally:
            subprocess.run(["umount", str(small)], check=True)


def test_a_second_process_is_refused(reference):
    folder, frames, model, _ = reference
    path = md_file(folder, model, "twice", frames)
    process = subprocess.Popen(command(path), stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: bool(checkpoints(folder / "runs" / "twice")), process)
        second = run(path, "--resume", "auto")
        assert second.returncode == 2
        assert f"another electrojax process (pid {process.pid}) is using" in second.stderr
    finally:
        process.kill()
        process.wait()
