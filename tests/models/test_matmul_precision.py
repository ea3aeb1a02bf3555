"""Float32 products stay float32 on hardware that has coarser ones, unless the model asks."""

import dataclasses

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax.models.potential import MATMUL_PRECISIONS, assemble
from electrojax.simulation.forces import moving_system
from electrojax.simulation.neighbors import build
from tests.conformance.models import STATISTICS, potential, system_of
from tests.programs import equations
from tests.simulation.conftest import water


def products(jaxpr: jax.extend.core.Jaxpr) -> list[jax.extend.core.JaxprEqn]:
    """Every matrix product of a program."""
    return [e for e in equations(jaxpr) if e.primitive.name == "dot_general"]


def found(model) -> list:
    """The precisions of the products in the gradient of a force loss."""
    system = system_of(model, [water()])

    def objective(params):
        return jnp.sum(model.apply(params, system).forces ** 2)

    traced = jax.make_jaxpr(jax.grad(objective))(model.params)
    return [e.params["precision"] for e in products(traced.jaxpr)]


@pytest.mark.parametrize("backbone", ["mace", "light"])
def test_every_product_is_of_full_precision_by_default(backbone):
    precisions = found(potential(backbone, "qeq", "float32"))
    assert len(precisions) > 20
    assert all(p is not None for p in precisions)
    assert {q for p in precisions for q in p} == {jax.lax.Precision.HIGHEST}


def test_coarser_products_are_there_for_the_asking():
    """In the backbone: a charge solver would not find its own residuals below the tolerance."""
    assert MATMUL_PRECISIONS[0] == "float32"
    precisions = {}
    for kind in ("none", "qeq"):
        exact = potential("light", kind, "float32")
        config = {**exact.config, "matmul_precision": "tensorfloat32"}
        model = assemble(config, STATISTICS, "float32", exact.params)
        precisions[kind] = [q for p in found(model) if p for q in p]
    high, highest = jax.lax.Precision.HIGH, jax.lax.Precision.HIGHEST
    assert set(precisions["none"]) == {high}
    assert precisions["qeq"].count(highest) > 20
    assert precisions["qeq"].count(high) < 1.2 * precisions["none"].count(high)


def test_neighbour_lists_move_atoms_in_full_precision():
    moving = moving_system(potential("light", "none", "float32"), crystal())
    positions = jnp.asarray(crystal().positions, jnp.float32)
    neighbors = moving.allocate(positions)

    def edges(x):
        fresh = build(x, neighbors.plan)
        return moving.at(x, neighbors), fresh

    used = [e.params["precision"] for e in products(jax.make_jaxpr(edges)(positions).jaxpr)]
    assert len(used) >= 5 and all(p and set(p) == {jax.lax.Precision.HIGHEST} for p in used)


def crystal():
    return dataclasses.replace(water(), cell=5.0 * np.eye(3), pbc=(True,) * 3)
