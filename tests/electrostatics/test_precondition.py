"""Preconditioners of A + H: symmetric positive definite, exact on long waves, and worth it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax.electrostatics.long_waves import wave_cutoff
from electrojax.electrostatics.precondition import (
    JacobiPreconditioner,
    LowKPreconditioner,
    low_k_preconditioner,
)
from electrojax.errors import ConfigError
from tests.electrostatics import reference as ref


def matrix_of(apply, atoms, components):
    size = atoms * components
    unit = jnp.eye(size).reshape(size, atoms, components)
    return np.asarray(jax.vmap(apply)(unit)).reshape(size, size)


def structures(rng, l_max):
    first = ref.random_structure(rng, 6, 1.6 * ref.TRICLINIC, l_max)
    second = ref.random_structure(rng, 4, 2.0 * ref.LEFT_HANDED, l_max)
    return [(first[0], first[2]), (second[0], second[2])]


SLOW = {"marks": pytest.mark.conformance}


@pytest.mark.conformance_for("periodic-2")
@pytest.mark.parametrize(
    ("kind", "l_max"),
    [("periodic", 2), ("slab", 1), ("open", 1), pytest.param("boxed", 1, **SLOW)],
)
def test_is_the_inverse_of_diagonal_and_long_waves(kind, l_max, rng, x64):
    """Against NumPy's inverse of D + Σ λ (c cᵀ + s sᵀ) + dipoles, from plane waves written out."""
    positions, multipoles, cell = ref.random_structure(rng, 5, 1.6 * ref.TRICLINIC, l_max)
    cell = 9.0 * np.eye(3) if kind == "boxed" else cell
    _, system, operator = ref.prepared(kind, [(positions, cell)], 1.0, l_max)
    hardness = rng.uniform(1.0, 5.0, multipoles.shape)
    made = jax.jit(low_k_preconditioner, static_argnums=(3, 4))(
        operator, system, hardness, 1.0, 1.2
    )
    inverse = matrix_of(made.apply, *multipoles.shape)
    np.testing.assert_allclose(inverse, inverse.T, atol=1e-13)
    assert np.linalg.eigvalsh(inverse).min() > 0
    reference = expected(kind, positions, np.asarray(system.plan_cell[0]), hardness)
    np.testing.assert_allclose(inverse, np.linalg.inv(reference), atol=1e-13)


def expected(kind, positions, cell, hardness, width=1.0, cutoff=1.2):
    """D + U Λ Uᵀ with D = H + (self-interaction − waves)."""
    n, components = hardness.shape
    l_max = int(np.sqrt(components)) - 1
    degree = np.repeat(np.arange(l_max + 1), 2 * np.arange(l_max + 1) + 1)
    own = ref.K_E / np.sqrt(np.pi) * np.array([1.0, 1 / 6, 1 / 60])[: l_max + 1]
    mean = np.stack([hardness[:, degree == l].mean(1) for l in range(l_max + 1)], 1)
    if kind == "open":
        return np.diag((mean + own)[:, degree].ravel())
    grid = np.stack(np.meshgrid(*[np.arange(-14, 15)] * 3, indexing="ij"), -1).reshape(-1, 3)
    k = 2 * np.pi * grid @ np.linalg.inv(cell).T
    k2 = (k * k).sum(1)
    k, k2 = (x[(k2 > 1e-9) & (k2 <= cutoff**2)] for x in (k, k2))
    volume = abs(np.linalg.det(cell))
    weight = 4 * np.pi * ref.K_E / volume * np.exp(-k2 * width**2) / k2
    parts = [np.ones((len(k), 1)), 1j * k[:, [1, 2, 0]], -ref.solid_harmonics(k) / 3]
    form = np.concatenate(parts[: l_max + 1], axis=1)
    waves = np.exp(1j * k @ positions.T)[:, :, None] * form[:, None, :]
    columns = waves.reshape(len(k), -1)
    low = np.real((weight[:, None] * columns.conj()).T @ columns)
    share = [(weight * k2**l).sum() / (1, 3, 45)[l] for l in range(l_max + 1)]
    # The waves across a slab leave an atom less than nothing of its own: the dipole is in them.
    matrix = np.diag((mean + np.maximum(own - share, 0.0))[:, degree].ravel()) + low
    normals = np.eye(3) if kind == "boxed" else np.zeros((0, 3))
    if kind == "slab":
        normal = np.cross(cell[2], cell[0])
        normals = normal[None] / np.linalg.norm(normal)
    for a in normals:
        along = (positions - positions.mean(0)) @ a
        rows = np.zeros((n, components))
        rows[:, 0], rows[:, 1:4] = along, a[[1, 2, 0]]
        third = 3 if kind == "boxed" else 1
        matrix += 4 * np.pi * ref.K_E / volume / third * np.outer(rows.ravel(), rows.ravel())
    return matrix


def steps_to_solve(operator, hardness, apply, rng, tolerance=1e-6):
    """Conjugate gradients on changes that keep the charge, one structure, counted."""

    def neutral(p):
        return p.at[:, 0].add(-p[:, 0].mean())

    @jax.jit
    def solve(rhs):
        def advance(state):
            x, r, d, product, steps = state
            image = neutral(operator.potential(d) + hardness * d)
            length = product / jnp.sum(d * image)
            x, r = x + length * d, r - length * image
            refined = neutral(apply(r))
            change = jnp.sum(r * refined) / product
            return x, r, refined + change * d, change * product, steps + 1

        first = neutral(apply(rhs))
        start = (jnp.zeros_like(rhs), rhs, first, jnp.sum(rhs * first), 0)
        goal = tolerance * jnp.linalg.norm(rhs)
        unfinished = lambda s: (jnp.linalg.norm(s[1]) > goal) & (s[4] < 500)  # noqa: E731
        return jax.lax.while_loop(unfinished, advance, start)

    rhs = neutral(jnp.asarray(rng.normal(size=hardness.shape)))
    x, *_, steps = solve(rhs)
    image = neutral(operator.potential(x) + hardness * x)
    assert jnp.linalg.norm(image - rhs) < 1.01 * tolerance * jnp.linalg.norm(rhs)
    return int(steps)


def long_box(rng, atoms, length, l_max):
    """Atoms at 0.1 per Å³, not closer than a lattice allows, in a long cell with long waves."""
    side = np.sqrt(atoms * 10.0 / length)
    counts = [max(round(x / 2.15), 1) for x in (side, side, length)]
    grid = np.stack(np.meshgrid(*[np.arange(n) / n for n in counts]), -1).reshape(-1, 3)
    cell = np.diag([side, side, length])
    positions = grid @ cell + rng.uniform(-0.6, 0.6, grid.shape)
    return positions, cell


@pytest.mark.parametrize(
    ("kind", "l_max", "factor"),
    [
        ("periodic", 0, 2.0),
        ("slab_z", 0, 2.0),
        pytest.param("periodic", 1, 1.8, **SLOW),
        pytest.param("ewald", 0, 2.0, **SLOW),
    ],
)
def test_fewer_steps_than_jacobi(kind, l_max, factor, rng, x64):
    """For a few hundred atoms and hardnesses of 1-3: 23 for 54, 40 for 77 with dipoles."""
    positions, cell = long_box(rng, 400, 80.0, l_max)
    cell = cell + np.diag([0, 0, 40.0]) * (kind == "slab_z")
    _, system, operator = ref.prepared(kind, [(positions, cell)], 1.0, l_max, accuracy=1e-5)
    hardness = jnp.asarray(rng.uniform(1.0, 3.0, (len(positions), (l_max + 1) ** 2)))
    own = ref.K_E / np.sqrt(np.pi) * np.r_[1.0, np.ones(3) / 6][: (l_max + 1) ** 2]
    jacobi = steps_to_solve(operator, hardness, lambda r: r / (hardness + own), rng)
    made = jax.jit(low_k_preconditioner, static_argnums=3)(operator, system, hardness, 1.0)
    assert isinstance(made, LowKPreconditioner)
    low_k = steps_to_solve(operator, hardness, made.apply, rng)
    assert low_k <= (30 if l_max == 0 else 45)
    assert factor * low_k <= jacobi


def test_padding_and_batch_mates_change_nothing(rng, x64, l_max=1):
    pair = structures(rng, l_max)
    _, system, operator = ref.prepared("periodic", pair, l_max=l_max, extra=(4, 2))
    hardness = rng.uniform(1.0, 3.0, (system.n_nodes, 4))
    residual = rng.normal(size=hardness.shape)
    make = jax.jit(low_k_preconditioner, static_argnums=(3, 4))
    both = np.asarray(make(operator, system, hardness, 1.0, 1.0).apply(residual))
    assert np.all(both[10:] == 0)
    _, single, alone = ref.prepared("periodic", pair[1:], l_max=l_max)
    found = make(alone, single, hardness[6:10], 1.0, 1.0).apply(residual[6:10])
    np.testing.assert_allclose(found, both[6:10], rtol=1e-10, atol=1e-12)


def test_open_boundary_gives_jacobi_and_wrong_input_is_refused(rng, x64):
    positions, _, cell = ref.random_structure(rng, 4, l_max=0)
    _, system, operator = ref.prepared("open", [(positions, cell)], l_max=0)
    hardness = jnp.full((4, 1), 2.0)
    made = low_k_preconditioner(operator, system, hardness, 1.0)
    assert isinstance(made, JacobiPreconditioner)
    with pytest.raises(ConfigError, match="positive number"):
        low_k_preconditioner(operator, system, hardness, 1.0, cutoff=0.0)
    _, system, operator = ref.prepared("periodic", [(positions, cell)], l_max=0)
    with pytest.raises(ConfigError, match="one known number"):
        low_k_preconditioner(operator, system, hardness, jnp.ones(4))


@pytest.mark.parametrize("width", [0.0, 1.5])
def test_wave_cutoff_is_where_the_weight_of_a_wave_is_eight_hardnesses(width, x64):
    k = float(wave_cutoff(2.0, 0.1, width, 8.0))
    weight = 4 * np.pi * ref.K_E * 0.1 * np.exp(-((k * width) ** 2)) / k**2
    assert abs(weight - 16.0) < 1e-9
