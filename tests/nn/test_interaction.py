"""Messages of atoms that share their species' features: summed by species, as edge by edge."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax.nn.gated import GatedInteraction
from electrojax.nn.interaction import EdgeFeatures, Interaction
from electrojax.nn.rows import edge_rows

NODES, SPECIES, CHANNELS, L_MAX = 4, 2, 6, 2


def _edges(rng, envelope: bool) -> EdgeFeatures:
    """Random features of edges, some of them padding."""
    counts = (3, 0, 11, 2)
    receivers = np.concatenate([np.repeat(np.arange(NODES), counts), np.full(3, NODES)])
    rows = edge_rows(receivers, NODES)

    def take(*shape):
        return rows.take(jnp.asarray(rng.normal(size=(len(receivers), *shape))))

    senders = rows.take(jnp.asarray(rng.integers(0, NODES, len(receivers))))
    return EdgeFeatures(
        take(6), take(1) if envelope else None, take((L_MAX + 1) ** 2), senders, rows
    )


MODULES = [
    *((Interaction(CHANNELS, hidden, 3.0), False) for hidden in [(7,), (), (9, 8)]),
    *((Interaction(CHANNELS, hidden, 3.0), True) for hidden in [(7,), (), (9, 8)]),
    pytest.param(GatedInteraction(CHANNELS, (5,), 3.0), True, marks=pytest.mark.slow),
    (GatedInteraction(CHANNELS, (4, 5), 3.0, (7,)), True),
]


@pytest.mark.parametrize(("module", "envelope"), MODULES)
def test_sums_by_species_are_sums_over_edges_and_so_are_their_derivatives(
    module, envelope, rng, x64
):
    edges = _edges(rng, envelope)
    one_hot = jnp.eye(SPECIES)[jnp.array([0, 1, 1, 0])].at[3].set(0.0)  # the last is padding
    of_species = jnp.asarray(rng.normal(size=(SPECIES, 1, CHANNELS)))
    of_atoms = jnp.tensordot(one_hot, of_species, 1)
    params = module.init(jax.random.key(0), (of_atoms,), edges, one_hot)
    probe = jnp.asarray(rng.normal(size=(NODES, (L_MAX + 1) ** 2, CHANNELS)))

    def found(initial, params, features, radial, angular):
        harmonics = jnp.concatenate([jnp.ones_like(angular[..., :1]), angular], axis=-1)
        given = EdgeFeatures(radial, edges.envelope, harmonics, edges.senders, edges.rows)
        parts = module.apply(params, (features,), given, one_hot, initial)
        return jnp.concatenate(parts, axis=1)

    def slopes(initial, params, features, radial, angular):
        def value(radial, angular):
            return jnp.sum(probe * found(initial, params, features, radial, angular) ** 2)

        return jax.grad(value, argnums=(0, 1))(radial, angular)

    def curvature(initial, params, features):
        def value(params):
            forces = slopes(initial, params, features, edges.radial, edges.angular[..., 1:])
            return sum(jnp.sum(jnp.sin(f)) for f in forces)

        return jax.grad(value)(params)

    inputs = (params, of_species, edges.radial, edges.angular[..., 1:])
    by_edge = (params, of_atoms, edges.radial, edges.angular[..., 1:])
    for a, b in (
        (found(True, *inputs), found(False, *by_edge)),
        (slopes(True, *inputs), slopes(False, *by_edge)),
        (curvature(True, *inputs[:2]), curvature(False, *by_edge[:2])),
    ):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-11), a, b)


def test_many_species_are_not_summed_one_by_one(rng, x64):
    # With more of them than it pays for, the wide sums are not made, and the result is the same.
    module, edges = Interaction(CHANNELS, (7,), 3.0), _edges(rng, False)
    one_hot = jnp.eye(9)[jnp.array([0, 8, 3, 0])]
    of_species = jnp.asarray(rng.normal(size=(9, 1, CHANNELS)))
    of_atoms = jnp.tensordot(one_hot, of_species, 1)
    params = module.init(jax.random.key(0), (of_atoms,), edges, one_hot)
    for a, b in zip(
        module.apply(params, (of_species,), edges, one_hot, True),
        module.apply(params, (of_atoms,), edges, one_hot),
    ):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-13)
    text = str(
        jax.make_jaxpr(lambda p: module.apply(p, (of_species,), edges, one_hot, True))(params)
    )
    assert f"{9 * 7}]" not in text
