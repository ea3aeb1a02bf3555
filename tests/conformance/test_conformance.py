"""What every solver with every backbone must obey, parametrised over the tables.

MACE with every solver runs under ``pytest -m conformance``; the default run covers it with one.
"""

import dataclasses

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax import testing
from electrojax.models import bundle
from electrojax.models.predict import predict_frames
from electrojax.nn.base import BACKBONES
from electrojax.solvers.base import SOLVERS
from electrojax.system.types import Frame
from electrojax.typing import replace
from tests.conformance import models
from tests.conformance.models import capacity, compiled, potential, system_of

KINDS = [(b, s) for b in models.BACKBONES for s in models.SOLVERS]
EVERYDAY = [("light", s) for s in models.SOLVERS] + [("mace", "local")]
COVERING = [k if k in EVERYDAY else pytest.param(*k, marks=pytest.mark.conformance) for k in KINDS]
BOUNDARIES = ("open", "periodic")
every_pair = pytest.mark.parametrize(("backbone", "solver"), KINDS)
every_kind = pytest.mark.parametrize(("backbone", "solver"), COVERING)
every_boundary = pytest.mark.parametrize("boundary", BOUNDARIES)


def structure(boundary: str, seed: int = 3, solver: str = "local") -> Frame:
    """A charged structure in a field, if the solver feels one."""
    rng = np.random.default_rng(seed)
    feels = boundary in SOLVERS[models.SOLVERS[solver]["kind"]].field_boundaries
    field = np.array([0.05, -0.1, 0.2]) * feels
    if boundary == "open":
        return testing.cluster(rng, n=6, external_field=field, total_charge=1.0)
    return testing.crystal(rng, n=4, length=4.4, external_field=field, total_charge=-1.0)


def test_tables_are_covered():
    """A kind that is not listed here would go untested."""
    assert {options["kind"] for options in models.BACKBONES.values()} == set(BACKBONES)
    assert {options["kind"] for options in models.SOLVERS.values()} == set(SOLVERS)


@every_boundary
@every_pair
def test_forces_are_minus_the_gradient(x64, backbone, solver, boundary):
    model, run = potential(backbone, solver), compiled(backbone, solver)
    system = system_of(model, [structure(boundary, solver=solver)])

    def energy(positions):
        return float(run(replace(system, positions=positions)).energy[0])

    forces = np.asarray(run(system).forces)
    testing.assert_gradient(energy, -forces, system.positions, rtol=1e-7)


@every_kind
def test_stress_is_the_strain_derivative(x64, backbone, solver):
    """With an explicitly strained cell, positions and cell both outside of the model's own code."""
    model, run = potential(backbone, solver), compiled(backbone, solver)
    frame = structure("periodic", solver=solver)
    system = system_of(model, [frame])

    def energy(strain):
        matrix = np.eye(3) + 0.5 * (strain + strain.T)
        moved = replace(
            system, positions=frame.positions @ matrix, cell=(frame.cell @ matrix)[None]
        )
        return float(run(moved).energy[0])

    virial = np.asarray(run(system).stress[0]) * abs(np.linalg.det(frame.cell))
    np.testing.assert_allclose(virial, virial.T, atol=1e-10)
    testing.assert_gradient(energy, virial, np.zeros((3, 3)), rtol=1e-7, step=0.01)


@every_boundary
@every_kind
@pytest.mark.parametrize("inversion", [False, True])
def test_rotation_and_translation(x64, backbone, solver, boundary, inversion):
    model, run = potential(backbone, solver), compiled(backbone, solver)
    frame = structure(boundary, solver=solver)
    matrix = testing.random_rotation(np.random.default_rng(1), inversion)
    shift = np.array([0.7, -2.0, 1.1])
    frame = dataclasses.replace(frame, total_charge=0.0)
    if solver == "local-free" and boundary == "open":  # its net charge moves in the field
        frame = dataclasses.replace(frame, external_field=np.zeros(3))
    moved = testing.transformed(frame, matrix, shift)
    before, after = run(system_of(model, [frame])), run(system_of(model, [moved]))
    np.testing.assert_allclose(after.energy, before.energy, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(after.forces, before.forces @ matrix.T, atol=1e-10)
    np.testing.assert_allclose(after.charges, before.charges, atol=1e-10)
    stress = matrix @ np.asarray(before.stress[0]) @ matrix.T
    np.testing.assert_allclose(after.stress[0], stress, atol=1e-10)
    dipoles = np.asarray(before.density.multipoles)
    if dipoles.shape[-1] == 4:
        rotated = dipoles[:, 0, [3, 1, 2]] @ matrix.T
        np.testing.assert_allclose(
            np.asarray(after.density.multipoles)[:, 0, [3, 1, 2]], rotated, atol=1e-10
        )


@every_boundary
@every_kind
def test_permutation(x64, backbone, solver, boundary):
    model, run = potential(backbone, solver), compiled(backbone, solver)
    frame = structure(boundary, solver=solver)
    order = np.random.default_rng(2).permutation(len(frame.numbers))
    before = run(system_of(model, [frame]))
    after = run(system_of(model, [testing.permuted(frame, order)]))
    np.testing.assert_allclose(after.energy, before.energy, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(after.forces, np.asarray(before.forces)[order], atol=1e-10)
    np.testing.assert_allclose(after.charges, np.asarray(before.charges)[order], atol=1e-10)


@every_boundary
@every_kind
def test_padding_and_batch_mates_change_nothing(x64, backbone, solver, boundary):
    model, run = potential(backbone, solver), compiled(backbone, solver)
    frame, mate = structure(boundary, solver=solver), structure(boundary, 11, solver)
    samples = [model.sample(f) for f in (frame, mate)]
    alone = run(system_of(model, [frame]))
    size = capacity(samples, nodes=5, edges=13, graphs=2)
    n = len(frame.numbers)
    for order, graph, atoms in (
        ([frame, mate], 0, slice(0, n)),
        ([mate, frame], 1, slice(len(mate.numbers), len(mate.numbers) + n)),
    ):
        both = run(system_of(model, order, size))
        np.testing.assert_allclose(both.energy[graph], alone.energy[0], rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(both.forces[atoms], alone.forces, atol=1e-10)
        np.testing.assert_allclose(both.charges[atoms], alone.charges, atol=1e-10)
        np.testing.assert_allclose(both.stress[graph], alone.stress[0], atol=1e-10)
        padding = slice(n + len(mate.numbers), None)
        assert not np.any(both.forces[padding]) and not np.any(both.charges[padding])
        assert not np.any(both.energy[2:])


@every_kind
def test_total_charge_is_conserved(x64, backbone, solver):
    model, run = potential(backbone, solver), compiled(backbone, solver)
    frames = [structure("open", s, solver) for s in (3, 4)]
    frames[1] = dataclasses.replace(frames[1], total_charge=-2.0)
    charges = np.asarray(run(system_of(model, frames)).charges)
    sums = [charges[:6].sum(), charges[6:].sum()]
    expected = {"none": [0.0, 0.0], "local": [1.0, -2.0], "split": [1.0, -2.0]}
    if solver in expected:
        np.testing.assert_allclose(sums, expected[solver], atol=1e-12)
    else:
        assert not np.allclose(sums, [1.0, -2.0], atol=1e-3)


@every_boundary
@every_kind
def test_float32_agrees_with_float64(backbone, solver, boundary):
    frame = structure(boundary, solver=solver)
    with jax.enable_x64(True):
        exact = compiled(backbone, solver)(system_of(potential(backbone, solver), [frame]))
        exact = jax.device_get(exact)
    single = compiled(backbone, solver, "float32")(
        system_of(potential(backbone, solver, "float32"), [frame])
    )
    assert single.forces.dtype == jnp.float32
    scale = np.abs(exact.forces).max()
    np.testing.assert_allclose(single.forces, exact.forces, atol=2e-4 * scale)
    np.testing.assert_allclose(single.charges, exact.charges, atol=1e-4)


@every_kind
def test_one_program_per_capacity(x64, backbone, solver):
    model = potential(backbone, solver)
    run = jax.jit(lambda system: model.apply(model.params, system).energy)
    frames = [structure("open", s, solver) for s in range(3)]
    size = capacity([model.sample(f) for f in frames], edges=20)
    for frame in frames:
        run(system_of(model, [frame], size))
    assert run._cache_size() == 1


@every_kind
def test_save_and_load(x64, backbone, solver, tmp_path):
    model = potential(backbone, solver)
    bundle.save(model, tmp_path / "model.ejx")
    loaded = bundle.load(tmp_path / "model.ejx")
    frame = structure("open", solver=solver)
    (before,), (after,) = predict_frames(model, [frame]), predict_frames(loaded, [frame])
    assert after.energy == before.energy
    np.testing.assert_array_equal(after.forces, before.forces)


@every_boundary
@pytest.mark.parametrize("solver", list(models.SOLVERS))
def test_parameter_gradient_of_a_force_loss(x64, solver, boundary):
    """Second derivatives: what force matching needs."""
    model = potential("light", solver)
    system = system_of(model, [structure(boundary, solver=solver)])
    target = np.random.default_rng(9).normal(size=system.positions.shape)

    @jax.jit
    def loss(params):
        return jnp.sum((model.apply(params, system).forces - target) ** 2)

    flat, unravel = jax.flatten_util.ravel_pytree(model.params)
    gradient, _ = jax.flatten_util.ravel_pytree(jax.jit(jax.grad(loss))(model.params))
    testing.assert_gradient(lambda x: float(loss(unravel(x))), gradient, flat, rtol=1e-6, step=0.02)


@pytest.mark.parametrize("solver", ["local", "local-free", "split"])
def test_dipole_is_minus_the_field_derivative(x64, solver):
    """At fixed geometry a local density does not respond, so E = E0 − field · D exactly."""
    model, run = potential("light", solver), compiled("light", solver)
    system = system_of(model, [structure("open")])

    def energy(field):
        return float(run(replace(system, external_field=field[None])).energy[0])

    dipole = np.asarray(run(system).dipole[0])
    testing.assert_gradient(energy, -dipole, system.external_field[0], rtol=1e-8)


@pytest.mark.parametrize("backbone", list(models.BACKBONES))
def test_an_atom_without_neighbours_can_be_charged(x64, backbone):
    """A separated ion: its features may vanish, its charge must not."""
    model = potential(backbone, "local-free")
    lonely = Frame(np.array([8]), np.zeros((1, 3)), np.zeros((3, 3)), (False,) * 3)
    charge = float(compiled(backbone, "local-free")(system_of(model, [lonely])).charges[0])
    table = np.asarray(model.params["solver"]["element_charge"])
    assert abs(charge) > 0.01
    if backbone == "mace":  # no neighbours, no features
        np.testing.assert_allclose(charge, table[8], rtol=1e-12)


def test_slab_forces_and_stress(x64):
    """A charged slab with a tilted cell, its normal not along an axis of the list."""
    model, run = potential("light", "local"), compiled("light", "local")
    rng = np.random.default_rng(3)
    field = np.array([0.05, -0.1, 0.2])
    inputs = {"pbc": (True, False, True), "total_charge": -1.0, "external_field": field}
    frame = testing.crystal(rng, n=4, length=4.4, **inputs)
    frame = dataclasses.replace(frame, cell=frame.cell * np.array([[1.0], [3.0], [1.0]]))
    system = system_of(model, [frame])

    def of_positions(positions):
        return float(run(replace(system, positions=positions)).energy[0])

    def of_strain(strain):
        matrix = np.eye(3) + 0.5 * (strain + strain.T)
        moved = replace(
            system, positions=frame.positions @ matrix, cell=(frame.cell @ matrix)[None]
        )
        return float(run(moved).energy[0])

    prediction = run(system)
    testing.assert_gradient(of_positions, -np.asarray(prediction.forces), system.positions)
    virial = np.asarray(prediction.stress[0]) * abs(np.linalg.det(frame.cell))
    testing.assert_gradient(of_strain, virial, np.zeros((3, 3)), step=0.01)


def test_a_charged_molecule_in_a_box_approaches_the_open_one(x64):
    """The same model, periodic with finite-size terms and open: no images are felt."""
    model = potential("light", "local")
    boxed = potential("light", "local", finite_size="makov_payne")
    molecule = dataclasses.replace(structure("open"), external_field=np.zeros(3), total_charge=1.0)
    periodic = dataclasses.replace(molecule, cell=np.eye(3) * 40.0, pbc=(True, True, True))
    (free,), (inside,) = predict_frames(model, [molecule]), predict_frames(boxed, [periodic])
    (raw,) = predict_frames(model, [periodic])
    np.testing.assert_allclose(inside.energy, free.energy, rtol=0, atol=5e-4)
    assert abs(raw.energy - free.energy) > 0.1
