"""The force field for jax-md: the model's own forces, and simulations that run as printed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import units

import electrojax as ej
from electrojax.errors import DataError
from electrojax.simulation.ase import Calculator
from electrojax.simulation.jaxmd import force_field
from electrojax.testing import crystal
from tests.conformance.models import potential
from tests.simulation.conftest import atoms_of, water

FRAMES = {
    "open": water(2),
    "cell below twice the cutoff": crystal(np.random.default_rng(3), 5, length=4.6),
}


@pytest.mark.conformance_for("open")
@pytest.mark.parametrize("case", FRAMES)
def test_forces_are_those_of_predict_and_of_the_calculator(case, x64):
    model = potential("light", "local", "float64")
    atoms = atoms_of(FRAMES[case], total_charge=1.0)
    energy, neighbors = force_field(model, atoms)
    # Atoms anywhere: moved by a lattice vector, and by a little from where the list was made.
    positions = atoms.positions + atoms.cell[0] * np.arange(len(atoms))[:, None]
    found = neighbors.allocate(positions)
    positions = positions + 0.1 * np.random.default_rng(0).normal(size=positions.shape)
    found = found.update(jnp.asarray(positions))
    assert not bool(found.did_buffer_overflow)
    value, gradient = jax.jit(jax.value_and_grad(energy))(jnp.asarray(positions), found)
    atoms.positions = positions
    expected = ej.predict(model, atoms)
    atoms.calc = Calculator(model)
    assert np.abs(expected.forces).max() > 0.1
    np.testing.assert_allclose(-gradient, expected.forces, atol=1e-8)
    np.testing.assert_allclose(-gradient, atoms.get_forces(), atol=1e-8)
    shift = model.atomic_energy(atoms.numbers)
    np.testing.assert_allclose(value + shift, expected.energy, rtol=1e-12)


def test_float32_forces_agree_as_well():
    model = potential("light", "local", "float32")
    atoms = atoms_of(water(2), total_charge=0.0)
    energy, neighbors = force_field(model, atoms)
    positions = jnp.asarray(atoms.positions)
    gradient = jax.jit(jax.grad(energy))(positions, neighbors.allocate(positions))
    assert gradient.dtype == np.float32
    forces = ej.predict(model, atoms).forces
    np.testing.assert_allclose(-gradient, forces, atol=1e-5 * np.abs(forces).max())


def test_an_energy_function_never_uses_an_outdated_list(x64):
    model = potential("light", "local", "float64")
    atoms = atoms_of(water(2), total_charge=0.0)
    energy, neighbors = force_field(model, atoms, capacity=3.0)
    found = neighbors.allocate(atoms.positions)
    atoms.positions[3:] -= np.array([1.0, 0.0, 0.0])
    shift = model.atomic_energy(atoms.numbers)
    value = jax.jit(energy)(jnp.asarray(atoms.positions), found)
    np.testing.assert_allclose(value + shift, ej.predict(model, atoms).energy, rtol=1e-12)


def test_an_overflowed_list_gives_nan_and_says_so(x64):
    model = potential("light", "local", "float64")
    atoms = atoms_of(water(2), total_charge=0.0)
    energy, neighbors = force_field(model, atoms)
    positions = jnp.asarray(atoms.positions)
    found = neighbors.allocate(positions)
    plan = dataclasses.replace(found.plan, edges=5)
    tight = dataclasses.replace(found, plan=plan).update(positions)
    assert bool(tight.did_buffer_overflow)
    assert np.isnan(jax.jit(energy)(positions, tight))


def test_a_model_that_conditions_on_charge_needs_one():
    model = potential("light", "local", "float64")
    with pytest.raises(DataError, match="conditions on total_charge and none was given"):
        force_field(model, atoms_of(water(1)))
    with pytest.raises(DataError, match=r"total_charge is 1.0 in atoms.info but 0.0 was given"):
        force_field(model, atoms_of(water(1), total_charge=1.0), total_charge=0.0)
    force_field(model, atoms_of(water(1)), total_charge=0.0)
    force_field(potential("light", "local-free", "float64"), atoms_of(water(1)))


def test_a_short_script_conserves_energy_with_jax_md(x64):
    import jax_md

    model = potential("light", "local", "float64")
    atoms = atoms_of(water(2), total_charge=0.0)
    energy, neighbors = force_field(model, atoms)
    shift = jax_md.space.free()[1]
    init, step = jax_md.simulate.nve(energy, shift, dt=0.02 * units.fs)
    found = neighbors.allocate(atoms.positions)
    masses = jnp.asarray(atoms.get_masses())
    state = init(
        jax.random.key(0), jnp.asarray(atoms.positions), 300 * units.kB, mass=masses, neighbor=found
    )

    def advance(_, carry):
        state, found = carry
        found = found.update(state.position)
        return step(state, neighbor=found), found

    @jax.jit
    def total(state, found):
        return energy(state.position, found) + jax_md.simulate.kinetic_energy(state)

    before = total(state, found)
    end, found = jax.jit(lambda c: jax.lax.fori_loop(0, 100, advance, c))((state, found))
    assert not bool(found.did_buffer_overflow)
    assert np.max(np.abs(end.position - state.position)) > 0.01
    assert abs(total(end, found) - before) < 1e-4
