"""Charge equilibration against a constrained solve by SciPy, and its thermodynamics."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax import testing
from electrojax.errors import ConfigError, DataError
from electrojax.numerics.constraint import fermi_level
from electrojax.numerics.variational import levels, quadratic_minimum, stationary_energies
from electrojax.solvers.charge_control import check_charges
from electrojax.solvers.qeq import ChargeEquilibration
from electrojax.typing import replace
from tests.solvers.systems import energy_of, equilibrated, system_of


def frame_of(boundary, seed=1, **inputs):
    rng = np.random.default_rng(seed)
    if boundary == "open":
        return testing.cluster(rng, n=7, total_charge=0.6, **inputs)
    return testing.crystal(rng, n=6, length=5.5, total_charge=0.6, **inputs)


def coefficients(n, seed=2):
    values = np.random.default_rng(seed).random((n, 2))
    return 6.0 * values[:, 0] - 3.0, 1.0 + 8.0 * values[:, 1]


def solved(problem, tolerance=1e-12):
    charges, report = quadratic_minimum(problem, jnp.zeros_like(problem.drive), tolerance)
    multipliers = levels(problem, charges)
    terms = stationary_energies(charges, multipliers, problem)
    return charges, multipliers, sum(terms.values()), report


@pytest.mark.parametrize("boundary", ["open", "periodic"])
@pytest.mark.parametrize("dense", [False, True])
def test_equals_a_constrained_dense_solve(x64, boundary, dense):
    frame = frame_of(boundary)
    n = len(frame.numbers)
    chi, eta = coefficients(n)
    system = system_of([frame], nodes=3, graphs=1)
    problem = energy_of(system, -chi[:, None], eta[:, None], dense=dense)
    charges, multipliers, energy, report = jax.jit(solved)(problem)
    expected, fields, value = equilibrated(frame, chi, eta, [list(range(n))])
    np.testing.assert_allclose(charges[:n, 0], expected, atol=1e-10)
    np.testing.assert_allclose(energy[0], value, atol=1e-10)
    np.testing.assert_allclose(fermi_level(problem, multipliers)[0], fields[0], atol=1e-9)
    assert abs(float(jnp.sum(charges)) - 0.6) < 1e-13
    assert bool(report.converged.all()) and not np.any(charges[n:])


@pytest.mark.parametrize("names", [(0, 1, 2), (-1, 0, 7), (2.5, 40, 41)])
def test_fragments_keep_their_charge(x64, names):
    frame = frame_of("open")
    fragment = np.array([0, 1, 0, 1, 1, 0, 2])
    formal = np.array([1.0, 0.0, 0.0, -1.0, 0.0, 0.6, 0.0])
    frame = dataclasses.replace(frame, fragment=np.array(names)[fragment], formal_charges=formal)
    groups = [list(np.flatnonzero(fragment == f)) for f in range(3)]
    chi, eta = coefficients(7)
    expected, fields, _ = equilibrated(frame, chi, eta, groups)
    for dense in (False, True):
        system = system_of([frame_of("open", 5), frame], nodes=2)
        both = [np.concatenate([x, x])[:, None] for x in (-chi, eta)]
        # The first structure has no formal charges: every fragment, one per structure, is neutral.
        problem = energy_of(system, *both, fragments=True, dense=dense)
        charges, multipliers, _, _ = jax.jit(solved)(problem)
        np.testing.assert_allclose(charges[7:14, 0], expected, atol=1e-10)
        np.testing.assert_allclose(multipliers[7:10], fields, atol=1e-9)
        for group, total in zip(groups, (1.6, -1.0, 0.0)):
            assert abs(float(charges[7:14, 0][np.array(group)].sum()) - total) < 1e-13


@pytest.mark.parametrize("boundary", ["open", "periodic"])
def test_the_level_is_minus_the_derivative_by_the_charge(x64, boundary):
    chi, eta = coefficients(7 if boundary == "open" else 6)
    system = system_of([frame_of(boundary)])

    @jax.jit
    def grand(total, level, control):
        changed = replace(
            system, total_charge=total, fermi_level=level, charge_control=jnp.array([control])
        )
        problem = energy_of(changed, -chi[:, None], eta[:, None])
        charges, multipliers, energy, _ = solved(problem)
        return (
            energy[0],
            fermi_level(problem, multipliers)[0],
            jnp.sum(charges),
        )

    zero = np.zeros(1)
    _, level, _ = grand(np.array([0.6]), zero, 0)
    testing.assert_gradient(
        lambda q: float(grand(q, zero, 0)[0]), [-float(level)], np.array([0.6]), rtol=1e-8
    )
    # The same level given brings the same charge back, and Ω = E + μQ has the slope Q.
    _, _, charge = grand(zero, np.array([level]), 1)
    np.testing.assert_allclose(charge, 0.6, atol=1e-9)
    testing.assert_gradient(
        lambda mu: float(grand(zero, mu, 1)[0]), [0.6], np.array([level]), rtol=1e-8
    )


def test_induced_dipoles_equal_a_dense_solve_of_the_same_operator(x64):
    rng = np.random.default_rng(8)
    frame = dataclasses.replace(frame_of("open"), external_field=np.array([0.1, -0.2, 0.05]))
    drive, hard = rng.normal(size=(7, 4)), 2.0 + 5.0 * rng.random((7, 4))
    system = system_of([frame])
    problem = energy_of(system, drive, hard)
    charges, _, _, _ = jax.jit(solved)(problem)
    units = jnp.eye(28).reshape(28, 7, 4)
    matrix = np.asarray(jax.vmap(problem.coulomb.potential)(units)).reshape(28, 28)
    matrix = matrix + np.diag(hard.ravel())
    row = np.tile([1.0, 0, 0, 0], 7)
    field = np.concatenate(
        [frame.positions @ frame.external_field[:, None],
         np.tile(frame.external_field[[1, 2, 0]], (7, 1))], axis=1
    )  # fmt: skip
    bordered = np.block([[matrix, row[:, None]], [row[None], np.zeros((1, 1))]])
    right = np.append((drive + field).ravel(), 0.6)
    expected = np.linalg.solve(bordered, right)[:-1].reshape(7, 4)
    np.testing.assert_allclose(charges, expected, atol=1e-10)


def test_batch_mates_do_not_count(x64):
    """Bit for bit at equal capacity: a mate that needs more steps must not move a solved one."""
    frame, found = frame_of("open"), []
    for atoms in (4, 12):
        mate = testing.cluster(np.random.default_rng(atoms), n=atoms)
        room = {"nodes": 14 - atoms, "graph_nodes": 12 - max(7, atoms)}
        chi, eta = coefficients(7 + atoms)
        problem = energy_of(system_of([frame, mate], **room), -chi[:, None], eta[:, None])
        charges, _, _, report = jax.jit(solved)(problem)
        found.append((np.asarray(charges[:7]), report.steps))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert found[0][1][1] < found[0][1][0] == found[1][1][0] < found[1][1][1]


def test_a_guess_near_the_solution_saves_steps(x64):
    frame = frame_of("periodic")
    chi, eta = coefficients(6)
    problem = energy_of(system_of([frame]), -chi[:, None], eta[:, None])
    run = jax.jit(lambda start: quadratic_minimum(problem, start, 1e-6))
    cold, first = run(jnp.zeros((6, 1)))
    _, again = run(cold + 1e-5 * np.random.default_rng(0).normal(size=(6, 1)))
    assert int(again.steps[0]) < int(first.steps[0])


def test_steps_run_out_as_a_value(x64):
    chi, eta = coefficients(7)
    problem = energy_of(system_of([frame_of("open")]), -chi[:, None], 1e-3 * eta[:, None])
    problem = dataclasses.replace(problem, max_steps=2)
    charges, report = jax.jit(lambda p: quadratic_minimum(p, jnp.zeros((7, 1)), 1e-12))(problem)
    assert not bool(report.converged[0]) and float(report.residual[0]) > 1e-6
    assert np.all(np.isfinite(charges)) and abs(float(charges.sum()) - 0.6) < 1e-12


def test_what_fixes_the_charges_must_be_given():
    frame = frame_of("open")
    with pytest.raises(DataError, match="fermi_level"):
        check_charges(frame, "fixed_potential", False)
    with pytest.raises(DataError, match="formal_charges"):
        check_charges(frame, "fixed_charge", True)
    wrong = dataclasses.replace(frame, formal_charges=np.zeros(7))
    with pytest.raises(DataError, match="total_charge is 0.6"):
        check_charges(wrong, "fixed_charge", True)
    with pytest.raises(ConfigError, match="l_max 0"):
        ChargeEquilibration(transfers="soft_fragments", l_max=1, cutoff=4.0).check(frame)
