"""Slabs with a counter charge: closed forms of plates, a two-dimensional sum, and the contract."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from electrojax.electrostatics.coulomb import engine_for
from electrojax.electrostatics.density import ChargeDensity
from electrojax.electrostatics.engines.counter_charge import Jellium, Plane, check_fixed_potential
from electrojax.electrostatics.field import field_energy, seated_energy
from electrojax.errors import ConfigError
from electrojax.system.geometry import apply_strain
from electrojax.testing import assert_gradient
from electrojax.typing import replace
from tests.electrostatics import reference as ref
from tests.electrostatics.engines.test_slab import (
    PLANE,
    slab_cell,
    slab_structure,
    two_dimensional_energy,
)

AREA = abs(np.linalg.det(PLANE[:, :2]))
SHAPES = {"plane": (4.0,), "jellium": (-3.0, 1.0)}


def prepared(name, heights, structure, width=0.9, l_max=1, accuracy=1e-11):
    engine = engine_for("slab", accuracy, counter_charge=name, counter_heights=heights)
    system = ref.batch([structure], "slab_z", engine, width, l_max)
    return engine, system, ref.prepare(engine, l_max, width, system)


def averaged_distance(z, sigma, heights):
    """⟨|z − z'|⟩ over a Gaussian and the counter charge, by quadrature."""
    x, w = np.polynomial.legendre.leggauss(40)
    a, b = heights[0], heights[-1]
    places = 0.5 * (a + b) + 0.5 * (b - a) * x
    d, s = z[:, None] - places, sigma[:, None]
    kernel = d * erf(d / (np.sqrt(2) * s)) + s * np.sqrt(2 / np.pi) * np.exp(-0.5 * (d / s) ** 2)
    return kernel @ w / w.sum()


def with_counter_charge(positions, charges, widths, heights):
    """The atoms' two-dimensional sum, and uniform sheets with −2π k_e |z|/area."""
    total = charges.sum()
    far = charges @ averaged_distance(positions[:, 2], widths, heights)
    own = total**2 * (heights[-1] - heights[0]) / 3
    sheets = 2 * np.pi * ref.K_E / AREA * (total * far - 0.5 * own)
    return two_dimensional_energy(positions, charges, widths, PLANE) + sheets


@pytest.mark.conformance_for("jellium-2")
@pytest.mark.parametrize(("name", "l_max"), [("plane", 1), ("jellium", 2)])
def test_energy_against_sheets_and_a_two_dimensional_sum(name, l_max, rng, x64):
    """The jellium lies among the atoms, so that the smoothing of its edges matters."""
    positions, multipoles = slab_structure(rng, l_max)
    heights = SHAPES[name]

    def energy(sites, charges, widths):
        return with_counter_charge(sites, charges, widths, heights)

    expected = ref.displaced_energy(positions, multipoles, 0.9, energy, step=0.3 + 0.3 * l_max)
    operator = prepared(name, heights, (positions, slab_cell(30.0)), l_max=l_max)[2]
    found = float(ref.energy(operator, multipoles)[0])
    assert abs(multipoles[:, 0].sum()) > 0.1
    assert abs(found - expected) < 1e-7 * abs(expected)


def test_parallel_plates(rng, x64):
    """Pulling the plates apart by d costs 2π k_e Q² d/area, the energy of the field between."""
    positions, multipoles = slab_structure(rng, 1)
    cell, total = slab_cell(30.0), multipoles[:, 0].sum()
    energies = [
        float(ref.energy(prepared("plane", (h,), (positions, cell))[2], multipoles)[0])
        for h in (8.0, 10.5)
    ]
    expected = 2 * np.pi * ref.K_E * total**2 / AREA * 2.5
    assert abs(energies[1] - energies[0] - expected) < 1e-10 * expected


def test_potential_refers_to_the_counter_charge(rng, x64):
    """Probes of zero charge outside: zero beyond the plane, −4π k_e D/area on the other side."""
    positions, multipoles = slab_structure(rng, 1)
    probes = np.array([[0.0, 0.0, 12.0], [0.0, 0.0, -9.0]])
    sites, charges = np.r_[positions, probes], np.r_[multipoles, np.zeros((2, 4))]
    operator = prepared("plane", (7.0,), (sites, slab_cell(50.0)))[2]
    values = np.asarray(operator.receive(jnp.asarray(charges), (0.5,), 1))[4:, 0, 0]
    dipole = (multipoles[:, 0] * (positions[:, 2] - 7.0) + multipoles[:, 2]).sum()
    step = 4 * np.pi * ref.K_E * dipole / AREA
    np.testing.assert_allclose(values, [0.0, -step], atol=1e-4 * abs(step))
    own = np.asarray(ref.potential(operator, charges))
    received = np.asarray(operator.receive(jnp.asarray(charges), (0.9,), 1))[:, 0]
    np.testing.assert_allclose(received, own, atol=1e-9)


@pytest.mark.conformance_for("jellium-2")
@pytest.mark.parametrize(("name", "l_max"), [("plane", 1), ("jellium", 2)])
def test_contract_with_any_charge(name, l_max, rng, x64):
    """Symmetric, E = ½⟨p, Ap⟩, ∂E/∂p = Ap, and positive: a field's energy, charged or not."""
    positions, multipoles = slab_structure(rng, l_max)
    heights = {"plane": (0.4,), "jellium": (-3.0, 1.0)}[name]
    operator = prepared(name, heights, (positions, slab_cell(25.0)), l_max=l_max)[2]
    size, p = multipoles.size, jnp.asarray(multipoles)
    unit = jnp.eye(size).reshape(size, *p.shape)
    matrix = np.asarray(jax.vmap(ref.potential, (None, 0))(operator, unit)).reshape(size, size)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-11)
    assert np.linalg.eigvalsh(matrix).min() > -1e-8
    energy = float(ref.energy(operator, p)[0])
    assert abs(0.5 * np.ravel(p) @ matrix @ np.ravel(p) - energy) < 1e-12 * abs(energy)
    gradient = ref.energy_gradient(operator, p)
    np.testing.assert_allclose(gradient, ref.potential(operator, p), rtol=1e-10, atol=1e-11)
    without = engine_for("slab", 1e-11)
    system = ref.batch([(positions, slab_cell(25.0))], "slab_z", without, 0.9, l_max)
    alone = ref.prepare(without, l_max, 0.9, system)
    plain = np.asarray(jax.vmap(ref.potential, (None, 0))(alone, unit)).reshape(size, size)
    assert np.linalg.eigvalsh(plain).min() < -1.0


def test_forces_and_stress_match_finite_differences(rng, x64):
    """With the counter charge fixed in space; the normal and the height turn with the strain."""
    positions, multipoles = slab_structure(rng, 2)
    heights = SHAPES["jellium"]
    engine, system, _ = prepared(
        "jellium", heights, (positions, slab_cell(16.0, (1.0, 2.0))), 0.8, 2, 1e-8
    )
    p = jnp.asarray(multipoles)

    @jax.jit
    def total(r, strain):
        moved = apply_strain(replace(system, positions=r), strain)
        return engine.prepare(moved, 2, 0.8).energy(p).sum()

    r, zero = system.positions, jnp.zeros((1, 3, 3))
    forces, stress = jax.jit(jax.grad(total, (0, 1)))(r, zero)
    assert_gradient(lambda x: float(total(x, zero)), forces, r, rtol=1e-8, step=0.2)
    assert_gradient(lambda e: float(total(r, e)), stress, zero, rtol=1e-8, step=0.05)


@pytest.mark.parametrize("name", SHAPES)
def test_slab_and_counter_charge_move_together_in_a_field(name, rng, x64):
    """The whole is neutral: −E·P does not change, and the slab alone feels the force Q E."""
    positions, multipoles = slab_structure(rng, 1)
    field, charge = 0.2, multipoles[:, 0].sum()
    values = []
    for counter, atoms in ((0.0, 0.0), (3.0, 3.0), (0.0, 3.0)):
        heights = tuple(h + counter for h in SHAPES[name])
        structure = (positions + np.array([0, 0, atoms]), slab_cell(30.0))
        system, operator = prepared(name, heights, structure)[1:]
        system = replace(system, external_field=jnp.array([[0.0, 0.0, field]]))
        density = ChargeDensity(jnp.asarray(multipoles)[:, None], jnp.full(4, 0.9))
        values.append(float(field_energy(density, system, 1.0, operator)[0]))
        np.testing.assert_allclose(seated_energy(density, system, operator)[0], values[-1])
    height = np.mean(SHAPES[name])
    dipole = (multipoles[:, 0] * (positions[:, 2] - height) + multipoles[:, 2]).sum()
    expected = -field * np.array([dipole, dipole, dipole + 3.0 * charge])
    np.testing.assert_allclose(values, expected, atol=1e-12)


def test_left_handed_cells_and_points_have_the_same_energy(rng, x64):
    positions, multipoles = slab_structure(rng, 0)
    cell = slab_cell(25.0)
    values = []
    for rows, normal in ((cell, 2), (cell[[1, 0, 2]], 2)):
        engine = engine_for("slab", 1e-10, counter_charge="plane", counter_heights=(6.0,))
        system = ref.batch([(positions, rows)], "slab_z", engine, 0.9, 0)
        assert system.normal == normal
        values.append(float(ref.energy(ref.prepare(engine, 0, 0.9, system), multipoles)[0]))
    assert abs(values[0] - values[1]) < 1e-10 * abs(values[0])
    for profile in (Plane(0.3), Jellium(-1.0, 0.3)):
        smooth, sharp = (profile.averages(jnp.array([2.0, -1.5]), w) for w in (1e-3, 1e-4))
        np.testing.assert_allclose(smooth[0], sharp[0], atol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"counter_charge": "wall"}, "counter_charge 'wall' does not exist"),
        ({"counter_charge": "plane"}, "needed 1 finite heights"),
        ({"counter_charge": "plane", "counter_heights": [np.nan]}, "needed 1 finite heights"),
        ({"counter_charge": "jellium", "counter_heights": [3.0, 1.0]}, "lower bound below"),
        ({"counter_heights": [3.0]}, "needed 0 finite heights"),
        (
            {"boundary": "periodic", "counter_charge": "plane", "counter_heights": [1.0]},
            "needed boundary 'slab'",
        ),
    ],
)
def test_wrong_counter_charges_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        engine_for(**({"boundary": "slab"} | options))


def test_fixed_potential_on_a_slab_needs_a_counter_charge():
    with pytest.raises(ConfigError, match="no minimum; needed counter_charge"):
        check_fixed_potential("slab", "none")
    for boundary, counter in (("slab", "plane"), ("periodic", "none"), ("open", "none")):
        check_fixed_potential(boundary, counter)


def test_padding_and_batch_mates_change_nothing(rng, x64):
    """Each slab of a batch has the counter charge of its own charge."""
    pair = [slab_structure(rng, 1, n) for n in (4, 3)]
    engine = engine_for("slab", 1e-8, counter_charge="jellium", counter_heights=SHAPES["jellium"])
    cells = slab_cell(20.0), 1.1 * slab_cell(18.0, (1.0, 2.0))
    both = [(r, cell) for (r, _), cell in zip(pair, cells)]
    system = ref.batch(both, "slab_z", engine, 0.9, 1, extra=(2, 1))
    p = np.zeros((system.n_nodes, 4))
    p[:7] = np.concatenate([multipoles for _, multipoles in pair])
    operator = ref.prepare(engine, 1, 0.9, system)
    energies, potential = ref.energy(operator, p), np.asarray(ref.potential(operator, p))
    assert np.all(potential[7:] == 0) and energies[2] == 0
    single = ref.batch(both[1:], "slab_z", engine, 0.9, 1)
    alone = ref.prepare(engine, 1, 0.9, single)
    np.testing.assert_allclose(energies[1], ref.energy(alone, pair[1][1])[0], rtol=1e-11)
    np.testing.assert_allclose(potential[4:7], ref.potential(alone, pair[1][1]), atol=1e-10)
