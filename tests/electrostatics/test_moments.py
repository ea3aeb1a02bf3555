"""Quadrupoles of structures against point charges."""

import jax.numpy as jnp
import numpy as np
import pytest

from electrojax.electrostatics.density import of_one_width, quadrupole
from electrojax.system.batching import build_sample, capacity_for, collate
from electrojax.system.types import Frame


def quadrupole_of(places, multipoles, dtype=np.float64):
    """The quadrupole [3, 3] of one open structure."""
    frame = Frame(
        np.ones(len(places), int), np.asarray(places, float), np.zeros((3, 3)), (False,) * 3
    )
    samples = [build_sample(frame, 1e-3)]
    batch = collate(samples, capacity_for(samples), dtype)
    rows = np.zeros((batch.system.n_nodes, np.shape(multipoles)[1]), dtype)
    rows[: len(places)] = multipoles
    return np.asarray(quadrupole(of_one_width(jnp.asarray(rows), 1.3), batch.system)[0])


def test_three_charges_on_a_line(x64):
    """q, −2q, q a distance a apart: M_xx = 2 q a², of which a third is trace."""
    q, a = 0.7, 1.9
    found = quadrupole_of([[-a, 0, 0], [0, 0, 0], [a, 0, 0]], [[q], [-2 * q], [q]])
    np.testing.assert_allclose(found, q * a**2 * np.diag([4, -2, -2]) / 3, atol=1e-14)


@pytest.mark.parametrize("component", range(4, 9))
def test_an_atomic_quadrupole_is_that_of_charges_around_it(component, x64):
    """Σ_i q_i R_m(d_i) of charges ±1 that have this one moment, by the definitions of R_m."""
    x, y, z = np.eye(3)
    places, charges = {
        4: ([x + y, -x - y, x - y, y - x], [1, 1, -1, -1]),
        5: ([y + z, -y - z, y - z, z - y], [1, 1, -1, -1]),
        6: ([z, -z, x, -x, y, -y], [2, 2, -1, -1, -1, -1]),
        7: ([x + z, -x - z, x - z, z - x], [1, 1, -1, -1]),
        8: ([x, -x, y, -y], [1, 1, -1, -1]),
    }[component]
    root = np.sqrt(3)
    moment = {4: 4 * root, 5: 4 * root, 6: 6.0, 7: 4 * root, 8: 2 * root}[component]
    atom = np.zeros((1, 9))
    atom[0, component] = moment
    expected = np.einsum("i,ia,ib->ab", charges, places, places)
    np.testing.assert_allclose(quadrupole_of(np.zeros((1, 3)), atom), expected, atol=1e-13)


def test_dipoles_charges_and_the_origin(x64, rng):
    """Pairs of charges stand for dipoles; the structure stands far from the origin."""
    places, far = rng.normal(size=(4, 3)), np.array([30.0, -20.0, 10.0])
    charges, dipoles = rng.normal(size=4), rng.normal(size=(4, 3))
    multipoles = np.concatenate([charges[:, None], dipoles[:, [1, 2, 0]]], axis=1)
    step = 1e-3
    points = (
        np.concatenate([places, places + step * dipoles / 2, places - step * dipoles / 2]) + far
    )
    values = np.concatenate([charges, np.full(4, 1 / step), np.full(4, -1 / step)])
    second = np.einsum("i,ia,ib->ab", values, points, points)
    expected = second - np.eye(3) * np.trace(second) / 3
    np.testing.assert_allclose(quadrupole_of(places + far, multipoles), expected, atol=1e-7)


def test_float32_keeps_the_digits_of_a_neutral_molecule_far_away(rng):
    places, far = rng.normal(size=(4, 3)), np.array([3e3, -1e3, 2e3])
    charges = rng.normal(size=(4, 1))
    charges -= charges.mean()
    charges[:, 0] -= places @ np.linalg.pinv(places) @ charges[:, 0]  # no dipole either
    charges -= charges.mean()
    second = np.einsum("i,ia,ib->ab", charges[:, 0], places, places)
    expected = second - np.eye(3) * np.trace(second) / 3
    dipole = charges[:, 0] @ places
    shift = np.outer(dipole, far) + np.outer(far, dipole)
    expected = expected + shift - np.eye(3) * np.trace(shift) / 3
    found = quadrupole_of(places + far, charges, np.float32)
    np.testing.assert_allclose(found, expected, atol=2e-3 * max(1, np.abs(shift).max()))
