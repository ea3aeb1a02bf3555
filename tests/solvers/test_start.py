"""Before training charges have the sign that chemistry gives them: energies alone never say it."""

import ase.build
import numpy as np
import pytest

import electrojax as ej
from electrojax.models.potential import assemble
from electrojax.solvers.readouts.elements import electropositivities
from electrojax.system.atoms import frame_from_atoms
from electrojax.system.batching import capacity_for, collate
from electrojax.typing import replace
from tests.conformance.models import STATISTICS

LONG = [
    pytest.param({"kind": kind}, marks=pytest.mark.conformance)
    for kind in ("local", "functional", "scf", "non_scf")
]
SOLVERS = [
    {"kind": "latent"},
    {"kind": "qeq"},
    *LONG,
]


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: s["kind"])
def test_the_dipole_of_water_points_to_its_hydrogens(solver):
    """As 1.85 D (A. L. McClellan, Tables of Experimental Dipole Moments) do in nature."""
    config = {
        "backbone": {"kind": "light", "cutoff": 4.0, "channels": 16, "layers": 1, "l_max": 1},
        "density": {"l_max": 0, "width": 1.1},
        "coulomb": {"boundary": "auto", "method": "auto", "accuracy": 1e-5, "finite_size": "none"},
        "solver": solver,
    }
    water = ase.build.molecule("H2O")
    towards = water.positions[1:].mean(axis=0) - water.positions[0]
    model = assemble(config, STATISTICS, "float32")
    sample = model.sample(frame_from_atoms(water))
    system = collate([sample], capacity_for([sample]), np.float32).system
    predicted = ej.predict(replace(model, params=model.init(1, system)), water)
    assert predicted.charges[0] < min(predicted.charges[1:])
    assert np.dot(predicted.dipole, towards) > 0


def test_the_table_is_paulings():
    """Values of A. L. Allred (1961); a noble gas without one starts neutral."""
    found = electropositivities(1.0)
    assert found[9] == pytest.approx(2.55 - 3.98)  # F
    assert found[55] == pytest.approx(2.55 - 0.79)  # Cs
    assert found[79] == pytest.approx(2.55 - 2.54)  # Au
    assert found[18] == 0.0  # Ar
    assert found[0] == 0.0  # padding
