"""Latent charges: what a field along a slab and across it sees of them."""

import dataclasses

import numpy as np
import pytest

from electrojax import testing
from electrojax.electrostatics.density import dipole
from electrojax.errors import ConfigError
from electrojax.solvers.latent import LatentCharges, mean_of_structures
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


def test_a_perceptron_reads_one_channel_of_charges_alone():
    for options, l_max in (({}, 1), ({"channels": 2}, 0)):
        solver = LatentCharges(readout="perceptron", l_max=l_max, width=1.0, cutoff=4.0, **options)
        with pytest.raises(ConfigError, match=f"l_max {l_max}"):
            solver._check_perceptron()


def test_means_are_those_of_each_structure(x64):
    model = potential("light", "latent")
    rng = np.random.default_rng(1)
    frames = [testing.cluster(rng, n=n) for n in (3, 5)]
    system = system_of(model, frames)
    values = np.where(system.node_mask, rng.normal(size=system.n_nodes), 0.0)[:, None]
    found = np.asarray(mean_of_structures(values, system))[:, 0]
    np.testing.assert_allclose(found[:3], values[:3].mean(), atol=1e-14)
    np.testing.assert_allclose(found[3:8], values[3:8].mean(), atol=1e-14)
    assert not np.any(found[8:])
