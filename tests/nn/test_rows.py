"""Edges in rows and work in chunks against sums that know neither."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax.nn.rows import edge_rows, in_chunks, summed_products


def _receivers(rng, counts, padding):
    nodes = len(counts)
    return np.concatenate([np.repeat(np.arange(nodes), counts), np.full(padding, nodes)])


@pytest.mark.parametrize("counts", [(3, 0, 8, 9, 1), (0, 0, 0), (17,), (8, 8), (0, 1)])
@pytest.mark.parametrize("padding", [0, 5])
def test_every_edge_stands_once_in_a_row_of_its_receiver(counts, padding, rng):
    receivers = _receivers(rng, counts, padding)
    rows = jax.jit(edge_rows, static_argnums=1)(receivers.astype(np.int32), len(counts))
    there = np.asarray(rows.edges) < len(receivers)
    assert sorted(np.asarray(rows.edges)[there]) == list(range(sum(counts)))
    of_row = np.broadcast_to(np.asarray(rows.receivers)[:, None], there.shape)
    np.testing.assert_array_equal(of_row[there], receivers[np.asarray(rows.edges)[there]])
    assert np.all(np.diff(rows.receivers) >= 0)


def test_sums_over_rows_are_sums_over_edges_and_so_are_their_derivatives(rng, x64):
    counts = (5, 0, 23, 8)
    receivers = _receivers(rng, counts, 7)
    values = jnp.asarray(rng.normal(size=(len(receivers), 3)))

    def by_rows(values):
        rows = edge_rows(receivers, len(counts))
        return rows.sum(jnp.sum(rows.take(values) ** 2, axis=1), len(counts))

    expected = np.zeros((len(counts), 3))
    np.add.at(expected, receivers[:-7], np.asarray(values)[:-7] ** 2)
    np.testing.assert_allclose(by_rows(values), expected, rtol=1e-14)
    slope = jax.grad(lambda v: jnp.sum(by_rows(v)))(values)
    np.testing.assert_allclose(slope[:-7], 2 * values[:-7], rtol=1e-14)
    np.testing.assert_array_equal(slope[-7:], 0.0)


@pytest.mark.parametrize("rows", [1, 3, 4, 11, 100])
def test_chunks_change_neither_values_nor_derivatives_of_second_order(rows, rng, x64):
    x, y = jnp.asarray(rng.normal(size=(11, 2, 3))), jnp.asarray(rng.normal(size=(11, 3)))
    scale = jnp.asarray(rng.normal(size=3))

    def work(x, y, scale):
        return [jnp.sum(jnp.sin(x * scale) * y[:, None], axis=1), y**3]

    def total(chunked, x, y, scale):
        pieces = (
            in_chunks(lambda a, b: work(a, b, scale), rows, x, y) if chunked else work(x, y, scale)
        )
        return sum(jnp.sum(jnp.cos(p)) for p in pieces)

    def slopes(chunked, scale):
        def force(scale):
            return jnp.sum(jax.grad(total, argnums=1)(chunked, x, y, scale) ** 2)

        return total(chunked, x, y, scale), jax.grad(force)(scale)

    for found, expected in zip(slopes(True, scale), slopes(False, scale)):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_chunks_leave_nothing_behind_for_derivatives_of_second_order(rng):
    # Between two chunked passes only their inputs and outputs may stay in memory, no work of width.
    x, weights = jnp.asarray(rng.normal(size=(12, 5))), jnp.asarray(rng.normal(size=(5, 37)))

    def loss(weights):
        def energy(x):
            wide = in_chunks(lambda x: jnp.sum(jnp.sin(x @ weights), axis=1), 4, x)
            return jnp.sum(wide**2)

        value, slope = jax.value_and_grad(energy)(x)
        return value + jnp.sum(slope**2)

    text = str(jax.make_jaxpr(jax.grad(loss))(weights))
    assert "[4,37]" in text and "[3,4,5]" in text
    assert "[3,4,37]" not in text


def test_products_of_rows_are_those_of_einsum_with_all_their_derivatives(rng, x64):
    y, z, probe = (jnp.asarray(rng.normal(size=s)) for s in [(4, 8, 3), (4, 8, 6), (4, 3, 6)])

    def plain(y, z):
        return jnp.einsum("rbk,rbc->rkc", y, z)

    def slopes(product, y, z):
        return jax.grad(lambda y, z: jnp.sum(probe * product(y, z) ** 3), argnums=(0, 1))(y, z)

    def curved(product, y, z):
        return jax.grad(lambda y, z: sum(jnp.sum(s**2) for s in slopes(product, y, z)), (0, 1))(
            y, z
        )

    def pushed(product, y, z):
        return jax.jvp(lambda y, z: slopes(product, y, z), (y, z), (y, z))

    for of in (lambda p, y, z: p(y, z), slopes, curved, pushed):
        found, expected = of(summed_products, y, z), of(plain, y, z)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found, expected)
    several = jax.vmap(summed_products)(jnp.stack([y, 2 * y]), jnp.stack([z, z]))
    np.testing.assert_allclose(several[1], 2 * plain(y, z), rtol=1e-13)
