"""Steps to the charges of long cells: they do not grow with the length, for any solver."""

import jax
import numpy as np
import pytest

from tests.solvers.problems.columns import anderson, column, conjugate_gradients, krylov


@pytest.mark.parametrize("solve", [conjugate_gradients, anderson, krylov])
def test_steps_do_not_grow_with_the_length(solve, x64):
    """At 83 Å at most 1.3 times those at 21 Å; with the diagonal alone 2 to 4 times, or no end."""
    steps = []
    for layers in (8, 32):
        system, coulomb, drive = column(layers)
        run = jax.jit(lambda h, *given: solve(*given[:2], h, given[2]))
        found = [run(h, system, coulomb, drive) for h in (8.0, 1.0, 0.1)]
        steps.append([int(count[0]) for _, count in found])
        for hardness, (charges, _) in zip((8.0, 1.0, 0.1), found):
            forces = coulomb.potential(charges) + hardness * charges - drive
            assert np.ptp(forces) / (hardness + 7.0) < 1e-5
    short, long = np.array(steps)
    assert np.all(long <= 1.3 * short), steps
