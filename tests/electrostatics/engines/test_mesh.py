"""The mesh against the direct sum and closed forms, and its own promises."""

import dataclasses
from math import comb, factorial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax.electrostatics.engines.ewald import EwaldCoulomb
from electrojax.electrostatics.engines.mesh import MeshCoulomb
from electrojax.electrostatics.engines.mesh_ewald import MeshEwaldCoulomb
from electrojax.electrostatics.engines.periodic import PeriodicCoulomb
from electrojax.electrostatics.kernels.splines import (
    aliasing_error,
    mesh_plan,
    smooth_size,
    spline_transform,
    spline_weights,
)
from electrojax.errors import CapacityError, ConfigError
from electrojax.system.geometry import apply_strain
from electrojax.testing import assert_gradient
from electrojax.typing import replace
from tests.electrostatics import reference as ref


def prepared(structures, width=1.0, l_max=1, accuracy=1e-8, dtype=np.float64, extra=(0, 0), **opt):
    engine = MeshCoulomb(accuracy, **opt)
    system = ref.batch(structures, "periodic", engine, width, l_max, dtype, extra)
    return engine, system, ref.prepare(engine, l_max, width, system)


def two_structures(rng, l_max):
    first = ref.random_structure(rng, 5, ref.TRICLINIC, l_max)
    second = ref.random_structure(rng, 3, 1.2 * ref.LEFT_HANDED, l_max)
    return [(first[0], first[2]), (second[0], second[2])], [first[1], second[1]]


def values(engine, structure, width, l_max):
    """Energy, forces and derivative with respect to the multipoles of one structure."""
    positions, multipoles, cell = structure
    system = ref.batch([(positions, cell)], "periodic", engine, width, l_max)
    p = jnp.asarray(multipoles)

    def total(r, p):
        return ref.energy_of(engine, system, p, l_max, width)(r, system.cell).sum()

    energy, (force, potential) = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))(
        system.positions, p
    )
    return float(energy), np.asarray(force), np.asarray(potential)


def rms(x):
    return float(np.sqrt(np.mean(np.square(x))))


@pytest.mark.parametrize("order", [4, 7, 12])
def test_spline_is_the_convolved_box(order, x64):
    """M_n(x) = Σ_k (−1)^k C(n, k) (x − k)₊^{n−1} / (n − 1)!, and its derivatives' chain."""
    offset = np.linspace(0, 1, 7)[:-1]
    x = offset[:, None] + order - 1 - np.arange(order)
    terms = [(-1) ** k * comb(order, k) * np.maximum(x - k, 0) ** (order - 1) for k in range(order)]
    expected = sum(terms) / factorial(order - 1)
    np.testing.assert_allclose(spline_weights(jnp.asarray(offset), order, 0), expected, atol=1e-8)
    for derivative in range(3):
        slope = jax.jvp(
            lambda u, d=derivative: spline_weights(u, order, d),
            (jnp.asarray(offset),),
            (jnp.ones(6),),
        )[1]
        following = spline_weights(jnp.asarray(offset), order, derivative + 1)
        np.testing.assert_allclose(slope, following, atol=1e-14)
        high = np.asarray(spline_weights(jnp.asarray(offset + 1e-6), order, derivative))
        low = np.asarray(spline_weights(jnp.asarray(offset - 1e-6), order, derivative))
        np.testing.assert_allclose((high - low) / 2e-6, following, atol=1e-8)


def test_transform_of_the_spline(x64):
    """The phase sum over the mesh, averaged over the place of the atom, is (sin x / x)^n."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    offset = 0.5 * (nodes + 1)
    spline = np.asarray(spline_weights(jnp.asarray(offset), 6, 0))
    for wave, expected in enumerate(spline_transform(10, 6)):
        centre = offset[:, None] + 5 - np.arange(6) - 3
        phases = np.exp(-2j * np.pi * wave * centre / 10)
        total = 0.5 * weights @ (spline * phases).sum(axis=1)
        assert abs(total - expected) < 1e-13


def test_sizes_are_smooth():
    assert [smooth_size(n) for n in (1, 11, 13, 97, 121, 211)] == [1, 12, 14, 98, 125, 216]


@pytest.mark.conformance_for("skew-2")
@pytest.mark.parametrize(
    ("kind", "l_max"),
    [("water", 0), ("triclinic", 0), ("left-handed", 1), ("pure", 1), ("skew", 2)],
)
def test_requested_accuracy_is_met(kind, l_max, x64):
    """Forces against the direct sum at 1e-13: errors below those requested, from 1e-3 to 1e-8."""
    structure, width = accuracy_case(kind, l_max)
    exact = values(PeriodicCoulomb(1e-13), structure, width, l_max)
    for accuracy in (1e-3, 1e-5, 1e-8):
        energy, force, potential = values(MeshCoulomb(accuracy), structure, width, l_max)
        assert rms(force - exact[1]) < accuracy * rms(exact[1])
        assert rms(potential - exact[2]) < accuracy * rms(exact[2])
        assert abs(energy - exact[0]) < 100 * accuracy * max(abs(exact[0]), 1.0)


def accuracy_case(kind, l_max):
    rng = np.random.default_rng(5)
    cells = {
        "triclinic": 1.4 * ref.TRICLINIC,
        "left-handed": 1.4 * ref.LEFT_HANDED,
        "pure": 1.4 * ref.TRICLINIC,
        "skew": np.array([[9.0, 0, 0], [5, 8, 0], [3, -4, 9]]),
    }
    if kind == "water":
        return ref.molecules(rng, l_max), 1.5
    positions, multipoles, cell = ref.random_structure(rng, 15, cells[kind], l_max)
    if kind == "pure":
        multipoles[:, 0] = 0.0
    return (positions, multipoles, cell), 1.0


def test_estimated_error_is_the_measured_one(x64):
    """Charges without correlation, a mesh of a chosen order and ratio: within a factor of 3."""
    rng = np.random.default_rng(0)
    positions, multipoles, cell = ref.random_structure(rng, 40, 12.0 * np.eye(3), 0)
    accuracy, width = 1e-6, 1.2
    exact = values(PeriodicCoulomb(1e-13), (positions, multipoles, cell), width, 0)[1]
    force = values(MeshCoulomb(accuracy), (positions, multipoles, cell), width, 0)[1]
    box = MeshCoulomb(accuracy).k_box(cell, width, 0)
    plan = mesh_plan(box, accuracy, 0)
    estimate = aliasing_error(plan.order, plan.shape[0] / (2 * box[0]), box[0], accuracy, 0)
    assert 1 / 3 < rms(force - exact) / rms(exact) / estimate < 3


@pytest.mark.parametrize("l_max", [0, 1, 2])
def test_symmetric_linear_and_its_own_gradient(l_max, rng, x64):
    structures, parts = two_structures(rng, l_max)
    _, _, operator = prepared(structures, l_max=l_max, accuracy=1e-4)
    p = jnp.asarray(np.concatenate(parts))
    other = jnp.asarray(rng.normal(size=p.shape))
    potential = ref.potential(operator, p)
    scale = float(jnp.sum(p * potential))
    combined = ref.potential(operator, 2.0 * p - 3.0 * other)
    expected = 2.0 * potential - 3.0 * ref.potential(operator, other)
    np.testing.assert_allclose(combined, expected, rtol=1e-12, atol=1e-12)
    symmetric = jnp.sum(other * potential) - jnp.sum(p * ref.potential(operator, other))
    assert abs(float(symmetric)) < 1e-12 * scale
    assert abs(0.5 * scale - float(ref.energy(operator, p).sum())) < 1e-12 * scale
    gradient = ref.energy_gradient(operator, p)
    np.testing.assert_allclose(gradient, potential, rtol=1e-11, atol=1e-12)


def test_positive_semidefinite_with_self_interaction(rng, x64):
    positions, _, cell = ref.random_structure(rng, 4)
    operator = prepared([(positions, cell)], accuracy=1e-3)[2]
    unit = jnp.eye(16).reshape(16, 4, 4)
    matrix = jax.vmap(ref.potential, (None, 0))(operator, unit).reshape(16, 16)
    np.testing.assert_allclose(matrix, matrix.T, rtol=0, atol=1e-12)
    assert np.linalg.eigvalsh(matrix).min() > -1e-12


def test_self_interaction_is_the_closed_form(rng, x64):
    positions, multipoles, cell = ref.random_structure(rng, 4)
    with_self, without = (
        prepared([(positions, cell)], 0.9, self_interaction=flag)[2] for flag in (True, False)
    )
    difference = ref.energy(with_self, multipoles)[0] - ref.energy(without, multipoles)[0]
    q2, mu2 = (multipoles[:, 0] ** 2).sum(), (multipoles[:, 1:] ** 2).sum()
    root = np.sqrt(np.pi)
    expected = 0.5 * ref.K_E * (q2 / (root * 0.9) + mu2 / (6 * root * 0.9**3))
    np.testing.assert_allclose(difference, expected, rtol=1e-12)


def test_padding_changes_nothing_and_batch_mates_little(rng, x64):
    """The mesh is that of the largest k-box, so batch-mates change less than the accuracy."""
    structures, parts = two_structures(rng, 1)
    p = np.zeros((12, 4))
    p[:8] = np.concatenate(parts)
    operators = [prepared(structures, extra=extra)[2] for extra in ((0, 0), (4, 2))]
    p_padded = p + rng.normal(size=p.shape) * (np.arange(12) >= 8)[:, None]
    energy = ref.energy(operators[0], p[:8])
    padded_energy, potential = ref.energy(operators[1], p_padded), ref.potential(operators[1], p)
    np.testing.assert_allclose(padded_energy[:2], energy, rtol=1e-13)
    assert np.all(np.asarray(padded_energy)[2:] == 0)
    assert np.all(np.asarray(potential)[8:] == 0)
    start = 0
    for number, (structure, part) in enumerate(zip(structures, parts)):
        alone = prepared([structure])[2]
        expected = ref.potential(alone, part)
        stop = start + len(part)
        np.testing.assert_allclose(energy[number], ref.energy(alone, part)[0], rtol=1e-8)
        assert rms(potential[start:stop] - expected) < 1e-8 * rms(expected)
        start = stop


def test_lattice_shifts_and_translations(rng, x64):
    """Whole lattice vectors and whole mesh spacings change nothing, fractions the accuracy."""
    positions, multipoles, cell = ref.random_structure(rng, 5)
    engine, _, operator = prepared([(positions, cell)], accuracy=1e-5)
    energy = float(ref.energy(operator, multipoles)[0])
    whole = positions + rng.integers(-4, 5, (5, 3)) @ cell
    shape = engine.plan(cell, 1.0, 1).shape
    spacing = positions + (np.array([3, -1, 2]) / shape) @ cell
    for moved in (whole, spacing):
        operator = prepared([(moved, cell)], accuracy=1e-5)[2]
        assert abs(float(ref.energy(operator, multipoles)[0]) - energy) < 1e-11 * abs(energy)
    for fraction in (0.25, 0.5, 0.77):
        moved = positions + fraction / np.array(shape) @ cell
        operator = prepared([(moved, cell)], accuracy=1e-5)[2]
        assert abs(float(ref.energy(operator, multipoles)[0]) - energy) < 1e-4 * abs(energy)


@pytest.mark.parametrize("l_max", [0, 2])
def test_forces_and_stress_match_finite_differences(l_max, rng, x64):
    """Of its own energy, at an accuracy at which the mesh is felt."""
    structures, parts = two_structures(rng, l_max)
    engine, system, _ = prepared(structures, 0.8, l_max, accuracy=1e-3)
    p = jnp.asarray(np.concatenate(parts))

    @jax.jit
    def total(r, strain):
        moved = apply_strain(replace(system, positions=r), strain)
        return engine.prepare(moved, l_max, 0.8).energy(p).sum()

    rest, none = system.positions, jnp.zeros((2, 3, 3))
    force, stress = jax.jit(jax.grad(total, argnums=(0, 1)))(rest, none)
    assert_gradient(lambda r: float(total(r, none)), force, rest, rtol=1e-7, step=0.05)
    assert_gradient(lambda e: float(total(rest, e)), stress, none, rtol=1e-8, step=0.05)


def test_second_derivatives_match_finite_differences(rng, x64, l_max=2):
    structures, parts = two_structures(rng, l_max)
    engine, system, _ = prepared(structures, 0.8, l_max, accuracy=1e-5)
    p = jnp.asarray(np.concatenate(parts))

    @jax.jit
    def loss(r, p):
        def energy(r, a):
            return ref.energy_of(engine, system, p, l_max, 0.8)(r, a).sum()

        force, stress = jax.grad(energy, argnums=(0, 1))(r, system.cell)
        return jnp.sum(force**2) + 0.1 * jnp.sum(stress**2)

    by_position, by_multipoles = jax.jit(jax.grad(loss, argnums=(0, 1)))(system.positions, p)
    at = system.positions
    assert_gradient(lambda r: float(loss(r, p)), by_position, at, rtol=1e-7, step=0.02)
    assert_gradient(lambda x: float(loss(system.positions, x)), by_multipoles, p, rtol=1e-7)


def test_potential_is_differentiable_in_positions(rng, x64):
    """⟨p, A(r) p⟩ through `potential`, the path of the implicit solvers."""
    positions, multipoles, cell = ref.random_structure(rng, 4)
    engine, system, _ = prepared([(positions, cell)])
    p = jnp.asarray(multipoles)

    def half(r):
        operator = engine.prepare(replace(system, positions=r), 1, 1.0)
        return 0.5 * jnp.sum(p * operator.potential(p))

    energy = ref.energy_of(engine, system, p, 1, 1.0)
    expected = jax.jit(jax.grad(lambda r: energy(r, system.cell).sum()))(system.positions)
    gradient = jax.jit(jax.grad(half))(system.positions)
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-11)
    _, forward = jax.jit(lambda r: jax.jvp(half, (r,), (r,)))(system.positions)
    np.testing.assert_allclose(forward, jnp.sum(expected * system.positions), rtol=1e-10)


def test_no_energy_steps_under_a_changing_cell(rng, x64):
    positions, multipoles, cell = ref.random_structure(rng, 5)
    engine, system, _ = prepared([(positions, cell)], accuracy=1e-3)
    energy = ref.energy_of(engine, system, jnp.asarray(multipoles), 1, 1.0)
    scales = np.linspace(0.95, 1.05, 201)
    curve = jax.jit(jax.vmap(lambda s: energy(s * system.positions, s * system.cell)[0]))(scales)
    assert np.abs(np.diff(np.asarray(curve), 3)).max() < 1e-6 * np.ptp(curve)


def test_blocks_of_atoms_change_nothing(rng, x64):
    positions, multipoles, cell = ref.random_structure(rng, 37)
    engine, system, _ = prepared([(positions, cell)], accuracy=1e-3)
    p, results = jnp.asarray(multipoles), []
    for each in (engine, dataclasses.replace(engine, block=1)):
        operator = ref.prepare(each, 1, 1.0, system)
        assert operator.block == (16 if each.block == 1 else (1 << 17) // operator.plan.order**3)
        energy = ref.energy_of(each, system, p, 1, 1.0)
        gradient = jax.grad(lambda r, e=energy: e(r, system.cell).sum())
        square = jax.value_and_grad(lambda r, g=gradient: jnp.sum(g(r) ** 2))
        results.append((ref.potential(operator, p), *jax.jit(square)(system.positions)))
    for whole, blocked in zip(*results):
        np.testing.assert_allclose(blocked, whole, rtol=1e-10, atol=1e-10)


def test_single_precision_stays_single_and_close(rng):
    positions, multipoles, cell = ref.random_structure(rng, 40, 2.0 * ref.TRICLINIC)
    far, results = positions + 30.0 * cell[0], {}
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(dtype == np.float64):
            engine, system, _ = prepared([(far, cell)], dtype=dtype, accuracy=1e-6)
            p = jnp.asarray(multipoles.astype(dtype))
            energy = ref.energy_of(engine, system, p, 1, 1.0)
            function = jax.value_and_grad(lambda r: energy(r, system.cell).sum())  # noqa: B023
            if dtype == np.float32:
                program = str(jax.make_jaxpr(function)(system.positions))
                assert "f64" not in program and "c128" not in program
            value, gradient = jax.jit(function)(system.positions)
            results[dtype] = float(value), np.asarray(gradient, np.float64)
    single, double = results[np.float32], results[np.float64]
    assert abs(single[0] - double[0]) < 3e-6 * abs(double[0])
    assert np.abs(single[1] - double[1]).max() < 1e-4 * rms(double[1])


def test_exports_to_every_platform(rng):
    positions, multipoles, cell = ref.random_structure(rng, 4)
    engine, system, _ = prepared([(positions, cell)], accuracy=1e-4, dtype=np.float32)

    def total(r, p):
        return engine.prepare(replace(system, positions=r), 1, 1.0).energy(p).sum()

    program = jax.jit(jax.value_and_grad(total))
    p = jnp.asarray(multipoles, jnp.float32)
    exported = jax.export.export(program, platforms=["cpu", "cuda", "tpu"])(system.positions, p)
    assert "f64" not in exported.mlir_module()


def test_the_direct_sum_is_cheaper_for_few_atoms_only():
    costs = [
        [engine.cost(3 * n**3, (n**3 * 29.9) ** (1 / 3) * np.eye(3), 1.5, 0) for n in (3, 12)]
        for engine in (PeriodicCoulomb(), MeshCoulomb())
    ]
    assert costs[0][0] < costs[1][0] and costs[0][1] > costs[1][1]
    assert MeshCoulomb().cost(10, 10 * np.eye(3), np.array([1.0, 2.0]), 0) == np.inf


def test_unplanned_and_unsupported_systems_are_refused(rng, x64):
    positions, _, cell = ref.random_structure(rng, 3)
    engine, system, operator = prepared([(positions, cell)])
    with pytest.raises(CapacityError, match="empty k_box"):
        engine.prepare(replace(system, k_box=(0, 0, 0)), 1, 1.0)
    with pytest.raises(ConfigError, match="one width"):
        engine.prepare(system, 1, jnp.ones(3))
    with pytest.raises(ConfigError, match="l_max = 3"):
        engine.prepare(system, 3, 1.0)
    with pytest.raises(ConfigError, match=r"needed \[N, 4\]"):
        operator.energy(jnp.ones((3, 1)))
    with pytest.raises(ConfigError, match="needed at least 1e-10, or the direct sum"):
        MeshCoulomb(accuracy=1e-12).k_box(cell, 1.0, 1)
    assert MeshCoulomb(accuracy=1e-12).cost(3, cell, 1.0, 1) == np.inf


@pytest.mark.parametrize("l_max", [0, 1])
def test_split_of_point_charges_on_the_mesh(l_max, rng, x64):
    """Against the direct sum of narrow Gaussians and the split with a direct reciprocal sum."""
    positions, multipoles, cell = ref.molecules(rng, l_max)
    results = {}
    for engine in (EwaldCoulomb(1e-9, False, 9.0), MeshEwaldCoulomb(1e-6, False, 5.0)):
        results[engine] = values(engine, (positions, multipoles, cell), 0.0, l_max)
    exact, meshed = results.values()
    assert rms(meshed[1] - exact[1]) < 1e-6 * rms(exact[1])
    assert rms(meshed[2] - exact[2]) < 1e-6 * rms(exact[2])
    tuned = MeshEwaldCoulomb(1e-6).tuned_for(24, cell, 1.0, l_max)
    assert tuned.split(l_max) >= 1.0 - 1e-12
    many = MeshEwaldCoulomb(1e-5).tuned_for(100_000, 100.0 * np.eye(3), 0.0, 0)
    assert (
        3.0 <= many.cutoff < EwaldCoulomb(1e-5).tuned_for(100_000, 100 * np.eye(3), 0.0, 0).cutoff
    )


@pytest.mark.parametrize(
    ("l_max", "width"), [(0, 0.0), pytest.param(2, 0.3, marks=pytest.mark.conformance)]
)
def test_the_split_on_the_mesh_meets_the_requested_accuracy(l_max, width, rng, x64):
    """Forces and potentials of molecules, against the split with a direct reciprocal sum."""
    structure = ref.molecules(rng, l_max)
    exact = values(EwaldCoulomb(1e-12, False, 9.0), structure, width, l_max)
    for accuracy, cutoff in ((1e-3, 4.0), (1e-5, 5.0), (1e-8, 6.0)):
        found = values(MeshEwaldCoulomb(accuracy, False, cutoff), structure, width, l_max)
        for mine, other in zip(found[1:], exact[1:]):
            assert rms(mine - other) < accuracy * rms(other)
