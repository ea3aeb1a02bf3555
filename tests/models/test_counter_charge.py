"""Fixed potential on a slab: refused without a counter charge, by the name of the structure."""

import dataclasses

import numpy as np
import pytest

from electrojax import testing
from electrojax.errors import DataError
from electrojax.models.predict import predict_frames
from tests.conformance.coulomb import summed
from tests.conformance.models import potential


def test_a_slab_at_fixed_potential_needs_a_counter_charge(rng):
    model = potential("light", "local", "float32")
    frame = testing.crystal(rng, n=4, length=4.4, pbc=(True, True, False), source="a.xyz frame 7")
    controlled = dataclasses.replace(frame, charge_control="fixed_potential", fermi_level=-4.5)
    model.check(frame)
    model.check(dataclasses.replace(controlled, pbc=(True, True, True)))
    with pytest.raises(DataError, match=r"a\.xyz frame 7: .*needed counter_charge"):
        model.check(controlled)
    plane = summed(model, counter_charge="plane", counter_heights=[3.0])
    plane.check(controlled)
    assert plane.network.engine("slab") != model.network.engine("slab")
    assert plane.tuned_for([frame]).network.engine("slab") == plane.network.engine("slab")
    assert np.isfinite(plane.coulomb_cost([frame])["slab"][1])


@pytest.mark.parametrize("solver", ["scf", "non-scf"])
def test_the_polarisation_of_an_inconsistent_kind_counts_the_counter_charge(solver, x64):
    """P_n = Σ (q z + μ_z) − Q z̄, which does not change where film and plane move together."""
    base = potential("light", solver)
    assert not base.network.solver.consistent
    frame = testing.crystal(
        np.random.default_rng(2), n=4, length=4.4, pbc=(True, True, False), total_charge=1.0
    )
    frame = dataclasses.replace(frame, cell=np.diag([4.4, 4.6, 8.0]))
    found = []
    for height, shift in ((9.0, 0.0), (12.0, 3.0)):
        model = summed(base, counter_charge="plane", counter_heights=[height])
        positions = np.add(frame.positions, [0, 0, shift])
        (one,) = predict_frames(model, [dataclasses.replace(frame, positions=positions)])
        q, moments = one.charges, one.multipoles[:, 2]
        assert abs(q.sum() - 1.0) < 1e-9
        expected = q @ positions[:, 2] + moments.sum() - q.sum() * height
        assert one.polarization[2] == pytest.approx(expected, abs=1e-9)
        found.append(one.polarization[2])
    assert found[0] == pytest.approx(found[1], abs=1e-7)
