"""Chemical potentials and spin densities, wherever predictions come out."""

import dataclasses

import h5py
import numpy as np
import pytest
from ase.calculators.calculator import PropertyNotImplementedError

from electrojax import testing
from electrojax.data.hdf5_writer import write_hdf5
from electrojax.models.predict import predict_frames
from electrojax.runs.evaluate import predicted_atoms, predictions_by_name
from electrojax.simulation.ase import Calculator
from tests.conformance.models import potential
from tests.simulation.conftest import atoms_of


def frames(*sizes, **inputs):
    rng = np.random.default_rng(4)
    return [testing.cluster(rng, n=n, **inputs) for n in sizes]


def test_chemical_potentials_are_slopes_of_the_energy(tmp_path):
    """−dE/dQ, one number over atoms that all exchange charge, in every output."""
    model = potential("light", "qeq")
    one, other = frames(5, 4, total_charge=1.0)
    more, less = (dataclasses.replace(one, total_charge=1.0 + h) for h in (1e-3, -1e-3))
    found, beside, high, low = predict_frames(model, [one, other, more, less])
    slope = -(high.energy - low.energy) / 2e-3
    np.testing.assert_allclose(found.chemical_potential, np.full(5, slope), rtol=1e-6)
    np.testing.assert_allclose(found.fermi_level, slope, rtol=1e-6)
    assert not np.any(found.spin_multipoles)

    pairs = [(one, found), (other, beside)]
    written = predicted_atoms(model, *pairs[0])
    column = written.arrays["electrojax_chemical_potential"]
    np.testing.assert_array_equal(column, found.chemical_potential)
    write_hdf5(tmp_path / "o.h5", [one, other], [predictions_by_name(model, *p) for p in pairs])
    with h5py.File(tmp_path / "o.h5") as file:
        stored = file["predictions/chemical_potential/values"][()]
        assert "spin_multipoles" not in file["predictions"]
    together = [found.chemical_potential, beside.chemical_potential]
    np.testing.assert_array_equal(stored, np.concatenate(together))

    atoms = atoms_of(one, total_charge=1.0)
    atoms.calc = Calculator(model)
    atoms.get_potential_energy()
    level = atoms.calc.results["chemical_potential"]
    np.testing.assert_allclose(level, found.chemical_potential, rtol=1e-9)
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_magnetic_moments()


def test_spin_densities_have_the_unpaired_electrons():
    model = potential("light", "non-scf")
    (frame,) = frames(5, total_charge=1.0, multiplicity=4.0)
    (found,) = predict_frames(model, [frame])
    assert found.spin_multipoles.shape == (5, 4)
    np.testing.assert_allclose(found.spin_multipoles[:, 0].sum(), 3.0, atol=1e-12)
    np.testing.assert_allclose(found.charges.sum(), 1.0, atol=1e-12)
    written = predicted_atoms(model, frame, found)
    spins = written.arrays["electrojax_spin_multipoles"]
    np.testing.assert_array_equal(spins, found.spin_multipoles)
    assert "electrojax_chemical_potential" not in written.arrays

    atoms = atoms_of(frame, total_charge=1.0, multiplicity=4.0)
    atoms.calc = Calculator(model)
    moments = atoms.get_magnetic_moments()
    np.testing.assert_allclose(moments, found.spin_multipoles[:, 0], atol=1e-12)
    np.testing.assert_allclose(atoms.get_magnetic_moment(), 3.0, atol=1e-12)
