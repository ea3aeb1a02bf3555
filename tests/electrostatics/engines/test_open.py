"""The open boundary against displaced point Gaussians, and its behaviour at scale."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax.electrostatics.energy import coulomb_energy
from electrojax.electrostatics.engines.open import OpenCoulomb
from electrojax.errors import DataError
from electrojax.system.batching import build_sample, capacity_for, collate
from electrojax.typing import replace
from tests.electrostatics import reference as ref


@pytest.mark.parametrize(
    ("l_max", "width", "step", "tolerance"),
    [(1, 0.4, 0.3, 1e-9), (1, 1.5, 0.3, 1e-9), (2, 0.7, 0.8, 3e-8)],
)
def test_energy_of_displaced_gaussians(l_max, width, step, tolerance, rng):
    positions, multipoles, _ = ref.random_structure(rng, 5, l_max=l_max)
    expected = ref.displaced_energy(positions, multipoles, width, step=step)
    assert abs(coulomb_energy(positions, multipoles, width) - expected) < tolerance * abs(expected)


def test_point_stencils_have_the_moments_they_stand_for():
    """∫ρ R_m of every stencil of l = 2: one for its own m, zero for all others."""
    stencils = ref.point_stencils(0.3)[4:]
    moments = [charges @ ref.solid_harmonics(sites) for sites, charges in stencils]
    np.testing.assert_allclose(moments, np.eye(5), atol=1e-12)
    for sites, charges in stencils:
        trace = charges @ (sites**2).sum(axis=1)
        np.testing.assert_allclose([charges.sum(), trace, *(charges @ sites)], 0, atol=1e-12)


@pytest.mark.parametrize(("l_max", "tolerance"), [(1, 1e-9), (2, 3e-8)])
def test_a_width_per_atom(l_max, tolerance, rng):
    positions, multipoles, _ = ref.random_structure(rng, 5, l_max=l_max)
    widths = rng.uniform(0.5, 1.8, 5)
    expected = ref.displaced_energy(positions, multipoles, widths, step=0.3 * l_max)
    assert abs(coulomb_energy(positions, multipoles, widths) - expected) < tolerance * abs(expected)
    uniform = coulomb_energy(positions, multipoles, np.full(5, 0.7))
    assert abs(uniform - coulomb_energy(positions, multipoles, 0.7)) < 1e-12 * abs(uniform)


def test_distant_charges_obey_coulombs_law():
    energy = coulomb_energy([[0, 0, 0], [0, 0, 500.0]], [1.0, 2.0], 0.5, self_interaction=False)
    assert abs(energy - 2 * ref.K_E / 500) < 1e-14


def test_an_open_molecule_shares_no_batch_with_a_crystal(rng):
    """Its physics would follow from its company (physics.md 2.3: method auto of the reference)."""
    samples = [
        build_sample(ref.frame(*ref.random_structure(rng, 3)[::2], kind), 2.0)
        for kind in ("open", "periodic")
    ]
    with pytest.raises(DataError, match="one batch must have one boundary"):
        collate(samples, capacity_for(samples))


def test_single_atom_is_its_self_energy():
    assert abs(coulomb_energy([[1.0, 2.0, 3.0]], [2.0], 1.5) - 4 * 2.708043305076275) < 1e-12
    assert coulomb_energy([[1.0, 2.0, 3.0]], [2.0], 1.5, self_interaction=False) < 1e-14


def test_blocks_of_rows_change_nothing(rng, x64):
    """13 atoms in blocks of 4 rows and a smaller structure beside them."""
    large, small = (ref.random_structure(rng, n, l_max=0) for n in (13, 5))
    structures = [(large[0], large[2]), (small[0], small[2])]
    engine, system, operator = ref.prepared("open", structures, l_max=0)
    width = jnp.asarray(rng.uniform(0.5, 1.5, 18))
    p = jnp.asarray(np.concatenate([large[1], small[1]]))
    results = []
    for each in (engine, dataclasses.replace(engine, pair_block=4 * 13 * 2)):
        operator = jax.jit(each.prepare, static_argnums=1)(system, 0, width)
        assert operator.rows == (13 if each is engine else 4)

        def total(r, each=each):
            return each.prepare(replace(system, positions=r), 0, width).energy(p).sum()

        force = jax.grad(total)
        square = jax.jit(jax.value_and_grad(lambda r, f=force: jnp.sum(f(r) ** 2)))
        values = ref.potential(operator, p), ref.energy(operator, p)
        results.append((*values, *square(system.positions)))
    for whole, blocked in zip(*results):
        np.testing.assert_allclose(blocked, whole, rtol=1e-11, atol=1e-11)


def test_memory_of_blocks_does_not_grow_with_the_pairs():
    """Energy and forces of 3000 atoms: 9 million pairs, and far less than one pair array each."""
    n = 3000
    rng = np.random.default_rng(1)
    positions, cell = rng.uniform(0, 30, (n, 3)), np.eye(3)
    engine = OpenCoulomb()
    system = ref.batch([(positions, cell)], "open", engine, 1.0, 1, np.float32)
    p = jnp.asarray(rng.normal(size=(n, 4)), jnp.float32)

    def total(r):
        return engine.prepare(replace(system, positions=r), 1, 1.0).energy(p).sum()

    program = jax.jit(jax.value_and_grad(total)).lower(system.positions).compile()
    assert program.memory_analysis().temp_size_in_bytes < 200e6
    energy, gradient = program(system.positions)
    assert np.isfinite(energy) and np.all(np.isfinite(gradient))
    # Newton's third law, over 9 million pairs in single precision.
    assert np.abs(gradient.sum(axis=0)).max() < 1e-2
