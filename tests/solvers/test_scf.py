"""The self-consistent field against the functional, dense algebra and the identities it obeys."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax import testing
from electrojax.electrostatics.coulomb import engine_for
from electrojax.errors import ConfigError, DataError
from electrojax.nn.features import Features, from_components
from electrojax.solvers.functional import EnergyFunctional
from electrojax.solvers.local import LocalCharges
from electrojax.solvers.readouts.hardness import hardness_unit
from electrojax.solvers.scf import HARDNESS_FLOOR, SelfConsistentField
from electrojax.solvers.state import ChargeGuess
from electrojax.typing import replace
from tests.solvers.systems import CUTOFF, WIDTH, system_of

COMMON = {"l_max": 1, "width": WIDTH, "cutoff": CUTOFF}
CHANNELS = 3
SCALES = (500.0, 8.0)
"""eV/(e·Å^l)², the hardness of scf before training."""


FREE = {"response": "free", "energy": "coulomb"}


def cluster(**inputs):
    inputs = {"total_charge": 0.6, "external_field": np.array([0.1, 0.0, -0.2]), **inputs}
    return testing.cluster(np.random.default_rng(1), n=5, **inputs)


def features_of(n, seed=2):
    rng = np.random.default_rng(seed)
    parts = [jnp.asarray(rng.normal(size=(n, k, CHANNELS))) for k in (1, 3)]
    return Features((from_components(tuple(parts)),))


def random_params(solver, system, features, seed=3):
    coulomb = engine_for("open", 1e-12).prepare(system, solver.l_max, WIDTH)
    init = jax.eval_shape(solver.init, jax.random.key(0), features, system, coulomb, None)
    rng = np.random.default_rng(seed)
    leaves, tree = jax.tree.flatten(init["params"])
    return tree.unflatten([jnp.asarray(0.5 * rng.normal(size=x.shape)) for x in leaves])


def run_of(solver, features):
    """The solver as a compiled function of its parameters, the system and a guess."""

    def apply(params, system, guess=None):
        coulomb = engine_for(system.boundary, 1e-12).prepare(system, solver.l_max, WIDTH)
        return solver.apply({"params": params}, features, system, coulomb, guess)

    return jax.jit(apply)


def energy_of(state):
    return sum(state.energies.values())


def constant_hardness(params, scf):
    """Hardness tables of one number per order, no environment: H = u softplus(t) + ε for scf."""
    wanted = [6.0, 4.0]
    tables = jax.tree.map(jnp.zeros_like, params["hardness"])
    for l, value in enumerate(wanted):
        if scf:
            value = (value - HARDNESS_FLOOR) / hardness_unit(SCALES[l])
        tables[f"element_{l}"]["table"] += np.log(np.expm1(value))
    return {**params, "hardness": tables}, wanted


def local_density(params, features, system):
    """p_loc [N, M] of the real atoms: that of the kind ``local`` with the same weights."""
    same = {"multipoles": params["local"], "element_charge": params["charge"]["table"]}
    found = run_of(LocalCharges(charge_control="none", **COMMON), features)(same, system)
    return np.asarray(found.density.multipoles[:, 0])


@pytest.mark.parametrize("control", ["fixed_charge", "fixed_potential"])
def test_the_symmetric_response_is_the_quadratic_functional(x64, control):
    """H constant, so that d = H p_loc is linear in the features, as the functional's drive is."""
    system, features = system_of([cluster()]), features_of(5)
    if control == "fixed_potential":
        ones = jnp.ones(1, dtype=jnp.int32)
        system = replace(system, charge_control=ones, fermi_level=jnp.array([0.7]))
    options = {"tolerance": 1e-12, "charge_control": control, **COMMON}
    scf = SelfConsistentField(energy="functional", linear_solver="cg", **options)
    functional = EnergyFunctional(terms=0, hardness_floor=0.0, **options)
    own, wanted = constant_hardness(random_params(scf, system, features), True)
    other, _ = constant_hardness(random_params(functional, system, features), False)
    scales = {"layer_0_degree_0": wanted[0], "layer_0_degree_1": wanted[1]}
    other["drive"] = jax.tree.map(lambda x: x, own["local"])
    for name, factor in scales.items():
        other["drive"][name] = {"weights": own["local"][name]["weights"] * factor}
    other["electronegativity"] = {"table": -wanted[0] * own["charge"]["table"]}
    found = run_of(scf, features)(own, system)
    expected = run_of(functional, features)(other, system)
    np.testing.assert_allclose(found.density.multipoles, expected.density.multipoles, atol=1e-9)
    np.testing.assert_allclose(found.fermi_level, expected.fermi_level, atol=1e-9)
    local = local_density(own, features, system)
    zero = -0.5 * np.sum(np.array([wanted[0], *[wanted[1]] * 3]) * local**2)  # of the functional
    np.testing.assert_allclose(energy_of(found) + zero, energy_of(expected), atol=1e-9)


def test_one_linear_solve_is_the_iterated_fixed_point(x64):
    system, features = system_of([cluster()]), features_of(5)
    solvers = [
        SelfConsistentField(mixing=mixing, tolerance=1e-12, max_steps=500, **COMMON)
        for mixing in ("krylov", "anderson", "linear")
    ]
    params = random_params(solvers[0], system, features)
    states = [run_of(solver, features)(params, system) for solver in solvers]
    for state in states[1:]:
        np.testing.assert_allclose(
            state.density.multipoles, states[0].density.multipoles, atol=1e-9
        )
        np.testing.assert_allclose(state.fermi_level, states[0].fermi_level, atol=1e-8)
        np.testing.assert_allclose(energy_of(state), energy_of(states[0]), atol=1e-8)
        assert bool(state.report.converged[0])
    assert int(states[1].report.steps[0]) < int(states[2].report.steps[0])


@pytest.mark.parametrize("response", ["symmetric", "free"])
def test_without_a_response_it_is_local(x64, response):
    ones = jnp.ones(1, dtype=jnp.int32)
    system, features = replace(system_of([cluster()]), charge_control=ones), features_of(5)
    options = {"charge_control": "fixed_potential", "energy": "coulomb", **COMMON}
    scf = SelfConsistentField(response=response, receiver_widths=(1.1, 2.0), **options)
    local = LocalCharges(charge_control="none", **COMMON)
    params = random_params(scf, system, features)
    if response == "free":
        params["response"] = jax.tree.map(jnp.zeros_like, params["response"])
    else:  # hardness of 10⁹ eV/e²
        tables = {f"element_{l}": {"table": jnp.full(119, 1e9)} for l in (0, 1)}
        params["hardness"] = {**params["hardness"], **tables}
    same = {"multipoles": params["local"], "element_charge": params["charge"]["table"]}
    found = run_of(scf, features)(params, system)
    expected = run_of(local, features)(same, system)
    np.testing.assert_allclose(found.density.multipoles, expected.density.multipoles, atol=1e-7)
    np.testing.assert_allclose(energy_of(found), energy_of(expected), atol=1e-6)


def test_charge_and_level_are_inverse_and_the_grand_potential_has_the_slope_q(x64):
    """Symmetric with any readout: Q(μ(Q)) = Q; with the matching energy: dΩ/dμ = Q, dE/dQ = −μ."""
    base, features = system_of([cluster()]), features_of(5)
    for response, energy in (("symmetric", "functional"), ("free", "quadratic")):
        solver = SelfConsistentField(
            response=response, energy=energy, tolerance=1e-12, receiver_widths=(1.1, 2.0), **COMMON
        )
        params = random_params(solver, base, features)
        run = run_of(solver, features)

        def at(control, charge, level, run=run, params=params):
            controls = jnp.array([control], dtype=jnp.int32)
            changed = {"total_charge": jnp.array([charge]), "fermi_level": jnp.array([level])}
            return run(params, replace(base, charge_control=controls, **changed))

        level = float(at(0, 0.6, 0.0).fermi_level[0])
        grand = at(1, 0.0, level)
        charges = np.asarray(grand.density.multipoles[:, 0, 0])
        np.testing.assert_allclose(charges.sum(), 0.6, atol=1e-8)
        np.testing.assert_allclose(grand.fermi_level, level)
        assert set(grand.energies) >= {"coulomb", "field", "reservoir"}
        if energy == "functional":
            testing.assert_gradient(
                lambda x, at=at: float(energy_of(at(1, 0.0, x[0]))[0]), [0.6], [level], rtol=1e-8
            )
            testing.assert_gradient(
                lambda x, at=at: float(energy_of(at(0, x[0], 0.0))[0]), [-level], [0.6], rtol=1e-8
            )


def test_the_quadratic_readout_starts_from_the_matching_energy(x64):
    """Without its learned products dE/dQ = −μ, as if the map were variational."""
    system, features = system_of([cluster()]), features_of(5)
    solver = SelfConsistentField(energy="quadratic", tolerance=1e-12, **COMMON)
    params = random_params(solver, system, features)
    products = params["energy"]["products"]["weights"]
    run = run_of(solver, features)
    for weights in (0.0 * products, products):
        params["energy"]["products"]["weights"] = weights

        @jax.jit
        def energy(charge, params=params):
            state = run(params, replace(system, total_charge=charge))
            return energy_of(state)[0], state.fermi_level[0]

        slope, level = jax.jit(jax.grad(energy, has_aux=True))(jnp.array([0.6]))
        gap = float(slope[0] + level)
        assert abs(gap) < 1e-8 if not np.any(weights) else abs(gap) > 1e-3


@pytest.mark.conformance
def test_direct_and_unrolled_gradients(x64):
    """Unrolled to convergence is implicit; direct is one update of the guess, charge exact."""
    system, features = system_of([cluster()]), features_of(5)
    solver = SelfConsistentField(
        energy="quadratic", tolerance=1e-12, unroll_steps=400, mixing_fraction=0.5, **COMMON
    )
    params = random_params(solver, system, features)
    slopes = {}
    for mode in ("implicit", "unroll"):
        run = run_of(solver.clone(gradient=mode), features)

        def value(positions, params, run=run):
            state = run(params, replace(system, positions=positions))
            weights = jnp.arange(20.0).reshape(5, 1, 4)
            density = jnp.sum(weights * state.density.multipoles)
            return energy_of(state)[0] + density + state.fermi_level[0]

        slopes[mode] = jax.jit(jax.grad(value, (0, 1)))(jnp.asarray(system.positions), params)
    for a, b in zip(jax.tree.leaves(slopes["implicit"]), jax.tree.leaves(slopes["unroll"])):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    # From the solution itself one update leads nowhere else.
    solved = run_of(solver, features)(params, system)
    guess = ChargeGuess(solved.density.multipoles, solved.fermi_level)
    once = run_of(solver.clone(gradient="direct"), features)(params, system, guess)
    np.testing.assert_allclose(once.density.multipoles, solved.density.multipoles, atol=1e-10)
    np.testing.assert_allclose(energy_of(once), energy_of(solved), atol=1e-8)
    far = run_of(solver.clone(gradient="direct"), features)(params, system)
    assert abs(float(far.density.multipoles[:, 0, 0].sum()) - 0.6) < 1e-13
    assert float(far.report.residual[0]) > 1e-3


@pytest.mark.conformance_for("many_body", "one_body")
@pytest.mark.parametrize("update", ["affine", "one_body", "many_body"])
def test_a_warm_start_saves_products(x64, update):
    system, features = system_of([cluster()]), features_of(5)
    solver = SelfConsistentField(
        update=update, tolerance=1e-9, receiver_widths=(1.1, 2.0), **FREE, **COMMON
    )
    params = jax.tree.map(lambda x: 0.3 * x, random_params(solver, system, features))
    run = run_of(solver, features)
    cold = run(params, system)
    assert bool(cold.report.converged[0])
    warm = run(params, system, ChargeGuess(cold.density.multipoles * 1.0001, cold.fermi_level))
    assert int(warm.report.steps[0]) < int(cold.report.steps[0])
    np.testing.assert_allclose(warm.density.multipoles, cold.density.multipoles, atol=1e-8)


@pytest.mark.parametrize("response", ["symmetric"])
def test_wild_parameters_and_atoms_on_top_of_each_other_leave_numbers(x64, response):
    """A pair at one place, one alone, and padding: energies, forces and their report are finite."""
    frames = [cluster(), testing.cluster(np.random.default_rng(2), n=1, total_charge=-1.0)]
    system, features = system_of(frames, nodes=2, graphs=1), features_of(8)
    positions = jnp.asarray(system.positions).at[1].set(system.positions[0])
    solver = SelfConsistentField(
        response=response, update="affine" if response == "symmetric" else "one_body",
        receiver_widths=(1.1, 2.0), max_newton=5, energy="quadratic", **COMMON
    )  # fmt: skip
    params = random_params(solver, system, features)
    run = run_of(solver, features)

    def energy(positions, params):
        state = run(params, replace(system, positions=positions))
        return jnp.sum(energy_of(state)), state

    slope = jax.jit(jax.grad(energy, has_aux=True))
    for size in (1.0, 40.0):
        forces, state = slope(positions, jax.tree.map(lambda x, s=size: s * x, params))
        assert np.all(np.isfinite(forces)) and np.all(np.isfinite(energy_of(state)))
        charges = np.asarray(state.density.multipoles)[:, 0, 0]
        np.testing.assert_allclose(charges[:5].sum(), 0.6, atol=1e-9)
        np.testing.assert_allclose(charges[5:], [-1.0, 0.0, 0.0], atol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"update": "one_body"}, 'needs response "free"'),
        ({"response": "free", "energy": "functional"}, "minimises nothing"),
        ({"potentials": "absolute"}, 'needs response "free"'),
        ({**FREE, "receiver_widths": (0.5,)}, "none below the width"),
        ({**FREE, "receiver_norms": (1.0,)}, "needed 4"),
    ],
)
def test_options_that_clash(options, message):
    with pytest.raises(ConfigError, match=message):
        SelfConsistentField(**{**COMMON, **options}).check(cluster())


def test_fragments_keep_their_charge_and_have_a_level_each(x64):
    """Two of them, of a soft free response too; at fixed potential they are refused."""
    formal = np.array([0.6, 0.0, 0.0, 0.0, -0.3])
    names = np.array([0, 0, 0, 1, 1])
    frame = cluster(total_charge=0.3, formal_charges=formal, fragment=names)
    system, features = system_of([frame]), features_of(5)
    for options in ({"energy": "coulomb"}, {**FREE, "update": "one_body"}):
        scf = SelfConsistentField(
            fragments=True,
            tolerance=1e-11,
            receiver_widths=(1.1, 2.0),
            diagnostics=("level_slope",),
            **options,
            **COMMON,
        )
        params = random_params(scf, system, features)
        state = run_of(scf, features)(params, system)
        assert bool(state.report.converged[0])
        charges = np.asarray(state.density.multipoles)[:, 0, 0]
        np.testing.assert_allclose([charges[:3].sum(), charges[3:].sum()], [0.6, -0.3], atol=1e-12)
        found = np.asarray(state.chemical_potential)
        np.testing.assert_allclose(found[[1, 2, 4]], found[[0, 0, 3]], atol=1e-12)
        assert abs(found[0] - found[3]) > 1e-3
        # Levels raised together bring charge as the whole structure's response says.
        assert np.isfinite(state.diagnostics["level_slope"][0])
    assert "legendre_gap" not in scf.diagnoses
    level = {"charge_control": "fixed_potential", "fermi_level": 0.1}
    with pytest.raises(DataError, match="no fragment keeps a charge"):
        scf.check(dataclasses.replace(frame, **level))
