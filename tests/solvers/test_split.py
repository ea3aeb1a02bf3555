"""Split charges: exact charge, branches of the polarisation, and what is refused."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from electrojax import testing
from electrojax.errors import ConfigError, DataError
from electrojax.models.potential import assemble
from electrojax.solvers.split import charge_table
from electrojax.system.batching import capacity_for, collate
from electrojax.typing import replace
from tests.conformance.models import STATISTICS

FIELD = np.array([0.05, -0.1, 0.2])
FORMAL = np.array([1.0, -2.0, 2.0, -1.0])
PERIODIC = {"periodic": (True, True, True), "slab": (True, False, True)}


@functools.lru_cache
def model(charge_control="formal", formal_charges="frame", precision="float64"):
    if formal_charges != "frame":
        formal_charges = dict(formal_charges)
    config = {
        "backbone": {"kind": "light", "cutoff": 4.0, "channels": 8, "layers": 1},
        "density": {"l_max": 1, "width": 1.1},
        "coulomb": {
            "boundary": "auto",
            "method": "direct",
            "accuracy": 1e-8,
            "finite_size": "none",
        },
        "solver": {
            "kind": "split",
            "charge_control": charge_control,
            "formal_charges": formal_charges,
        },
    }
    bare = assemble(config, STATISTICS, precision)
    params = bare.init(0, system_of(bare, [crystal("periodic")]))
    keys = iter(range(1000))

    def draw(leaf):
        return np.random.default_rng(next(keys)).normal(size=leaf.shape).astype(leaf.dtype)

    return dataclasses.replace(bare, params=jax.tree.map(draw, params))


@functools.lru_cache
def compiled(*options):
    potential = model(*options)
    return jax.jit(lambda system: potential.apply(potential.params, system))


def crystal(boundary, **inputs):
    rng = np.random.default_rng(3)
    frame = testing.crystal(rng, n=4, length=4.4, pbc=PERIODIC[boundary], **inputs)
    stretched = frame.cell * np.array([[1.0], [3.0], [1.0]]) if boundary == "slab" else frame.cell
    return dataclasses.replace(frame, cell=stretched, formal_charges=FORMAL)


def system_of(potential, frames):
    samples = [potential.sample(frame) for frame in frames]
    return collate(samples, capacity_for(samples), potential.dtype).system


def test_the_charge_is_exact_and_moves_between_atoms(x64):
    frame = crystal("periodic")
    charges = np.asarray(compiled()(system_of(model(), [frame])).charges)
    assert abs(charges.sum()) < 1e-13
    assert np.abs(charges - FORMAL).max() > 0.02


PAIRS = pytest.mark.parametrize(
    ("charge_control", "boundary"), [("formal", "periodic"), ("total", "slab")]
)


@pytest.mark.conformance_for("total-slab")
@PAIRS
def test_an_ion_that_leaves_the_cell_takes_whole_quanta_along(x64, charge_control, boundary):
    potential, run = model(charge_control), compiled(charge_control)
    frame = crystal(boundary, external_field=FIELD)
    before = run(system_of(potential, [frame]))
    for atom, axis in ((0, 0), (1, 2), (3, 2)):
        positions = frame.positions.copy()
        positions[atom] += frame.cell[axis]
        after = run(system_of(potential, [dataclasses.replace(frame, positions=positions)]))
        quantum = FORMAL[atom] * frame.cell[axis]
        change = after.polarization[0] - before.polarization[0]
        np.testing.assert_allclose(change, quantum, atol=1e-10)
        np.testing.assert_allclose(after.energy - before.energy, -FIELD @ quantum, atol=1e-10)
        np.testing.assert_allclose(after.forces, before.forces, atol=1e-9)


@PAIRS
def test_forces_in_a_field_are_minus_the_gradient(x64, charge_control, boundary):
    potential, run = model(charge_control), compiled(charge_control)
    system = system_of(potential, [crystal(boundary, external_field=FIELD)])

    def energy(positions):
        return float(run(replace(system, positions=positions)).energy[0])

    testing.assert_gradient(energy, -run(system).forces, system.positions)


def test_polarization_of_a_molecule_is_its_dipole(x64):
    frame = testing.cluster(np.random.default_rng(1), n=4, external_field=FIELD)
    frame = dataclasses.replace(frame, formal_charges=FORMAL)
    prediction = compiled()(system_of(model(), [frame]))
    np.testing.assert_allclose(prediction.polarization, prediction.dipole, rtol=1e-12)


def test_the_table_holds_what_it_was_given():
    table = charge_table({"H": 1.0, "O": -2.0})
    assert (table[1], table[8], np.isnan(table).sum()) == (1.0, -2.0, len(table) - 2)


def test_formal_charges_that_are_missing_or_do_not_add_up_are_refused(x64):
    frame = crystal("periodic")
    with pytest.raises(DataError, match="has no formal_charges.*model.solver.formal_charges"):
        model().sample(dataclasses.replace(frame, formal_charges=None))
    charged = dataclasses.replace(frame, total_charge=1.0)
    with pytest.raises(DataError, match="total_charge is 1 but the formal charges sum to 0"):
        model().sample(charged)
    model("total").sample(charged)
    config = {**model().config, "solver": {"kind": "split", "formal_charges": {"H": 1.0}}}
    with pytest.raises(DataError, match="contains O, for which.*no charge"):
        assemble(config, STATISTICS, "float64").sample(frame)
    config["solver"]["formal_charges"] = {"Hx": 1.0}
    with pytest.raises(ConfigError, match='"Hx" is not the symbol'):
        assemble(config, STATISTICS, "float64").sample(frame)
