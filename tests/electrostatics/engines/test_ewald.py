"""The real/reciprocal split: Madelung constants, the direct sum, and its requested accuracy."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erfc

from electrojax.electrostatics.coulomb import tuned_engine
from electrojax.electrostatics.energy import coulomb_energy
from electrojax.electrostatics.engines.ewald import EwaldCoulomb
from electrojax.electrostatics.engines.mesh_ewald import MeshEwaldCoulomb
from electrojax.electrostatics.engines.periodic import PeriodicCoulomb
from electrojax.electrostatics.kernels import short_range
from electrojax.electrostatics.kernels.screened import screened_coulomb, switched_coulomb
from electrojax.errors import CapacityError, ConfigError, DataError
from electrojax.typing import replace
from tests.electrostatics import reference as ref

POINTS = {"boundary": "periodic", "width": 0.0, "self_interaction": False, "accuracy": 1e-12}
FACES = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


@pytest.mark.parametrize(
    ("cell", "second", "distance", "madelung"),
    [
        (FCC, [0.5, 0.5, 0.5], 0.5, 1.747564594633),
        (np.eye(3), [0.5, 0.5, 0.5], np.sqrt(3) / 2, 1.762674773),
        (FCC, [0.25, 0.25, 0.25], np.sqrt(3) / 4, 1.638055053),
    ],
    ids=["NaCl", "CsCl", "zincblende"],
)
def test_madelung_constants(cell, second, distance, madelung):
    energy = coulomb_energy([[0, 0, 0], second], [1.0, -1.0], cell=cell, **POINTS)
    assert abs(-energy * distance / ref.K_E - madelung) < 1e-9


def wurtzite():
    """ZnO: a = 3.2495, c = 5.2069 Å, u = 0.3819; charges ±2."""
    a, c, u = 3.2495, 5.2069, 0.3819
    cell = np.array([[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, c]])
    fractions = [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, u], [2 / 3, 1 / 3, 0.5 + u]]
    return np.array(fractions) @ cell, np.array([2.0, 2, -2, -2]), cell


def fluorite():
    """CaF2: a = 5.4626 Å; charges +2 and −1."""
    corners = np.array(list(itertools.product((0.25, 0.75), repeat=3)))
    return (
        5.4626 * np.concatenate([FACES, corners]),
        np.array([2.0] * 4 + [-1.0] * 8),
        5.4626 * np.eye(3),
    )


def rutile():
    """TiO2: a = 4.5937, c = 2.9581 Å, u = 0.3053; charges +4 and −2."""
    u, cell = 0.3053, np.diag([4.5937, 4.5937, 2.9581])
    oxygen = [[u, u, 0], [-u, -u, 0], [0.5 + u, 0.5 - u, 0.5], [0.5 - u, 0.5 + u, 0.5]]
    fractions = np.array([[0, 0, 0], [0.5, 0.5, 0.5], *oxygen])
    return fractions @ cell, np.array([4.0, 4, -2, -2, -2, -2]), cell


def ewald_energy(positions, charges, cell, eta):
    """Ewald's sum of point charges with the textbook formulas; eta in 1/Å."""
    reach = 6.5 / eta
    count = np.ceil(reach * np.linalg.norm(np.linalg.inv(cell), axis=0)).astype(int) + 1
    shifts = np.array(list(itertools.product(*(range(-n, n + 1) for n in count)))) @ cell
    distance = np.linalg.norm(positions[:, None, None] - positions[None, :, None] + shifts, axis=-1)
    real = np.where(distance > 1e-9, erfc(eta * distance) / np.maximum(distance, 1e-9), 0).sum(2)
    energy = 0.5 * charges @ real @ charges - eta / np.sqrt(np.pi) * (charges**2).sum()
    width = 1 / (np.sqrt(2) * eta)
    total = charges.sum()
    background = -np.pi * total**2 / (2 * abs(np.linalg.det(cell)) * eta**2)
    # A Gaussian width σ in the structure factor is e^{−k²/4η²} in its square for η = 1/√(4σ²).
    reciprocal = ref.reciprocal_energy(positions, charges[:, None], cell, width / np.sqrt(2))
    return ref.K_E * (energy + background) + reciprocal


@pytest.mark.parametrize("structure", [wurtzite, fluorite, rutile])
def test_crystals_against_an_independent_sum(structure):
    positions, charges, cell = structure()
    expected = ewald_energy(positions, charges, cell, 0.9)
    assert abs(ewald_energy(positions, charges, cell, 1.3) - expected) < 1e-11 * abs(expected)
    energy = coulomb_energy(positions, charges, cell=cell, **POINTS)
    assert abs(energy - expected) < 1e-10 * abs(expected)


def test_charged_point_crystal():
    """−½ 2.837297479 k_e q²/L for point charges in their background, whatever the split."""
    energy = coulomb_energy(np.zeros((1, 3)), [1.5], cell=6.0 * np.eye(3), **POINTS)
    assert abs(energy + 0.5 * 2.837297479 * ref.K_E * 1.5**2 / 6.0) < 2e-9


@pytest.mark.parametrize("width", [0.25, 0.6])
def test_narrow_multipoles_equal_the_direct_sum(width, rng):
    positions, multipoles, cell = ref.random_structure(rng, 4, l_max=2)
    options = {"cell": cell, "boundary": "periodic", "accuracy": 1e-11}
    direct = coulomb_energy(positions, multipoles, width, method="direct", **options)
    energy = coulomb_energy(positions, multipoles, width, method="ewald", **options)
    assert abs(energy - direct) < 1e-10 * abs(direct)


def test_a_width_per_atom(rng):
    """Charged, with widths from zero up; the reference knows the k-sum only."""
    positions, multipoles, cell = ref.random_structure(rng, 4, l_max=2)
    widths = np.array([0.3, 0.45, 0.6, 0.8])
    expected = ref.reciprocal_energy(positions, multipoles, cell, widths)
    options = {"cell": cell, "boundary": "periodic", "accuracy": 1e-11}
    assert abs(coulomb_energy(positions, multipoles, widths, **options) - expected) < 1e-9


def test_point_multipoles_are_the_limit_of_narrow_ones(rng):
    """Unlike widths of 0.01 Å, which no longer overlap, width 0 is another branch of the kernel."""
    positions = np.array([[0.1, 0.2, 0.3], [2.9, 0.4, 3.0], [1.0, 3.1, 4.4]])
    multipoles = rng.normal(size=(3, 9))
    options = {"cell": ref.TRICLINIC, "boundary": "periodic", "self_interaction": False}
    narrow = coulomb_energy(positions, multipoles, 0.01, accuracy=1e-11, **options)
    sharp = coulomb_energy(positions, multipoles, 0.0, accuracy=1e-11, **options)
    background = 2 * np.pi * ref.K_E / abs(np.linalg.det(ref.TRICLINIC)) * 0.01**2
    expected = sharp + background * multipoles[:, 0].sum() ** 2
    assert abs(narrow - expected) < 1e-10 * abs(expected)


@pytest.mark.parametrize("width", [0.0, 0.02, 0.5])
def test_screened_kernel(width, x64):
    """Both branches and the seam at r = 2s, with SciPy's erf, and derivatives by recursion."""
    r = np.concatenate([np.linspace(0.3, 1.99, 20), np.linspace(2.0, 9.0, 20)])
    values = screened_coulomb(jnp.asarray(r * r), width, 1.0, 4)
    sharp = erfc(r / (2 * width)) if width else 0.0
    np.testing.assert_allclose(values[0], (erfc(r / 2) - sharp) / r, rtol=1e-12, atol=1e-300)

    def kernel(s):
        return screened_coulomb(s, width, 1.0, 0)[0]

    for order in range(1, 5):
        kernel = jax.grad(lambda s, f=kernel: f(jnp.atleast_1d(s)).sum())
        expected = (-2.0) ** order * jax.jit(jax.vmap(kernel))(jnp.asarray(r * r))
        np.testing.assert_allclose(values[order], expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("l_max", "width", "accuracies"),
    [(0, 0.0, (1e-3, 1e-5, 1e-8)), (1, 0.2, (1e-3, 1e-8)), (2, 0.3, (1e-5,))],
)
def test_requested_accuracy_is_met(l_max, width, accuracies, rng, x64):
    """Forces of neutral molecules against a far more accurate sum, from 1e-3 to 1e-8."""
    positions, multipoles, cell = ref.molecules(rng, l_max)
    function = partial(_energy_and_forces, positions, multipoles, cell, width, l_max)
    _, exact = function(1e-12)
    for accuracy in accuracies:
        _, force = function(accuracy)
        error = np.sqrt(np.mean((force - exact) ** 2) / np.mean(exact**2))
        assert error < accuracy


def _energy_and_forces(positions, multipoles, cell, width, l_max, accuracy):
    engine = EwaldCoulomb(accuracy, False).tuned_for(len(positions), cell, width, l_max)
    system = ref.batch([(positions, cell)], "periodic", engine, width, l_max)
    energy = ref.energy_of(engine, system, jnp.asarray(multipoles), l_max, width)
    return jax.jit(jax.value_and_grad(lambda r: energy(r, system.cell).sum()))(system.positions)


@pytest.mark.conformance_for("MeshEwaldCoulomb")
@pytest.mark.parametrize("kind", [EwaldCoulomb, MeshEwaldCoulomb])
def test_no_energy_steps_within_a_plan(kind, rng, x64):
    """Pairs pass the cutoff on the way, at accuracy 1e-3; a new plan changes next to nothing."""
    positions, multipoles, cell = ref.molecules(rng, 0)
    engine = kind(1e-3, False, cutoff=4.0)
    system = ref.batch([(positions, cell)], "periodic", engine, 0.0, 0)
    energy = ref.energy_of(engine, system, jnp.asarray(multipoles), 0, 0.0)
    move = rng.normal(size=positions.shape)
    steps = jnp.linspace(-1.0, 1.0, 81)
    strained = jax.vmap(lambda s: energy(*((1 + 0.004 * s) * x for x in here))[0])
    displaced = jax.vmap(lambda s: energy(here[0] + 0.01 * s * move, here[1])[0])
    here = system.positions, system.cell
    for path, end in ((strained, (1.004 * positions, 1.004 * cell)),
                      (displaced, (positions + 0.01 * move, cell))):  # fmt: skip
        values = np.asarray(jax.jit(path)(steps))
        assert np.abs(np.diff(values, 3)).max() < 1e-9 * abs(values[0])
        planned = ref.batch([end], "periodic", engine, 0.0, 0)
        assert planned.n_pairs != system.n_pairs
        fresh = ref.energy(engine.prepare(planned, 0, 0.0), multipoles)[0]
        assert abs(fresh - values[-1]) < 1e-3 * abs(fresh)


@pytest.mark.parametrize("width", [None, 0.3])
def test_switched_kernels_are_smooth(width, x64):
    """Zero at the cutoff with two derivatives, and derivatives that finite differences give."""
    squared, cutoff = jnp.linspace(2.0, 40.0, 97), 6.0
    spread = 0.0 if width is None else jnp.asarray(width)

    def kernel(s):
        return switched_coulomb(s, spread, 1.0, cutoff, 1)

    values = kernel(squared)
    plain = screened_coulomb(squared, spread, 1.0, 1)
    far, near = np.asarray(squared) >= 36.0, np.asarray(squared) <= 0.85 * 36.0
    assert all(np.all(np.asarray(v)[far] == 0) for v in values)
    np.testing.assert_array_equal(np.asarray(values[1])[near], np.asarray(plain[1])[near])
    slope = jax.grad(lambda s: kernel(s)[0].sum())
    curvature = jax.grad(lambda s: slope(s).sum())
    for function, derivative in ((lambda s: kernel(s)[0], slope), (slope, curvature)):
        expected = (function(squared + 1e-5) - function(squared - 1e-5)) / 2e-5
        np.testing.assert_allclose(derivative(squared), expected, rtol=1e-7, atol=1e-11)


@pytest.mark.conformance
def test_blocks_of_pairs_change_nothing(rng, x64, monkeypatch):
    """Energy, forces, ∂E/∂p and a second derivative, in a last block that is not full."""
    positions, multipoles, cell = ref.molecules(rng, 1)
    engine = EwaldCoulomb(1e-5, False, cutoff=4.0)
    system = ref.batch([(positions, cell)] * 2, "periodic", engine, 0.2, 1)
    p = jnp.asarray(np.tile(multipoles, (2, 1)))

    def loss(r, p):
        energy = ref.energy_of(engine, system, p, 1, 0.2)
        value, slope = jax.value_and_grad(lambda r: energy(r, system.cell).sum())(r)
        return value + jnp.sum(slope**2)

    results = []
    for block in (1 << 20, system.n_pairs // 3 + 5):
        monkeypatch.setattr(short_range, "BLOCK", block)
        results.append(jax.jit(jax.value_and_grad(loss, (0, 1)))(system.positions, p))
        jax.clear_caches()
    for whole, blocked in zip(*(jax.tree.leaves(r) for r in results)):
        np.testing.assert_allclose(blocked, whole, rtol=1e-9, atol=1e-9)


@pytest.mark.conformance_for("mesh_ewald")
@pytest.mark.parametrize("kind", ["periodic", "ewald", "mesh", "mesh_ewald"])
def test_other_cells_of_the_same_crystal(kind, rng, x64):
    """Lattice shifts, another choice of lattice vectors and two cells in one."""
    positions, multipoles, cell = ref.random_structure(rng, 3, 1.3 * ref.TRICLINIC)
    other = np.array([[1, 1, 0], [0, 1, 0], [-1, 0, 1]]) @ cell
    double = np.diag([1, 1, 2]) @ cell
    twice = np.concatenate([positions, positions + cell[2]])
    shifted = positions + rng.integers(-3, 4, (3, 3)) @ cell

    def energy(r, p, a):
        return float(ref.energy(ref.prepared(kind, [(r, a)], 1.0, 1)[2], p)[0])

    expected = energy(positions, multipoles, cell)
    assert abs(energy(shifted, multipoles, other) - expected) < 1e-7 * abs(expected)
    repeated = energy(twice, np.tile(multipoles, (2, 1)), double)
    assert abs(repeated - 2 * expected) < 2e-7 * abs(expected)


def test_auto_takes_the_cheapest_sum():
    structure = {"atoms": 100, "cell": 20 * np.eye(3), "l_max": 0}
    chosen = {
        width: type(
            tuned_engine(PeriodicCoulomb(1e-5), "auto", width=np.asarray(width), **structure)
        )
        for width in (0.0, 0.1, 1.5)
    }
    assert chosen[0.0] is EwaldCoulomb and chosen[0.1] is EwaldCoulomb
    assert chosen[1.5] is not EwaldCoulomb
    mixed = tuned_engine(PeriodicCoulomb(1e-5), "auto", width=np.array([1.0, 1.5]), **structure)
    assert isinstance(mixed, EwaldCoulomb)
    assert mixed.split(0) >= 1.5


def test_point_charges_at_one_place_and_other_refusals(rng, x64):
    positions, charges, cell = fluorite()
    with pytest.raises(DataError, match=r"atoms 1 and 0 .*point charges.*one place"):
        coulomb_energy(positions[[0, 0, 5]], [1, 1, -1], cell=cell, **POINTS)
    with pytest.raises(DataError, match="point charges"):  # the same place in another cell
        wrapped = np.concatenate([positions[:1], positions[:1] + cell[1]])
        coulomb_energy(wrapped, [1, -1], cell=cell, **POINTS)
    with pytest.raises(ConfigError, match="with itself is infinite"):
        coulomb_energy(positions, charges, cell=cell, **POINTS | {"self_interaction": True})
    with pytest.raises(ConfigError, match="width of 0 Å in a reciprocal sum"):
        coulomb_energy(positions, charges, cell=cell, method="direct", **POINTS)
    with pytest.raises(ConfigError, match="cutoff of 3 Å; needed at least"):
        EwaldCoulomb(cutoff=3.0).k_box(cell, 1.5, 0)
    with pytest.raises(ConfigError, match="cutoff -1 Å"):
        EwaldCoulomb(cutoff=-1.0)
    with pytest.raises(ConfigError, match="accuracy 1e-30"):
        EwaldCoulomb(accuracy=1e-30)
    engine = EwaldCoulomb(self_interaction=False)
    system = ref.batch([(positions, cell)], "periodic", engine, 0.0, 0)
    with pytest.raises(ConfigError, match="point charges .*infinite; needed self_interaction"):
        EwaldCoulomb().prepare(
            ref.batch([(positions, cell)], "periodic", EwaldCoulomb(), 0.0, 0), 0, 0.0
        )
    engine = EwaldCoulomb(self_interaction=False)
    system = ref.batch([(positions, cell)], "periodic", engine, 0.0, 0)
    with pytest.raises(CapacityError, match="empty k_box"):
        engine.prepare(replace(system, k_box=(0, 0, 0)), 0, 0.0)
