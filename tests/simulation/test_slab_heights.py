"""The open axis of a slab is open: no path through the package reads its third vector."""

import dataclasses

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import electrojax as ej
from electrojax.runs.md import run_md
from electrojax.simulation.ase import Calculator
from electrojax.simulation.jaxmd import force_field
from electrojax.testing import crystal
from tests.conformance.models import potential
from tests.simulation.conftest import atoms_of

HEIGHTS = {"low": [0, 0, 6.5], "high": [0, 0, 80.0], "tilted": [2.0, -1.5, 9.0]}
THICKNESS = 6.0
"""Å; nearly all of the lowest cell, where images at the cell's own height would touch."""


def film(third):
    """Charged atoms of H and O between z = 0 and THICKNESS, in the plane 5 Å × 5 Å."""
    frame = crystal(np.random.default_rng(3), 5, length=5.0)
    positions = np.array(frame.positions)
    positions[:, 2] = np.linspace(0.0, THICKNESS, 5)
    cell = np.diag([5.0, 5.0, 0.0])
    cell[2] = third
    frame = dataclasses.replace(
        frame, positions=positions, cell=cell, pbc=(True, True, False), total_charge=0.0
    )
    return atoms_of(frame, total_charge=0.0)


@pytest.fixture(scope="module")
def model():
    return potential("light", "local", "float64")


@pytest.fixture(scope="module")
def reference(model):
    return ej.predict(model, film([0, 0, 40.0]))


@pytest.mark.parametrize("name", HEIGHTS)
def test_predictions_and_the_calculator(name, model, reference):
    atoms = film(HEIGHTS[name])
    atoms.calc = Calculator(model)
    found = ej.predict(model, atoms)
    scale = 1e-6 * max(1.0, abs(reference.energies["coulomb"]))
    assert abs(found.energy - reference.energy) < scale
    assert abs(atoms.get_potential_energy() - reference.energy) < scale
    np.testing.assert_allclose(atoms.get_forces(), reference.forces, atol=1e-6)
    np.testing.assert_allclose(found.polarization, reference.polarization, atol=1e-8)


@pytest.mark.parametrize("name", ["low", "tilted"])
def test_jax_md(name, model, reference, x64):
    atoms = film(HEIGHTS[name])
    energy, neighbors = force_field(model, atoms)
    positions = jnp.asarray(atoms.positions)
    value, gradient = jax.jit(jax.value_and_grad(energy))(positions, neighbors.allocate(positions))
    total = float(value) + model.atomic_energy(atoms.numbers)
    assert abs(total - reference.energy) < 1e-6 * max(1.0, abs(reference.energies["coulomb"]))
    np.testing.assert_allclose(-gradient, reference.forces, atol=1e-6)


def test_the_calculator_follows_a_film_that_grows_beyond_its_first_plan(model):
    atoms = film(HEIGHTS["low"])
    atoms.calc = Calculator(model)
    for stretch in (1.0, 1.5, 3.0):
        atoms.positions[:, 2] = stretch * np.linspace(0.0, THICKNESS, 5)
        other = film(HEIGHTS["high"])
        other.positions[:] = atoms.positions
        expected = ej.predict(model, other)
        assert abs(atoms.get_potential_energy() - expected.energy) < 1e-5
        np.testing.assert_allclose(atoms.get_forces(), expected.forces, atol=1e-5)


def test_molecular_dynamics(md_file):
    """The same forces at every step: trajectories agree, whatever the third vector."""
    ends = []
    for name, third in {**HEIGHTS, "middle": [0, 0, 40.0]}.items():
        path = md_file(name, start=f"{name}.xyz", steps=10)
        ase.io.write(path.parent / f"{name}.xyz", film(third))
        run_md(path, (), "never", lambda line: None)
        ends.append(ase.io.read(path.parent / "runs" / name / "frames.xyz", index=-1))
    for end in ends[:-1]:
        np.testing.assert_allclose(end.positions, ends[-1].positions, atol=1e-6)
        assert abs(end.get_potential_energy() - ends[-1].get_potential_energy()) < 1e-5
    assert np.abs(ends[0].positions - film(HEIGHTS["low"]).positions).max() > 1e-3
