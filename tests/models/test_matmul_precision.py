"""Float32 products stay float32 on hardware that has coarser ones, unless the model asks."""

from collections.abc import Iterator

import jax
import jax.extend
import jax.numpy as jnp
import pytest

from electrojax.models.potential import MATMUL_PRECISIONS, assemble
from tests.conformance.models import STATISTICS, potential, system_of
from tests.simulation.conftest import water


def products(jaxpr: jax.extend.core.Jaxpr) -> Iterator[jax.extend.core.JaxprEqn]:
    """Every matrix product of a program, those inside loops and calls included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from products(inner)


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
    assert MATMUL_PRECISIONS[0] == "float32"
    exact = potential("light", "local", "float32")
    config = {**exact.config, "matmul_precision": "tensorfloat32"}
    model = assemble(config, STATISTICS, "float32", exact.params)
    assert any(q == jax.lax.Precision.HIGH for p in found(model) if p for q in p)
