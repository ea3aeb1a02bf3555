"""Periodic columns of soft atoms, driven from end to end, and three ways to their charges."""

import jax.numpy as jnp
import numpy as np

from electrojax.electrostatics.contract import receivers
from electrojax.electrostatics.coulomb import engine_for
from electrojax.electrostatics.field import field_coupling
from electrojax.numerics.constraint import charge_constraint
from electrojax.numerics.mixing import mixing_iteration, newton_krylov
from electrojax.numerics.variational import quadratic_minimum
from electrojax.solvers.problems.quadratic import quadratic_energy
from electrojax.solvers.problems.response_map import AffineResponse
from electrojax.solvers.problems.self_consistent import FreeResponse, symmetric_response
from electrojax.system.batching import build_sample, capacity_for, collate, on_device
from electrojax.system.types import Frame

WIDTH, CUTOFF, SPACING = 1.1, 3.0, 2.6


def column(layers):
    """A simple cubic column of 2 × 2 atoms per layer, periodic, driven from end to end."""
    grid = np.stack(np.meshgrid(range(2), range(2), range(layers), indexing="ij"), -1)
    positions = SPACING * grid.reshape(-1, 3) + 0.5
    cell = SPACING * np.diag([2.0, 2.0, layers])
    frame = Frame(np.full(len(positions), 47), positions, cell, (True,) * 3)
    engine = engine_for("periodic", 1e-6)
    sample = build_sample(frame, CUTOFF, engine.k_box(cell, WIDTH, 0))
    system = on_device(collate([sample], capacity_for([sample]), np.float64).system)
    height = positions[:, 2] - positions[:, 2].mean()
    drive = np.sign(height) + 0.3 * np.random.default_rng(0).normal(size=len(height))
    return system, engine.prepare(system, 0, WIDTH), jnp.asarray(drive - drive.mean())[:, None]


def energy_of(system, coulomb, hardness, drive):
    blocks = hardness * jnp.ones((system.n_nodes, 1, 1))
    return quadratic_energy(
        system, coulomb, blocks, drive, WIDTH, CUTOFF, linear_solver="cg", max_steps=500
    )


def conjugate_gradients(system, coulomb, hardness, drive):
    energy = energy_of(system, coulomb, hardness, drive)
    charges, report = quadratic_minimum(energy, jnp.zeros_like(drive), 1e-6)
    return charges, report.steps


def anderson(system, coulomb, hardness, drive):
    energy = energy_of(system, coulomb, hardness, drive)
    problem = symmetric_response(energy, drive / hardness)
    start = jnp.zeros_like(drive), jnp.zeros(system.n_nodes)
    charges, _, steps = mixing_iteration(problem, *start, 1e-6, 500, 0.25, 5)
    return charges, steps


def krylov(system, coulomb, hardness, drive, on_site=True):
    """The same response as a free one: linear equations without symmetry, by GMRES.

    Without ``on_site`` atoms do not feel their own charge, and are so much softer.
    """
    problem = FreeResponse(
        system=system,
        coulomb=coulomb,
        receive=receivers(coulomb, (WIDTH,), 0, on_site),
        local=drive / hardness,
        response=AffineResponse(-jnp.ones((system.n_nodes, 1, 1)) / hardness),
        field=field_coupling(system, CUTOFF),
        constraint=charge_constraint(system, False),
        norms=jnp.ones((1, 1)),
        width=WIDTH,
        max_steps=500,
    )
    start = jnp.zeros_like(drive), jnp.zeros(system.n_nodes)
    charges, _, steps = newton_krylov(problem, *start, 1e-6, 5)
    return charges, steps
