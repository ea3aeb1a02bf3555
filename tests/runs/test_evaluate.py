"""Structures with labels and predictions, as evaluate writes them."""

import dataclasses
from types import SimpleNamespace

import numpy as np

from electrojax.data.extxyz import write_frames
from electrojax.data.reader import read_frames
from electrojax.runs.evaluate import predicted_atoms
from electrojax.solvers.none import NoCharges
from tests.analysis.report.conftest import cluster, structure_prediction


def test_every_input_that_a_frame_was_given_is_written(rng, tmp_path):
    given = {
        "total_charge": -1.0,
        "multiplicity": 2.0,
        "external_field": np.array([0.1, 0.0, -0.2]),
        "formal_charges": rng.normal(size=12).round(6),
        "fragment": np.arange(12) // 4,
        "weight": 0.5,
    }
    frame = dataclasses.replace(cluster(rng), given=frozenset(given), **given)
    model = SimpleNamespace(
        provides=("energy", "forces", "stress"),
        atomic_energy=lambda numbers: -7.0,
        network=SimpleNamespace(solver=NoCharges()),
    )
    atoms = predicted_atoms(model, frame, structure_prediction(12, 2.0, np.zeros((12, 3))))
    assert atoms.info["electrojax_energy"] == -5.0 and "electrojax_stress" not in atoms.info
    write_frames(tmp_path / "out.xyz", [atoms])
    (back,) = read_frames(tmp_path / "out.xyz")
    for name, value in given.items():
        np.testing.assert_allclose(getattr(back, name), value, err_msg=name)
    assert back.given == frame.given
