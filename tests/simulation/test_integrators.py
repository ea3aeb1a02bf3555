"""Integrators against jax-md's, against closed forms and against what they must conserve."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax.simulation.integrators import (
    Langevin,
    Motion,
    NoseHoover,
    VelocityVerlet,
    kinetic_energy,
)
from electrojax.simulation.motion import conserved_modes, maxwell_boltzmann, without_modes

MASSES = np.array([1.0, 16.0, 1.0, 35.0])[:, None]
HEAT, STEP = 0.03, 0.05


def forces(positions):
    """Springs between all pairs, anharmonic: no force on the centre of mass."""
    return -jax.grad(energy)(positions)


def energy(positions):
    d = positions[:, None] - positions[None]
    squared = jnp.sum(d**2, axis=-1)
    return 0.05 * jnp.sum(squared) + 0.002 * jnp.sum(squared**2)


def start(chain=0):
    rng = np.random.default_rng(1)
    velocities = maxwell_boltzmann(MASSES[:, 0], HEAT, 2)
    velocities -= np.sum(MASSES * velocities, axis=0) / MASSES.sum()
    return Motion(
        positions=jnp.asarray(rng.normal(size=(4, 3))),
        velocities=jnp.asarray(velocities),
        chain_positions=jnp.zeros(chain),
        chain_momenta=jnp.zeros(chain),
        step=jnp.int32(0),
    )


def trajectory(integrator, motion, steps, force=forces):
    """Returns the motion after every step, stacked."""

    def step(motion, _):
        motion = integrator.first_half(motion, force(motion.positions))
        motion = integrator.second_half(motion, force(motion.positions))
        motion = Motion(**{**vars(motion), "step": motion.step + 1})
        return motion, motion

    return jax.jit(lambda m: jax.lax.scan(step, m, None, length=steps)[1])(motion)


@pytest.fixture
def jax_md(x64):
    from jax_md import simulate, space

    return simulate, space.free()[1]


def theirs(init, step, motion, steps, **options):
    momenta = motion.velocities * MASSES
    state = init(
        jax.random.key(0), motion.positions, mass=jnp.asarray(MASSES), momenta=momenta, **options
    )
    return jax.jit(lambda s: jax.lax.fori_loop(0, steps, lambda _, s: step(s), s))(state)


def test_velocity_verlet_is_that_of_jax_md(jax_md):
    simulate, shift = jax_md
    motion = start()
    mine = trajectory(VelocityVerlet(jnp.asarray(MASSES), jnp.asarray(STEP)), motion, 50)
    # jax-md rounds the timestep to float32: 0.05 to 0.0500000007.
    other = theirs(*simulate.nve(forces, shift, STEP), motion, 50, kT=0.0)
    np.testing.assert_allclose(mine.positions[-1], other.position, atol=1e-6)
    assert np.max(np.abs(mine.positions[-1] - motion.positions)) > 0.3


def test_nose_hoover_is_that_of_jax_md(jax_md):
    simulate, shift = jax_md
    motion = start(chain=3)
    # jax-md counts 3N degrees of freedom, and its three-step weights are not those of order four.
    options = {"chain_length": 3, "chain_steps": 1, "sy_steps": 1, "tau": 1.0}
    other = theirs(*simulate.nvt_nose_hoover(forces, shift, STEP, HEAT, **options), motion, 50)
    arguments = [jnp.asarray(v) for v in (MASSES, STEP, HEAT, 1.0, 12.0)]
    mine = trajectory(NoseHoover(*arguments, weights=(1.0,)), motion, 50)
    np.testing.assert_allclose(mine.positions[-1], other.position, atol=2e-6)
    np.testing.assert_allclose(mine.chain_momenta[-1], other.chain.momentum, rtol=1e-4, atol=1e-6)
    assert np.max(np.abs(other.chain.momentum)) > 1e-3


def test_langevin_without_friction_is_velocity_verlet(x64):
    motion = start()
    plain = trajectory(VelocityVerlet(jnp.asarray(MASSES), jnp.asarray(STEP)), motion, 30)
    arguments = [jnp.asarray(v) for v in (MASSES, STEP, HEAT, 0.0)]
    still = trajectory(Langevin(*arguments, jax.random.key(0)), motion, 30)
    np.testing.assert_allclose(still.positions, plain.positions, atol=1e-12)


def test_energy_of_velocity_verlet_fluctuates_with_the_square_of_the_timestep(x64):
    def spread(step, steps):
        run = trajectory(VelocityVerlet(jnp.asarray(MASSES), jnp.asarray(step)), start(), steps)
        kinetic = jax.vmap(kinetic_energy, (0, None))(run.velocities, MASSES)
        return np.std(kinetic + jax.vmap(energy)(run.positions))

    assert 3.5 < spread(0.05, 400) / spread(0.025, 800) < 4.5


def test_nose_hoover_conserves_its_energy_to_second_order(x64):
    def spread(step, steps):
        arguments = [jnp.asarray(v) for v in (MASSES, step, HEAT, 1.0, 9.0)]
        integrator = NoseHoover(*arguments)
        run = trajectory(integrator, start(chain=3), steps)
        kinetic = jax.vmap(kinetic_energy, (0, None))(run.velocities, MASSES)
        extra = jax.vmap(integrator.thermostat_energy)(run)
        assert np.std(kinetic + jax.vmap(energy)(run.positions)) > 0.02
        return np.std(kinetic + extra + jax.vmap(energy)(run.positions))

    assert spread(0.05, 400) < 2e-3
    assert 3.0 < spread(0.05, 400) / spread(0.025, 800) < 5.0


def test_langevin_samples_positions_of_a_harmonic_oscillator_exactly(x64):
    # Leimkuhler and Matthews 2013: for a harmonic force, BAOAB's <x²> is k_B T / k at any timestep.
    k, n = 2.0, 300
    masses = jnp.ones((n, 1))
    motion = Motion(jnp.zeros((n, 3)), jnp.zeros((n, 3)), jnp.zeros(0), jnp.zeros(0), jnp.int32(0))
    arguments = [masses, *(jnp.asarray(v) for v in (0.7, HEAT, 1.0))]
    run = trajectory(Langevin(*arguments, jax.random.key(4)), motion, 2000, lambda x: -k * x)
    samples = np.asarray(run.positions[200::10])
    found = np.mean(samples**2, axis=(0, 2))
    error = np.std(found, ddof=1) / np.sqrt(n)
    assert abs(found.mean() - HEAT / k) < 4 * error
    assert error < 0.01 * HEAT / k


def test_noise_depends_on_seed_and_step_only(x64):
    def run(seed):
        arguments = [jnp.asarray(v) for v in (MASSES, STEP, HEAT, 1.0)]
        return np.asarray(
            trajectory(Langevin(*arguments, jax.random.key(seed)), start(), 5).velocities
        )

    np.testing.assert_array_equal(run(1), run(1))
    assert np.max(np.abs(run(1) - run(2))) > 1e-3
    assert np.max(np.abs(np.diff(run(1), n=2, axis=0))) > 1e-3


def test_velocities_without_rigid_motion_have_no_momentum_and_no_spin(rng):
    positions, masses = rng.normal(size=(5, 3)), rng.uniform(1, 20, size=5)
    modes = conserved_modes(positions, masses, translations=True, rotations=True)
    assert modes.shape == (15, 6)
    velocities = without_modes(maxwell_boltzmann(masses, HEAT, 0), masses, modes)
    centred = positions - np.average(positions, axis=0, weights=masses)
    momenta = masses[:, None] * velocities
    np.testing.assert_allclose(momenta.sum(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(np.cross(centred, momenta).sum(axis=0), 0.0, atol=1e-12)
    assert np.abs(velocities).max() > 0.01


def test_a_line_of_atoms_has_five_rigid_motions():
    positions = np.array([[0.0, 0, 0], [0, 0, 1.2], [0, 0, 2.4]])
    assert conserved_modes(positions, np.ones(3), True, True).shape[1] == 5
    assert conserved_modes(positions, np.ones(3), True, False).shape[1] == 3
    assert conserved_modes(positions, np.ones(3), False, False).shape[1] == 0


def test_drawn_velocities_follow_the_maxwell_boltzmann_distribution():
    masses = np.repeat([1.0, 16.0], 4000)
    kinetic = 0.5 * masses[:, None] * maxwell_boltzmann(masses, HEAT, 0) ** 2
    for half in (kinetic[:4000], kinetic[4000:]):
        # ½ m v² has mean kT/2 and variance (kT)²/2.
        assert abs(half.mean() - 0.5 * HEAT) < 4 * HEAT / np.sqrt(2 * half.size)


@pytest.mark.parametrize("kind", ["langevin", "nose_hoover"])
def test_thermostats_reach_their_temperature(kind, x64):
    motion = start(chain=3)
    heat = [jnp.asarray(v) for v in (MASSES, STEP, HEAT)]
    if kind == "langevin":
        integrator, freedom = Langevin(*heat, jnp.asarray(0.3), jax.random.key(1)), 12
    else:
        # These springs conserve momentum and angular momentum: six degrees of freedom are left.
        modes = conserved_modes(np.asarray(motion.positions), MASSES[:, 0], True, True)
        still = without_modes(np.asarray(motion.velocities), MASSES[:, 0], modes)
        motion = Motion(**{**vars(motion), "velocities": jnp.asarray(still)})
        integrator, freedom = NoseHoover(*heat, jnp.asarray(1.0), jnp.asarray(6.0)), 6
    run = trajectory(integrator, motion, 60_000)
    kinetic = np.asarray(jax.vmap(kinetic_energy, (0, None))(run.velocities, MASSES))[4000:]
    means = [np.mean(block) for block in np.array_split(2 * kinetic / freedom, 20)]
    error = np.std(means, ddof=1) / np.sqrt(20)
    assert error < 0.04 * HEAT
    assert abs(np.mean(means) - HEAT) < 3.5 * error
