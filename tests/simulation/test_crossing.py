"""An ion that crosses the cell in a field: no step in the energy when the list wraps it."""

import jax
import numpy as np

from electrojax.simulation.forces import moving_system
from electrojax.testing import crystal
from tests.conformance.models import potential


def test_a_rebuilt_list_changes_neither_energy_nor_forces(x64, rng):
    """The list of before the crossing, and one that was built after it, see the same structure."""
    field = np.array([0.03, -0.02, 0.05])
    frame = crystal(rng, 6, length=4.6, external_field=field, total_charge=2.0)
    model = potential("light", "split")  # formal charges of +1 and −2
    moving = moving_system(model, frame)
    evaluate = jax.jit(moving.evaluate)
    start = np.array(frame.positions)
    start[0] = 0.001 * frame.cell.sum(axis=0)
    before = moving.allocate(start)
    crossed = start.copy()
    crossed[0] -= 0.002 * frame.cell.sum(axis=0)
    after = moving.allocate(crossed)
    assert np.any(np.asarray(after.wrap) != np.asarray(before.wrap))
    old, new = (evaluate(model.params, crossed, n)[0] for n in (before, after))
    np.testing.assert_allclose(new.energy, old.energy, atol=1e-10)
    np.testing.assert_allclose(new.forces, old.forces, atol=1e-10)
    # A whole cell further, the ion has done the work E·q⁰L against the field.
    around = crossed.copy()
    around[0] -= frame.cell[1]
    far, _ = evaluate(model.params, around, moving.allocate(around))
    charge = {1: 1.0, 8: -2.0}[int(frame.numbers[0])]
    charge += (2.0 - sum({1: 1.0, 8: -2.0}[int(z)] for z in frame.numbers)) / 6
    np.testing.assert_allclose(far.energy - new.energy, charge * field @ frame.cell[1], atol=1e-9)
