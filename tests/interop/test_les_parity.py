"""Imported MACELES models against mace-torch and les, from files that need neither to be read.

les counts Born charges of crystals with sin(2π Δ/L) L/2π in place of the distance Δ along which
charge moves (P. Zhong et al., arXiv 2504.05169); ours have the distance.
"""

import jax
import numpy as np
import pytest

from electrojax.errors import ConfigError
from electrojax.interop.mace_torch import convert
from electrojax.models.predict import predict, predict_system
from electrojax.system.atoms import frame_from_atoms
from electrojax.system.batching import capacity_for, collate
from electrojax.typing import replace
from tests.interop.mace_golden import FOLDER, read_file, structure

CASES = sorted(path.stem for path in FOLDER.glob("les_*.npz"))
QUICKLY = {"xla_backend_optimization_level": 0}


def model(case):
    arrays, state, config = read_file(case)
    return convert(state, config, head=str(arrays["head"])), arrays


@pytest.mark.parametrize("case", CASES)
def test_energy_forces_stress_and_charges_are_those_of_mace_torch_and_les(case, x64):
    potential, arrays = model(case)
    atoms = structure(arrays)
    found = predict(potential, atoms)
    assert abs(found.energy - float(arrays["energy"])) < 1e-9
    np.testing.assert_allclose(found.forces, arrays["forces"], atol=1e-9)
    latent = arrays["latent_charges"]
    np.testing.assert_allclose(found.charges, latent - latent.mean(), atol=1e-10)
    if atoms.pbc.all():
        np.testing.assert_allclose(found.stress, arrays["stress"], atol=1e-8)


@pytest.mark.parametrize("case", ["les_molecule", "les_one-layer"])
def test_born_charges_of_molecules_are_those_of_les(case, x64):
    potential, arrays = model(case)
    found = predict(potential, structure(arrays), responses=["born_charges"])
    np.testing.assert_allclose(found.responses["born_charges"], arrays["BEC"], atol=1e-9)
    moment = found.charges @ arrays["positions"]
    np.testing.assert_allclose(found.dipole, moment, atol=1e-12)


def test_born_charges_of_a_crystal_are_those_of_les_with_its_distances(x64):
    potential, arrays = model("les_crystal")
    atoms = structure(arrays)
    sample = potential.sample(frame_from_atoms(atoms, "crystal"))
    system, count = collate([sample], capacity_for([sample]), np.float64).system, len(atoms)

    def charges(places):
        moved = replace(system, positions=system.positions.at[:count].set(places))
        density = predict_system(potential.network, potential.params, moved).density
        return density.multipoles.sum(axis=1)[:count, 0]

    system = jax.tree.map(jax.numpy.asarray, system)
    places, length = system.positions[:count], float(atoms.cell[0, 0])
    slopes = np.asarray(jax.jit(jax.jacrev(charges), compiler_options=QUICKLY)(places))  # [j, i, b]
    wave = 2 * np.pi / length
    reach = np.sin(wave * (places[:, None] - places[None])) / wave  # [j, i, a]
    moved = np.einsum("jia,jib->iab", reach, slopes)
    latent = arrays["latent_charges"] - arrays["latent_charges"].mean()
    born = latent[:, None, None] * np.eye(3) + moved
    np.testing.assert_allclose(born, arrays["BEC"], atol=1e-9)


def test_the_files_cover_what_they_are_to_cover():
    options = [read_file(case)[2]["les"] for case in CASES]
    assert {o["remove_self_interaction"] for o in options} == {True, False}
    assert len({o["sigma"] for o in options}) > 2
    for case in CASES:
        arrays = read_file(case)[0]
        assert (
            np.abs(arrays["forces"]).max() > 0.05 and np.abs(arrays["latent_charges"]).max() > 0.1
        )
        assert '"les": "0.1.0"' in str(arrays["versions"])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"use_atomwise": True}, "use_atomwise True"),
        ({"use_epsilon_r_scaling": True}, "use_epsilon_r_scaling True"),
        ({"epsilon_factor": 2.0}, "epsilon_factor 2.0"),
        ({"use_dipoles": False}, "use_dipoles"),
        ({"sigma": None}, "lacks sigma"),
    ],
)
def test_what_is_not_supported_is_named(change, named):
    _, state, config = read_file("les_molecule")
    les = {k: v for k, v in {**config["les"], **change}.items() if v is not None}
    with pytest.raises(ConfigError, match=named):
        convert(state, {**config, "les": les})


def test_every_array_of_charges_is_asked_for():
    _, state, config = read_file("les_molecule")
    for name in [n for n in state if n.startswith("les_readouts") and n.endswith("weight")]:
        with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
            convert({k: v for k, v in state.items() if k != name}, config)
