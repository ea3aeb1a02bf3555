"""Fixtures shared by all tests."""

import os

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
