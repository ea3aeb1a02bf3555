"""The electrostatic potential at the nuclei, as a prediction and as a label."""

import dataclasses

import numpy as np
import pytest
from scipy.special import erf

import electrojax as ej
from electrojax import testing
from electrojax.electrostatics.density import of_one_width
from electrojax.electrostatics.profiles.grid import potential_at
from electrojax.errors import DataError
from electrojax.models.potential import assemble
from electrojax.models.predict import predict_frames
from electrojax.system.batching import collate
from electrojax.system.types import Frame
from electrojax.units import COULOMB
from tests.conformance.models import STATISTICS, capacity, potential

SIGMA = 1.1


def test_open_charges_in_closed_form(x64):
    """φ(r_i) = k_e (q_i √(2/π)/σ + Σ_j q_j erf(r_ij/√2σ)/r_ij), of charges alone."""
    model = potential("light", "local-free")
    config = {**model.config, "density": {"l_max": 0, "width": SIGMA}}
    model = assemble(config, STATISTICS, "float64")
    frame = testing.cluster(np.random.default_rng(1), n=4)
    sample = model.sample(frame)
    params = model.init(3, collate([sample], capacity([sample]), np.float64).system)
    model = dataclasses.replace(model, params=params, responses=("potential",))
    (found,) = predict_frames(model, [frame])
    r = np.linalg.norm(frame.positions[:, None] - frame.positions, axis=-1) + np.eye(4)
    kernel = np.where(np.eye(4) > 0, np.sqrt(2 / np.pi) / SIGMA, erf(r / (np.sqrt(2) * SIGMA)) / r)
    np.testing.assert_allclose(
        found.responses["potential"], COULOMB * kernel @ found.charges, atol=1e-9
    )


@pytest.mark.parametrize(
    ("boundary", "method"),
    [
        ("open", "auto"),
        ("periodic", "auto"),
        pytest.param("slab", "auto", marks=pytest.mark.slow),
        pytest.param("periodic", "mesh_ewald", marks=pytest.mark.slow),
        pytest.param("slab", "mesh_ewald", marks=pytest.mark.slow),
    ],
)
def test_it_is_the_potential_on_a_grid_at_these_points(boundary, method, x64):
    """Charges and dipoles; the sums on grids are another code, tested against displaced charges."""
    rng = np.random.default_rng(2)
    frame = testing.cluster(rng, n=5) if boundary == "open" else testing.crystal(rng, n=5)
    if boundary == "slab":
        frame = dataclasses.replace(frame, pbc=(True, True, False), cell=np.diag([6.0, 6.5, 24.0]))
    model = potential("light", "local", method=method).with_responses(["potential"])
    (found,) = predict_frames(model, [frame])
    tuned = model.tuned_for([frame])
    sample = tuned.sample(frame)
    system = collate([sample], capacity([sample]), np.float64).system
    multipoles = np.zeros((system.n_nodes, 4))
    multipoles[:5] = found.multipoles
    expected = potential_at(
        frame.positions, of_one_width(multipoles, SIGMA), system, tuned.network.engine(boundary)
    )
    np.testing.assert_allclose(found.responses["potential"], expected, atol=2e-6)


@pytest.mark.slow
def test_energies_do_not_notice_that_it_is_asked_for(x64):
    frame = testing.crystal(np.random.default_rng(4))
    model = potential("light", "local")
    plain, asked = (
        predict_frames(m, [frame])[0] for m in (model, model.with_responses(["potential"]))
    )
    assert asked.energy == pytest.approx(plain.energy, abs=1e-7)


def test_a_kind_without_charges_has_none():
    model = potential("light", "none").with_responses(["potential"])
    with pytest.raises(DataError, match="potential needs a solver with physical charges; none has"):
        predict_frames(model, [testing.cluster(np.random.default_rng(0))])


def test_python_asks_by_name(x64):
    from ase import Atoms

    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 1.0]], info={"total_charge": -1.0})
    found = ej.predict(potential("light", "local"), atoms, responses=["potential"])
    assert found.responses["potential"].shape == (2,)
    assert found.quadrupole.shape == (3, 3) and abs(np.trace(found.quadrupole)) < 1e-12
    periodic = Frame(atoms.numbers, atoms.positions, 9 * np.eye(3), (True,) * 3)
    (other,) = predict_frames(potential("light", "local"), [periodic])
    assert np.isnan(other.quadrupole).all()
