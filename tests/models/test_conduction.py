"""The polarisation of a connected conductor along a periodic axis is undefined, and refused."""

import dataclasses

import ase
import ase.io
import jax
import numpy as np
import pytest

import electrojax as ej
from electrojax.errors import ConfigError, DataError
from electrojax.models.conduction import undefined_components
from electrojax.models.potential import assemble
from electrojax.runs.build import open_job
from electrojax.system.atoms import frame_from_atoms
from electrojax.system.batching import capacity_for, collate
from tests.conformance.models import STATISTICS, potential

SPACING = 1.5


def chain(n=4, gap=0.0, width=12.0, **info):
    """Hydrogen atoms in a row along z, which goes around the cell without a gap."""
    positions = np.c_[np.full((n, 2), width / 2), SPACING * np.arange(n)]
    atoms = ase.Atoms(f"H{n}", positions, cell=[width, width, n * SPACING + gap], pbc=True)
    atoms.set_array("formal_charges", np.zeros(n))
    atoms.info.update({"total_charge": 0.0, **info})
    return atoms


def crystal():
    return ase.Atoms("H", [[0, 0, 0]], cell=2.0 * np.eye(3), pbc=True, info={"total_charge": 0.0})


@pytest.mark.parametrize("kind", ["functional", "scf", "qeq"])
def test_kinds_with_free_charges_conduct(kind):
    model = potential("light", kind)
    solver = model.network.solver

    def undefined(atoms):
        system = model.sample(frame_from_atoms(atoms, "structure")).system
        return undefined_components(solver, system).tolist()

    assert undefined(chain()) == [False, False, True]
    assert undefined(chain(gap=8.0)) == [False] * 3
    assert undefined(crystal()) == [True] * 3


@pytest.mark.parametrize("kind", ["local", "latent", "split", "qeq-bounded", "qeq-soft", "non-scf"])
def test_the_others_do_not(kind):
    model = potential("light", kind)
    system = model.sample(frame_from_atoms(chain(), "structure")).system
    assert not undefined_components(model.network.solver, system).any()


def test_a_conductor_has_no_polarisation_where_it_goes_around():
    model = potential("light", "qeq")
    around, ends = ej.predict(model, [chain(), chain(gap=8.0)])
    np.testing.assert_array_equal(np.isnan(around.polarization), [False, False, True])
    np.testing.assert_array_equal(np.isnan(around.energy_polarization), [False, False, True])
    assert np.isfinite(around.energy) and np.all(np.isfinite(around.forces))
    assert np.all(np.isfinite(ends.polarization))


def test_responses_have_the_defined_components_or_are_refused():
    model = potential("light", "qeq")
    found = ej.predict(model, chain(), responses=["polarizability", "born_charges"]).responses
    there = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0]], dtype=bool)
    np.testing.assert_array_equal(np.isfinite(found["polarizability"]), there)
    np.testing.assert_array_equal(
        np.isfinite(found["born_charges"][0]), np.array([[1] * 3, [1] * 3, [0] * 3], dtype=bool)
    )
    with pytest.raises(DataError, match="polarizability of solver kind qeq along x, y, z"):
        ej.predict(model, crystal(), responses=["polarizability"])


def test_a_slab_has_its_normal_component():
    atoms = crystal()
    atoms.pbc, atoms.cell[2, 2] = (True, True, False), 20.0
    found = ej.predict(potential("light", "qeq"), atoms).polarization
    np.testing.assert_array_equal(np.isnan(found), [True, True, False])


def test_fragments_that_end_have_one():
    """Two halves of a chain that exchange no charge; as one fragment it goes around."""
    model = potential("light", "qeq")
    parts = dataclasses.replace(
        model, network=model.network.clone(solver=model.network.solver.clone(fragments=True))
    )
    atoms = chain()
    atoms.set_array("fragment", np.array([0, 0, 1, 1]))
    assert np.all(np.isfinite(ej.predict(parts, atoms).polarization))
    atoms.set_array("fragment", np.zeros(4, dtype=int))
    assert np.isnan(ej.predict(parts, atoms).polarization[2])


@pytest.mark.parametrize("n", [3, 6])
def test_bounded_transfers_around_a_chain_in_closed_form(n, x64):
    """α_zz/N = 2 w² a² = 0.22341 e·Å²/V with w = f(a) ln 2 and the polynomial cutoff f of 2 Å.

    A uniform field moves t = w² E a along each of two edges per atom, and nothing is charged.
    """
    config = {
        "backbone": {"kind": "light", "cutoff": 2.0, "channels": 4, "layers": 1},
        "density": {"l_max": 0, "width": 1.1},
        "coulomb": {"boundary": "auto", "method": "auto", "accuracy": 1e-8, "finite_size": "none"},
        "solver": {"kind": "qeq", "transfers": "bounded", "tolerance": 1e-12},
    }
    model = assemble(config, STATISTICS, "float64")
    sample = model.sample(frame_from_atoms(chain(n), "chain"))
    system = collate([sample], capacity_for([sample]), np.float64).system
    params = jax.tree.map(np.zeros_like, model.init(0, system))
    asked = dataclasses.replace(model, params=params)
    found = ej.predict(asked, chain(n), responses=["polarizability"]).responses["polarizability"]
    u, p = SPACING / 2.0, 6
    f = (
        1
        - (p + 1) * (p + 2) / 2 * u**p
        + p * (p + 2) * u ** (p + 1)
        - p * (p + 1) / 2 * u ** (p + 2)
    )
    expected = 2 * (f * np.log(2)) ** 2 * SPACING**2
    assert expected == pytest.approx(0.22341, abs=1e-5)
    assert found[2, 2] / n == pytest.approx(expected, rel=1e-9)


RUN = """
include: [model/light, solver/{solver}]
run: {{name: small}}
data:
  train: {{path: train.xyz}}
  valid: {{path: valid.xyz}}
model: {{backbone: {{cutoff: 3.0}}}}
train: {{epochs: 1, loss: {{energy: 1, polarization: 1}}}}
"""


@pytest.mark.parametrize(("gap", "solver"), [(0.0, "qeq"), (5.0, "qeq"), (0.0, "local")])
def test_training_on_it_is_refused_where_it_is_undefined(tmp_path, monkeypatch, rng, gap, solver):
    monkeypatch.chdir(tmp_path)
    frames = []
    for _ in range(5):
        atoms = chain(gap=gap, REF_energy=rng.normal(), REF_polarization=rng.normal(size=3))
        atoms.positions += 0.02 * rng.normal(size=(4, 3))
        atoms.arrays["REF_forces"] = rng.normal(size=(4, 3))
        frames.append(atoms)
    ase.io.write("train.xyz", frames[:3])
    ase.io.write("valid.xyz", frames[3:])
    (tmp_path / "run.yaml").write_text(RUN.format(solver=solver))
    if gap or solver == "local":
        samples = open_job("run.yaml", ()).samples["train"]
        assert all("polarization" in sample.labels for sample in samples)
        return
    with pytest.raises(ConfigError, match=r"run\.yaml:\d+  train\.stages.*polarization of solver"):
        open_job("run.yaml", ())
