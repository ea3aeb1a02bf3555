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
