"""Strain at fixed field along the lattice vectors."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from electrojax import testing
from electrojax.system.batching import build_sample, on_device
from electrojax.system.geometry import apply_strain, places, reciprocal

FIELD = np.array([0.05, -0.1, 0.2])
PERIODIC = {"periodic": (True, True, True), "slab": (True, False, True), "open": (False,) * 3}


def normal_of(cell):
    product = np.cross(cell[2], cell[0])
    return product / np.linalg.norm(product)


@pytest.mark.parametrize("boundary", PERIODIC)
def test_strain_keeps_the_field_along_the_lattice_vectors(boundary, rng, x64):
    """E·a_i of every periodic one, and along a slab's normal E·n; in open space E."""
    frame = testing.crystal(rng, n=3, length=4.4, pbc=PERIODIC[boundary])
    sample = build_sample(dataclasses.replace(frame, external_field=FIELD), 2.0)
    system = on_device(sample.system)
    strain = 0.05 * rng.normal(size=(1, 3, 3))
    moved = apply_strain(system, jnp.asarray(strain))
    field, cell = np.asarray(moved.external_field[0]), np.asarray(moved.cell[0])
    deformation = np.eye(3) + 0.5 * (strain[0] + strain[0].T)
    np.testing.assert_allclose(cell, system.cell[0] @ deformation, rtol=1e-14)
    np.testing.assert_allclose(places(moved), frame.positions @ deformation, rtol=1e-12, atol=1e-12)
    if boundary == "open":
        np.testing.assert_array_equal(field, FIELD)
        return
    for axis in np.flatnonzero(frame.pbc):
        np.testing.assert_allclose(field @ cell[axis], FIELD @ frame.cell[axis], rtol=1e-12)
    if boundary == "slab":
        np.testing.assert_allclose(field @ normal_of(cell), FIELD @ normal_of(frame.cell))


def test_reciprocal_vectors_of_either_handedness(rng, x64):
    cells = rng.normal(size=(4, 3, 3))
    np.testing.assert_allclose(
        reciprocal(jnp.asarray(cells)), np.swapaxes(np.linalg.inv(cells), 1, 2), rtol=1e-9
    )
