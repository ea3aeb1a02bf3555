"""A local density is trainable on each of its moments, at every order."""

import jax
import numpy as np
import optax
import pytest

from electrojax import testing
from electrojax.models.potential import assemble
from electrojax.system.batching import Capacity, collate
from electrojax.training.loss import loss
from electrojax.typing import replace
from tests.conformance.models import STATISTICS

TERMS = ("charges", "multipoles", "dipole")
CAPACITY = Capacity(nodes=20, edges=120, graphs=4, graph_nodes=5)


def model(l_max):
    config = {
        "backbone": {"kind": "light", "cutoff": 4.0, "channels": 16, "layers": 1, "l_max": 2},
        "density": {"l_max": l_max, "width": 1.1},
        "coulomb": {"boundary": "auto", "method": "auto", "accuracy": 1e-5, "finite_size": "none"},
        "solver": {"kind": "local", "charge_control": "total"},
    }
    return assemble(config, STATISTICS, "float32")


def moments_of(frame):
    """Moments from the neighbours of an atom, signed by element; order [q, y, z, x, ...]."""
    bonds = frame.positions[:, None] - frame.positions[None]
    weights = np.exp(-np.linalg.norm(bonds, axis=-1)) * (1 - np.eye(len(bonds)))
    charges = weights.sum(axis=1) * np.where(frame.numbers == 1, 1.0, -1.0)
    x, y, z = np.moveaxis(bonds, -1, 0)
    others = [y, z, x, x * y, y * z, z**2 - 0.5 * (x**2 + y**2), x * z, 0.5 * (x**2 - y**2)]
    return np.stack([charges - charges.mean(), *((weights * o).sum(axis=1) for o in others)], 1)


def labelled(potential):
    """Clusters with charges, multipoles and the dipole that follows from them."""
    rng, samples = np.random.default_rng(5), []
    for _ in range(4):
        frame = testing.cluster(rng, n=5)
        moments = moments_of(frame)
        dipole = moments[:, 0] @ frame.positions + moments[:, [3, 1, 2]].sum(axis=0)
        labels = {"charges": moments[:, 0], "multipoles": moments, "dipole": dipole}
        samples.append(potential.sample(replace(frame, labels=labels)))
    return collate(samples, CAPACITY, np.float32)


@pytest.mark.parametrize("l_max", [0, 1, 2])
def test_training_on_moments_lowers_the_error_of_each(l_max):
    potential = model(l_max)
    batch = labelled(potential)
    optimizer = optax.adam(0.02)

    def value(params):
        return loss(potential.apply(params, batch.system), batch, dict.fromkeys(TERMS, 1.0))

    @jax.jit
    def step(params, state):
        (_, terms), gradient = jax.value_and_grad(value, has_aux=True)(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, terms

    params = potential.init(1, batch.system)
    state = optimizer.init(params)
    history = []
    for _ in range(150):
        params, state, terms = step(params, state)
        history.append({name: float(term.square) for name, term in terms.items()})
    assert int(terms["multipoles"].entries) == 20 * (l_max + 1) ** 2
    for name in TERMS:
        assert history[-1][name] < 0.2 * history[0][name], name
