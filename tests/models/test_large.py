"""A large periodic structure: what the Coulomb sum adds to a model's arrays, from its program."""

import jax
import jax.extend
import numpy as np
import pytest

from electrojax.electrostatics.coulomb import method_name
from electrojax.models.predict import compile_prediction
from electrojax.system.batching import capacity_for, collate
from electrojax.system.types import Frame
from tests.conformance.coulomb import summed
from tests.conformance.models import potential
from tests.programs import equations

ATOMS = 20_000


def box(n: int) -> Frame:
    """Atoms on a lattice with about as dense as water: 0.1 atoms/Å³."""
    side, rng = int(np.ceil(n ** (1 / 3))), np.random.default_rng(0)
    length = (n / 0.1) ** (1 / 3)
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3), -1).reshape(-1, 3)[:n] * length / side
    positions = grid + 0.1 * rng.normal(size=grid.shape)
    return Frame(np.resize([8, 1, 1], n), positions, np.eye(3) * length, (True,) * 3)


def shapes(jaxpr: jax.extend.core.Jaxpr) -> set[tuple[int, ...]]:
    """The shapes of every intermediate value of a program."""
    values = (v.aval for equation in equations(jaxpr) for v in equation.outvars)
    return {value.shape for value in values if hasattr(value, "shape")}


@pytest.mark.parametrize("method", ["auto", "direct"])
def test_no_array_grows_with_the_square_of_the_atoms(method):
    """Neither [N, N] nor [N, K]: beside what the short range has, the mesh is the largest.

    The program is traced, not run.
    """
    model = potential("light", "local", "float32")
    model = summed(model, method=method, accuracy=1e-5)
    frame = box(ATOMS)
    tuned = model.tuned_for([frame])
    assert method_name(tuned.network.engine("periodic")) == {"auto": "mesh"}.get(method, method)
    sample = tuned.sample(frame)
    system = collate([sample], capacity_for([sample]), np.float32).system
    traced = jax.make_jaxpr(compile_prediction(tuned.network))(model.params, system)
    found = shapes(traced.jaxpr)
    assert len(found) > 100
    n, edges = ATOMS, sample.system.n_edges
    short_range = [s for s in found if edges in s]
    others = [s for s in found if edges not in s]
    crowded = [s for s in others if sum(size >= n // 4 for size in s) > 1]
    assert short_range and not crowded
    largest = max(others, key=np.prod)
    assert np.prod(largest) < 200 * n, f"an array of shape {largest}"
