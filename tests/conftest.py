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


PRODUCT = (
    "test_training_step_exports[light-functional-slab]",
    "test_training_step_exports[light-latent-slab]",
    "test_training_step_exports[light-local-slab]",
    "test_training_step_exports[light-qeq-bounded-open]",
    "test_training_step_exports[light-qeq-periodic]",
    "test_training_step_exports[light-qeq-soft-slab]",
    "test_a_loaded_model_sums_as_before_and_agrees_with_the_direct_sum[mesh-periodic]",
    "test_receivers_of_the_density_width_are_its_potential[ewald]",
    "test_receivers_of_the_density_width_are_its_potential[mesh_ewald]",
    "test_receivers_of_the_density_width_are_its_potential[periodic]",
    "test_receivers_are_another_density[mesh]",
    "test_receivers_are_another_density[mesh_ewald]",
    "test_the_mesh_receives_what_the_direct_sum_does[2]",
    "test_coulomb_contract.py::test_second_derivatives_match_finite_differences[periodic-2]",
    "test_coulomb_contract.py::test_symmetric_linear_and_its_own_gradient[ewald-2]",
    "test_ewald.py::test_blocks_of_pairs_change_nothing",
    "test_ewald.py::test_no_energy_steps_within_a_plan[MeshEwaldCoulomb]",
    "test_ewald.py::test_other_cells_of_the_same_crystal[mesh_ewald]",
    "test_mesh.py::test_requested_accuracy_is_met[skew-2]",
    "test_contract_with_any_charge[jellium-2]",
    "test_energy_against_sheets_and_a_two_dimensional_sum[jellium-2]",
    "test_derivatives_of_a_fixed_point[True-1]",
    "test_a_warm_start_saves_products[many_body]",
    "test_a_warm_start_saves_products[one_body]",
    "test_a_strain_scan_has_no_steps_and_is_planned_twice[mesh]",
)
"""Second engines, boundaries and orders of checks whose first ones run by default."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Leaves the rest of some products to ``pytest -m conformance``."""
    for item in items:
        if item.nodeid.endswith(PRODUCT):
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
