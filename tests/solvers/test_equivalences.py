"""Which rules are the same, in which limits, and how fast the limits are reached.

docs/concepts/equivalences.md states each with its conditions.
"""

import jax
import jax.numpy as jnp
import numpy as np

from electrojax.electrostatics.contract import receivers
from electrojax.electrostatics.coulomb import engine_for
from electrojax.electrostatics.field import field_coupling
from electrojax.numerics.variational import levels, quadratic_minimum
from electrojax.solvers.functional import EnergyFunctional
from electrojax.solvers.latent import LatentCharges
from electrojax.solvers.local import LocalCharges
from electrojax.solvers.non_scf import updated
from electrojax.solvers.problems.convex import ConvexTerms
from electrojax.solvers.problems.neighborhood import neighborhoods
from electrojax.solvers.problems.one_shot import ConcaveResponse
from electrojax.solvers.problems.one_shot import response as one_shot
from electrojax.solvers.problems.quadratic import field_potentials
from electrojax.solvers.problems.response_map import AffineResponse
from electrojax.solvers.problems.self_consistent import FreeResponse, symmetric_response
from electrojax.solvers.qeq import ChargeEquilibration
from electrojax.solvers.readouts.hardness import hardness_unit
from electrojax.solvers.scf import HARDNESS_FLOOR, SelfConsistentField
from electrojax.typing import replace
from tests.numerics.test_scf_numerics import free_problem, solved
from tests.solvers.systems import CUTOFF, WIDTH, system_of
from tests.solvers.systems import energy_of as quadratic_of
from tests.solvers.test_scf import COMMON, cluster, energy_of, features_of, random_params, run_of

HARDNESS = 6.0
ALONE = {**COMMON, "l_max": 0}


def hard(params, value, unit=1.0, floor=0.0):
    """Parameters whose hardness is one number for every atom, whatever the environment."""
    tables = jax.tree.map(jnp.zeros_like, params["hardness"])
    tables["element_0"]["table"] += float(inverse_softplus((value - floor) / unit))
    return {**params, "hardness": tables}


def inverse_softplus(value):
    return value + np.log(-np.expm1(-value))


def driven(params, local, factor):
    """Parameters of a functional whose drive is h p_loc, p_loc with the weights of ``local``."""
    drive = jax.tree.map(lambda x: factor * x, local["weights"])
    return {**params, "drive": drive, "electronegativity": {"table": -factor * local["table"]}}


def test_equal_quadratic_energies_have_equal_charges(x64):
    """qeq = functional without e_i = scf symmetric at l_max 0: p, μ, E + ½⟨p_loc, H p_loc⟩."""
    system, features = system_of([cluster()]), features_of(5)
    options = {"tolerance": 1e-12, **ALONE}
    qeq = ChargeEquilibration(hardness_floor=0.0, **options)
    functional = EnergyFunctional(terms=0, rank=0, hardness_floor=0.0, **options)
    scf = SelfConsistentField(rank=0, **options)
    own = hard(random_params(scf, system, features), HARDNESS, hardness_unit(500.0), HARDNESS_FLOOR)
    local = {"weights": own["local"], "table": own["charge"]["table"]}
    both = [
        driven(hard(random_params(s, system, features), HARDNESS), local, HARDNESS)
        for s in (qeq, functional)
    ]
    found = [run_of(s, features)(p, system) for s, p in zip((qeq, functional, scf), (*both, own))]
    same = {"multipoles": own["local"], "element_charge": local["table"]}
    bare = run_of(LocalCharges(charge_control="none", **ALONE), features)(same, system)
    zero = 0.5 * HARDNESS * jnp.sum(bare.density.multipoles**2)
    for state, offset in zip(found, (zero, zero, 0.0)):
        np.testing.assert_allclose(
            state.density.multipoles, found[0].density.multipoles, atol=1e-11
        )
        np.testing.assert_allclose(state.fermi_level, found[0].fermi_level, atol=1e-11)
        np.testing.assert_allclose(energy_of(state) + offset, energy_of(found[2]), atol=1e-10)
    assert np.abs(found[0].density.multipoles).max() > 0.1


def test_a_stiff_functional_is_local(x64):
    """d = h p_loc, h → ∞: p − p_local falls as 1/h, with what charge lacks spread by 1/h_i."""
    system, features = system_of([cluster()]), features_of(5)
    functional = EnergyFunctional(terms=0, rank=0, tolerance=1e-12, hardness_floor=0.0, **ALONE)
    local = LocalCharges(charge_control="total", **ALONE)
    plain = random_params(local, system, features)
    even = {k: jax.tree.map(jnp.zeros_like, v) for k, v in plain.items() if "fukui" in k}
    weights = {"weights": plain["multipoles"], "table": plain["element_charge"]}
    expected = run_of(local, features)({**plain, **even}, system).density.multipoles
    run, params = run_of(functional, features), random_params(functional, system, features)
    errors = []
    for hardness in (1e3, 2e3, 4e3, 1e6):
        stiff = driven(hard(params, hardness), weights, hardness)
        found = run(stiff, system).density.multipoles
        errors.append(np.abs(found - expected).max())
    np.testing.assert_allclose(np.divide(errors[:2], errors[1:3]), 2.0, rtol=0.02)
    assert errors[3] < 1e-4 < errors[0]


def test_latent_is_local_without_its_own_potential(x64):
    """One channel, ε∞ = 1: the same density; energies differ by ½ Σ a p², the Gaussians' own."""
    system, features = system_of([cluster()]), features_of(5)
    local = LocalCharges(charge_control="total", **COMMON)
    kinds = [
        LatentCharges(charge_control="total", self_interaction=s, **COMMON) for s in (True, False)
    ]
    plain = random_params(local, system, features)
    plain["element_fukui"] = jnp.zeros_like(plain["element_fukui"])
    names = {"latent": "multipoles", "fukui": "fukui"}
    expected = run_of(local, features)(plain, system)
    for kind, own in zip(kinds, (0.0, 1.0)):
        params = random_params(kind, system, features)
        for name, other in names.items():
            params[name] = jax.tree.map(lambda x, y: y.reshape(x.shape), params[name], plain[other])
        params["element_charge_0"] = {"table": plain["element_charge"]}
        found = run_of(kind, features)(params, system)
        np.testing.assert_allclose(
            found.density.multipoles, expected.density.multipoles, atol=1e-12
        )
        # a = k_e/(√π σ) of a charge and k_e/(6 √π σ³) of a dipole.
        squares = np.asarray(expected.density.multipoles)[:, 0] ** 2
        each = 14.399645353504033 / np.sqrt(np.pi) * np.array([1 / WIDTH, *[1 / 6 / WIDTH**3] * 3])
        rest = energy_of(expected) - own * 0.5 * np.sum(each * squares)
        np.testing.assert_allclose(energy_of(found), rest, atol=1e-10)


def test_a_free_response_that_is_minus_an_inverse_hardness_is_symmetric(x64, rng):
    """Δ = −H⁻¹ v at the density's own width, the atom's own potential included."""
    system = system_of([cluster()])
    local, hardness = 0.4 * rng.normal(size=(5, 4)), 3.0 + 4.0 * rng.random((5, 4))
    energy = quadratic_of(system, hardness * local, hardness)
    free = FreeResponse(
        system=system,
        coulomb=energy.coulomb,
        receive=receivers(energy.coulomb, (WIDTH,), 1, True),
        local=jnp.asarray(local),
        response=AffineResponse(-jnp.asarray(1.0 / hardness)[:, :, None] * jnp.eye(4)),
        field=field_coupling(system, CUTOFF),
        constraint=energy.constraint,
        norms=jnp.ones((1, 4)),
        width=WIDTH,
        max_steps=200,
    )
    symmetric = symmetric_response(energy, jnp.asarray(local))
    (one, level, _), (other, same, _) = (jax.jit(solved)(p) for p in (free, symmetric))
    np.testing.assert_allclose(one, other, atol=1e-10)
    np.testing.assert_allclose(level, same, atol=1e-9)
    minimum, _ = quadratic_minimum(energy, jnp.zeros((5, 4)), 1e-12)
    np.testing.assert_allclose(one, minimum, atol=1e-10)
    np.testing.assert_allclose(level, levels(energy, minimum), atol=1e-9)


def test_tied_updates_converge_to_the_self_consistent_field_geometrically(x64, rng):
    """K updates p ← p + α (F(p) − p): the error is ρ^K, ρ the spectral radius of one update."""
    system = system_of([cluster()])
    slopes = -0.02 - 0.05 * rng.random((5, 2, 4))
    blocks = [jnp.asarray(slopes[:, w])[:, :, None] * jnp.eye(4) for w in (0, 1)]
    problem = replace(
        free_problem(system), response=AffineResponse(jnp.concatenate(blocks, axis=2))
    )
    expected, _, report = jax.jit(solved)(problem)
    assert bool(report.converged[0])
    bare = jnp.sum(jnp.asarray(slopes)[:, :, 0] / problem.norms[:, 0], axis=1)[:, None]
    zero, total = jnp.zeros(5), jnp.array([[0.6]])

    @jax.jit
    def step(flat):
        def tied(_, p):
            return 0.4 * (problem.update(p[:, 0], zero)[:, None] - p), bare

        p = flat.reshape(5, 1, 4)
        return updated(p, lambda p: p, [tied], total, system, "signed")[0].ravel()

    radius = np.abs(np.linalg.eigvals(jax.jacfwd(step)(expected.ravel()))).max()
    assert 0.2 < radius < 0.9
    errors, flat = {}, jnp.asarray(problem.local).ravel()
    for count in range(1, 61):
        flat = step(flat)
        errors[count] = np.linalg.norm(flat - expected.ravel())
    np.testing.assert_allclose((errors[60] / errors[40]) ** (1 / 20), radius, rtol=0.02)
    assert errors[60] < 1e-4 * errors[1]


def test_one_shot_is_the_self_consistent_field_to_first_order_in_the_softness(x64, rng):
    """K = H⁻¹ of dipoles, with charges that do not respond: E and δp differ by O(K²)."""
    system = system_of([cluster()])
    local = jnp.asarray(0.4 * rng.normal(size=(5, 4)))
    softness = 0.02 + 0.05 * rng.random(5)
    applied = field_potentials(field_coupling(system, CUTOFF), local)
    coulomb = engine_for("open", 1e-12).prepare(system, 1, WIDTH)
    around = neighborhoods(system, CUTOFF)
    none = ConvexTerms(jnp.zeros((5, 3)), jnp.zeros((5, 1, 4)), jnp.zeros((5, 1)), jnp.ones(4))
    bare = 0.5 * jnp.sum(local * coulomb.potential(local)) + jnp.sum(local * applied)

    def differences(scale):
        k = scale * softness[:, None] * np.array([0.0, 1.0, 1.0, 1.0])
        concave = ConcaveResponse(jnp.asarray(k)[:, :, None] * jnp.eye(4), none)
        induced, energies, _ = one_shot(local, applied, jnp.zeros(4), coulomb, concave, around)
        hardness = np.where(k > 0, 1.0 / np.where(k > 0, k, 1.0), 1e12)
        energy = quadratic_of(system, hardness * local, hardness, dense=True)
        free = replace(
            energy, constraint=replace(energy.constraint, total=energy.constraint.sums(local))
        )
        found, _ = quadratic_minimum(free, local, 1e-13)
        change = found - local
        total = 0.5 * jnp.sum(found * coulomb.potential(found)) + jnp.sum(found * applied)
        total += 0.5 * jnp.sum(hardness[:, 1:] * change[:, 1:] ** 2)
        return (
            np.abs(induced - change)[:, 1:].max(),
            float(abs(bare + jnp.sum(energies) - total)),
            np.abs(change).max(),
        )

    large, small = differences(1.0), differences(0.25)
    np.testing.assert_allclose(np.divide(large[:2], small[:2]), 16.0, rtol=0.3)
    finer = differences(0.0625)
    np.testing.assert_allclose(np.divide(small[:2], finer[:2]), 16.0, rtol=0.1)
    np.testing.assert_allclose(small[2] / finer[2], 4.0, rtol=0.1)
