"""What `sweep plan` says before anything runs."""

import json
from pathlib import Path

import pytest

from electrojax.config.layers import PACKAGE_CONFIGS
from electrojax.sweep import verbs
from electrojax.sweep.cost import BASIS, MEASURED, VALIDATION, Cost, estimate
from electrojax.sweep.points import load_sweep
from electrojax.sweep.state import PointFolder

from .conftest import edited

SHIPPED = sorted(PACKAGE_CONFIGS.glob("sweep/*.yaml"))


def plan(path: Path) -> list[str]:
    lines: list[str] = []
    verbs.plan(path, [], lines.append)
    return lines


def test_every_point_has_its_cost(sweep_file: Path) -> None:
    lines = plan(sweep_file)
    sweep = load_sweep(sweep_file)
    for point, line in zip(sweep.points, lines):
        assert line.startswith(f"{point.name}  waiting   {point.label}\n")
        # 320 frames in batches of 16, 4 epochs.
        assert "320 frames, 4 epochs, 80 steps of " in line
    assert lines[-2].startswith(f"4 points in {sweep.folder}; what is left takes about ")
    assert lines[-2].endswith(" of 2")
    assert lines[-1] == BASIS
    assert not Path("runs").exists()


def test_the_number_of_parameters_is_that_of_the_model(sweep_file: Path) -> None:
    from electrojax.runs.build import build_job, build_training

    point = load_sweep(sweep_file).points[2]
    cost = estimate(point, [])
    assert isinstance(cost, Cost)
    state, _, _ = build_training(build_job(point.run))
    import jax

    assert cost.parameters == sum(leaf.size for leaf in jax.tree.leaves(state.params))


def test_finished_points_of_other_seeds_are_measurements(sweep_file: Path) -> None:
    first = load_sweep(sweep_file).points[0]
    first.folder.mkdir(parents=True)
    records = [
        {"epoch": 1, "time/step_ms": 100.0, "time/compile_s": 20.0},
        {"epoch": 2, "time/step_ms": 300.0, "time/compile_s": 1.0},
        {"final": True, "epoch": 2},
    ]
    (first.folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    cost = estimate(load_sweep(sweep_file).points[1], [PointFolder(first.folder)])
    assert isinstance(cost, Cost) and cost.measured and cost.step_ms == 200.0
    assert cost.seconds == pytest.approx(cost.overhead_s + 80 * 0.2 * VALIDATION)
    lines = plan(sweep_file)
    assert [line.endswith("*") for line in lines[:4]] == [True, True, False, False]
    assert lines[-2:] == [BASIS, MEASURED]


def test_a_point_that_cannot_be_trained_is_told(sweep_file: Path) -> None:
    edited(sweep_file, "scf: solver/scf", "split: {kind: split}")  # the set has no formal charges
    lines = plan(sweep_file)
    assert "cannot be trained: ion_water" in lines[2] and "formal" in lines[2]
    assert lines[-1] == "2 of them cannot be trained as they are, and will fail alone"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_sweeps_are_valid(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = load_sweep(f"configs/sweep/{path.name}")
    assert sweep.folder == tmp_path / "runs" / path.stem
    assert len(sweep.points) > 1


@pytest.mark.slow
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_sweeps_can_be_planned(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = plan(Path(f"configs/sweep/{path.name}"))
    assert not any("cannot be trained" in line for line in lines)


def test_the_small_design_space_has_every_kind_on_both_sets() -> None:
    from electrojax.solvers.table import SOLVERS

    points = load_sweep("configs/sweep/design_space_small.yaml").points
    found = {(p.values["data"], p.run.config.model.solver.kind) for p in points}
    assert found == {(data, kind) for data in ("ion_water", "charged_dimers") for kind in SOLVERS}
    assert len(points) == 18


def test_the_large_one_is_equal_but_for_solver_data_and_seed() -> None:
    points = load_sweep("configs/sweep/design_space.yaml").points
    assert len(points) == (3 * 9 - 1) * 3  # without charges nothing feels a field
    assert len({p.run.config.model.backbone.model_dump_json() for p in points}) == 1
    assert len({p.run.config.train.model_dump_json() for p in points}) == 1
