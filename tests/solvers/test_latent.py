"""Latent charges: what a field along a slab and across it sees of them."""

import dataclasses

import numpy as np

from electrojax import testing
from electrojax.electrostatics.density import dipole
from tests.conformance.models import compiled, potential, system_of

DIELECTRIC = 1.7
"""Of the model ``latent`` of the conformance suite."""


def test_across_a_slab_the_dynamical_charge_is_that_along_it_over_epsilon(x64):
    """√ε∞ q along the plane, q/√ε∞ along the normal, where the field inside is E/ε∞."""
    model = potential("light", "latent")
    assert model.network.solver.dielectric_constant == DIELECTRIC
    frame = testing.crystal(np.random.default_rng(3), n=4, length=4.4, pbc=(True, False, True))
    stretched = dataclasses.replace(frame, cell=frame.cell * np.array([[1.0], [3.0], [1.0]]))
    system = system_of(model, [stretched])
    prediction = compiled("light", "latent")(system)
    normal = np.cross(stretched.cell[2], stretched.cell[0])
    normal /= np.linalg.norm(normal)
    moment = np.asarray(dipole(prediction.density, system)[0])
    across = np.asarray(prediction.polarization[0]) @ normal
    np.testing.assert_allclose(across, moment @ normal / DIELECTRIC, rtol=1e-10)
    assert abs(across) > 1e-3
