"""float32 does not know where a structure stands: molecules, slabs and crystals far away."""

import dataclasses

import numpy as np
import pytest

from electrojax import testing
from electrojax.errors import DataError
from electrojax.models.predict import predict_frames
from electrojax.system.batching import FARTHEST, build_sample
from electrojax.system.geometry import places
from tests.conformance.models import potential


def moved(frame, shift):
    return dataclasses.replace(frame, positions=frame.positions + np.asarray(shift))


@pytest.fixture(scope="module")
def single():
    return potential("light", "qeq", "float32")


@pytest.mark.parametrize("charge", [0.0, 1.0])
def test_a_far_molecule_is_the_near_one(single, rng, charge):
    near = testing.cluster(rng, n=5, total_charge=charge)
    shifts = [np.zeros(3), np.array([1e3, -2e3, 500.0]), np.full(3, 1e5)]
    first, *others = predict_frames(single, [moved(near, s) for s in shifts])
    for shift, far in zip(shifts[1:], others):
        # The origin's part of the dipole is Q d, exact to the 7 digits of the sum.
        expected = first.dipole + charge * shift
        np.testing.assert_allclose(far.dipole, expected, rtol=3e-7, atol=2e-6)
        np.testing.assert_allclose(far.forces, first.forces, rtol=0, atol=1e-5)
        np.testing.assert_allclose(far.charges, first.charges, rtol=0, atol=1e-6)
        assert far.energy == pytest.approx(first.energy, abs=1e-5)
        assert far.converged


@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False)], ids=["crystal", "slab"])
def test_atoms_many_cells_away_are_those_in_the_cell(rng, pbc):
    model = potential("light", "local", "float32")
    frame = testing.crystal(rng, pbc=pbc)
    steps = rng.integers(-400, 400, size=(len(frame.numbers), 3)) * np.array(pbc)
    normal = np.cross(frame.cell[0], frame.cell[1]) * 100.0 * (not pbc[2])
    far = moved(frame, steps @ frame.cell + normal)
    here, there = predict_frames(model, [frame, far])
    np.testing.assert_allclose(there.forces, here.forces, rtol=0, atol=1e-5)
    np.testing.assert_allclose(there.stress, here.stress, rtol=0, atol=1e-6)
    assert there.energy == pytest.approx(here.energy, abs=1e-5)


@pytest.mark.parametrize("pbc", [(False,) * 3, (True,) * 3, (True, True, False)])
def test_places_are_where_the_atoms_were_given(x64, rng, pbc):
    frame = testing.crystal(rng, pbc=pbc)
    far = moved(frame, np.array([30.0, -70.0, 110.0]))
    system = build_sample(far, 4.0).system
    np.testing.assert_allclose(places(system), far.positions, rtol=0, atol=1e-12)
    assert np.abs(system.positions).max() < 20.0


def test_a_field_sees_where_an_ion_stands(rng):
    """−E·P in every boundary: an ion moved by d in a field has the energy −Q E·d more."""
    model = potential("light", "qeq", "float64")
    field, shift = np.array([0.01, -0.02, 0.03]), np.array([1e3, 300.0, -2e3])
    near = testing.cluster(rng, n=4, total_charge=1.0, external_field=field)
    here, there = predict_frames(model, [near, moved(near, shift)])
    assert there.energy - here.energy == pytest.approx(-np.dot(field, shift), rel=1e-9)
    np.testing.assert_allclose(there.forces, here.forces, rtol=0, atol=1e-9)


def test_what_no_precision_resolves_is_refused(single, rng):
    near = testing.cluster(rng, n=3)
    with pytest.raises(DataError, match=r"atom \d is .* from the origin; needed less than 1e.09"):
        build_sample(moved(near, [2 * FARTHEST, 0, 0]), 4.0)
    apart = near.positions.copy()
    apart[2] += 2e4
    frame = dataclasses.replace(near, positions=apart)
    with pytest.raises(DataError, match="from the middle .* float32 distinguishes 0.001"):
        single.sample(frame)
    potential("light", "qeq", "float64").sample(frame)
