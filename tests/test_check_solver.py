"""The checks for authors of solvers: what keeps the contract passes, each breach is named."""

import dataclasses
import sys
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from electrojax.nn.options import option
from electrojax.solvers.base import ChargeSolver
from electrojax.solvers.local import LocalCharges
from electrojax.testing import check_solver
from tests.plugins import install, put_on_path


def test_a_solver_of_another_package_passes(tmp_path, monkeypatch):
    put_on_path(monkeypatch, install(tmp_path))
    import electrojax_even

    check_solver(electrojax_even.EvenCharges, {"scale": 0.5}, boundaries=("slab",))
    with pytest.raises(AssertionError, match="boundary open: not kept: charge is conserved"):
        check_solver(electrojax_even.EvenCharges, {"spread": "never"}, boundaries=("open",))
    sys.modules.pop("electrojax_even")


class Broken(LocalCharges):
    """Local charges with an energy that breaks one rule."""

    breach: str = option("", "which")

    @nn.compact
    def __call__(self, features, system, coulomb, guess):
        state = super().__call__(features, system, coulomb, guess)
        more = getattr(self, f"_{self.breach}")(state.density.multipoles[:, 0, 0], system)
        return dataclasses.replace(state, energies={**state.energies, "more": more})

    def _constant_charges(self, charges, system):
        return self._sum(jax.lax.stop_gradient(charges**2) * system.positions[:, 0] ** 2, system)

    def _direction(self, charges, system):
        return self._sum(charges**2 * jnp.sin(system.positions[:, 0]), system)

    def _order(self, charges, system):
        return self._sum(charges**2 * jnp.arange(len(charges)), system)

    def _mates(self, charges, system):
        return self._sum(charges**2, system) * jnp.sum(charges**2)

    def _rows(self, charges, system):
        return self._sum(charges**2, system) * len(charges)

    def _digits(self, charges, system):
        coarse = jnp.float64 if charges.dtype == jnp.float64 else jnp.bfloat16
        return 100.0 * self._sum(charges.astype(coarse).astype(charges.dtype) ** 2, system)

    def _sum(self, values, system):
        values = jnp.where(system.node_mask, values, 0.0)
        return jax.ops.segment_sum(values, system.node_graph, system.n_graphs)


BREACHES = {
    "constant_charges": "forces are minus the gradient",
    "direction": "rotations and inversion turn the prediction",
    "order": "permutations permute the prediction",
    "mates": "batch mates change nothing",
    "rows": "padding changes nothing",
    "digits": "float32 agrees",
}


EVERYDAY = ("constant_charges", "mates")


@pytest.mark.parametrize(
    "breach",
    [pytest.param(b, marks=[] if b in EVERYDAY else [pytest.mark.conformance]) for b in BREACHES],
)
def test_a_breach_is_named(breach):
    told = f"Broken, boundary open: not kept: {BREACHES[breach]}"
    with pytest.raises(AssertionError, match=told):
        check_solver(Broken, {"breach": breach}, boundaries=("open",))


class Unwritable(ChargeSolver):
    """A solver with an option that YAML cannot hold."""

    table: Any = option(None, "anything")


def test_options_must_fit_into_a_training_file():
    with pytest.raises(TypeError, match=r"Unwritable\.table has type typing\.Any"):
        check_solver(Unwritable)


def test_the_defaults_are_those_of_the_contract():
    """A solver that says nothing of itself has no labels, feels no field, and has one gradient."""
    solver = Unwritable()
    assert (solver.provides, solver.diagnoses, solver.field_boundaries) == ((), (), ())
    assert solver.gradients == ("implicit",) and solver.uses_coulomb
    assert not solver.uses_receivers and not solver.has_spin
    with pytest.raises(TypeError, match="Unwritable: a charge solver needs a method"):
        solver(None, None, None, None)
