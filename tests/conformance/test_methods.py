"""Every way to sum the Coulomb energy inside a model, under every boundary that it serves.

One model, light with local charges: what other models do with an operator does not depend on how it
was made. The full product runs under ``pytest -m conformance``; the default run covers every method
and both boundaries.
"""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from jax import export

from electrojax import testing
from electrojax.electrostatics.coulomb import PERIODIC_METHODS, method_name
from electrojax.models import bundle
from electrojax.models.predict import predict_frames
from electrojax.system.batching import capacity_for, collate
from electrojax.system.types import Frame
from electrojax.training.optimizer import make_optimizer
from electrojax.training.step import Controls, init_state, make_train_step
from electrojax.typing import replace
from tests.conformance.coulomb import summed
from tests.conformance.models import capacity, field_axes, potential, system_of

METHODS = ("ewald", "mesh", "mesh_ewald")
BOUNDARIES = ("periodic", "slab")
KINDS = [(m, b) for m in METHODS for b in BOUNDARIES]
EVERYDAY = [("ewald", "slab"), ("mesh", "periodic")]
COVERING = [k if k in EVERYDAY else pytest.param(*k, marks=pytest.mark.conformance) for k in KINDS]
every_sum = pytest.mark.parametrize(("method", "boundary"), COVERING)
PLATFORMS = ("cpu", "cuda", "tpu")


def structure(boundary: str, seed: int = 3) -> Frame:
    rng = np.random.default_rng(seed)
    if boundary == "periodic":
        return testing.crystal(rng, n=4, length=4.4, total_charge=-1.0)
    frame = testing.crystal(rng, n=4, length=4.4, pbc=(True, False, True), total_charge=-1.0)
    return dataclasses.replace(frame, cell=frame.cell * np.array([[1.0], [3.0], [1.0]]))


@functools.lru_cache
def model_of(method: str, precision: str = "float64"):
    accuracy = 1e-8 if precision == "float64" else 1e-4
    return summed(potential("light", "local", precision), method=method, accuracy=accuracy)


@functools.lru_cache
def compiled(method: str, boundary: str):
    model = model_of(method)
    return jax.jit(lambda system: model.apply(model.params, system))


def test_the_methods_are_those_of_the_table():
    assert {"direct", *METHODS} == set(PERIODIC_METHODS)


def batched(method: str, frames: list[Frame], boundary: str):
    """Frames in arrays of one size, whatever the company: the k-box and so the mesh are the same.

    Every test of a method and a boundary then shares one compiled program.
    """
    model = model_of(method)
    company = [model.sample(structure(boundary, seed)) for seed in (3, 11)]
    return system_of(model, frames, capacity(company, nodes=5, edges=13, graphs=2))


@pytest.mark.conformance_for("ewald-slab")
@every_sum
def test_forces_and_stress_are_derivatives(x64, method, boundary):
    model, run, frame = model_of(method), compiled(method, boundary), structure(boundary)
    assert method_name(model.network.engine(boundary)) == method
    system, n = batched(method, [frame], boundary), len(frame.numbers)
    assert (system.n_pairs > 0) == ("ewald" in method)

    inside = np.asarray(system.positions)[:n]

    def moved(positions, cell=frame.cell, **others):
        atoms, cells = np.array(system.positions), np.array(system.cell)
        atoms[:n], cells[0] = positions, cell
        return float(run(replace(system, positions=atoms, cell=cells, **others)).energy[0])

    def of_strain(strain):
        matrix = np.eye(3) + 0.5 * (strain + strain.T)
        cell, field = frame.cell @ matrix, np.array(system.external_field)
        voltages = field_axes(frame.cell, boundary) @ frame.external_field
        field[0] = np.linalg.solve(field_axes(cell, boundary), voltages)
        origin = np.asarray(system.origin) @ matrix
        return moved(inside @ matrix, cell, origin=origin, external_field=field)

    prediction = run(system)
    testing.assert_gradient(moved, -np.asarray(prediction.forces[:n]), inside)
    virial = np.asarray(prediction.stress[0]) * abs(np.linalg.det(frame.cell))
    testing.assert_gradient(of_strain, virial, np.zeros((3, 3)), step=0.01)


@pytest.mark.conformance_for("ewald-slab")
@every_sum
def test_padding_and_batch_mates_change_nothing_and_need_one_program(x64, method, boundary):
    run, frame, mate = compiled(method, boundary), structure(boundary), structure(boundary, seed=11)
    n, m = len(frame.numbers), len(mate.numbers)
    batches = {"alone": [frame], "first": [frame, mate], "second": [mate, frame]}
    found = {name: run(batched(method, part, boundary)) for name, part in batches.items()}
    assert run._cache_size() == 1
    alone = found["alone"]
    for name, graph, atoms in (("first", 0, slice(0, n)), ("second", 1, slice(m, m + n))):
        both = found[name]
        np.testing.assert_allclose(both.energy[graph], alone.energy[0], rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(both.forces[atoms], alone.forces[:n], atol=1e-10)
        np.testing.assert_allclose(both.stress[graph], alone.stress[0], atol=1e-10)
        assert not np.any(both.forces[n + m :]) and not np.any(both.energy[2:])


@pytest.mark.conformance_for("ewald-slab")
@every_sum
def test_a_loaded_model_sums_as_before_and_agrees_with_the_direct_sum(
    x64, tmp_path, method, boundary
):
    frame, model = structure(boundary), model_of(method)
    bundle.save(model, tmp_path / "model.ejx")
    loaded = bundle.load(tmp_path / "model.ejx")
    assert bundle.describe(tmp_path / "model.ejx")["coulomb"]["method"] == method
    (before,), (after,) = predict_frames(model, [frame]), predict_frames(loaded, [frame])
    assert after.energy == before.energy
    (direct,) = predict_frames(model_of("direct"), [frame])
    scale = np.sqrt(np.mean(direct.forces**2))
    assert np.sqrt(np.mean((after.forces - direct.forces) ** 2)) < 1e-8 * scale
    assert abs(after.energy - direct.energy) < 1e-6 * max(abs(direct.energies["coulomb"]), 1.0)


@every_sum
def test_prediction_and_training_step_lower_for_every_platform(method, boundary):
    """In single precision; the FFT's complex numbers are single too."""
    model = model_of(method, "float32")
    sample = model.sample(structure(boundary))
    batch = collate([sample], capacity_for([sample]), model.dtype)
    optimizer = make_optimizer("adamw", 10.0, 1e-6)
    weights = {"energy": np.float32(1.0), "forces": np.float32(1.0)}
    step = make_train_step(model.apply, optimizer, 0.99)
    arguments = (init_state(model.params, optimizer), batch, Controls(np.float32(1e-3), weights))
    for function, given in (
        (jax.jit(model.apply), (model.params, batch.system)),
        (step, arguments),
    ):
        exported = export.export(function, platforms=PLATFORMS)(*given)
        text = exported.mlir_module()
        assert "f64" not in text, "double precision in a float32 program"
        assert ("complex<f32>" in text) == method.startswith("mesh")
