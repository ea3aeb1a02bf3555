"""One energy, one density, one response: derivatives of the energy are those of the density.

Of kinds whose energy is not stationary in the density the documented refusals and the second set
of numbers are checked instead.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electrojax import testing
from electrojax.errors import DataError
from electrojax.models import bundle
from electrojax.models.responses import density_polarization
from electrojax.solvers.base import consistency_note
from electrojax.typing import replace
from tests.conformance import models
from tests.conformance.models import potential, program
from tests.conformance.test_conformance import batch_of, structure

CHARGED = [s for s in models.SOLVERS if s not in ("none", "latent-channels")]
CONSISTENT = [s for s in CHARGED if potential("light", s).network.solver.consistent]
OTHERS = [s for s in CHARGED if s not in CONSISTENT]
LEVELS = ["qeq", "qeq-bounded", "qeq-soft", "functional", "scf-potential", "non-scf-one-shot"]
"""Kinds with a Fermi level, one of each rule."""
EVERYDAY = ("qeq", "scf-potential", "non-scf-one-shot", "scf", "non-scf")


def solvers(names, everyday=EVERYDAY):
    """A few of the names in the default run, all of them under ``-m conformance``."""
    marks = {True: (), False: pytest.mark.conformance}
    return pytest.mark.parametrize(
        "solver", [pytest.param(n, marks=marks[n in everyday]) for n in names]
    )


def at_fixed_charge(solver: str, charge: float = 1.0, boundary: str = "open"):
    """A structure in a field, of a given charge whatever the model controls otherwise."""
    frame = dataclasses.replace(structure(boundary, solver=solver), charge_control="fixed_charge")
    formal = np.array(frame.formal_charges)
    formal[0] += charge - frame.total_charge
    return dataclasses.replace(frame, total_charge=charge, formal_charges=formal)


def test_the_kinds_that_keep_it():
    """local, latent, split, qeq, functional, scf functional and one_shot do; ablations do not."""
    assert set(OTHERS) == {"scf", "scf-free", "non-scf", "non-scf-signed"}


@solvers(CHARGED, ("qeq", "non-scf-one-shot", "scf"))
def test_polarisation_and_its_slopes_are_those_of_the_density(x64, solver):
    """Σ (q r + μ), ∂/∂E of it and ∂/∂r of it against −∂E/∂E_field, α and Z*, open boundary."""
    model = potential("light", solver)
    system = batch_of(model, "open", solver, at_fixed_charge(solver))
    asked = model.with_responses(["polarizability", "born_charges"])
    found = jax.jit(asked.apply)(model.params, system)
    dipole = np.asarray(found.dipole[0])
    np.testing.assert_allclose(found.polarization[0], dipole, atol=1e-9)

    def moment(**changed):
        return float(direction @ run(model.params, replace(system, **changed)).dipole[0])

    run = program("light", solver)
    field, positions = np.asarray(system.external_field), np.asarray(system.positions)
    direction = np.array([0.3, -0.5, 0.8])
    alpha = np.asarray(found.responses["polarizability"][0])
    testing.assert_gradient(
        lambda f: moment(external_field=np.concatenate([f[None], field[1:]])),
        direction @ alpha,
        field[0],
        rtol=1e-8,
    )
    charges = np.asarray(found.responses["born_charges"])[0]
    testing.assert_gradient(
        lambda r: moment(positions=np.concatenate([r[None], positions[1:]])),
        direction @ charges,
        positions[0],
        rtol=1e-8,
    )
    consistent = solver in CONSISTENT
    same = np.allclose(found.energy_polarization[0], dipole, atol=1e-8)
    assert same is consistent
    assert ("energy_born_charges" in found.responses) is not consistent
    assert np.linalg.eigvalsh(0.5 * (alpha + alpha.T)).min() > -1e-12 or solver in OTHERS


CELLS = [s for s in CONSISTENT if s not in ("split", "qeq-bounded")]
"""The polarisation of the others follows from transfers, which a density does not tell."""


@solvers(CELLS, ("qeq", "non-scf-one-shot"))
@pytest.mark.parametrize(
    "boundary", ["periodic", pytest.param("slab", marks=pytest.mark.conformance)]
)
def test_polarisation_of_cells_is_that_of_the_density(x64, solver, boundary):
    """With charge that flows along edges where no transfers say how it came."""
    model = potential("light", solver)
    system = batch_of(model, boundary, solver, at_fixed_charge(solver, 0.0, boundary))
    found = program("light", solver)(model.params, system)
    cutoff = model.network.solver.cutoff
    expected = jax.jit(lambda p, s: density_polarization(p, s, cutoff))(found.density, system)
    np.testing.assert_allclose(found.polarization[0], expected[0], atol=1e-8)


@solvers(LEVELS)
def test_the_fermi_level_is_minus_the_slope_of_the_energy(x64, solver):
    """Of bounded transfers, whose charge is that of the formal charges: added evenly to them."""
    model = potential("light", solver)
    frame = at_fixed_charge(solver)
    system = batch_of(model, "open", solver, frame)
    run = program("light", solver)

    def at(charge):
        formal = np.array(system.formal_charges)
        formal[: len(frame.numbers)] += (charge - 1.0) / len(frame.numbers)
        charges = np.array(system.total_charge)
        charges[0] = charge
        inputs = {"total_charge": charges, "formal_charges": formal}
        return run(model.params, replace(system, **inputs))

    level = float(at(1.0).fermi_level[0])
    assert abs(level) > 1e-3
    testing.assert_gradient(lambda x: float(at(x[0]).energy[0]), [-level], [1.0], rtol=1e-8)


@solvers(["qeq-potential", "scf-potential"])
def test_the_slope_of_the_grand_potential_is_the_charge(x64, solver):
    model = potential("light", solver)
    frame = dataclasses.replace(structure("open"), charge_control="fixed_potential")
    system = batch_of(model, "open", solver, frame)
    run = program("light", solver)

    def at(level):
        levels = np.full_like(np.asarray(system.fermi_level), level)
        return run(model.params, replace(system, fermi_level=levels))

    charge = float(np.sum(at(-0.4).charges))
    assert abs(charge) > 1e-3
    testing.assert_gradient(lambda x: float(at(x[0]).energy[0]), [charge], [-0.4], rtol=1e-8)


@solvers(OTHERS)
def test_the_others_say_so_and_refuse_a_fixed_potential(solver, tmp_path):
    model = potential("light", solver)
    kind = models.SOLVERS[solver]["kind"]
    note = consistency_note(model.network.solver, kind)
    assert "not stationary in the density" in note and kind in note
    bundle.save(model, tmp_path / "model.ejx")
    assert bundle.describe(tmp_path / "model.ejx")["responses"] == note
    frame = dataclasses.replace(structure("open"), charge_control="fixed_potential")
    with pytest.raises(DataError, match="grand potential.*needed energy functional"):
        model.sample(frame)


@solvers(CHARGED)
def test_a_constant_shift_of_the_potential_adds_its_product_with_the_charge(x64, solver):
    """The field's potential at a structure moved by d is shifted by −E·d: E → E − Q E·d."""
    model = potential("light", solver)
    frame = at_fixed_charge(solver)
    shift = np.array([4.0, -3.0, 5.0])
    moved = dataclasses.replace(frame, positions=frame.positions + shift)
    run = program("light", solver)
    before, after = (run(model.params, batch_of(model, "open", solver, f)) for f in (frame, moved))
    phi = -frame.external_field @ shift
    charge = jnp.sum(before.charges)
    np.testing.assert_allclose(after.energy[0] - before.energy[0], phi * charge, atol=1e-9)
    np.testing.assert_allclose(after.charges, before.charges, atol=1e-9)
    np.testing.assert_allclose(after.forces, before.forces, atol=1e-9)
