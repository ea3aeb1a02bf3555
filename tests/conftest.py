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
    "test_data_verbs.py::test_training_and_evaluation_take_hdf5",
    "test_scf_numerics.py::test_every_way_leads_to_the_same_fixed_point[True]",
    "test_precondition.py::test_is_the_inverse_of_diagonal_and_long_waves[periodic-2]",
    "test_methods.py::test_a_loaded_model_sums_as_before_and_agrees_with_the_direct_sum[ewald-slab]",
    "test_methods.py::test_forces_and_stress_are_derivatives[ewald-slab]",
    "test_methods.py::test_padding_and_batch_mates_change_nothing_and_need_one_program[ewald-slab]",
    "test_forces_are_those_of_predict_and_of_the_calculator[open]",
    "test_scf.py::test_direct_and_unrolled_gradients",
    "test_scf_numerics.py::test_mixing_leaves_a_converged_structure_alone",
    "test_non_scf.py::test_half_a_field_per_channel",
    "test_functional.py::test_one_minimum_whatever_the_start[False]",
    "test_split.py::test_an_ion_that_leaves_the_cell_takes_whole_quanta_along[total-slab]",
    "test_responses.py::test_responses_of_split_charges_are_slopes_of_the_polarization",
    "test_main_job.py::test_resume_with_more_epochs_appends",
    "test_training_step_exports[light-functional-slab]",
    "test_training_step_exports[light-latent-slab]",
    "test_training_step_exports[light-local-slab]",
    "test_training_step_exports[light-qeq-bounded-open]",
    "test_training_step_exports[light-qeq-periodic]",
    "test_training_step_exports[light-qeq-soft-slab]",
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
"""Second engines, boundaries and orders of checks, and long ones, beyond the default run."""


def pytest_configure(config):
    """Compiles the default run's programs quickly; the marked suites compile as users do.

    Compilation is most of the time of the tests. The flag is read when JAX starts its backend.
    """
    if "not conformance" in config.option.markexpr:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_backend_optimization_level=0"


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
