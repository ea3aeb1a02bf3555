"""The training mean as a prediction: its error, R² about it, and what a model file keeps of it."""

import dataclasses
import json

import numpy as np
import pytest

from electrojax.analysis.baseline import baseline_metrics, checked_means, training_means
from electrojax.analysis.predictions import StoredPredictions
from electrojax.errors import DataError
from electrojax.system.types import Frame


def frame(numbers: list[int], **labels: object) -> Frame:
    """A structure somewhere in space, with labels."""
    return Frame(
        positions=np.zeros((len(numbers), 3)),
        numbers=np.array(numbers),
        cell=np.zeros((3, 3)),
        pbc=np.zeros(3, bool),
        labels={name: np.asarray(value, dtype=float) for name, value in labels.items()},
    )


def stored(numbers: list[int], reference: dict, predicted: dict) -> StoredPredictions:
    """What an evaluation keeps; fields that no baseline reads are left out."""
    blank = dict.fromkeys((f.name for f in dataclasses.fields(StoredPredictions)), None)
    arrays = {"numbers": np.array(numbers), "reference": reference, "predicted": predicted}
    return StoredPredictions(**blank | arrays)  # type: ignore[arg-type]


def test_a_vector_is_judged_component_by_component() -> None:
    train = [frame([1], dipole=[1.0, 0.0, 10.0]), frame([1], dipole=[3.0, 0.0, 10.0])]
    labels = np.array([[4.0, 1.0, 10.0], [0.0, -1.0, 10.0]])
    found = np.array([[3.0, 1.0, 10.0], [0.0, -1.0, 11.0]])
    metrics = baseline_metrics(
        stored([1, 1], {"dipole": labels}, {"dipole": found}), training_means(train), "test"
    )
    # The mean is (2, 0, 10): squares 4 + 4, 1 + 1 and 0 over six entries, in me·Å.
    assert metrics["test/dipole_baseline"] == pytest.approx(1e3 * np.sqrt(10 / 6))
    assert metrics["test/dipole_r2_x"] == pytest.approx(1 - 1 / 8)
    assert metrics["test/dipole_r2_y"] == pytest.approx(1.0)
    assert "test/dipole_r2_z" not in metrics  # it does not vary: nothing to explain


def test_atoms_are_compared_with_the_mean_of_their_element() -> None:
    train = [frame([8, 1, 1], charges=[-0.8, 0.3, 0.5])]
    means = training_means(train)
    assert means == {"charges": {"8": [-0.8], "1": [pytest.approx(0.4)]}}
    labels, found = np.array([-1.0, 0.4, 0.7]), np.array([-1.0, 0.4, 0.1])
    metrics = baseline_metrics(
        stored([8, 1, 79], {"charges": labels}, {"charges": found}), means, "test"
    )
    # Gold was never trained on and has no mean: it counts for neither.
    assert metrics == {"test/charges_baseline": pytest.approx(1e3 * np.sqrt(0.04 / 2))}


def test_missing_labels_count_for_nothing() -> None:
    train = [frame([1], dipole=[1.0, np.nan, 2.0]), frame([1], dipole=[3.0, 4.0, np.nan])]
    assert training_means(train) == {"dipole": {"all": [2.0, 4.0, 2.0]}}
    assert training_means([frame([1])]) == {}
    labels = np.array([[np.nan, 5.0, 2.0]])
    metrics = baseline_metrics(
        stored([1], {"dipole": labels}, {"dipole": labels}), training_means(train), "test"
    )
    assert metrics["test/dipole_baseline"] == pytest.approx(1e3 * np.sqrt(1 / 2))


def test_polarisations_have_no_mean() -> None:
    assert training_means([frame([1], polarization=[1.0, 0.0, 0.0])]) == {}


def test_a_model_file_gives_the_means_back() -> None:
    means = training_means([frame([8, 1], charges=[-1.0, 1.0], dipole=[0.0, 0.0, 1.0])])
    assert checked_means(json.loads(json.dumps(means))) == means


@pytest.mark.parametrize(
    "content", ["x", {"dipole": 1}, {"dipole": {"all": [1.0]}}, {"charges": {"8": ["a"]}}]
)
def test_other_content_is_refused(content: object) -> None:
    with pytest.raises(DataError, match="training_means"):
        checked_means(content)
