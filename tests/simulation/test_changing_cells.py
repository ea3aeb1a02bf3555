"""A cell that changes: the calculator keeps its Coulomb plan, and the energy has no steps."""

import dataclasses

import ase
import numpy as np
import pytest
from ase.filters import FrechetCellFilter

from electrojax.models.predict import predict_frames
from electrojax.simulation.ase import Calculator
from electrojax.system.atoms import frame_from_atoms
from electrojax.testing import crystal
from tests.conformance.coulomb import summed
from tests.conformance.models import potential
from tests.simulation.conftest import atoms_of

STRAINS = np.concatenate([np.arange(0.0, 0.024, 0.003), np.arange(0.024, 0.0, -0.003)])
ACCURACY = 1e-4


def stretched(atoms: ase.Atoms, strain: float) -> ase.Atoms:
    moved = atoms.copy()
    moved.set_cell(atoms.cell[:] * (1.0 + strain), scale_atoms=True)
    return moved


@pytest.mark.conformance_for("mesh")
@pytest.mark.parametrize("method", ["auto", "mesh"])
def test_a_strain_scan_has_no_steps_and_is_planned_twice(rng, method):
    """Against sums with 1e-8 at every cell: the error never exceeds what the accuracy allows.

    The energy is within 100 × accuracy × |E|, of which a step may be no more than twice.
    """
    exact = potential("light", "local", "float64")
    rough = summed(exact, method=method, accuracy=ACCURACY)
    atoms = atoms_of(crystal(rng, 4, length=5.0), total_charge=0.0)
    calculator, plans, errors = Calculator(rough), [], []
    for strain in STRAINS:
        moved = stretched(atoms, strain)
        moved.calc = calculator
        energy = moved.get_potential_energy()
        frame = frame_from_atoms(moved)
        (truth,) = predict_frames(exact, [frame])
        errors.append((energy - truth.energy) / abs(truth.energies["coulomb"]))
        plans.append(float(calculator._planned.frame.cell[0, 0]))
    assert len(set(plans)) == 2, "planned anew once on the way up, and not on the way back"
    assert np.abs(np.diff(errors)).max() < 100 * ACCURACY
    kept = [b - a for a, b, p, q in zip(errors, errors[1:], plans, plans[1:]) if p == q]
    assert np.abs(kept).max() < 10 * ACCURACY


def test_a_cell_relaxation_follows_its_stress(rng):
    """The energy falls by what the forces and the stress say, step by step."""
    model = summed(potential("light", "local", "float64"), accuracy=ACCURACY)
    frame = crystal(rng, 4, length=5.0)
    atoms = atoms_of(dataclasses.replace(frame, total_charge=0.0), total_charge=0.0)
    atoms.calc = Calculator(model)
    cell = FrechetCellFilter(atoms)
    step = 2e-4
    energies, gains = [atoms.get_potential_energy()], []
    forces = cell.get_forces()
    for _ in range(6):
        before = cell.get_positions()
        cell.set_positions(before + step * forces / np.abs(forces).max())
        moved, later = cell.get_positions() - before, cell.get_forces()
        gains.append(-np.sum(0.5 * (forces + later) * moved))
        energies.append(atoms.get_potential_energy())
        forces = later
    np.testing.assert_allclose(np.diff(energies), gains, rtol=1e-3)
    assert np.all(np.diff(energies) < 0)
