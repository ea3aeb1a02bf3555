"""Edges in rows and work in chunks against sums that know neither."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax.nn.rows import edge_rows, in_chunks


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
