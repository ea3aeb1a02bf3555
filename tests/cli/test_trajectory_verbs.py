"""The default trajectory of ``electrojax md`` goes into every verb that takes structures."""

import ase.io
import jax
import numpy as np
import pytest

from electrojax.data.reader import read_frames
from electrojax.models import bundle
from tests.conformance.models import potential
from tests.simulation.conftest import atoms_of, water

MD = """\
run: {name: eq, dir: runs}
model: model.ejx
start: start.xyz
ensemble: {kind: nvt_langevin, temperature: 300}
timestep: 0.05
steps: 2
write: {every: 1}
"""


@pytest.fixture
def trajectory(tmp_path, electrojax):
    with jax.enable_x64(True):
        bundle.save(potential("light", "local", "float64"), tmp_path / "model.ejx")
    ase.io.write(tmp_path / "start.xyz", atoms_of(water(), total_charge=0.0))
    (tmp_path / "eq.yaml").write_text(MD)
    assert electrojax("md", tmp_path / "eq.yaml").code == 0
    return tmp_path / "runs" / "eq" / "trajectory.h5"


def test_inspect_convert_evaluate_and_start(trajectory, tmp_path, electrojax):
    inspected = electrojax("data", "inspect", trajectory)
    assert inspected.code == 0, inspected.err
    assert "other names     charges, dipole, energy, temperature" in inspected.out
    converted = electrojax("data", "convert", trajectory, tmp_path / "o.xyz")
    assert converted.code == 0, converted.err
    ours, theirs = read_frames(trajectory), ase.io.read(tmp_path / "o.xyz", index=":")
    for frame, atoms in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(atoms.positions, frame.positions)
        assert np.abs(atoms.get_momenta()).max() > 1e-3
        assert frame.given >= {"total_charge", "multiplicity"}
    model, output = tmp_path / "model.ejx", tmp_path / "p.xyz"
    keys = ("--key", "energy=energy", "--key", "dipole=dipole")
    evaluated = electrojax("evaluate", model, trajectory, "-o", output, *keys)
    assert evaluated.code == 0, evaluated.err
    errors = dict(line.split() for line in evaluated.out.splitlines())
    assert abs(float(errors["test/energy_rmse"])) < 1e-6
    assert abs(float(errors["test/dipole_rmse"])) < 1e-6
    plain = electrojax("evaluate", model, trajectory)
    assert plain.code == 0 and "name them with --key energy=energy" in plain.err
    (tmp_path / "prod.yaml").write_text(MD.replace("start.xyz", f"{trajectory}\nframe: -1"))
    produced = electrojax("md", tmp_path / "prod.yaml", "--set", "run.name=prod")
    assert produced.code == 0, produced.err
    again = read_frames(tmp_path / "runs" / "prod" / "trajectory.h5")
    np.testing.assert_array_equal(again[0].positions, ours[-1].positions)
    np.testing.assert_allclose(again[0].velocities, ours[-1].velocities, rtol=1e-14)
