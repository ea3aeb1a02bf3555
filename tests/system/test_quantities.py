"""The table of quantities: complete, and the one place where a label is written down."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

import electrojax
from electrojax.config.schema import EarlyStop, Keys, Loss
from electrojax.system.geometry import nearest_branch, periodic_axes
from electrojax.system.quantities import (
    INPUTS,
    LABELS,
    QUANTITIES,
    READ_LABELS,
    REQUIRES,
    metric_names,
    quantity_of,
)
from electrojax.system.types import Frame, Targets

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def test_every_label_has_its_field_and_every_input_its_place_in_a_frame():
    fields = [field.name for field in dataclasses.fields(Targets)]
    assert fields == ["weight", *LABELS]
    assert set(INPUTS) <= {field.name for field in dataclasses.fields(Frame)}


def test_every_label_can_be_read_fitted_measured_and_plotted():
    assert list(Keys.model_fields) == [*READ_LABELS, *INPUTS]
    assert set(READ_LABELS) == {*LABELS, "virial"}
    assert list(Loss.model_fields) == list(REQUIRES)
    for name, row in LABELS.items():
        assert row.key and row.loss and row.error_unit and row.plot, name
        assert np.prod(row.shape, dtype=int) == max(row.components, default=np.prod(row.shape))


@pytest.mark.parametrize("name", [n for n in REQUIRES if QUANTITIES[n].role != "diagnostic"])
def test_training_may_watch_every_error_that_falls(name):
    for part in metric_names(name):
        for error in ("rmse", "mae"):
            assert EarlyStop(metric=f"valid/{part}_{error}", patience=2).patience == 2
        assert quantity_of(part) is QUANTITIES[name]
    with pytest.raises(ValidationError):
        EarlyStop(metric=f"valid/{name}_r2", patience=2)


def test_names_that_are_no_metric_are_refused():
    for metric in ("valid/loss_rmse", "valid/stability_rmse", "test/energy_rmse", "valid/gap_mae"):
        with pytest.raises(ValidationError):
            EarlyStop(metric=metric, patience=2)
    assert EarlyStop(metric="valid/forces_rmse_relative", patience=1).patience == 1


@pytest.mark.parametrize(
    ("boundary", "axes"), [("open", ()), ("slab", (0, 2)), ("periodic", (0, 1, 2))]
)
def test_the_nearest_branch_undoes_any_quanta(boundary, axes, rng):
    cell = rng.normal(size=(5, 3, 3)) + 4 * np.eye(3)
    reference = rng.normal(size=(5, 3))
    near = reference + 0.05 * rng.normal(size=(5, 3))
    quanta = rng.integers(-4, 5, size=(5, 3)).astype(float)
    quanta[:, [axis for axis in range(3) if axis not in axes]] = 0.0
    moved = near + np.einsum("gi,gij->gj", quanta, cell)
    assert periodic_axes(boundary, 1) == axes
    np.testing.assert_allclose(nearest_branch(moved, reference, cell, axes), near, atol=1e-12)


ROW = """
    Quantity(
        name="gap",
        unit="eV",
        key="REF_gap",
        meaning="gap between the levels",
        loss="squared error of the gap, eV²",
        error_unit="meV",
        plot="gap (eV)",
    ),
"""


def with_a_label(folder: Path) -> Path:
    """The package with one row and one field more; every other file is the same."""
    source, copy = Path(electrojax.__file__).parent, folder / "electrojax"
    (copy / "system").mkdir(parents=True)
    for path in [*source.iterdir(), *(source / "system").iterdir()]:
        if path.name not in ("system", "__pycache__"):
            (copy / path.relative_to(source)).symlink_to(path)
    for name, mark, line in (
        ("quantities.py", "_TABLE = (\n", ROW),
        ("types.py", '    weight: ArrayLike = array("graphs")\n', "    gap: Label\n"),
    ):
        text = (source / "system" / name).read_text()
        assert text.count(mark) == 1
        (copy / "system" / name).unlink()
        (copy / "system" / name).write_text(text.replace(mark, mark + line.lstrip("\n")))
    return folder


def test_a_new_label_is_one_row_and_one_field(tmp_path):
    path = os.pathsep.join([str(with_a_label(tmp_path)), str(ROOT)])
    done = subprocess.run(
        [sys.executable, HERE / "label_of_one_row.py", tmp_path],
        env={**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "found"
