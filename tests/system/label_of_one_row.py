"""Looks for the label `gap` wherever a label appears; run by test_quantities with that label."""

import dataclasses
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np

from electrojax.analysis.plots import parity_plot
from electrojax.analysis.predictions import gather, plotted_pairs
from electrojax.analysis.report.tables import unit_of
from electrojax.config.schema import EarlyStop, Keys, Loss
from electrojax.config.starter import schema_json
from electrojax.data.conversion import write_structures
from electrojax.data.reader import read_frames
from electrojax.sweep.measures import measures
from electrojax.system.batching import build_sample, collate
from electrojax.system.quantities import QUANTITIES
from electrojax.training.evaluation import split
from electrojax.training.loss import check_loss, loss
from electrojax.training.metrics import Sums
from tests.training import toy

PROVIDES = (*toy.PROVIDES, "gap")
TRUE, PREDICTED = [1.5, -0.25], [1.0, 0.5]


def labelled(folder: Path):
    """Two frames with the label, written and read in both formats."""
    before = [
        dataclasses.replace(f, labels={**f.labels, "gap": np.array(gap)})
        for f, gap in zip(toy.frames(2), TRUE)
    ]
    frames = []
    for name in ("gap.xyz", "gap.h5"):
        write_structures(folder / name, before)
        frames = read_frames(folder / name, require=["gap"])
        assert [float(f.labels["gap"]) for f in frames] == TRUE
    return frames


def check_configuration():
    assert Keys().gap == "REF_gap" and Loss(gap=2.0).gap == 2.0
    EarlyStop(metric="valid/gap_rmse", patience=3)
    definitions = json.loads(schema_json())["$defs"]
    assert definitions["Keys"]["properties"]["gap"]["description"] == "gap between the levels, eV"
    assert "the gap, eV²" in definitions["Loss"]["properties"]["gap"]["description"]
    assert "gap" in definitions["Data"]["properties"]["require"]["items"]["enum"]
    assert "gap" in definitions["EarlyStop"]["properties"]["metric"]["pattern"]
    solver = SimpleNamespace(provides=("gap",), diagnoses=(), field_boundaries=())
    config = SimpleNamespace(
        model=SimpleNamespace(solver=SimpleNamespace(kind="x"), density=SimpleNamespace(l_max=0)),
        data=SimpleNamespace(train=True, valid=True, test=None),
    )
    tables = SimpleNamespace(solver=lambda options: solver)
    assert "valid/gap_rmse" in set(measures(SimpleNamespace(config=config, tables=tables)))
    assert unit_of("test/gap_rmse") == "meV"


def check_training(frames):
    check_loss({"gap": 1.0}, PROVIDES)
    batch = collate([build_sample(f, toy.CUTOFF) for f in frames], toy.CAPACITY, np.float32)
    graphs = np.pad(np.array(PREDICTED, np.float32), (0, toy.CAPACITY.graphs - 2))
    prediction = dataclasses.replace(
        toy.compiled(toy.params(), batch.system), diagnostics={"gap": jax.numpy.asarray(graphs)}
    )
    square = np.mean((np.array(TRUE) - PREDICTED) ** 2)
    np.testing.assert_allclose(loss(prediction, batch, {"gap": 2.0})[0], 2 * square, rtol=1e-6)
    sums, found = Sums(), jax.device_get(prediction)
    sums.add_prediction(found, batch, PROVIDES)
    np.testing.assert_allclose(sums.metrics("valid")["valid/gap_rmse"], 1e3 * square**0.5)
    return list(split(found, batch))


def check_plots(frames, predictions):
    labels = [frame.labels for frame in frames]
    stored = gather(["valid"] * 2, frames, labels, predictions, PROVIDES)
    reference, predicted = plotted_pairs(stored, "gap")
    np.testing.assert_allclose([reference, predicted], [TRUE, PREDICTED])
    figure = parity_plot(QUANTITIES["gap"], reference, predicted, "valid")
    assert figure.axes[0].get_xlabel() == "reference gap (eV)"


def main():
    check_configuration()
    frames = labelled(Path(sys.argv[1]))
    check_plots(frames, check_training(frames))
    print("found")


if __name__ == "__main__":
    main()
