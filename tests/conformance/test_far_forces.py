"""Forces between far parts of a system against those of their own densities.

Two molecules without common edges, at distances R where Gaussians are points: the force on one of
them must be Coulomb's between the charges and dipoles that the model itself reports. By the
Hellmann-Feynman theorem it is where the energy is stationary in the density, and where the density
is read from the environment. Random weights; the reference knows nothing of the package.
"""

import jax
import numpy as np
import pytest

from tests.conformance.far import coulomb_forces, deviations, pair, parts, run, slopes_alone

STATIONARY = ("local", "split", "latent", "qeq", "functional", "scf-potential")
"""scf-potential at fixed charge is scf with energy functional."""
DECAYING = {"non-scf": 1, "non-scf-signed": 1, "non-scf-one-shot": 2}
"""Powers of 1/R with which the deviation goes."""
SHARING = ("scf", "scf-coulomb", "scf-perceptron", "scf-free", "scf-free-coulomb",
           "scf-free-quadratic")  # fmt: skip
"""Kinds whose level shares charge out by another rule than their energy."""


@pytest.mark.parametrize("solver", STATIONARY)
def test_far_forces_are_those_of_the_density(x64, solver):
    """Charged and neutral, as vectors, within 1e-5."""
    forces, positions, multipoles = parts(solver)
    expected = coulomb_forces(positions, multipoles)
    assert np.abs(multipoles[:3, :3, 0].sum(axis=1)).min() > 0.02
    size = np.linalg.norm(expected, axis=1)
    assert np.all(np.linalg.norm(forces - expected, axis=1) < 1e-5 * size)


@pytest.mark.parametrize("solver", DECAYING)
def test_the_deviation_of_the_others_decays(x64, solver):
    """|F/F_Coulomb − 1| R^n is the same at 80 and at 160 Å, between charged molecules."""
    deviation = deviations(solver)[0][1:3]
    constant = deviation * np.array([80.0, 160.0]) ** DECAYING[solver]
    np.testing.assert_allclose(constant[0], constant[1], rtol=0.1)
    assert abs(deviation[1]) < 0.1


def some(names, everyday):
    """A few of the names in the default run, all of them under ``-m conformance``."""
    marks = {True: (), False: pytest.mark.conformance}
    return pytest.mark.parametrize(
        "solver", [pytest.param(n, marks=marks[n in everyday]) for n in names]
    )


@some([f"{name}-fragments" for name in SHARING], ["scf-coulomb-fragments"])
def test_it_decays_where_fragments_keep_their_charge(x64, solver):
    """As 1/R, of every energy that is not stationary: between charged fragments."""
    pairs = [pair(r, 1.0, 0.5) for r in (40.0, 80.0, 160.0, 320.0)]
    deviation, multipoles = deviations(solver, pairs)
    np.testing.assert_allclose(multipoles[:, 3:, 0].sum(axis=1), 0.5, atol=1e-10)
    constant = deviation * np.array([40.0, 80.0, 160.0, 320.0])
    np.testing.assert_allclose(constant[2], constant[3], rtol=0.1)
    assert abs(deviation[3]) < 0.02


@some(SHARING, [])
def test_it_does_not_where_a_level_shares_out_charge(x64, solver):
    """Its limit is what the charge that flows between the molecules costs.

    With levels μ(Q) and energies E(Q) of the molecules A and B alone, charge flows by dQ_A/dR = k_e
    (Q_A − Q_B)/R² / (μ_A' + μ_B'), and the force has −(E_A' − E_B') dQ_A/dR beside Coulomb's: of
    the same order R⁻², unless the energy's own slopes are the levels.
    """
    pairs = [pair(r, 0.4) for r in (40.0, 80.0, 160.0, 320.0)]
    deviation, multipoles = deviations(solver, pairs)
    charges = multipoles[-1, :, 0].reshape(2, 3).sum(axis=1)
    slopes, levels = slopes_alone(solver, charges)
    product = charges[0] * charges[1]
    limit = -(slopes[0] - slopes[1]) * (charges[0] - charges[1]) / product / np.sum(levels)
    extrapolated = 2.0 * deviation[3] - deviation[2]
    np.testing.assert_allclose(extrapolated, limit, rtol=0.05, atol=2e-5)
    rest = (deviation - limit) * np.array([40.0, 80.0, 160.0, 320.0])
    np.testing.assert_allclose(rest[1], rest[2], rtol=0.2)


def test_the_one_shot_force_lacks_that_of_the_induced_parts(x64):
    """F of ½⟨p, A p⟩ less that of ⟨δp_A, A δp_B⟩, with δp the response: the limit, exactly."""
    solver = "non-scf-one-shot"
    forces, positions, multipoles = parts(solver)
    model = run(solver)[0]
    bare = parts(solver, unresponsive(model.params))[2]
    induced = multipoles - bare
    assert np.abs(induced).max() > 0.01
    np.testing.assert_allclose(induced[:, :3, 0].sum(axis=1), 0.0, atol=1e-12)  # no net charge
    lacking = coulomb_forces(positions, induced)
    expected = coulomb_forces(positions, multipoles) - lacking
    size = np.linalg.norm(expected, axis=1)
    assert np.all(np.linalg.norm(forces - expected, axis=1) < 1e-5 * size)
    assert np.linalg.norm(lacking[3]) > 1e-5 * size[3]


def unresponsive(params):
    """The parameters with softness and planes 0: softplus of −10⁴."""

    def emptied(path, leaf):
        names = [str(key.key) for key in path]
        if "response" not in names:
            return leaf
        element = names[-1] == "table" and not any("shift" in name for name in names)
        return np.full_like(leaf, -1e4 if element else 0.0)

    return jax.tree_util.tree_map_with_path(emptied, params)
