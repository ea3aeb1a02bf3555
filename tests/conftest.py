"""Fixtures shared by all tests."""

import gc
import os
from pathlib import Path

# Two cores: XLA's own threads on top of pytest-xdist workers only get in each other's way.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import jax
import numpy as np
import pytest


@pytest.fixture
def x64():
    """Runs a test in double precision."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def rng():
    """A random generator with a fixed seed."""
    return np.random.default_rng(20261121)


def pytest_configure(config):
    """Compiles the default run's programs quickly; the marked suites compile as users do.

    Compilation is most of the time of the tests. The flag is read when JAX starts its backend.
    """
    if "not conformance" in config.option.markexpr:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_backend_optimization_level=0"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Leaves the cases named in ``conformance_for`` to ``pytest -m conformance``."""
    for item in items:
        marked = item.get_closest_marker("conformance_for")
        if marked and item.callspec.id in marked.args:
            item.add_marker(pytest.mark.conformance)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Hands tests that share compiled programs to one worker."""
    from xdist.scheduler import LoadScopeScheduling

    class SharedPrograms(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return programs_of(nodeid)

    return SharedPrograms(config, log)


def programs_of(nodeid: str) -> str:
    """Returns what the programs of a test are shared with: its file, or its parameters there."""
    file, _, test = nodeid.partition("::")
    by_parameters = "conformance" in file or "contract" in file
    return f"{file}[{test.partition('[')[2]}" if by_parameters and "[" in test else file


MAPPED = Path("/proc/self/maps")
MOST_MAPPED = 30_000
"""Half of what Linux allows a process by default (vm.max_map_count)."""


@pytest.fixture(autouse=True)
def room_for_programs():
    """Drops compiled programs before there are so many that the compiler cannot map another.

    Every program that XLA compiles on a CPU keeps memory mapped; at the kernel's limit LLVM ends
    the process with a segmentation fault.
    """
    yield
    if MAPPED.exists() and MAPPED.read_bytes().count(b"\n") > MOST_MAPPED:
        jax.clear_caches()
        gc.collect()
