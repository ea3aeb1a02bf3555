"""What every solver with every backbone must obey, parametrised over the tables.

The default run is a covering array with the light backbone, and MACE with one solver; the product
of solvers and boundaries with the light backbone, and every solver with MACE, run under ``pytest -m
conformance``.
"""

import dataclasses
import itertools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax import testing
from electrojax.models import bundle
from electrojax.models.predict import predict_frames
from electrojax.nn.base import BACKBONES
from electrojax.solvers.table import SOLVERS
from electrojax.system.batching import Capacity
from electrojax.system.types import Frame, System
from electrojax.typing import replace
from tests.conformance import models
from tests.conformance.models import capacity, compiled, potential, program, system_of

BOUNDARIES = ("open", "periodic", "slab")
EVERYDAY: dict[str, dict[str, str]] = {
    "none": {"open": ""},
    "local": {"periodic": "p", "slab": "s"},
    "split": {"periodic": "", "slab": "g"},
    "latent": {"open": ""},
    "latent-channels": {"periodic": "s"},
    "qeq": {"periodic": "g", "slab": ""},
    "qeq-potential": {"open": ""},
    "qeq-bounded": {"open": "p"},
    "functional": {"open": ""},
    "scf": {"periodic": ""},
    "non-scf": {"open": ""},
}
"""Boundaries of the default run, with the light backbone: every kind, and most options.

Checks that need a program of their own run where their letter stands: p padding, s single
precision, g the gradient of a force loss.
"""


def case(backbone: str, solver: str, boundary: str, check: str):
    """One combination, in the default run or not."""
    marks = []
    chosen = EVERYDAY.get(solver, {}) if backbone == "light" else {}
    mace = (backbone, solver, boundary, check) == ("mace", "local", "open", "")
    if not mace and not (boundary in chosen and check in chosen[boundary]):
        marks.append(pytest.mark.conformance)
    return pytest.param(backbone, solver, boundary, marks=marks)


def combinations() -> list[tuple[str, str, str]]:
    """Every solver in every boundary with the light backbone, and in one, in turn, with MACE."""
    light = [("light", *pair) for pair in itertools.product(models.SOLVERS, BOUNDARIES)]
    mace = [
        ("mace", solver, BOUNDARIES[(index + 2) % 3])  # local is in open space
        for index, solver in enumerate(models.SOLVERS)
    ]
    return light + mace


def cases(check: str = ""):
    """All combinations, most of them a conformance run."""
    product = combinations()
    names = ("backbone", "solver", "boundary")
    return pytest.mark.parametrize(names, [case(*p, check) for p in product])


every_case = cases()

TOTAL = {"open": 1.0, "periodic": -1.0, "slab": -1.0}


def structure(boundary: str, seed: int = 3, solver: str = "local") -> Frame:
    """A charged structure with all that a solver may ask for, in a field if it feels one."""
    rng = np.random.default_rng(seed)
    field = np.array([0.05, -0.1, 0.2])
    if solver == "none" or solver == "latent-channels":  # neither has charges of its own
        field = np.zeros(3)
    inputs = {"external_field": field, "fermi_level": -0.4}
    if boundary == "open":
        return charged(testing.cluster(rng, n=6, **inputs), TOTAL[boundary])
    pbc = (True, boundary == "periodic", True)
    frame = testing.crystal(rng, n=4, length=4.4, pbc=pbc, **inputs)
    if boundary == "slab":  # tilted, and its normal not along an axis of the list
        frame = dataclasses.replace(frame, cell=frame.cell * np.array([[1.0], [3.0], [1.0]]))
    return charged(frame, TOTAL[boundary])


def charged(frame: Frame, charge: float) -> Frame:
    """The structure with another total charge, whose formal charges say where it is."""
    formal = np.linspace(-1.0, 1.0, len(frame.numbers))
    formal[0] += charge
    return dataclasses.replace(frame, total_charge=charge, formal_charges=formal)


def room(model, boundary: str, solver: str) -> Capacity:
    """One capacity for all batches of a case, so that they share one compiled program."""
    samples = [model.sample(structure(boundary, seed, solver)) for seed in (3, 11)]
    return capacity(samples, nodes=5, edges=30, graphs=2)


def batch_of(model, boundary: str, solver: str, *frames: Frame) -> System:
    """Frames in the common capacity of their case."""
    return system_of(model, list(frames), room(model, boundary, solver))


def real(prediction, name: str, atoms: int) -> np.ndarray:
    """A prediction of the first structure's atoms."""
    return np.asarray(getattr(prediction, name))[:atoms]


def test_tables_are_covered():
    """A kind that is not listed here would go untested."""
    assert {options["kind"] for options in models.BACKBONES.values()} == set(BACKBONES)
    assert {options["kind"] for options in models.SOLVERS.values()} == set(SOLVERS)


@every_case
def test_forces_are_minus_the_gradient(x64, backbone, solver, boundary):
    model, run = potential(backbone, solver), compiled(backbone, solver)
    frame = structure(boundary, solver=solver)
    system = batch_of(model, boundary, solver, frame)
    n = len(frame.numbers)

    def energy(positions):
        moved = np.concatenate([positions, system.positions[n:]])
        return float(run(replace(system, positions=moved)).energy[0])

    forces = real(run(system), "forces", n)
    testing.assert_gradient(energy, -forces, np.asarray(system.positions)[:n], rtol=1e-7)


@every_case
def test_stress_is_the_strain_derivative(x64, backbone, solver, boundary):
    """With an explicitly strained cell, positions and cell both outside of the model's own code."""
    model, run = potential(backbone, solver), compiled(backbone, solver)
    frame = structure(boundary, solver=solver)
    system = batch_of(model, boundary, solver, frame)
    stress = np.asarray(run(system).stress)
    if boundary == "open":
        assert not np.any(stress)
        return

    def energy(strain):
        matrix = np.eye(3) + 0.5 * (strain + strain.T)
        cell = np.concatenate([(frame.cell @ matrix)[None], system.cell[1:]])
        # At fixed voltage: E·a_i along what repeats, E·n along the normal of a slab.
        voltages = models.field_axes(frame.cell, boundary) @ frame.external_field
        field = np.array(system.external_field)
        field[0] = np.linalg.solve(models.field_axes(cell[0], boundary), voltages)
        moved = replace(
            system,
            positions=system.positions @ matrix,
            origin=system.origin @ matrix,
            cell=jnp.asarray(cell),
            external_field=jnp.asarray(field),
        )
        return float(run(moved).energy[0])

    virial = stress[0] * abs(np.linalg.det(frame.cell))
    np.testing.assert_allclose(virial, virial.T, atol=1e-10)
    testing.assert_gradient(energy, virial, np.zeros((3, 3)), rtol=1e-7, step=0.01)


@every_case
def test_rotation_inversion_and_translation(x64, backbone, solver, boundary):
    model, run = potential(backbone, solver), compiled(backbone, solver)
    frame = charged(structure(boundary, solver=solver), 0.0)
    n = len(frame.numbers)
    matrix = testing.random_rotation(np.random.default_rng(1), True)
    driven = solver in ("local-free", *models.FIXED_POTENTIAL)
    if driven or (solver, boundary) == ("qeq-soft", "slab"):
        frame = dataclasses.replace(frame, external_field=np.zeros(3))  # a net charge moves in it
    shift = np.array([0.7, -2.0, 1.1])
    if boundary == "slab" and solver in models.COULOMB:
        # The counter charge stays where it is along the normal.
        normal = np.cross(frame.cell[2], frame.cell[0])
        shift = shift - matrix @ normal * (shift @ matrix @ normal) / (normal @ normal)
    moved = testing.transformed(frame, matrix, shift)
    before, after = (run(batch_of(model, boundary, solver, f)) for f in (frame, moved))
    tolerance = {"rtol": 1e-10, "atol": 1e-10}
    np.testing.assert_allclose(after.energy, before.energy, **tolerance)
    np.testing.assert_allclose(after.forces, before.forces @ matrix.T, **tolerance)
    np.testing.assert_allclose(after.charges, before.charges, **tolerance)
    # A charge more would feel the field where the atoms are: E → E − Q E·shift, and μ = −∂E/∂Q.
    level = np.array(before.fermi_level)
    level[0] += (level[0] != 0) * moved.external_field @ shift
    np.testing.assert_allclose(after.fermi_level, level, **tolerance)
    stress = matrix @ np.asarray(before.stress[0]) @ matrix.T
    np.testing.assert_allclose(after.stress[0], stress, **tolerance)
    dipoles = real(before.density, "multipoles", n)
    if dipoles.shape[-1] == 4:
        rotated = dipoles[..., [3, 1, 2]] @ matrix.T
        found = real(after.density, "multipoles", n)[..., [3, 1, 2]]
        np.testing.assert_allclose(found, rotated, **tolerance)


@every_case
def test_permutation(x64, backbone, solver, boundary):
    model, run = potential(backbone, solver), compiled(backbone, solver)
    frame = structure(boundary, solver=solver)
    n = len(frame.numbers)
    order = np.random.default_rng(2).permutation(n)
    before = run(batch_of(model, boundary, solver, frame))
    after = run(batch_of(model, boundary, solver, testing.permuted(frame, order)))
    np.testing.assert_allclose(after.energy, before.energy, rtol=1e-10, atol=1e-10)
    for name in ("forces", "charges"):
        found, expected = real(after, name, n), real(before, name, n)[order]
        np.testing.assert_allclose(found, expected, atol=1e-10)


@every_case
def test_batch_mates_change_nothing(x64, backbone, solver, boundary):
    model, run = potential(backbone, solver), compiled(backbone, solver)
    frame, mate = structure(boundary, solver=solver), structure(boundary, 11, solver)
    n, m = len(frame.numbers), len(mate.numbers)
    alone = run(batch_of(model, boundary, solver, frame))
    for order, graph, start in (([frame, mate], 0, 0), ([mate, frame], 1, m)):
        batch = run(batch_of(model, boundary, solver, *order))
        assert_same(batch, graph, slice(start, start + n), alone, n)
        assert bool(np.all(batch.report.converged))
        padding = slice(n + m, None)
        assert not np.any(batch.forces[padding]) and not np.any(batch.charges[padding])
        assert not np.any(batch.energy[2:])


@cases("p")
def test_padding_changes_nothing(x64, backbone, solver, boundary):
    model, run = potential(backbone, solver), compiled(backbone, solver)
    frame = structure(boundary, solver=solver)
    padded = run(batch_of(model, boundary, solver, frame))
    exact = run(system_of(model, [frame]))
    assert_same(padded, 0, slice(len(frame.numbers)), exact, len(frame.numbers))


def assert_same(batch, graph: int, atoms: slice, alone, n: int) -> None:
    """A structure of a batch has the results that it has alone."""
    np.testing.assert_allclose(batch.energy[graph], alone.energy[0], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(batch.forces[atoms], alone.forces[:n], atol=1e-10)
    np.testing.assert_allclose(batch.charges[atoms], alone.charges[:n], atol=1e-10)
    np.testing.assert_allclose(batch.stress[graph], alone.stress[0], atol=1e-10)


@every_case
def test_total_charge_is_conserved(x64, backbone, solver, boundary):
    model, run = potential(backbone, solver), compiled(backbone, solver)
    frames = [charged(structure(boundary, s, solver), q) for s, q in ((3, 1.0), (11, -2.0))]
    charges = np.asarray(run(batch_of(model, boundary, solver, *frames)).charges)
    n = len(frames[0].numbers)
    sums = [charges[:n].sum(), charges[n:].sum()]
    if solver in ("none", "latent-channels"):
        np.testing.assert_allclose(sums, [0.0, 0.0], atol=1e-12)
    elif solver in ("local-free", *models.FIXED_POTENTIAL):
        assert not np.allclose(sums, [1.0, -2.0], atol=1e-3)
    elif solver == "latent" and boundary != "open":  # physical charges are √ε∞ latent ones
        np.testing.assert_allclose(sums, [1.7**0.5, -2.0 * 1.7**0.5], atol=1e-12)
    else:
        np.testing.assert_allclose(sums, [1.0, -2.0], atol=1e-12)


@cases("s")
def test_float32_agrees_with_float64(backbone, solver, boundary):
    frame = structure(boundary, solver=solver)
    with jax.enable_x64(True):
        double = batch_of(potential(backbone, solver), boundary, solver, frame)
        exact = jax.device_get(compiled(backbone, solver)(double))
    model = potential(backbone, solver, "float32")
    single = compiled(backbone, solver, "float32")(batch_of(model, boundary, solver, frame))
    assert single.forces.dtype == jnp.float32
    scale = np.abs(exact.forces).max()
    np.testing.assert_allclose(single.forces, exact.forces, atol=3e-4 * scale)
    np.testing.assert_allclose(single.charges, exact.charges, atol=1e-4)
    assert bool(np.all(single.report.converged))


@every_case
def test_one_program_serves_all_batches_and_a_loaded_model(
    x64, backbone, solver, boundary, tmp_path
):
    model, run = potential(backbone, solver), program(backbone, solver)
    frames = [structure(boundary, seed, solver) for seed in (3, 11)]
    systems = [batch_of(model, boundary, solver, frame) for frame in frames]
    before = [run(model.params, system) for system in systems]
    count = run._cache_size()
    bundle.save(model, tmp_path / "model.ejx")
    loaded = bundle.load(tmp_path / "model.ejx")
    assert loaded.network == model.network
    for system, expected in zip(systems, before):
        found = run(jax.tree.map(np.asarray, loaded.params), system)
        np.testing.assert_array_equal(found.energy, expected.energy)
        np.testing.assert_array_equal(found.forces, expected.forces)
    assert run._cache_size() == count


@cases("g")
def test_parameter_gradient_of_a_force_loss(x64, backbone, solver, boundary):
    """Second derivatives: what force matching needs."""
    model = potential(backbone, solver)
    frame = structure(boundary, solver=solver)
    system = system_of(model, [frame])
    target = np.random.default_rng(9).normal(size=system.positions.shape)

    @jax.jit
    def loss(params):
        prediction = model.apply(params, system)
        return jnp.sum((prediction.forces - target) ** 2) + jnp.sum(prediction.charges**2)

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
