"""Fixed potential on a slab: refused without a counter charge, by the name of the structure."""

import dataclasses

import numpy as np
import pytest

from electrojax import testing
from electrojax.errors import DataError
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
