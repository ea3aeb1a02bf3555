"""The periodic sum against brute force, known constants and its own promises."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax.electrostatics.energy import coulomb_energy
from electrojax.electrostatics.engines.periodic import PeriodicCoulomb
from electrojax.errors import CapacityError, ConfigError
from electrojax.typing import replace
from tests.electrostatics import reference as ref


@pytest.mark.parametrize("cell", [ref.TRICLINIC, ref.LEFT_HANDED], ids=["triclinic", "left-handed"])
@pytest.mark.parametrize("l_max", [0, 1, 2])
def test_energy_against_a_complex_sum(cell, l_max, rng):
    """Charged and neutral alike: k = 0 is left out on both sides."""
    positions, multipoles, cell = ref.random_structure(rng, 5, cell, l_max)
    expected = ref.reciprocal_energy(positions, multipoles, cell, 0.9)
    options = {"cell": cell, "boundary": "periodic", "accuracy": 1e-12}
    energy = coulomb_energy(positions, multipoles, 0.9, **options)
    assert abs(energy - expected) < 1e-11 * abs(expected)


def test_quadrupoles_are_clusters_of_charges(rng):
    """The same sum over displaced charges, which knows nothing of multipoles."""
    positions, multipoles, cell = ref.random_structure(rng, 3, l_max=2)

    def of_charges(sites, charges, widths):
        return ref.reciprocal_energy(sites, charges[:, None], cell, widths[0])

    expected = ref.displaced_energy(positions, multipoles, 1.1, of_charges, step=0.6)
    options = {"cell": cell, "boundary": "periodic", "accuracy": 1e-12}
    energy = coulomb_energy(positions, multipoles, 1.1, **options)
    assert abs(energy - expected) < 1e-8 * abs(expected)


def test_madelung_constant_of_rock_salt():
    """1.747564594633; images overlap as exp(−(a/2)²/4σ²), 1e-14 at σ = 0.25 Å."""
    grid = np.array([[i, j, k] for i in range(2) for j in range(2) for k in range(2)])
    charges = 1.0 - 2.0 * (grid.sum(axis=1) % 2)
    options = {"boundary": "periodic", "self_interaction": False, "accuracy": 1e-12}
    energy = coulomb_energy(2.82 * grid, charges, 0.25, 5.64 * np.eye(3), **options)
    assert abs(-energy / 4 * 2.82 / ref.K_E - 1.747564594633) < 1e-10


def test_charged_wigner_crystal():
    """−½ 2.837297479 k_e q²/L, after the background's share of the Gaussian, 2π k_e σ² q²/L³."""
    length, sigma = 6.0, 0.4
    options = {"boundary": "periodic", "self_interaction": False}
    energy = coulomb_energy(np.zeros((1, 3)), [1.5], sigma, length * np.eye(3), **options)
    gaussian = 2 * np.pi * sigma**2 / length**3
    expected = ref.K_E * 1.5**2 * (-0.5 * 2.837297479 / length + gaussian)
    assert abs(energy - expected) < 1e-8


def test_wrapped_atoms_and_supercells(rng):
    positions, multipoles, cell = ref.random_structure(rng, 5)
    options = {"boundary": "periodic", "accuracy": 1e-12}
    energy = coulomb_energy(positions, multipoles, 1.0, cell, **options)
    shifted = positions + rng.integers(-4, 5, (5, 3)) @ cell
    assert abs(coulomb_energy(shifted, multipoles, 1.0, cell, **options) - energy) < 1e-11
    other = np.array([[1, 1, 0], [0, 1, 0], [-1, 0, 1]]) @ cell
    assert abs(coulomb_energy(positions, multipoles, 1.0, other, **options) - energy) < 1e-10
    twice = np.concatenate([positions, positions + cell[1]])
    double = np.diag([1, 2, 1]) @ cell
    doubled = coulomb_energy(twice, np.tile(multipoles, (2, 1)), 1.0, double, **options)
    assert abs(doubled - 2 * energy) < 1e-10 * abs(energy)


def test_potential_averages_to_zero_over_the_cell(rng, x64):
    """The gauge: probes of zero charge on a grid feel a potential whose mean is zero."""
    positions, multipoles, cell = ref.random_structure(rng, 3, l_max=0)
    grid = np.stack(np.meshgrid(*[np.arange(8) / 8] * 3), -1).reshape(-1, 3) @ cell
    sites = np.concatenate([positions, grid])
    charges = np.concatenate([multipoles, np.zeros((512, 1))])
    _, _, operator = ref.prepared("periodic", [(sites, cell)], 1.2, 0)
    potential = np.asarray(ref.potential(operator, charges))[3:]
    assert np.abs(potential).max() > 0.1
    assert abs(potential.mean()) < 1e-6


@pytest.mark.parametrize(
    ("kind", "l_max", "width"), [("water", 0, 1.5), ("water", 1, 0.7), ("salt", 0, 1.0)]
)
def test_requested_accuracy_is_met(kind, l_max, width, x64):
    """Forces and energy against a sum with a far larger cutoff, from 1e-3 to 1e-8."""
    positions, multipoles, cell = screened(kind, l_max)
    values = {}
    for accuracy in (1e-3, 1e-5, 1e-8, 1e-13):
        engine, system, _ = ref.prepared("periodic", [(positions, cell)], width, l_max, accuracy)
        energy = ref.energy_of(engine, system, jnp.asarray(multipoles), l_max, width)
        function = jax.value_and_grad(lambda r, e=energy, s=system: e(r, s.cell).sum())
        values[accuracy] = jax.jit(function)(system.positions)
    true_energy, true_force = values.pop(1e-13)
    for accuracy, (energy, force) in values.items():
        error = np.sqrt(np.mean((force - true_force) ** 2) / np.mean(true_force**2))
        assert error < accuracy
        assert abs(energy - true_energy) < 100 * accuracy * max(abs(float(true_energy)), 1.0)


def screened(kind, l_max):
    """Neutral molecules, or an ionic crystal with small displacements: few long waves."""
    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3), -1).reshape(-1, 3)
    if kind == "salt":
        cell = 5.64 * np.eye(3)
        positions = 2.82 * grid + rng.normal(size=grid.shape) * 0.03
        charges = 1.0 - 2.0 * (grid.sum(axis=1) % 2)
    else:
        cell, water = 6.2 * np.eye(3), np.array([[0, 0, 0], [0.9572, 0, 0], [-0.24, 0.927, 0]])
        turns = [np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in grid]
        positions = np.concatenate([3.1 * g + water @ q for g, q in zip(grid, turns)])
        charges = np.tile([-0.8, 0.4, 0.4], 8)
    dipoles = 0.1 * rng.normal(size=(len(charges), 3))
    return positions, np.c_[charges, dipoles][:, : 1 + 3 * l_max], cell


def test_no_energy_steps_under_a_changing_cell(rng, x64):
    """At accuracy 1e-2 k-vectors would enter and leave; the planned set does not change."""
    positions, multipoles, cell = ref.random_structure(rng, 5)
    engine, system, _ = ref.prepared("periodic", [(positions, cell)], accuracy=1e-2)
    energy = ref.energy_of(engine, system, jnp.asarray(multipoles), 1, 1.0)
    scales = np.linspace(0.95, 1.05, 201)
    values = jax.jit(jax.vmap(lambda s: energy(s * system.positions, s * system.cell)[0]))(scales)
    third = np.abs(np.diff(np.asarray(values), 3))
    assert third.max() < 1e-6 * np.ptp(values)
    replanned = [len(used_vectors(engine, s * cell)) for s in scales[::20]]
    assert len(set(replanned)) > 1


def used_vectors(engine, cell):
    system = ref.batch([(np.zeros((1, 3)), cell)], "periodic", engine, 1.0, 1)
    return np.flatnonzero(np.asarray(ref.prepare(engine, 1, 1.0, system).weight))


def test_blocks_of_atoms_change_nothing(rng, x64):
    large, small = ref.random_structure(rng, 50, l_max=0), ref.random_structure(rng, 21, l_max=0)
    structures = [(large[0], large[2]), (small[0], small[2])]
    engine, system, _ = ref.prepared("periodic", structures, l_max=0, accuracy=1e-3)
    p = jnp.asarray(np.concatenate([large[1], small[1]]))
    results = []
    for each in (engine, dataclasses.replace(engine, table_block=1)):
        operator = ref.prepare(each, 0, 1.0, system)
        assert operator.block == (50 if each is engine else 13)
        energy = ref.energy_of(each, system, p, 0, 1.0)
        gradient = jax.grad(lambda r, e=energy: e(r, system.cell).sum())
        square = jax.value_and_grad(lambda r, g=gradient: jnp.sum(g(r) ** 2))
        values = ref.potential(operator, p), ref.energy(operator, p)
        results.append((*values, *jax.jit(square)(system.positions)))
    for whole, blocked in zip(*results):
        np.testing.assert_allclose(blocked, whole, rtol=1e-10, atol=1e-10)


def test_blocks_of_atoms_with_dipoles(rng, x64):
    positions, multipoles, cell = ref.random_structure(rng, 40)
    engine, system, operator = ref.prepared("periodic", [(positions, cell)], accuracy=1e-3)
    blocked = ref.prepare(dataclasses.replace(engine, table_block=1), 1, 1.0, system)
    expected = ref.potential(operator, multipoles)
    np.testing.assert_allclose(ref.potential(blocked, multipoles), expected, rtol=1e-11, atol=1e-11)


def test_unplanned_and_unsupported_systems_are_refused(rng, x64):
    positions, _, cell = ref.random_structure(rng, 3)
    engine, system, _ = ref.prepared("periodic", [(positions, cell)])
    with pytest.raises(CapacityError, match="empty k_box"):
        engine.prepare(replace(system, k_box=(0, 0, 0)), 1, 1.0)
    with pytest.raises(ConfigError, match="one width"):
        engine.prepare(system, 1, jnp.ones(3))
    with pytest.raises(CapacityError, match=r"width of 0\.001 Å"):
        engine.k_box(cell, 1e-3, 1)
    with pytest.raises(ConfigError, match="accuracy"):
        PeriodicCoulomb(accuracy=1e-30)
