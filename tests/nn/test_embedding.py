"""The total charge and the multiplicity reach the atoms, and a neutral singlet adds nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax import testing
from electrojax.errors import ConfigError
from electrojax.nn.embedding import StateEmbedding
from electrojax.system.batching import build_sample, capacity_for, collate


@pytest.fixture
def system(rng):
    frames = [
        testing.cluster(rng, n=3, total_charge=q, multiplicity=m)
        for q, m in ((0.0, 1.0), (1.0, 1.0), (-1.0, 1.0), (0.0, 3.0))
    ]
    samples = [build_sample(frame, 3.0) for frame in frames]
    return collate(samples, capacity_for(samples, graphs=6)).system


def test_states_differ_and_a_neutral_singlet_adds_nothing(system):
    module = StateEmbedding(("total_charge", "multiplicity"), 8)
    one_hot = jax.nn.one_hot(jnp.where(jnp.asarray(system.numbers) == 8, 1, 0), 2)
    params = module.init(jax.random.key(0), system, one_hot)
    values = np.asarray(module.apply(params, system, one_hot)).reshape(4, 3, 8)
    np.testing.assert_array_equal(values[0], 0.0)
    for first in range(1, 4):
        for second in range(first):
            assert np.abs(values[first] - values[second]).max() > 0.05
    # Atoms of one element in one structure are told the same.
    np.testing.assert_allclose(values[1, 0], values[1, 2])
    assert np.abs(values[1, 0] - values[1, 1]).max() > 0.05


def test_a_state_that_does_not_exist_is_refused(system):
    module = StateEmbedding(("spin",), 8)
    with pytest.raises(ConfigError, match="spin"):
        module.init(jax.random.key(0), system, jnp.ones((system.n_nodes, 1)))
