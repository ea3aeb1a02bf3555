"""Two molecules without common edges, and Coulomb's force between the densities of a model."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from electrojax.system.types import Frame
from electrojax.units import COULOMB
from tests.conformance.models import potential, system_of

FIRST = np.array([[0, 0, 0.0], [0.96, 0, 0.1], [-0.24, 0.93, -0.05]])
SECOND = np.array([[0.1, 0.1, 0.0], [0.5, 0.85, 0.2], [-0.8, 0.4, 0.45]])
NUMBERS = np.array([8, 1, 1, 8, 8, 1])
ALONG = np.array([1.0, 0.3, 0.0]) / np.hypot(1.0, 0.3)


def structure(numbers, positions, formal, **parts) -> Frame:
    return Frame(
        np.asarray(numbers),
        positions,
        np.zeros((3, 3)),
        (False,) * 3,
        total_charge=float(np.sum(formal)),
        formal_charges=np.asarray(formal),
        charge_control="fixed_charge",
        **parts,
    )


def pair(distance: float, charge: float, other: float = 0.0) -> Frame:
    """OHH and OOH, a distance apart."""
    positions = np.concatenate([FIRST, SECOND + distance * ALONG])
    formal = [charge, 0.0, 0.0, other, 0.0, 0.0]
    return structure(NUMBERS, positions, formal, fragment=np.array([0, 0, 0, 1, 1, 1]))


PAIRS = [pair(40.0, 1.0), pair(80.0, 1.0), pair(160.0, 1.0), pair(40.0, 0.0)]


@functools.lru_cache
def run(solver: str):
    """The model and its jitted prediction."""
    model = potential("light", solver)
    return model, jax.jit(model.apply)


def parts(solver: str, changed=None, pairs=PAIRS):
    """Forces on the second molecule [pair, 3], and positions and multipoles [pair, 6, ...]."""
    model, apply = run(solver)
    system = system_of(model, pairs)
    found = apply(model.params if changed is None else changed, system)
    forces = np.asarray(found.forces).reshape(4, 6, 3)[:, 3:].sum(axis=1)
    multipoles = np.asarray(found.density.multipoles).sum(axis=1).reshape(4, 6, -1)
    multipoles = np.pad(multipoles, [(0, 0), (0, 0), (0, 4 - multipoles.shape[2])])
    return forces, np.asarray(system.positions).reshape(4, 6, 3), multipoles


@jax.jit
def coulomb_force(positions, left, right):
    """k_e ∂/∂r of point charges and dipoles of the first three atoms with the last three: [3] eV/Å.

    E = q q'/d + (q μ'·d − q' μ·d)/d³ + μ·μ'/d³ − 3 (μ·d)(μ'·d)/d⁵ with d = r − r'.
    """

    def energy(shift):
        d = positions[:3, None] - (positions[None, 3:] + shift)
        r = jnp.linalg.norm(d, axis=-1)
        q, other = left[:3, 0][:, None], right[3:, 0][None]
        mu, nu = left[:3, [3, 1, 2]][:, None], right[3:, [3, 1, 2]][None]
        mu_d, nu_d = jnp.sum(mu * d, axis=-1), jnp.sum(nu * d, axis=-1)
        charges = q * other / r + (q * nu_d - other * mu_d) / r**3
        dipoles = jnp.sum(mu * nu, axis=-1) / r**3 - 3 * mu_d * nu_d / r**5
        return COULOMB * jnp.sum(charges + dipoles)

    return -jax.grad(energy)(jnp.zeros(3))


def coulomb_forces(positions, multipoles):
    """Between the densities of each pair, [pair, 3]."""
    return np.array([coulomb_force(r, p, p) for r, p in zip(positions, multipoles)])


def deviations(solver, pairs=PAIRS):
    """F/F_Coulomb − 1 along the pairs' axis, [pair]."""
    forces, positions, multipoles = parts(solver, pairs=pairs)
    expected = coulomb_forces(positions, multipoles)
    return (forces - expected) @ ALONG / (expected @ ALONG), multipoles


def slopes_alone(solver, charges, step=1e-3):
    """dE/dQ and dμ/dQ of each molecule alone at its charge, by differences, [2] each."""
    model, apply = run(solver)
    frames = [
        structure(numbers, positions, [charge + sign * step, 0.0, 0.0])
        for numbers, positions, charge in zip((NUMBERS[:3], NUMBERS[3:]), (FIRST, SECOND), charges)
        for sign in (1, -1)
    ]
    found = apply(model.params, system_of(model, frames))
    return [
        (x[::2] - x[1::2]) / (2 * step) for x in map(np.asarray, (found.energy, found.fermi_level))
    ]
