"""The polarisation of models in every boundary: wrapping, fields and labels modulo quanta."""

import dataclasses

import numpy as np
import pytest

from electrojax import testing
from electrojax.system.batching import build_sample, capacity_for, collate
from electrojax.training.loss import loss
from electrojax.typing import replace
from tests.conformance.models import compiled, potential, system_of

FIELD = np.array([0.05, -0.1, 0.2])
PERIODIC = {"periodic": (True, True, True), "slab": (True, False, True)}
FORMAL = np.array([1.0, -2.0, 1.0, -2.0])


def crystal(boundary, **inputs):
    rng = np.random.default_rng(3)
    frame = testing.crystal(rng, n=4, length=4.4, pbc=PERIODIC[boundary], **inputs)
    stretched = frame.cell * np.array([[1.0], [3.0], [1.0]]) if boundary == "slab" else frame.cell
    return dataclasses.replace(frame, cell=stretched, formal_charges=FORMAL, total_charge=-2.0)


def molecule():
    return testing.cluster(np.random.default_rng(1), n=5, spacing=1.0)


@pytest.mark.parametrize("boundary", PERIODIC)
def test_wrapping_an_atom_changes_no_force_and_the_energy_by_whole_quanta(x64, boundary):
    model, run = potential("light", "local"), compiled("light", "local")
    frame = crystal(boundary, external_field=FIELD)
    before = run(system_of(model, [frame]))
    for atom, axis in ((0, 0), (1, 2), (3, 2)):
        positions = frame.positions.copy()
        positions[atom] += 2 * frame.cell[axis]
        after = run(system_of(model, [dataclasses.replace(frame, positions=positions)]))
        quantum = 2 * FORMAL[atom] * frame.cell[axis]
        change = after.polarization[0] - before.polarization[0]
        np.testing.assert_allclose(change, quantum, atol=1e-9)
        np.testing.assert_allclose(after.energy - before.energy, -FIELD @ quantum, atol=1e-9)
        np.testing.assert_allclose(after.forces, before.forces, atol=1e-9)


@pytest.mark.parametrize("boundary", ["open", *PERIODIC])
def test_polarization_is_minus_the_field_derivative(x64, boundary):
    model, run = potential("light", "local"), compiled("light", "local")
    system = system_of(model, [molecule() if boundary == "open" else crystal(boundary)])

    def energy(field):
        return float(run(replace(system, external_field=field[None])).energy[0])

    prediction = run(system)
    testing.assert_gradient(energy, -prediction.polarization[0], np.zeros(3), rtol=1e-8)
    if boundary == "open":
        np.testing.assert_allclose(prediction.polarization, prediction.dipole, rtol=1e-12)


def test_a_boxed_molecule_has_its_open_dipole(x64):
    """Up to what the finite cell does to the charges: nothing, for a local density."""
    model, run = potential("light", "local"), compiled("light", "local")
    boxed = dataclasses.replace(molecule(), cell=np.eye(3) * 30.0, pbc=(True, True, True))
    free, inside = (run(system_of(model, [frame])) for frame in (molecule(), boxed))
    np.testing.assert_allclose(inside.polarization, free.dipole, atol=1e-3)
    assert np.linalg.norm(free.dipole) > 0.1


@pytest.mark.parametrize("boundary", PERIODIC)
def test_labels_on_any_branch_give_the_same_loss(x64, boundary):
    model, run = potential("light", "local"), compiled("light", "local")
    frame = crystal(boundary)
    prediction = run(system_of(model, [frame]))
    near = np.asarray(prediction.polarization[0]) + np.array([0.1, -0.2, 0.3])
    axes = [axis for axis in range(3) if frame.pbc[axis]]
    far = near + 3 * frame.cell[axes[0]] - 2 * frame.cell[axes[1]]
    values = []
    for label in (near, far):
        sample = build_sample(replace(frame, labels={"polarization": label}), 4.0)
        batch = collate([sample], capacity_for([sample]), np.float64)
        values.append(float(loss(prediction, batch, {"polarization": 1.0})[0]))
    np.testing.assert_allclose(values, 0.14 / 3 / 4**2, rtol=1e-9)
