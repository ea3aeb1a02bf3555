"""The Dask clusters that points run on."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from electrojax.config.resolve import Provenance
from electrojax.sweep.schema import (
    LOOPBACK,
    DaskExecutor,
    Executor,
    HtcondorExecutor,
    LocalExecutor,
    QueueExecutor,
    TimedQueueExecutor,
)

RESOURCE = "point"
"""A worker's resource, of which a point takes one: one training process on one device."""

CONNECT = 10.0
"""Seconds to wait for a running scheduler to answer."""


@contextmanager
def open_client(executor: Executor, where: Provenance, folder: Path) -> Iterator[Any]:
    """Yields a Dask client whose workers take one point each; the cluster ends with the context.

    Args:
        executor: where points run.
        where: for errors.
        folder: the sweep's folder, for the logs of jobs.

    Raises:
        ConfigError: if a package is missing, or the cluster cannot be reached.
    """
    distributed = _module("distributed", where)
    import dask

    settings = {
        "distributed.scheduler.allowed-failures": executor.retries,
        "distributed.comm.timeouts.connect": f"{CONNECT}s",
    }
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with dask.config.set(settings):
        if isinstance(executor, DaskExecutor):
            with _connected(executor, where, distributed) as client:
                yield client
            return
        with (
            _cluster(executor, where, folder) as cluster,
            distributed.Client(cluster, set_as_default=False) as client,
        ):
            if isinstance(executor, LocalExecutor):
                client.register_plugin(_protected())
            yield client


def _cluster(executor: Executor, where: Provenance, folder: Path) -> Any:
    if isinstance(executor, LocalExecutor):
        return _local(executor)
    assert isinstance(executor, QueueExecutor)
    cluster = queue_cluster(executor, where, folder)
    # Jobs that reach their wall time are followed by others.
    cluster.adapt(minimum_jobs=executor.jobs, maximum_jobs=executor.jobs)
    return cluster


def _module(name: str, where: Provenance) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        message = f"needs the package {error.name}: pip install 'electrojax[sweep]'"
        raise where.error("executor", message) from None


def _local(executor: LocalExecutor) -> Any:
    from distributed import LocalCluster

    # Without a dashboard Dask still answers health checks over HTTP, on the loopback.
    quiet = {"dashboard": False, "dashboard_address": f"{LOOPBACK}:0"}
    return LocalCluster(
        n_workers=executor.workers,
        threads_per_worker=1,
        processes=True,
        host=LOOPBACK,
        dashboard_address=executor.dashboard,
        scheduler_kwargs={} if executor.dashboard else quiet,
        silence_logs=logging.CRITICAL,
        resources={RESOURCE: 1},
        memory_limit=0,  # the memory is that of the training process, which Dask does not see
    )


def _protected() -> Any:
    """A plugin that keeps a Ctrl-C at the terminal, which is for the coordinator, from workers."""
    from distributed import WorkerPlugin

    class IgnoreInterrupts(WorkerPlugin):
        name = "electrojax-ignore-interrupts"

        def setup(self, worker: Any) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    return IgnoreInterrupts()


@contextmanager
def _connected(executor: DaskExecutor, where: Provenance, distributed: Any) -> Iterator[Any]:
    try:
        client = distributed.Client(executor.scheduler, set_as_default=False, timeout=CONNECT)
    except (OSError, ValueError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"no Dask scheduler answers at {executor.scheduler} ({said})"
        raise where.error("executor.scheduler", message) from None
    with client:
        yield client


def queue_cluster(executor: QueueExecutor, where: Provenance, folder: Path) -> Any:
    """Returns the dask-jobqueue cluster of an executor; no job is submitted yet.

    Raises:
        ConfigError: if dask-jobqueue is missing, or there is no such network interface.
    """
    jobqueue = _module("dask_jobqueue", where)
    names = {"slurm": "SLURM", "pbs": "PBS", "lsf": "LSF", "sge": "SGE", "htcondor": "HTCondor"}
    cluster = getattr(jobqueue, f"{names[executor.kind]}Cluster")
    try:
        return cluster(**_job(executor, folder))
    except (ValueError, OSError, RuntimeError) as error:
        if executor.interface in str(error):
            raise where.error("executor.interface", str(error).splitlines()[0]) from None
        raise where.error("executor", str(error).splitlines()[0]) from None


def _job(executor: QueueExecutor, folder: Path) -> dict[str, Any]:
    """The arguments of a dask-jobqueue cluster; the user's own Dask files have no say in them."""
    common = {
        "cores": executor.cores,
        "processes": 1,
        "memory": executor.memory,
        "interface": executor.interface,
        "nanny": True,
        "python": executor.python or sys.executable,
        "job_name": f"electrojax-{folder.name}",
        "log_directory": str(folder / "jobs"),
        "local_directory": None,
        "job_extra_directives": list(executor.directives),
        "job_script_prologue": list(executor.prologue),
        "worker_extra_args": ["--resources", f"{RESOURCE}=1"],
        "scheduler_options": {"dashboard": False, "dashboard_address": f"{LOOPBACK}:0"},
        "death_timeout": 120,
    }
    if isinstance(executor, HtcondorExecutor):
        return {**common, "disk": executor.disk}
    assert isinstance(executor, TimedQueueExecutor)
    timed = {**common, "queue": executor.queue, "walltime": executor.walltime}
    charged = "project" if executor.kind in ("lsf", "sge") else "account"
    return timed if executor.account is None else {**timed, charged: executor.account}


def capacity(client: Any, where: Provenance) -> int:
    """Returns how many points the workers that are there can train at once.

    Raises:
        ConfigError: if there are workers, none of which ever takes a point.
    """
    # Not scheduler_info, whose answer a periodic update of the client may replace by an empty one.
    identity = client.sync(client.scheduler.identity, n_workers=-1)
    workers = identity["workers"].values()
    points = int(sum(worker["resources"].get(RESOURCE, 0) for worker in workers))
    if workers and not points:
        message = (
            f"none of the {len(workers)} workers has the resource {RESOURCE}; start them with "
            f"`dask worker {client.scheduler.address} --nthreads 1 --resources {RESOURCE}=1`"
        )
        raise where.error("executor.scheduler", message)
    return points


def point_environment(executor: Executor, folder: Path) -> dict[str, str]:
    """Returns the environment of training processes: their share of the cores, and the cache."""
    found: dict[str, str] = {}
    if threads := _threads(executor):
        # NPROC is XLA's: the size of the thread pool in which it computes on a CPU.
        names = ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        found |= dict.fromkeys(names, str(threads))
    if executor.compile_cache:
        found["JAX_COMPILATION_CACHE_DIR"] = str(folder / "compiled")
        found["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"
    return found


def _threads(executor: Executor) -> int | None:
    if isinstance(executor, QueueExecutor):
        return executor.cores
    if not isinstance(executor, LocalExecutor):
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return executor.threads or max(1, (cores or 1) // executor.workers)


def local_devices(executor: Executor, where: Provenance) -> tuple[str, ...]:
    """Returns the GPUs of this machine, one of which each local worker gets; none on a CPU.

    Raises:
        ConfigError: if there are more workers than GPUs.
    """
    if not isinstance(executor, LocalExecutor):
        return ()
    devices = visible_gpus(os.environ)
    if devices and executor.workers > len(devices):
        message = (
            f"one point computes on one device, and {len(devices)} GPU"
            f"{'s are' if len(devices) > 1 else ' is'} visible; use fewer workers, or "
            "JAX_PLATFORMS=cpu"
        )
        raise where.error("executor.workers", message)
    return devices


def visible_gpus(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the numbers of the NVIDIA GPUs of an environment; none if JAX uses the CPU."""
    if environment.get("JAX_PLATFORMS", "").split(",")[0] == "cpu":
        return ()
    shown = environment.get("CUDA_VISIBLE_DEVICES")
    if shown is not None:
        return tuple(part.strip() for part in shown.split(",") if part.strip() not in ("", "-1"))
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=20, env=dict(environment),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(listed.stdout.split()) if listed.returncode == 0 else ()
