"""What a run keeps of its last evaluation comes back as it was."""

import dataclasses

import numpy as np
import pytest

from electrojax.analysis import predictions as stored_predictions
from electrojax.analysis.predictions import (
    gather,
    plotted_pairs,
    read_predictions,
    write_predictions,
)
from electrojax.errors import DataError
from tests.analysis.report.conftest import cluster, dimer, predictions, structure_prediction


def test_everything_comes_back(rng, tmp_path):
    frames = [cluster(rng), dimer("Na+ ... Cl-", 8.0, (1.0, -1.0)), cluster(rng, atoms=6)]
    before = predictions(frames, "local", 1, 0.1)
    write_predictions(tmp_path / "p.npz", before)
    after = read_predictions(tmp_path / "p.npz")
    for field in dataclasses.fields(before):
        one, other = getattr(before, field.name), getattr(after, field.name)
        for name in one if isinstance(one, dict) else ():
            np.testing.assert_array_equal(one[name], other[name])
        if not isinstance(one, dict):
            np.testing.assert_array_equal(one, other)
    assert after.system.tolist() == ["", "Na+ ... Cl-", ""] and after.distance[1] == 8.0
    np.testing.assert_allclose(
        after.reference["forces"][:12], frames[0].labels["forces"], rtol=1e-6
    )
    assert after.reference["energy"].tolist() == [float(f.labels["energy"]) for f in frames]
    assert after.atoms(2) == slice(14, 20) and after.sizes.tolist() == [12, 2, 6]


def test_missing_labels_are_nan_and_what_is_not_predicted_is_absent(rng):
    frames = [cluster(rng), cluster(rng)]
    labels = [frames[0].labels, {"energy": frames[1].labels["energy"]}]
    found = [structure_prediction(12, 0.0, np.zeros((12, 3))) for _ in frames]
    kept = gather(["test"] * 2, frames, labels, found, ("energy", "forces"))
    assert set(kept.predicted) == {"energy", "forces"} and "charges" in kept.reference
    assert np.isfinite(kept.reference["forces"][:12]).all()
    assert np.isnan(kept.reference["forces"][12:]).all()
    assert np.isfinite(kept.predicted["forces"]).all()


def test_large_sets_are_thinned_evenly(rng, monkeypatch):
    monkeypatch.setattr(stored_predictions, "MOST_ATOMS", 50)
    kept = predictions([cluster(rng) for _ in range(10)], "local", 1, 0.1)
    assert kept.in_all == 10 and len(kept.sizes) == 4 and len(kept.numbers) == 48


def test_the_file_is_small(rng, tmp_path):
    frames = [cluster(rng) for _ in range(80)]
    write_predictions(tmp_path / "p.npz", predictions(frames, "local", 1, 0.1))
    assert (tmp_path / "p.npz").stat().st_size < 80 * 12 * 60


def test_damaged_and_newer_files_are_refused(rng, tmp_path):
    path = tmp_path / "p.npz"
    write_predictions(path, predictions([cluster(rng)], "local", 1, 0.1))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"p\.npz: is damaged"):
        read_predictions(path)
    path.write_text("nonsense")
    with pytest.raises(DataError, match=r"p\.npz: is damaged"):
        read_predictions(path)
    np.savez(path, format=np.array(99))
    with pytest.raises(DataError, match="another version"):
        read_predictions(path)


def test_objects_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "p.npz", format=np.array(1), split=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="damaged"):
        read_predictions(tmp_path / "p.npz")


def test_every_label_is_kept_as_it_is_compared(rng):
    """Stress not of open frames, dipoles not of periodic ones, polarisations on one branch."""
    cell = np.diag([4.0, 5.0, 6.0])
    labels = {
        "stress": rng.normal(size=(3, 3)),
        "dipole": np.ones(3),
        "polarization": np.array([0.3, -0.2, 0.1]) + 2 * cell[0] - cell[2],
        "polarizability": rng.normal(size=(3, 3)),
        "multipoles": np.full((12, 1), 0.5),
    }
    box = dataclasses.replace(cluster(rng), labels=labels, cell=cell, pbc=(True,) * 3)
    free = dataclasses.replace(cluster(rng), labels=labels)
    found = dataclasses.replace(
        structure_prediction(12, 0.0, np.zeros((12, 3))),
        polarization=np.array([0.25, -0.25, 0.05]),
        responses={"polarizability": np.eye(3)},
    )
    kept = gather(["test"] * 2, [box, free], [labels] * 2, [found] * 2, tuple(labels))
    assert set(kept.reference) == set(kept.predicted) == set(labels)
    np.testing.assert_allclose(kept.reference["polarization"][0], [0.3, -0.2, 0.1], atol=1e-6)
    np.testing.assert_allclose(kept.reference["polarization"][1], labels["polarization"])
    for name, values in (("stress", 9), ("dipole", 3), ("polarization", 6), ("polarizability", 18)):
        reference, predicted = plotted_pairs(kept, name)
        assert reference.shape == predicted.shape == (values,), name
    assert np.isnan(kept.reference["multipoles"][:, 1:]).all()
    assert plotted_pairs(kept, "multipoles")[0].size == 0
