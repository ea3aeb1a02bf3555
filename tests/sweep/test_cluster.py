"""Jobs of batch systems up to the submission script, and what a training process is given."""

import os
import sys
from pathlib import Path

import pytest

from electrojax.errors import ConfigError
from electrojax.sweep import cluster
from electrojax.sweep.attempt import Task, _device
from electrojax.sweep.cluster import (
    local_devices,
    point_environment,
    queue_cluster,
    visible_gpus,
)
from electrojax.sweep.points import LoadedSweep, load_sweep
from electrojax.sweep.schema import LocalExecutor, QueueExecutor

from .conftest import edited

QUEUE = "jobs: 4, interface: lo, cores: 8, memory: 32GB"


def with_executor(sweep_file: Path, text: str) -> LoadedSweep:
    return load_sweep(edited(sweep_file, "{kind: local, workers: 2}", f"{{{text}}}"))


def script(sweep: LoadedSweep) -> str:
    executor = sweep.config.executor
    assert isinstance(executor, QueueExecutor)
    with queue_cluster(executor, sweep.provenance, sweep.folder) as opened:
        return str(opened.job_script())


def test_the_submission_script_of_slurm(sweep_file: Path) -> None:
    text = (
        f"kind: slurm, {QUEUE}, queue: gpu, account: chem, walltime: '06:00:00', "
        "directives: ['--gres=gpu:1'], prologue: [module load cuda], python: /opt/bin/python"
    )
    sweep = with_executor(sweep_file, text)
    lines = script(sweep).splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    for directive in ("-J electrojax-small", "-p gpu", "-A chem", "-n 1", "--cpus-per-task=8",
                      "--mem=30G", "-t 06:00:00", "--gres=gpu:1"):  # fmt: skip
        assert f"#SBATCH {directive}" in lines
    assert any(line.startswith(f"#SBATCH -e {sweep.folder}/jobs/") for line in lines)
    assert not any("--nworkers" in line for line in lines)  # one worker, so one point, per job
    assert "module load cuda" in lines
    worker = lines[-1]
    assert worker.startswith("/opt/bin/python -m distributed.cli.dask_worker tcp://127.0.0.1:")
    for argument in ("--resources point=1", "--nthreads 8", "--interface lo", "--nanny"):
        assert argument in worker
    assert lines.index("module load cuda") < len(lines) - 1


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("pbs", ["#PBS -q long", "#PBS -A chem", "#PBS -l walltime=06:00:00"]),
        ("lsf", ["#BSUB -q long", '#BSUB -P "chem"', "#BSUB -W 06:00"]),
        ("sge", ["#$ -q long", "#$ -P chem", "#$ -l h_rt=06:00:00"]),
    ],
)
def test_the_other_batch_systems(kind: str, expected: list[str], sweep_file: Path) -> None:
    walltime = "06:00" if kind == "lsf" else "06:00:00"
    text = f"kind: {kind}, {QUEUE}, queue: long, account: chem, walltime: '{walltime}'"
    lines = script(with_executor(sweep_file, text)).splitlines()
    assert set(expected) <= {line.strip() for line in lines}
    assert "--resources point=1" in lines[-1]


def test_condor(sweep_file: Path) -> None:
    found = script(with_executor(sweep_file, f"kind: htcondor, {QUEUE}, disk: 9GB"))
    assert "RequestCpus = MY.DaskWorkerCores" in found and "--resources point=1" in found


def test_an_interface_that_does_not_exist(sweep_file: Path) -> None:
    sweep = with_executor(sweep_file, "kind: slurm, jobs: 2, interface: nowhere7")
    executor = sweep.config.executor
    assert isinstance(executor, QueueExecutor)
    with pytest.raises(ConfigError, match=r"^sweep.yaml:6  executor.interface .*nowhere7"):
        queue_cluster(executor, sweep.provenance, sweep.folder)


def test_an_interface_must_be_named(sweep_file: Path) -> None:
    """Nothing is bound beyond the loopback unless the file says where."""
    with pytest.raises(ConfigError, match=r"executor.interface +is required"):
        with_executor(sweep_file, "kind: slurm, jobs: 2")


def test_a_missing_package(sweep_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = load_sweep(sweep_file)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(
            ConfigError, match=r"^sweep.yaml:6  executor   needs the package distributed"
        ),
        cluster.open_client(sweep.config.executor, sweep.provenance, sweep.folder),
    ):
        pass


def test_cores_are_shared_by_local_workers(
    sweep_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    sweep = load_sweep(sweep_file)
    found = point_environment(sweep.config.executor, sweep.folder)
    assert found["NPROC"] == found["OMP_NUM_THREADS"] == "4"
    assert "JAX_COMPILATION_CACHE_DIR" not in found
    given = LocalExecutor(kind="local", workers=3, threads=1, compile_cache=True)
    found = point_environment(given, sweep.folder)
    assert found["NPROC"] == "1"
    assert found["JAX_COMPILATION_CACHE_DIR"] == str(sweep.folder / "compiled")


def test_every_local_worker_has_a_gpu_of_its_own(
    sweep_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    sweep = load_sweep(sweep_file)
    devices = local_devices(sweep.config.executor, sweep.provenance)
    assert devices == ("4", "7")
    task = Task("", "", 1, None, {}, devices, "")
    shown = []
    for number in (0, 1):
        worker = type("Worker", (), {"name": number})()
        monkeypatch.setattr("distributed.get_worker", lambda worker=worker: worker)
        shown.append(_device(task)["CUDA_VISIBLE_DEVICES"])
    assert shown == ["4", "7"]


def test_which_gpus_are_visible(tmp_path: Path) -> None:
    lister = tmp_path / "nvidia-smi"
    lister.write_text("#!/bin/sh\nprintf '0\\n1\\n'\n")
    lister.chmod(0o755)
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    assert visible_gpus(path) == ("0", "1")
    assert visible_gpus({**path, "CUDA_VISIBLE_DEVICES": "1"}) == ("1",)
    assert visible_gpus({**path, "CUDA_VISIBLE_DEVICES": ""}) == ()
    assert visible_gpus({**path, "JAX_PLATFORMS": "cpu"}) == ()
    lister.write_text("#!/bin/sh\nexit 9\n")
    assert visible_gpus(path) == ()
