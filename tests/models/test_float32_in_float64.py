"""A float32 model computes in float32 although the process can do float64: MD integrates in it."""

import dataclasses

import jax
import numpy as np
import pytest

from electrojax.system.quantities import DIAGNOSTICS
from electrojax.system.types import Frame
from tests.conformance.models import FIXED_POTENTIAL, SOLVERS, potential, system_of
from tests.programs import equations
from tests.simulation.conftest import water

CASES = [
    *((kind, "open", "auto") for kind in SOLVERS if kind not in ("none", *FIXED_POTENTIAL)),
    ("local", "periodic", "direct"),
    ("qeq-cg", "periodic", "ewald"),
    ("local", "periodic", "mesh"),
    ("qeq-cg", "periodic", "mesh_ewald"),
]


def doubles(function, *arguments) -> list:
    """What a program computes in float64, but for Python's numbers, which do not spread it."""
    program = jax.make_jaxpr(function)(*arguments).jaxpr
    return [e for e in equations(program) if any(is_double(v.aval) for v in e.outvars)]


def is_double(value) -> bool:
    return getattr(value, "dtype", None) == np.float64 and not value.weak_type


def frame_of(boundary: str) -> Frame:
    frame = dataclasses.replace(water(), formal_charges=np.array([-2.0, 1.0, 1.0] * 2))
    if boundary == "open":
        return frame
    return dataclasses.replace(frame, cell=9.0 * np.eye(3), pbc=(True,) * 3)


@pytest.mark.parametrize(("kind", "boundary", "method"), CASES)
def test_nothing_is_computed_in_float64(kind, boundary, method):
    model = potential("light", kind, "float32", method)
    with jax.enable_x64(True):
        system = system_of(model, [frame_of(boundary)])
        assert not doubles(model.apply, model.params, system)


@pytest.mark.parametrize("kind", ["scf", "scf-free"])
def test_nor_are_the_diagnostics_of_a_response(kind):
    model = potential("light", kind, "float32")
    solver = model.network.solver.clone(diagnostics=DIAGNOSTICS)
    network = model.network.clone(solver=solver)
    with jax.enable_x64(True):
        system = system_of(model, [frame_of("open")])
        applied = dataclasses.replace(model, network=network).apply
        assert not doubles(applied, model.params, system)
