"""ej.predict: one or many, any order, any mixture; and errors for what cannot be predicted."""

import dataclasses

import ase
import numpy as np
import pytest

import electrojax as ej
from electrojax import testing
from electrojax.errors import ConfigError, DataError
from electrojax.models.potential import assemble
from electrojax.models.predict import predict_frames
from electrojax.system.atoms import frame_from_atoms
from tests.conformance.models import STATISTICS, potential


@pytest.fixture(scope="module")
def model():
    return potential("light", "local", "float64")


def frames(rng):
    return [
        testing.cluster(rng, n=5),
        testing.crystal(rng),
        testing.cluster(rng, n=9, total_charge=1.0),
    ]


def test_many_equal_one_by_one(model, rng):
    structures = frames(rng)
    together = predict_frames(model, structures)
    for frame, prediction in zip(structures, together):
        (alone,) = predict_frames(model, [frame])
        np.testing.assert_allclose(prediction.energy, alone.energy, rtol=1e-12)
        np.testing.assert_allclose(prediction.forces, alone.forces, atol=1e-10)
        np.testing.assert_allclose(prediction.charges.sum(), frame.total_charge, atol=1e-12)
        atomic = np.dot(np.bincount(frame.numbers, minlength=9)[[1, 8]], STATISTICS.atomic_energies)
        np.testing.assert_allclose(prediction.energies["atomic"], atomic)
        np.testing.assert_allclose(sum(prediction.energies.values()), prediction.energy)
    assert np.isnan(together[0].stress).all() and np.isfinite(together[1].stress).all()
    assert np.isnan(together[1].dipole).all() and np.isfinite(together[0].dipole).all()


def test_single_atoms_object_and_list(model, rng):
    frame = testing.cluster(rng)
    atoms = ase.Atoms(numbers=frame.numbers, positions=frame.positions, info={"total_charge": 1})
    one, many = ej.predict(model, atoms), ej.predict(model, [atoms])
    assert one.energy == many[0].energy
    np.testing.assert_allclose(one.charges.sum(), 1.0, atol=1e-12)


def test_unknown_element(model, rng):
    frame = testing.cluster(rng, numbers=(1, 16))
    with pytest.raises(DataError, match="contains S, which.*known: H, O"):
        predict_frames(model, [frame])


def test_undetermined_composition(rng):
    """Trained on water alone, a model cannot tell H from O; only whole waters have an energy."""
    model = potential("light", "none", "float64")
    water_only = dataclasses.replace(model.statistics, undetermined=((1, -2),))
    model = dataclasses.replace(model, statistics=water_only)
    water = testing.cluster(rng, n=3, numbers=(1, 8, 1))
    predict_frames(model, [dataclasses.replace(water, numbers=np.array([8, 1, 1]))])
    with pytest.raises(DataError, match="not determined.*H - 2 O"):
        predict_frames(model, [dataclasses.replace(water, numbers=np.array([8, 8, 1]))])


@pytest.mark.parametrize("structure", [testing.cluster, testing.crystal])
def test_a_field_without_charges_is_refused(structure, rng):
    frame = structure(rng, external_field=np.array([0.0, 0.0, 0.1]))
    with pytest.raises(DataError, match="external_field, which solver kind none does not feel"):
        predict_frames(potential("light", "none"), [frame])


def test_slab_works_without_charges(rng):
    none = potential("light", "none", "float64")
    frame = testing.crystal(rng, pbc=(True, True, False))
    (prediction,) = predict_frames(none, [frame])
    assert np.isfinite(prediction.forces).all()


def test_unknown_kind_and_option():
    config = dict(potential("light", "none").config)
    with pytest.raises(ConfigError, match="magic.*choose from"):
        assemble({**config, "solver": {"kind": "magic"}}, STATISTICS, "float32")
    with pytest.raises(ConfigError, match="model.solver.*strength"):
        assemble({**config, "solver": {"kind": "none", "strength": 2}}, STATISTICS, "float32")


def test_inputs_of_atoms_are_checked():
    with pytest.raises(DataError, match="no atoms"):
        frame_from_atoms(ase.Atoms())
    atoms = ase.Atoms("H", info={"external_field": [1.0, 2.0]})
    with pytest.raises(DataError, match="3 components"):
        frame_from_atoms(atoms, "frame 3")
    atoms.info = {"total_charge": float("nan")}
    with pytest.raises(DataError, match="total_charge is nan; needed a finite number"):
        frame_from_atoms(atoms)


def test_one_atom_and_far_apart_atoms(model):
    lonely = dataclasses.replace(
        testing.cluster(np.random.default_rng(0), n=1), numbers=np.array([8])
    )
    apart = dataclasses.replace(
        testing.cluster(np.random.default_rng(0), n=2), positions=np.array([[0.0] * 3, [50.0] * 3])
    )
    for prediction in predict_frames(model, [lonely, apart]):
        assert np.isfinite(prediction.energy) and np.isfinite(prediction.forces).all()


def test_structures_that_check_refuses_are_not_predicted(model):
    """Overlapping atoms, in a cell or by its images, a cell of NaN, and what is no structure."""
    water = ase.Atoms("OHH", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    twice = ase.Atoms("OHHOHH", np.concatenate([water.positions, water.positions + 1e-6]))
    with pytest.raises(DataError, match=r"structure 1: atoms \d and \d are .* Å apart"):
        ej.predict(model, [water, twice])
    image = ase.Atoms("OO", [[0, 0, 0], [5.0, 0.01, 0]], cell=np.eye(3) * 5.0, pbc=True)
    with pytest.raises(DataError, match=r"structure 0: atoms 0 and 1 are 0\.01 Å apart"):
        ej.predict(model, image)
    image.set_cell(np.full((3, 3), np.nan))
    with pytest.raises(DataError, match="structure 0: the cell is nan"):
        ej.predict(model, image)
    far = ase.Atoms("OHH", [[0, 0, 0], [0.96, 0, 0], [1e8, 0, 0]])
    with pytest.raises(DataError, match="structure 0: atom 2 is .* away from the others"):
        ej.predict(model, far)
    with pytest.raises(DataError, match="needed ase.Atoms or a sequence of them, got NoneType"):
        ej.predict(model, None)
    with pytest.raises(DataError, match="structure 1: is a str; needed ase.Atoms"):
        ej.predict(model, [water, "water.xyz"])


def test_a_charge_under_another_name_is_refused(model, rng):
    frame = testing.cluster(rng)
    atoms = ase.Atoms(numbers=frame.numbers, positions=frame.positions, info={"charge": 1})
    with pytest.raises(DataError, match=r"structure 1: atoms.info\['charge'\] is 1 .*total_charge"):
        ej.predict(model, [ase.Atoms("OH2", np.eye(3)), atoms])
    atoms.info["charge"] = 0  # what is taken
    assert abs(ej.predict(model, atoms).charges.sum()) < 1e-12
    atoms.info.update(charge=5, total_charge=1, spin=2)  # this model reads no multiplicity
    assert ej.predict(model, atoms).charges.sum() == pytest.approx(1.0, abs=1e-12)


def test_initial_charges_of_ase_are_no_total_charge(model, rng):
    frame = testing.cluster(rng)
    atoms = ase.Atoms(numbers=frame.numbers, positions=frame.positions)
    atoms.set_initial_charges([1.0] + [0.0] * (len(atoms) - 1))
    with pytest.raises(DataError, match=r"sum of the initial charges is 1\.0 .*total_charge"):
        ej.predict(model, atoms)
    atoms.info["total_charge"] = 1.0
    assert ej.predict(model, atoms).charges.sum() == pytest.approx(1.0, abs=1e-12)


def test_a_charge_that_no_energy_depends_on_may_have_any_name(rng):
    plain = potential("light", "none", "float64")
    frame = testing.cluster(rng)
    atoms = ase.Atoms(numbers=frame.numbers, positions=frame.positions, info={"charge": 1})
    assert np.isfinite(ej.predict(plain, atoms).energy)
    atoms.info["efield"] = [0.0, 0.0, 0.1]
    with pytest.raises(DataError, match="external_field"):
        ej.predict(plain, atoms)
