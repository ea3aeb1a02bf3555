"""What every Coulomb operator promises, for each engine and multipole order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax.errors import ConfigError
from electrojax.system.geometry import apply_strain
from electrojax.testing import assert_gradient, random_rotation
from electrojax.typing import replace
from tests.electrostatics import reference as ref

KINDS = ["open", "periodic", "ewald", "slab"]
SLOW = {"marks": pytest.mark.conformance}
each_kind = pytest.mark.parametrize("kind", KINDS)
every_kind = pytest.mark.parametrize(
    "kind", ["open", "periodic", pytest.param("ewald", **SLOW), pytest.param("slab", **SLOW)]
)
every_order = pytest.mark.parametrize(
    ("kind", "l_max"),
    [*((kind, 2) for kind in KINDS), ("open", 0), ("periodic", 0), ("periodic", 1)],
)


def two_structures(rng, l_max):
    """A triclinic and a left-handed structure of different size, and their multipoles."""
    first = ref.random_structure(rng, 5, ref.TRICLINIC, l_max)
    second = ref.random_structure(rng, 3, 1.2 * ref.LEFT_HANDED, l_max)
    return [(first[0], first[2]), (second[0], second[2])], [first[1], second[1]]


@pytest.mark.conformance_for("ewald-2")
@every_order
def test_symmetric_linear_and_its_own_gradient(kind, l_max, rng, x64):
    structures, parts = two_structures(rng, l_max)
    _, _, operator = ref.prepared(kind, structures, l_max=l_max)
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


@every_order
def test_positive_semidefinite_with_self_interaction(kind, l_max, rng, x64):
    """For a slab on changes that keep the charge: a charged plane's energy has no lower bound."""
    positions, multipoles, cell = ref.random_structure(rng, 4, l_max=l_max)
    _, _, operator = ref.prepared(kind, [(positions, cell)], l_max=l_max)
    n = multipoles.size
    unit = jnp.eye(n).reshape(n, *multipoles.shape)
    matrix = jax.vmap(ref.potential, (None, 0))(operator, unit).reshape(n, n)
    np.testing.assert_allclose(matrix, matrix.T, rtol=0, atol=1e-12)
    if kind == "slab":
        neutral = np.eye(n)
        neutral[np.ix_(range(0, n, n // 4), range(0, n, n // 4))] -= 0.25
        matrix = neutral @ matrix @ neutral
    assert np.linalg.eigvalsh(matrix).min() > -1e-10


@every_kind
def test_self_interaction_is_the_closed_form(kind, rng, x64, l_max=2):
    """½ k_e Σ [q²/(√π σ) + μ²/(6 √π σ³) + p_2²/(60 √π σ⁵)], the last from ∫ |ρ̃(k)|²/k²."""
    positions, multipoles, cell = ref.random_structure(rng, 4, l_max=l_max)
    operators = [
        ref.prepared(kind, [(positions, cell)], 0.9, l_max, self_interaction=flag)[2]
        for flag in (True, False)
    ]
    p = jnp.asarray(multipoles)
    difference = ref.energy(operators[0], p)[0] - ref.energy(operators[1], p)[0]
    squares = [(multipoles[:, a:b] ** 2).sum() for a, b in ((0, 1), (1, 4), (4, 9))]
    parts = [squares[0] / 0.9, squares[1] / (6 * 0.9**3), squares[2] / (60 * 0.9**5)]
    expected = 0.5 * ref.K_E / np.sqrt(np.pi) * sum(parts)
    np.testing.assert_allclose(difference, expected, rtol=1e-12)
    gradient = ref.energy_gradient(operators[1], p)
    np.testing.assert_allclose(gradient, ref.potential(operators[1], p), rtol=1e-11, atol=1e-12)


@every_kind
def test_channels_are_summed_first(kind, rng, x64, l_max=1):
    positions, multipoles, cell = ref.random_structure(rng, 4, l_max=l_max)
    _, _, operator = ref.prepared(kind, [(positions, cell)], l_max=l_max)
    up = rng.normal(size=multipoles.shape)
    spin = jnp.asarray(np.stack([up, multipoles - up], axis=1))
    total = jnp.asarray(multipoles)
    np.testing.assert_allclose(ref.energy(operator, spin), ref.energy(operator, total), rtol=1e-12)
    potential = ref.potential(operator, spin)
    assert potential.shape == spin.shape
    for channel in range(2):
        expected = ref.potential(operator, total)
        np.testing.assert_allclose(potential[:, channel], expected, atol=1e-11)


@each_kind
def test_padding_and_batch_mates_change_nothing(kind, rng, x64, l_max=1):
    structures, parts = two_structures(rng, l_max)
    _, system, operator = ref.prepared(kind, structures, l_max=l_max, extra=(4, 2))
    p = rng.normal(size=(system.n_nodes, parts[0].shape[1]))
    p[:8] = np.concatenate(parts)
    energy, potential = ref.energy(operator, p), ref.potential(operator, p)
    assert np.all(np.asarray(potential)[8:] == 0)
    assert np.all(np.asarray(energy)[2:] == 0)
    start = 0
    for number, (structure, part) in enumerate(zip(structures, parts)):
        alone = ref.prepared(kind, [structure], l_max=l_max)[2]
        expected = ref.potential(alone, part)
        stop = start + len(part)
        np.testing.assert_allclose(energy[number], ref.energy(alone, part)[0], rtol=1e-12)
        np.testing.assert_allclose(potential[start:stop], expected, rtol=1e-11, atol=1e-12)
        start = stop


@every_order
def test_rotation_inversion_translation_permutation(kind, l_max, rng, x64):
    positions, multipoles, cell = ref.random_structure(rng, 5, l_max=l_max)
    rotation = random_rotation(rng, inversion=True)
    moved = positions @ rotation.T + [3.0, -17.0, 40.0]
    turned = ref.rotated(multipoles, rotation)
    order = rng.permutation(5)
    energies = []
    for r, p, a in [
        (positions, multipoles, cell),
        (moved[order], turned[order], cell @ rotation.T),
    ]:
        operator = ref.prepared(kind, [(r, a)], l_max=l_max)[2]
        energies.append(float(ref.energy(operator, p)[0]))
    assert abs(energies[0] - energies[1]) < 1e-11 * abs(energies[0])


@each_kind
def test_forces_and_stress_match_finite_differences(kind, rng, x64, l_max=2):
    structures, parts = two_structures(rng, l_max)
    engine, system, _ = ref.prepared(kind, structures, 0.8, l_max)
    p = jnp.asarray(np.concatenate(parts))

    @jax.jit
    def total(r, strain):
        moved = apply_strain(replace(system, positions=r), strain)
        return engine.prepare(moved, l_max, 0.8).energy(p).sum()

    r, zero = system.positions, jnp.zeros((2, 3, 3))
    forces, stress = jax.jit(jax.grad(total, (0, 1)))(r, zero)
    assert_gradient(lambda x: float(total(x, zero)), forces, r, rtol=1e-8, step=0.2)
    assert_gradient(lambda e: float(total(r, e)), stress, zero, rtol=1e-8, step=0.05)


@pytest.mark.conformance_for("periodic-2")
@pytest.mark.parametrize(
    ("kind", "l_max"),
    [
        ("open", 2),
        ("periodic", 2),
        pytest.param("ewald", 1, **SLOW),
        pytest.param("slab", 1, **SLOW),
    ],
)
def test_second_derivatives_match_finite_differences(kind, l_max, rng, x64):
    """The gradient of |forces|² and of the potential's response, as a force loss needs them."""
    positions, multipoles, cell = ref.random_structure(rng, 4, l_max=l_max)
    engine, system, _ = ref.prepared(kind, [(positions, cell)], 0.8, l_max)
    p = jnp.asarray(multipoles)

    def energy(r, a, p):
        return ref.energy_of(engine, system, p, l_max, 0.8)(r, a).sum()

    @jax.jit
    def loss(r, p):
        force, stress = jax.grad(energy, argnums=(0, 1))(r, system.cell, p)
        return jnp.sum(force**2) + 0.1 * jnp.sum(stress**2)

    by_position, by_multipoles = jax.jit(jax.grad(loss, argnums=(0, 1)))(system.positions, p)
    assert_gradient(lambda r: float(loss(r, p)), by_position, system.positions, rtol=1e-7, step=0.1)
    assert_gradient(lambda x: float(loss(system.positions, x)), by_multipoles, p, rtol=1e-7)


@pytest.mark.parametrize("kind", ["open", "periodic", pytest.param("slab", **SLOW)])
def test_potential_is_differentiable_in_positions(kind, rng, x64, l_max=1):
    """⟨p, A(r) p⟩ through `potential`, the path of the implicit solvers."""
    positions, multipoles, cell = ref.random_structure(rng, 4, l_max=l_max)
    engine, system, _ = ref.prepared(kind, [(positions, cell)], l_max=l_max)
    p = jnp.asarray(multipoles)

    def half(r):
        operator = engine.prepare(replace(system, positions=r), l_max, 1.0)
        return 0.5 * jnp.sum(p * operator.potential(p))

    energy = ref.energy_of(engine, system, p, l_max, 1.0)
    expected = jax.jit(jax.grad(lambda r: energy(r, system.cell).sum()))(system.positions)
    gradient = jax.jit(jax.grad(half))(system.positions)
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-11)
    _, forward = jax.jit(lambda r: jax.jvp(half, (r,), (r,)))(system.positions)
    np.testing.assert_allclose(forward, jnp.sum(expected * system.positions), rtol=1e-10)


@pytest.mark.parametrize(("kind", "l_max"), [("open", 2), ("periodic", 0), ("ewald", 0)])
def test_coincident_atoms_have_finite_derivatives(kind, l_max, rng, x64):
    positions, multipoles, cell = ref.random_structure(rng, 4, l_max=l_max)
    positions[1] = positions[0] + [0.15, 0.0, 0.0]  # frames with atoms in one place are refused
    engine, system, _ = ref.prepared(kind, [(positions, cell)], l_max=l_max)
    system = replace(system, positions=system.positions.at[1].set(system.positions[0]))
    p = jnp.asarray(multipoles)
    energy = ref.energy_of(engine, system, p, l_max, 1.0)
    total = jax.jit(lambda r: energy(r, system.cell).sum())
    gradient = jax.jit(jax.grad(total))
    assert_gradient(lambda r: float(total(r)), gradient(system.positions), system.positions, 1e-8)
    squared = jax.jit(lambda r: jnp.sum(gradient(r) ** 2))
    second = jax.jit(jax.grad(squared))(system.positions)
    assert_gradient(lambda r: float(squared(r)), second, system.positions, rtol=1e-7)


@every_kind
def test_single_precision_stays_single_and_close(kind, rng, l_max=1):
    positions, multipoles, cell = ref.random_structure(rng, 40, 2.0 * ref.TRICLINIC, l_max)
    far = positions + 30.0 * cell[0] if kind in ("periodic", "ewald") else positions
    results = {}
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(dtype == np.float64):
            engine, system, _ = ref.prepared(
                kind, [(far, cell)], l_max=l_max, dtype=dtype, accuracy=1e-6
            )
            p = jnp.asarray(multipoles.astype(dtype))
            energy = ref.energy_of(engine, system, p, l_max, 1.0)
            function = jax.value_and_grad(lambda r: energy(r, system.cell).sum())  # noqa: B023
            program = jax.make_jaxpr(function)(system.positions)
            if dtype == np.float32:
                assert "f64" not in str(program) and "c64" not in str(program)
            value, gradient = jax.jit(function)(system.positions)
            results[dtype] = float(value), np.asarray(gradient, np.float64)
    single, double = results[np.float32], results[np.float64]
    assert abs(single[0] - double[0]) < 3e-6 * abs(double[0])
    assert np.abs(single[1] - double[1]).max() < 1e-4 * np.sqrt((double[1] ** 2).mean())


@every_kind
def test_exports_to_every_platform(kind, rng):
    positions, multipoles, cell = ref.random_structure(rng, 4)
    engine, system, _ = ref.prepared(kind, [(positions, cell)], accuracy=1e-4, dtype=np.float32)

    def total(r, p):
        return engine.prepare(replace(system, positions=r), 1, 1.0).energy(p).sum()

    program = jax.jit(jax.value_and_grad(total))
    p = jnp.asarray(multipoles, jnp.float32)
    exported = jax.export.export(program, platforms=["cpu", "cuda", "tpu"])(system.positions, p)
    text = exported.mlir_module()
    assert "f64" not in text and "complex" not in text


def test_wrong_order_and_components_are_refused(rng, x64):
    positions, multipoles, cell = ref.random_structure(rng, 4)
    for kind in KINDS:
        engine, system, operator = ref.prepared(kind, [(positions, cell)])
        with pytest.raises(ConfigError, match="l_max = 3"):
            engine.prepare(system, 3, 1.0)
        with pytest.raises(ConfigError, match=r"needed \[N, 4\]"):
            operator.energy(jnp.asarray(multipoles[:, :1]))
        with pytest.raises(ConfigError, match=r"needed \[N, 4\]"):
            operator.potential(jnp.asarray(multipoles[:, :3]))
