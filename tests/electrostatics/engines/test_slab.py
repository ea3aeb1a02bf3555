"""The slab boundary against a true two-dimensional sum, and molecules in a box."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf, erfc, erfcx

from electrojax.electrostatics.energy import coulomb_energy
from electrojax.electrostatics.engines.makov_payne import WIGNER
from electrojax.electrostatics.engines.slab import SlabCoulomb
from electrojax.errors import ConfigError, DataError
from electrojax.system.geometry import apply_strain
from electrojax.testing import assert_gradient
from electrojax.typing import replace
from tests.electrostatics import reference as ref

PLANE = np.array([[5.0, 0.4, 0.0], [-1.2, 4.6, 0.0]])


def two_dimensional_energy(positions, charges, widths, plane):
    """The sum over a lattice in the plane z = 0, without any repetition along z.

    For w² = (σ_i² + σ_j²)/2, e^{−k²w²}/k² integrated over k_z gives the terms of D. E. Parry (Surf.
    Sci. 49, 433 (1975)) for G ≠ 0, and −2π [z erf(z/2w) + 2w e^{−z²/4w²}/√π] for G = 0.
    """
    area = abs(np.linalg.det(plane[:, :2]))
    rows = 2 * np.pi * np.linalg.inv(plane[:, :2]).T
    index = np.stack(np.meshgrid(*[np.arange(-12, 13)] * 2, indexing="ij"), -1).reshape(-1, 2)
    vectors = index[np.any(index != 0, axis=1)] @ rows
    g = np.linalg.norm(vectors, axis=1)
    d = positions[:, None] - positions[None]
    w = np.sqrt((widths[:, None] ** 2 + widths[None] ** 2) / 2)
    z = d[..., 2]
    zero = (
        -2 * np.pi * (z * erf(z / (2 * w)) + 2 * w / np.sqrt(np.pi) * np.exp(-((z / w) ** 2) / 4))
    )
    phase = np.cos(d[..., :2] @ vectors.T)

    def side(sign):
        a, b = z[..., None] / (2 * w[..., None]), g * w[..., None]
        # e^{±gz} erfc(b ± a), written so that neither factor overflows.
        inner = b + sign * a
        scaled = erfcx(np.maximum(inner, 0)) * np.exp(-(a**2) - b**2)
        return np.where(
            inner > 0, scaled, np.exp(sign * g * z[..., None]) * erfc(np.minimum(inner, 0))
        )

    waves = (np.pi / g * phase * (side(1) + side(-1))).sum(-1)
    return 0.5 * ref.K_E / area * float(charges @ (zero + waves) @ charges)


def slab_structure(rng, l_max, n=4):
    positions = rng.uniform(0, 1, (n, 2)) @ PLANE + np.outer(rng.uniform(-1.5, 1.5, n), [0, 0, 1.0])
    return positions, rng.normal(size=(n, (l_max + 1) ** 2)) * 0.5


def slab_cell(height, tilt=(0.0, 0.0)):
    return np.vstack([PLANE, [[*tilt, height]]])


@pytest.mark.parametrize(
    ("l_max", "neutral", "tilt"),
    [(0, False, (0, 0)), (1, True, (2.1, -1.3)), (2, False, (1.0, 3.0))],
)
def test_energy_against_a_two_dimensional_sum(l_max, neutral, tilt, rng):
    """Charged and neutral, tilted too, in a cell thinner than its images' decay."""
    positions, multipoles = slab_structure(rng, l_max)
    multipoles[0, 0] -= multipoles[:, 0].sum() * neutral

    def planar(sites, charges, widths):
        return two_dimensional_energy(sites, charges, widths, PLANE)

    expected = ref.displaced_energy(positions, multipoles, 0.9, planar, step=0.3 + 0.3 * l_max)
    options = {"boundary": "slab", "accuracy": 1e-12}
    energy = coulomb_energy(positions, multipoles, 0.9, slab_cell(7.0, tilt), **options)
    assert abs(energy - expected) < 3e-8 * max(abs(expected), 1.0)


@pytest.mark.parametrize("accuracy", [1e-4, 1e-8])
def test_the_open_vector_changes_no_energy(accuracy, rng):
    """Thinner than the slab, far higher, tilted: all have the energy of the two-dimensional sum."""
    positions, multipoles = slab_structure(rng, 0)
    expected = two_dimensional_energy(positions, multipoles[:, 0], np.full(4, 0.9), PLANE)
    energies = [
        coulomb_energy(positions, multipoles, 0.9, slab_cell(height, tilt), "slab", accuracy)
        for height, tilt in ((1.0, (0, 0)), (6.5, (0, 0)), (80.0, (0, 0)), (4.0, (9.0, -6.0)))
    ]
    np.testing.assert_allclose(energies, energies[0], rtol=1e-13)
    assert abs(energies[0] - expected) < 100 * accuracy * max(abs(expected), 1.0)


def test_skewed_vectors_of_the_plane_change_no_energy(rng):
    """The gap follows from the shortest wave of the plane's lattice, not from its vectors."""
    positions, multipoles = slab_structure(rng, 0)
    cell = slab_cell(5.0)
    skewed = np.array([cell[0], cell[1] + 3 * cell[0], cell[2]])
    gaps = [SlabCoulomb().gap(c, 2, 0.9) for c in (cell, skewed)]
    assert abs(gaps[0] - gaps[1]) < 1e-10
    energies = [coulomb_energy(positions, multipoles, 0.9, c, "slab") for c in (cell, skewed)]
    assert abs(energies[0] - energies[1]) < 1e-6 * abs(energies[0])


def test_sheets_of_points_pull_with_the_field_of_a_plane():
    """E(d + 1) − E(d) = 2π k_e Q²/A at 12 Å, where the sheets' corrugation is e^{−2π·12/3}."""
    side, charge = 6.0, 0.4
    x, y = np.meshgrid([0.0, 3.0], [0.0, 3.0])
    sheet = np.c_[x.ravel(), y.ravel(), np.zeros(4)]
    charges = charge / 4 * np.repeat([1.0, -1.0], 4)
    options = {"boundary": "slab", "self_interaction": False, "accuracy": 1e-10}
    energies = [
        coulomb_energy(
            np.r_[sheet, sheet + np.array([0.7, 0.2, d])],
            charges,
            0.0,
            np.diag([side, side, 5.0]),
            **options,
        )
        for d in (12.0, 13.0)
    ]
    pull = 2 * np.pi * ref.K_E * charge**2 / side**2
    assert abs(energies[1] - energies[0] - pull) < 1e-7 * pull


def test_any_axis_may_be_the_open_one(rng):
    positions, multipoles = slab_structure(rng, 2)
    cell, options = slab_cell(25.0, (0.7, 1.1)), {"boundary": "slab", "accuracy": 1e-12}
    expected = coulomb_energy(positions, multipoles, 0.8, cell, **options)
    for normal in (0, 1):
        order = [(i - normal + 2) % 3 for i in range(3)]
        assert order[normal] == 2
        energy = coulomb_energy(positions, multipoles, 0.8, cell[order], normal=normal, **options)
        assert abs(energy - expected) < 1e-11 * abs(expected)
    method = coulomb_energy(positions, multipoles, 0.8, cell, method="ewald", **options)
    assert abs(method - expected) < 1e-10 * abs(expected)


def test_energy_does_not_depend_on_the_origin_or_wrapping_in_the_plane(rng):
    positions, multipoles = slab_structure(rng, 1)
    cell, options = slab_cell(25.0, (0.7, 1.1)), {"boundary": "slab", "accuracy": 1e-12}
    expected = coulomb_energy(positions, multipoles, 0.8, cell, **options)
    wrapped = positions + [0.3, 7.0, -90.0] + rng.integers(-3, 4, (4, 2)) @ PLANE
    energy = coulomb_energy(wrapped, multipoles, 0.8, cell, **options)
    assert abs(energy - expected) < 1e-10 * abs(expected)


def test_open_boundary_as_the_plane_grows(rng):
    """A neutral molecule in a slab cell 60 Å wide: dipoles in the plane interact as L^{−3}."""
    positions, multipoles = slab_structure(rng, 1)
    multipoles[0, 0] -= multipoles[:, 0].sum()
    expected = coulomb_energy(positions, multipoles, 1.5)
    differences = []
    for length in (30.0, 60.0):
        cell, options = length * np.eye(3), {"boundary": "slab", "accuracy": 1e-10}
        differences.append(coulomb_energy(positions, multipoles, 1.5, cell, **options) - expected)
    assert abs(differences[1]) < 1e-3
    assert abs(differences[0] / differences[1] - 8) < 0.5


def test_potential_refers_to_the_mean_vacuum_level(rng, x64):
    """Probes of zero charge far on both sides of a neutral, polar slab."""
    positions, multipoles = slab_structure(rng, 1)
    multipoles[0, 0] -= multipoles[:, 0].sum()
    probes = np.array([[0.0, 0.0, 9.0], [0.0, 0.0, -9.0]])
    sites = np.concatenate([positions, probes])
    charges = np.concatenate([multipoles, np.zeros((2, 4))])
    operator = ref.prepared("slab_z", [(sites, slab_cell(45.0))], 0.8)[2]
    potential = np.asarray(ref.potential(operator, charges))[4:, 0]
    dipole = (multipoles[:, 0] * positions[:, 2] + multipoles[:, 2]).sum()
    step = 2 * np.pi * ref.K_E * dipole / abs(np.linalg.det(PLANE[:, :2]))
    np.testing.assert_allclose(potential, [step, -step], atol=1e-4 * abs(step))


@pytest.mark.parametrize("l_max", [0, 2])
def test_molecule_in_a_box_is_open(l_max, rng):
    """To 1e-5 eV at 40 Å, charged and polar (physics.md 2.3), and falling faster than L^{−4}."""
    positions = rng.uniform(-1.0, 1.0, (4, 3)) + 7.0
    multipoles = rng.normal(size=(4, (l_max + 1) ** 2)) * 0.3
    multipoles[:, 0] += 0.25
    expected = coulomb_energy(positions, multipoles, 1.5)
    errors = []
    for length in (20.0, 40.0):
        options = {"boundary": "periodic", "finite_size": "makov_payne", "accuracy": 1e-10}
        box = length * np.eye(3)
        errors.append(abs(coulomb_energy(positions, multipoles, 1.5, box, **options) - expected))
    assert errors[1] < 1e-5
    assert errors[1] < errors[0] / 16


def test_boxed_operator_keeps_the_contract(rng, x64):
    """Symmetric, E = ½⟨p, Ap⟩, ∂E/∂p = Ap; forces, strain; no negative mode keeps the charge."""
    cell, l_max = 14.0 * np.eye(3), 2
    positions = rng.uniform(-1.5, 1.5, (4, 3)) + 3.0
    engine, system, operator = ref.prepared("boxed", [(positions, cell)], l_max=l_max)
    unit = jnp.eye(36).reshape(36, 4, 9)
    matrix = np.asarray(jax.vmap(ref.potential, (None, 0))(operator, unit)).reshape(36, 36)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    p = jnp.asarray(rng.normal(size=(4, 9)))
    energy = float(ref.energy(operator, p)[0])
    assert abs(0.5 * np.ravel(p) @ matrix @ np.ravel(p) - energy) < 1e-12 * abs(energy)
    np.testing.assert_allclose(
        np.ravel(ref.energy_gradient(operator, p)), matrix @ np.ravel(p), rtol=1e-10, atol=1e-11
    )
    neutral = np.eye(36)
    neutral[np.ix_(range(0, 36, 9), range(0, 36, 9))] -= 0.25
    assert np.linalg.eigvalsh(neutral @ matrix @ neutral).min() > -1e-10

    @jax.jit
    def total(r, strain):
        moved = apply_strain(replace(system, positions=r), strain)
        return engine.prepare(moved, l_max, 1.0).energy(p).sum()

    r, zero = system.positions, jnp.zeros((1, 3, 3))
    forces, stress = jax.jit(jax.grad(total, (0, 1)))(r, zero)
    assert_gradient(lambda x: float(total(x, zero)), forces, r, rtol=1e-8, step=0.2)
    assert_gradient(lambda e: float(total(r, e)), stress, zero, rtol=1e-8, step=0.05)


def test_wigner_constant():
    energy = coulomb_energy(
        np.zeros((1, 3)), [1.0], 0.0, np.eye(3), "periodic", 1e-12, self_interaction=False
    )
    assert abs(-2 * energy / ref.K_E - WIGNER) < 1e-11


def test_wrong_slabs_and_boxes_are_refused(rng):
    positions, multipoles = slab_structure(rng, 0)
    arguments = {"positions": positions, "multipoles": multipoles}
    flat = np.vstack([PLANE, np.zeros((1, 3))])
    with pytest.raises(DataError, match="three lattice vectors"):
        coulomb_energy(**arguments, cell=flat, boundary="slab")
    with pytest.raises(DataError, match=r"cell: needed for boundary 'slab'"):
        coulomb_energy(**arguments, boundary="slab")
    with pytest.raises(ConfigError, match="three orthogonal vectors of one length"):
        coulomb_energy(
            **arguments, cell=slab_cell(9.0), boundary="periodic", finite_size="makov_payne"
        )
    with pytest.raises(ConfigError, match="needed boundary 'periodic'"):
        coulomb_energy(**arguments, finite_size="makov_payne")


def test_a_split_bulk_is_told_the_width_as_a_number(rng, x64):
    """So that it receives what is wider than the split, as in a periodic cell."""
    positions, _, cell = ref.random_structure(rng, 3)
    engine = ref.engine_of("slab_ewald")
    system = ref.batch([(positions, cell)], "slab_ewald", engine, 0.9, 0)
    wide = 1.3 * engine.bulk.split(0)

    def received(system):
        return engine.prepare(system, 0, 0.9).receive(jnp.ones((3, 1)), (wide,), 0)

    assert jax.eval_shape(received, system).shape == (3, 1, 1)
