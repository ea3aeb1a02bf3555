"""The ASE calculator: its results, its inputs, and when it computes."""

import dataclasses

import numpy as np
import pytest
from ase.calculators.calculator import PropertyNotImplementedError

import electrojax as ej
from electrojax.errors import ConfigError, DataError
from electrojax.simulation import ase as module
from electrojax.simulation.ase import Calculator
from electrojax.simulation.inputs import frame_with_inputs
from electrojax.testing import crystal
from tests.conformance.models import potential
from tests.simulation.conftest import atoms_of, water


@pytest.fixture
def model():
    return potential("light", "local", "float64")


def test_results_are_those_of_predict(model):
    atoms = atoms_of(water(2), total_charge=1.0)
    atoms.calc = Calculator(model)
    expected = ej.predict(model, atoms)
    assert atoms.get_potential_energy() == expected.energy
    assert atoms.get_potential_energy(force_consistent=True) == expected.energy
    np.testing.assert_array_equal(atoms.get_forces(), expected.forces)
    np.testing.assert_array_equal(atoms.get_charges(), expected.charges)
    np.testing.assert_array_equal(atoms.get_dipole_moment(), expected.dipole)
    terms = atoms.calc.results["energies_by_term"]
    assert {"atomic", "short_range", "coulomb"} <= set(terms)
    assert sum(terms.values()) == pytest.approx(expected.energy, rel=1e-12)
    assert abs(atoms.get_charges().sum() - 1.0) < 1e-9


def test_stress_is_the_derivative_of_the_energy(model, rng):
    frame = crystal(rng, 4, length=5.0)
    atoms = atoms_of(frame, total_charge=0.0)
    atoms.calc = Calculator(model)
    voigt = atoms.get_stress()
    assert voigt.shape == (6,)
    for index, (a, b) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        energies = []
        for h in (1e-4, -1e-4):
            strain = np.eye(3)
            strain[a, b] += h / 2
            strain[b, a] += h / 2
            moved = atoms.copy()
            moved.calc = atoms.calc
            moved.set_cell(frame.cell @ strain, scale_atoms=True)
            energies.append(moved.get_potential_energy())
        slope = (energies[0] - energies[1]) / 2e-4 / atoms.get_volume()
        assert voigt[index] == pytest.approx(slope, abs=1e-6 * np.abs(voigt).max() + 1e-8)
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_dipole_moment()


def test_an_open_cluster_has_no_stress(model):
    atoms = atoms_of(water(1), total_charge=0.0)
    atoms.calc = Calculator(model)
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


def test_charge_and_field_come_from_arguments_or_info(model):
    atoms = atoms_of(water(1))
    atoms.calc = Calculator(model)
    with pytest.raises(DataError, match="conditions on total_charge and none was given"):
        atoms.get_potential_energy()
    atoms.info["total_charge"] = -1.0
    assert abs(atoms.get_charges().sum() + 1.0) < 1e-9
    atoms.calc = Calculator(model, total_charge=0.0)
    with pytest.raises(DataError, match=r"total_charge is -1.0 in atoms.info but 0.0 was given"):
        atoms.get_potential_energy()
    del atoms.info["total_charge"]
    plain = atoms.get_potential_energy()
    dipole = atoms.get_dipole_moment()
    atoms.calc = Calculator(model, total_charge=0.0, external_field=[0.0, 0.1, 0.0])
    # Local charges do not respond to the field: the energy is exactly −E·D.
    assert atoms.get_potential_energy() - plain == pytest.approx(-0.1 * dipole[1], rel=1e-9)


def test_computes_only_when_something_changed(model, monkeypatch):
    calls = []

    def counted(*arguments):
        calls.append(1)
        return original(*arguments)

    original = module.predict_samples
    monkeypatch.setattr(module, "predict_samples", counted)
    atoms = atoms_of(water(1), total_charge=0.0)
    atoms.calc = Calculator(model)
    atoms.get_potential_energy(), atoms.get_forces(), atoms.get_charges()
    assert len(calls) == 1
    atoms.info["total_charge"] = 1.0
    atoms.get_forces(), atoms.get_potential_energy()
    assert len(calls) == 2
    atoms.positions[0] += 0.01
    atoms.get_forces()
    assert len(calls) == 3
    atoms.info["fermi_level"] = -4.0
    atoms.get_forces(), atoms.get_charges()
    assert len(calls) == 4
    atoms.set_array("formal_charges", np.array([-2, 1, 1]))
    atoms.get_forces(), atoms.get_charges()
    assert len(calls) == 5


@pytest.mark.parametrize(
    ("control", "needed"), [("fixed_charge", True), ("fixed_potential", False)]
)
def test_a_charge_is_asked_for_unless_the_potential_decides_it(model, control, needed):
    atoms = atoms_of(water(1), charge_control=control, fermi_level=-4.0)
    if not needed:
        assert frame_with_inputs(model, atoms, {}).fermi_level == -4.0
        return
    with pytest.raises(DataError, match="conditions on total_charge and none was given"):
        frame_with_inputs(model, atoms, {})


def test_a_path_will_do(model_file):
    atoms = atoms_of(water(1), total_charge=0.0)
    atoms.calc = Calculator(model_file)
    other = atoms.copy()
    other.calc = Calculator(str(model_file))
    assert atoms.get_potential_energy() == other.get_potential_energy()


def test_an_unknown_element_is_named(model):
    frame = water(1)
    frame = dataclasses.replace(frame, numbers=np.array([16, 1, 1]))
    atoms = atoms_of(frame, total_charge=0.0)
    atoms.calc = Calculator(model)
    with pytest.raises(DataError, match="contains S"):
        atoms.get_forces()


@pytest.mark.parametrize(
    ("option", "near"),
    [
        ("external_feild", "did you mean 'external_field'"),
        ("charge", "did you mean 'total_charge'"),
        ("label", "known: total_charge"),
    ],
)
def test_an_option_that_does_not_exist_is_refused_with_a_near_name(model, option, near):
    for call in (lambda **k: Calculator(model, **k), Calculator(model).set):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{option}'; {near}"):
            call(**{option: -1})


def test_inputs_can_be_set_later(model):
    atoms = atoms_of(water(1))
    atoms.calc = Calculator(model, total_charge=0.0, atoms=atoms)
    plain, dipole = atoms.get_potential_energy(), atoms.get_dipole_moment()
    assert atoms.calc.set(external_field=[0.0, 0.1, 0.0]) == {"external_field": [0.0, 0.1, 0.0]}
    assert atoms.get_potential_energy() - plain == pytest.approx(-0.1 * dipole[1], rel=1e-9)
    atoms.calc.set(external_field=None)
    assert atoms.get_potential_energy() == plain
    assert atoms.calc.todict() == {"total_charge": 0.0}


def test_a_single_model_computes_in_double_precision_on_request(model):
    single = potential("light", "local", "float32")
    energies = []
    for given, precision in ((model, None), (single, "float64"), (single, None)):
        atoms = atoms_of(water(1), total_charge=0.0)
        atoms.calc = Calculator(given, precision=precision)
        energies.append(atoms.get_potential_energy())
        assert atoms.calc.model.precision == (precision or given.precision)
    # The parameters of both were drawn in float64 and differ by their rounding to float32.
    assert abs(energies[1] - energies[0]) < 1e-4 and energies[2] != energies[1]
    with pytest.raises(ConfigError, match='"double" does not exist; choose float32 or float64'):
        Calculator(single, precision="double")


def test_a_kind_that_always_keeps_the_total_charge_asks_for_it():
    model = potential("light", "non-scf")
    atoms = atoms_of(water(1))
    atoms.calc = Calculator(model)
    with pytest.raises(DataError, match="conditions on total_charge and none was given"):
        atoms.get_potential_energy()
