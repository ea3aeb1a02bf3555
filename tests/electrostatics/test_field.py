"""Fields, polarisation and charge flow in every boundary, against closed forms and plain NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax import testing
from electrojax.electrostatics.density import ChargeDensity, dipole
from electrojax.electrostatics.field import field_energy, transfer_energy
from electrojax.electrostatics.flow import LEAK, divergence, edge_weights, flow_coordinates
from electrojax.errors import ConfigError
from electrojax.system.batching import Capacity, build_sample, capacity_for, collate, on_device
from electrojax.system.geometry import apply_strain, edge_vectors
from electrojax.system.types import Frame
from electrojax.typing import replace

CUTOFF = 3.5
FIELD = np.array([0.05, -0.1, 0.2])
PERIODIC = {"periodic": (True, True, True), "slab": (True, False, True)}


def system_of(frames, size=None):
    samples = [build_sample(frame, CUTOFF) for frame in frames]
    return on_device(collate(samples, size or capacity_for(samples), np.float64).system)


def crystal(boundary, seed=3, **inputs):
    frame = testing.crystal(
        np.random.default_rng(seed), n=5, length=4.4, pbc=PERIODIC[boundary], **inputs
    )
    stretched = frame.cell * np.array([[1.0], [3.0], [1.0]]) if boundary == "slab" else frame.cell
    return dataclasses.replace(frame, cell=stretched)


def water(**inputs):
    positions = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0], [0.1, -2.7, 0.3]])
    return Frame(np.array([8, 1, 1, 8]), positions, np.zeros((3, 3)), (False,) * 3, **inputs)


def multipoles_of(system, seed=1, charge=0.0):
    values = np.random.default_rng(seed).normal(size=(system.n_nodes, 1, 4))
    values[:, 0, 0] += (charge - values[:, 0, 0].sum()) / system.n_nodes
    return jnp.asarray(values)


def density_of(system, multipoles):
    return ChargeDensity(multipoles, jnp.ones(system.n_nodes))


@jax.jit
def energies(multipoles, system):
    return field_energy(density_of(system, multipoles), system, CUTOFF)


@jax.jit
def slopes(multipoles, system):
    def energy(positions):
        return jnp.sum(energies(multipoles, replace(system, positions=positions)))

    return jax.grad(energy)(system.positions)


@jax.jit
def loss(multipoles, system):
    return jnp.sum((slopes(multipoles, system) - 0.3) ** 2)


@jax.jit
def coordinates(system):
    axes = jnp.eye(3)[:, None]
    return jax.vmap(lambda axis: flow_coordinates(system, CUTOFF, axis), out_axes=1)(axes)


def test_weights_fade_smoothly_to_zero_at_the_cutoff(x64):
    lengths = np.array([0.0, 2.0, 3.4, 3.4999, 3.5, 9.0])
    weights = edge_weights(lengths[:, None] * np.array([[0.6, 0.0, 0.8]]), CUTOFF)
    u = lengths[:3] / CUTOFF
    np.testing.assert_allclose(weights[:3], np.exp(-2 * u**2 / (1 - u**2)), rtol=1e-12)
    assert not np.any(weights[3:])

    def along(x):
        return edge_weights(jnp.array([[x, 0.0, 0.0]]), CUTOFF)[0]

    third = jax.jit(jax.vmap(jax.grad(jax.grad(jax.grad(along)))))(np.array([0.0, 3.45, 3.5]))
    assert np.all(np.isfinite(third)) and np.all(np.abs(third[1:]) < 1e-20)


def test_coordinates_solve_the_least_squares_problem(x64):
    """Against numpy.linalg.lstsq over the edges, in a cell smaller than the cutoff."""
    system = system_of([crystal("periodic")])
    vectors = np.asarray(edge_vectors(system))
    weights = np.sqrt(np.asarray(edge_weights(vectors, CUTOFF)) / 2)  # every bond is listed twice
    rows = np.zeros((system.n_edges, system.n_nodes))
    np.add.at(rows, (np.arange(system.n_edges), system.receivers), weights)
    np.add.at(rows, (np.arange(system.n_edges), system.senders), -weights)
    ground = np.sqrt(LEAK) * np.eye(system.n_nodes)
    right = np.vstack([weights[:, None] * vectors, np.zeros((system.n_nodes, 3))])
    expected = np.linalg.lstsq(np.vstack([rows, ground]), right)[0]
    np.testing.assert_allclose(coordinates(system), expected, atol=1e-10)
    assert np.abs(expected).max() > 0.1


def test_coordinates_of_a_boxed_molecule_are_its_positions(x64):
    frame = dataclasses.replace(water(), cell=np.eye(3) * 20.0, pbc=(True,) * 3)
    relative = frame.positions - frame.positions.mean(axis=0)
    np.testing.assert_allclose(coordinates(system_of([frame])), relative, atol=2e-3)


def test_the_flow_is_the_shortest_that_brings_the_charges(x64):
    """P of the charges equals Σ t r of the minimum-norm transfers, from a dense pseudo-inverse."""
    system = replace(system_of([crystal("periodic")]), external_field=FIELD[None])
    charges = multipoles_of(system)[:, 0, 0]
    weights = np.asarray(edge_weights(edge_vectors(system), CUTOFF))
    arrive = np.zeros((system.n_nodes, system.n_edges))
    np.add.at(arrive, (system.receivers, np.arange(system.n_edges)), 1.0)
    np.add.at(arrive, (system.senders, np.arange(system.n_edges)), -1.0)
    half = np.sqrt(weights)
    transfers = half * (np.linalg.pinv(arrive * half) @ charges)
    np.testing.assert_allclose(divergence(jnp.asarray(transfers), system), charges, atol=1e-10)
    moment = transfers @ np.asarray(edge_vectors(system))
    point = jnp.zeros((system.n_nodes, 1, 1)).at[:, 0, 0].set(charges)
    np.testing.assert_allclose(energies(point, system), -moment @ FIELD, rtol=2e-4)
    np.testing.assert_allclose(
        transfer_energy(jnp.asarray(transfers), system), -moment @ FIELD, rtol=1e-12
    )


def test_transfers_and_positions_agree_in_the_open(x64):
    system = system_of([water(external_field=FIELD)])
    transfers = jnp.asarray(np.random.default_rng(0).normal(size=system.n_edges))
    moved = jnp.zeros((4, 1, 1)).at[:, 0, 0].set(divergence(transfers, system))
    np.testing.assert_allclose(
        transfer_energy(transfers, system), energies(moved, system), rtol=1e-12
    )


def test_open_energy_is_minus_field_times_dipole(x64):
    system = system_of([water(external_field=FIELD)])
    multipoles = multipoles_of(system, charge=1.0)
    moment = dipole(density_of(system, multipoles), system)[0]
    np.testing.assert_allclose(energies(multipoles, system)[0], -FIELD @ moment, rtol=1e-13)


@pytest.mark.parametrize("boundary", PERIODIC)
def test_wrapping_changes_the_energy_by_formal_charge_times_vector(x64, boundary):
    """Formal charges, and the even share of the charge beyond them, stay with their atoms."""
    formal = np.array([1.0, -2.0, 1.0, -2.0, 1.0])
    frame = crystal(boundary, external_field=FIELD, formal_charges=formal)
    multipoles = multipoles_of(system_of([frame]), charge=1.0)
    system = system_of([frame])
    before, forces = energies(multipoles, system), slopes(multipoles, system)
    for atom in range(5):
        for axis in (axis for axis in range(3) if frame.pbc[axis]):
            positions = frame.positions.copy()
            positions[atom] += frame.cell[axis]
            wrapped = system_of([dataclasses.replace(frame, positions=positions)])
            after = energies(multipoles, wrapped)
            tied = formal[atom] + (1.0 - formal.sum()) / 5
            np.testing.assert_allclose(after - before, -tied * FIELD @ frame.cell[axis], atol=1e-9)
            np.testing.assert_allclose(slopes(multipoles, wrapped), forces, atol=1e-9)


@pytest.mark.parametrize("boundary", PERIODIC)
def test_a_cell_feels_its_charge_times_the_field(x64, boundary):
    """Whatever total charge was asked for: at fixed potential it is an output."""
    system = system_of([crystal(boundary, external_field=FIELD, total_charge=3.0)])
    multipoles = multipoles_of(system, charge=-1.0)
    forces = -slopes(multipoles, system)
    np.testing.assert_allclose(forces.sum(axis=0), -FIELD, atol=1e-9)


@pytest.mark.parametrize("boundary", PERIODIC)
def test_charge_spread_evenly_has_the_potential_at_the_mean_of_the_atoms(x64, boundary):
    """−∂E/∂Q of charge on all atoms alike is E·r̄, in periodic directions too."""
    frame = crystal(boundary, external_field=FIELD)
    system = system_of([frame])
    even = jnp.zeros((5, 1, 1)).at[:, 0, 0].set(0.2)
    mean = FIELD @ frame.positions.mean(axis=0)
    np.testing.assert_allclose(energies(even, system)[0], -mean, atol=1e-10)


@pytest.mark.parametrize("boundary", PERIODIC)
def test_wrapping_an_ion_changes_no_stress(x64, boundary):
    """The proper stress, at fixed E·a_i; the improper one differs by −q E L/V."""
    formal = np.array([1.0, -2.0, 1.0, -2.0, 1.0])
    frame = crystal(boundary, external_field=FIELD, formal_charges=formal)
    multipoles = multipoles_of(system_of([frame]))

    @jax.jit
    @jax.grad
    def virial(strain, system):
        return jnp.sum(energies(multipoles, apply_strain(system, strain)))

    positions = frame.positions.copy()
    positions[1] += frame.cell[0]
    wrapped = dataclasses.replace(frame, positions=positions)
    first, second = (virial(jnp.zeros((1, 3, 3)), system_of([f])) for f in (frame, wrapped))
    np.testing.assert_allclose(first, second, atol=1e-9)
    assert np.abs(first).max() > 0.05


def test_along_a_slabs_normal_the_dipole_is_direct(x64):
    frame = crystal("slab", external_field=FIELD)
    normal = np.cross(frame.cell[0], frame.cell[2])
    normal /= np.linalg.norm(normal)
    system = replace(system_of([frame]), external_field=0.3 * normal[None])
    multipoles = multipoles_of(system)
    moment = np.asarray(dipole(density_of(system, multipoles), system)[0])
    np.testing.assert_allclose(energies(multipoles, system), -0.3 * normal @ moment, rtol=1e-9)


@pytest.mark.parametrize("boundary", PERIODIC)
def test_derivatives_of_first_and_second_order(x64, boundary):
    """Forces, and the derivative of a force loss by the positions, against differences."""
    frame = crystal(boundary, external_field=FIELD, total_charge=1.0)
    system = system_of([frame])
    multipoles = multipoles_of(system)

    def moved(positions):
        return multipoles, replace(system, positions=positions)

    forces = slopes(multipoles, system)
    testing.assert_gradient(lambda r: float(energies(*moved(r))[0]), forces, system.positions)
    gradient = jax.jit(jax.grad(lambda r: loss(*moved(r))))(system.positions)
    testing.assert_gradient(lambda r: float(loss(*moved(r))), gradient, system.positions)


def test_batch_mates_and_padding_change_nothing(x64):
    """The gas needs many more iterations than the crystal."""
    one = crystal("periodic", external_field=FIELD)
    rng = np.random.default_rng(0)
    gas = Frame(np.full(30, 8), rng.uniform(size=(30, 3)) * 12, np.eye(3) * 12, (True,) * 3)
    gas = dataclasses.replace(gas, external_field=FIELD)
    alone = system_of([one])
    multipoles = multipoles_of(alone)
    exact = capacity_for([build_sample(f, CUTOFF) for f in (one, gas)])
    both = system_of([one, gas], Capacity(exact.nodes + 3, exact.edges + 7, 3, 30))
    padded = jnp.zeros((both.n_nodes, 1, 4)).at[:5].set(multipoles)
    together = energies(padded, both)
    np.testing.assert_allclose(together[0], energies(multipoles, alone)[0], rtol=1e-14)
    assert together[2] == 0.0


def test_a_breaking_bond_lets_go_of_its_charge_smoothly(x64):
    """Two charged halves drawn apart: their dipole fades over a few hundredths of the cutoff."""

    def moment(gap):
        positions = np.array([[0.0, 0, 0], [gap, 0, 0]])
        frame = Frame(np.array([1, 8]), positions, np.eye(3) * 20, (True,) * 3)
        system = replace(system_of([frame]), external_field=np.array([[1.0, 0, 0]]))
        return -float(energies(jnp.array([[[-1.0]], [[1.0]]]), system)[0])

    gaps = np.linspace(3.1, 3.499, 120)
    values = np.array([moment(gap) for gap in gaps])
    assert abs(moment(2.5) - 2.5) < 1e-3 and values[-1] < 1e-3
    assert np.abs(np.diff(values)).max() < 0.2


def test_periodic_without_edges_is_refused():
    with pytest.raises(ConfigError, match="external field with boundary 'periodic' and no edges"):
        field_energy(density_of(s := system_of([crystal("periodic")]), multipoles_of(s)), s)
