"""Energies under a changing cell: smooth within a plan, small steps between plans, few plans."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax.electrostatics.kernels.plan import (
    COMPRESSION_MARGIN,
    STRAIN_MARGIN,
    replan_needed,
    squared_reach,
    taper,
)
from electrojax.errors import DataError
from electrojax.system.geometry import apply_strain
from electrojax.testing import random_rotation
from electrojax.typing import replace
from tests.electrostatics import reference as ref
from tests.electrostatics.engines.test_periodic import screened

ORTHORHOMBIC = np.diag([5.0, 6.1, 7.3])
TALL = np.array([[5.0, 0.4, 0.0], [-1.2, 4.6, 0.0], [0.7, 1.1, 16.0]])


def along(engine, system, multipoles, l_max, path, replanned=False):
    """Energies of a structure whose cell is strained along a path [n, 3, 3]."""

    def energy(strain):
        moved = apply_strain(system, strain[None])
        moved = replace(moved, plan_cell=moved.cell) if replanned else moved
        return engine.prepare(moved, l_max, 1.0).energy(multipoles)[0]

    return np.asarray(jax.jit(lambda e: jax.lax.map(energy, e))(jnp.asarray(path)))


def roughness(values):
    """What is left of second differences after a polynomial, over their size."""
    second = np.diff(values, 2)
    x = np.linspace(-1, 1, len(second))
    fit = np.polynomial.chebyshev.chebfit(x, second, 12)
    return np.abs(second - np.polynomial.chebyshev.chebval(x, fit)).max() / np.abs(second).max()


@pytest.mark.parametrize(
    ("kind", "cell", "l_max"),
    [
        ("periodic", ORTHORHOMBIC, 2),
        ("periodic", ref.TRICLINIC, 1),
        ("slab_z", np.diag([5.0, 6.1, 16.0]), 0),
        ("slab_z", TALL, 2),
    ],
    ids=["orthorhombic", "triclinic", "orthorhombic slab", "triclinic slab"],
)
def test_second_differences_are_smooth_within_a_plan(kind, cell, l_max, rng, x64):
    """To 1e-9 at accuracy 1e-3, where the last k-vectors carry 1e-4 of the energy."""
    positions, multipoles, cell = ref.random_structure(rng, 5, cell, l_max)
    engine, system, _ = ref.prepared(kind, [(positions, cell)], 1.0, l_max, accuracy=1e-3)
    shape = rng.normal(size=(3, 3))
    shape = 0.1 * (shape + shape.T) / np.linalg.norm(shape + shape.T)
    path = np.linspace(-1, 1, 25)[:, None, None] * shape
    assert roughness(along(engine, system, jnp.asarray(multipoles), l_max, path)) < 1e-9


def test_without_a_plan_they_would_not_be(rng, x64):
    """The same measure sees the vectors that enter and leave when every cell has its own set."""
    positions, multipoles, cell = ref.random_structure(rng, 5, ORTHORHOMBIC)
    engine, system, _ = ref.prepared("periodic", [(positions, cell)], 1.0, 1, accuracy=1e-3)
    roomy = replace(system, k_box=tuple(n + 1 for n in system.k_box))
    path = np.linspace(-1, 1, 25)[:, None, None] * np.diag([0.04, -0.02, 0.0])
    assert roughness(along(engine, roomy, jnp.asarray(multipoles), 1, path, True)) > 1e-4


@pytest.mark.parametrize("accuracy", [1e-3, 1e-6])
def test_accuracy_until_the_next_plan_and_the_step_to_it(accuracy, x64):
    """At the largest stretch before a new plan: still accurate, and the new plan steps by less."""
    positions, multipoles, cell = screened("water", 1)
    stretch = 1.0 + STRAIN_MARGIN
    results = {}
    for name, planned, requested in (
        ("old", cell, accuracy),
        ("new", stretch * cell, accuracy),
        ("true", stretch * cell, 1e-13),
    ):
        engine, system, _ = ref.prepared("periodic", [(positions, planned)], 0.9, 1, requested)
        energy = ref.energy_of(engine, system, jnp.asarray(multipoles), 1, 0.9)
        function = jax.value_and_grad(lambda r, e=energy: e(r, stretch * cell[None]).sum())
        results[name] = jax.jit(function)(jnp.asarray(stretch * positions))
    true_energy, true_force = results["true"]
    size = float(jnp.sqrt(jnp.mean(true_force**2)))
    scale = max(abs(float(true_energy)), 1.0)
    for name in ("old", "new"):
        energy, force = results[name]
        assert np.sqrt(np.mean((force - true_force) ** 2)) < accuracy * size
        assert abs(energy - true_energy) < 100 * accuracy * scale
    assert 0 < abs(results["old"][0] - results["new"][0]) < accuracy * scale
    step = np.sqrt(np.mean((results["old"][1] - results["new"][1]) ** 2))
    assert step < accuracy * size


def test_taper_has_two_derivatives():
    inner, outer = (np.asarray(k2) for k2 in squared_reach(1.0, 1.0, 1e-3, 1))
    k2 = np.linspace(inner - 0.1, outer + 0.1, 4001)
    with jax.enable_x64(True):
        values = np.asarray(taper(jnp.asarray(k2), inner, outer))
        second = jax.vmap(jax.grad(jax.grad(taper)), (0, None, None))(jnp.asarray(k2), inner, outer)
    assert np.all(values[k2 <= inner] == 1) and np.all(values[k2 >= outer] == 0)
    assert np.all(np.diff(values) <= 1e-15)
    assert np.abs(np.diff(second)).max() < 0.02 * np.abs(second).max()


def breathing(cell, plan, swing, steps=200):
    """How often a cell that swings about another is planned anew."""
    plans = 0
    for t in range(steps):
        now = (cell[1] + swing * np.sin(0.7 * t)) * cell[0]
        if replan_needed(plan, now):
            plan, plans = now, plans + 1
    return plans


def test_small_breathing_never_replans():
    assert breathing((ref.TRICLINIC, 1.0), ref.TRICLINIC, 0.99 * STRAIN_MARGIN) == 0


@pytest.mark.parametrize("threshold", [1 + STRAIN_MARGIN, 1 - COMPRESSION_MARGIN])
def test_a_cell_at_the_threshold_is_planned_once(threshold):
    swing = 0.45 * STRAIN_MARGIN
    assert breathing((ref.TRICLINIC, threshold), ref.TRICLINIC, swing) == 1


def test_replan_follows_the_largest_stretch(rng):
    cell = ref.LEFT_HANDED
    assert not replan_needed(cell, cell @ random_rotation(rng))
    axis = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    for stretch, needed in [(0.99, False), (1.01, True), (-3.0, False), (-3.5, True)]:
        strain = axis @ np.diag([stretch * STRAIN_MARGIN, 0, 0]) @ axis.T
        assert replan_needed(cell, cell @ (np.eye(3) + strain)) == needed
        batch = np.stack([cell, cell])
        assert replan_needed(batch, np.stack([cell, cell @ (np.eye(3) + strain)])) == needed
    assert replan_needed(cell, np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]]) @ cell)
    with pytest.raises(DataError, match="span a volume"):
        replan_needed(cell, np.zeros((3, 3)))
    with pytest.raises(DataError, match="span a volume"):
        replan_needed(cell, np.full((3, 3), np.nan))
