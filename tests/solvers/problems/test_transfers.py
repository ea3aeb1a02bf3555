"""Transfers along bonds: what is apart keeps its charge, as plain charge equilibration does not."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from electrojax.electrostatics.flow import edge_weights
from electrojax.numerics.variational import quadratic_minimum
from electrojax.solvers.problems.transfers import transfer_problem
from electrojax.system.geometry import edge_vectors
from electrojax.system.types import Frame
from tests.solvers.systems import CUTOFF, energy_of, equilibrated, system_of

WATER = np.array([[0.0, 0.0, 0.12], [0.0, 0.76, -0.47], [0.0, -0.76, -0.47]])
CHI = np.array([8.0, 4.5, 4.5, 1.0, 9.0])
ETA = np.array([9.0, 10.0, 10.0, 6.0, 7.0])


def pair(distance, formal):
    """A water molecule and, at a distance, a diatomic with quite another electronegativity."""
    other = np.array([[distance, 0.0, 0.0], [distance + 1.1, 0.0, 0.0]])
    return Frame(
        np.array([8, 1, 1, 11, 17]),
        np.concatenate([WATER, other]),
        np.zeros((3, 3)),
        (False,) * 3,
        formal_charges=np.asarray(formal, dtype=np.float64),
        total_charge=float(np.sum(formal)),
    )


def transferred(frame, strength=1.0):
    system = system_of([frame], nodes=2, edges=7)

    @jax.jit
    def run(system):
        energy = energy_of(system, -CHI[:, None], ETA[:, None])
        weights = strength * edge_weights(edge_vectors(system), CUTOFF) * system.edge_mask
        problem = transfer_problem(energy, jnp.asarray(system.formal_charges), weights)
        start = jnp.zeros((system.n_edges, 1))
        unknown, report = quadratic_minimum(problem, start, 1e-12)
        charges = problem.charges(unknown)
        return charges[:, 0], -energy.gradient(charges)[:, 0], report

    charges, potentials, report = run(system)
    assert bool(report.converged[0])
    return np.asarray(charges[:5]), np.asarray(potentials[:5])


def test_plain_equilibration_leaves_fractions_on_separated_fragments(x64):
    """The defect that transfers mend: 30 Å apart, neutral molecules exchange charge at no cost."""
    charges, _, _ = equilibrated(pair(30.0, np.zeros(5)), CHI, ETA, [list(range(5))])
    assert abs(charges[:3].sum()) > 0.05


def test_fragments_keep_their_integers_wherever_the_formal_charge_sits(x64):
    """Which fragment holds the integer is input; which of its atoms has it is not felt."""
    on_one, _ = transferred(pair(30.0, [1.0, 0, 0, 0, -1.0]), strength=100.0)
    spread, _ = transferred(pair(30.0, [1 / 3, 1 / 3, 1 / 3, -0.5, -0.5]), strength=100.0)
    other, _ = transferred(pair(30.0, np.zeros(5)), strength=100.0)
    np.testing.assert_allclose([on_one[:3].sum(), on_one[3:].sum()], [1, -1], atol=1e-12)
    np.testing.assert_allclose([other[:3].sum(), other[3:].sum()], [0, 0], atol=1e-12)
    np.testing.assert_allclose(on_one, spread, atol=1e-3)
    assert np.abs(on_one - other).max() > 0.1


def test_soft_bonds_give_the_equilibrium_of_each_fragment(x64):
    """Where transfers cost nothing, fragments are equilibrated one by one."""
    formal = np.array([1.0, 0, 0, 0, -1.0])
    frame = dataclasses.replace(pair(30.0, formal), fragment=np.array([0, 0, 0, 1, 1]))
    expected, levels, _ = equilibrated(frame, CHI, ETA, [[0, 1, 2], [3, 4]])
    charges, potentials = transferred(frame, strength=1e3)
    np.testing.assert_allclose(charges, expected, atol=1e-4)
    np.testing.assert_allclose(potentials, levels[[0, 0, 0, 1, 1]], atol=1e-3)


def test_a_uniform_current_polarises_a_periodic_chain(x64):
    """It moves no charge: Σ ½s² − E Σ w s a over 2n directed edges, and α = 2 w² a² per atom.

    Open chains approach it, each atom more adding what the ring has.
    """
    spacing, weight, field = 1.5, 0.07, 0.05

    def energy(n, periodic):
        positions = np.c_[np.full((n, 2), 6.0), spacing * np.arange(n)]
        frame = Frame(
            numbers=np.ones(n, dtype=int),
            positions=positions,
            cell=np.diag([12.0, 12.0, spacing * n]),
            pbc=(periodic,) * 3,
            external_field=np.array([0.0, 0.0, field]),
        )
        system = system_of([frame])
        bonded = np.linalg.norm(edge_vectors(system), axis=1) < 1.2 * spacing
        plain = energy_of(system, np.zeros((n, 1)), np.full((n, 1), 8.0))
        problem = transfer_problem(plain, jnp.zeros(n), jnp.where(bonded, weight, 0.0))
        unknown, report = quadratic_minimum(problem, jnp.zeros((system.n_edges, 1)), 1e-13)
        assert bool(report.converged[0])
        return float(sum(problem.energies(unknown, jnp.zeros(system.n_edges)).values())[0])

    ring = 2.0 * weight**2 * spacing**2
    np.testing.assert_allclose(-2.0 * energy(6, True) / field**2 / 6, ring, rtol=1e-10)
    short, long = (-2.0 * energy(n, False) / field**2 for n in (8, 12))
    np.testing.assert_allclose((long - short) / 4, ring, rtol=0.01)


def test_transfer_ends_smoothly_at_the_cutoff(x64):
    """No step in what a bond carries that is about to break."""
    distances = CUTOFF - np.array([0.4, 0.2, 0.1, 0.05, 0.0, -0.1])
    moved = [abs(transferred(pair(d, np.zeros(5)))[0][:3].sum()) for d in distances]
    assert moved[0] > 1e-8 and np.all(np.diff(moved) <= 1e-12) and max(moved[-2:]) < 1e-12
