"""Which points a sweep file describes, and what is refused before any of them begins."""

from pathlib import Path

import pytest

from electrojax.config.resolve import config_hash, load_run, resolved_yaml
from electrojax.errors import ConfigError
from electrojax.sweep.points import LoadedSweep, load_sweep

from .conftest import edited


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_sweep(path, overrides)
    return str(caught.value)


def labels(sweep: LoadedSweep) -> list[str]:
    return [point.label for point in sweep.points]


def test_a_grid_is_every_combination_in_order(sweep_file: Path) -> None:
    sweep = load_sweep(sweep_file)
    assert labels(sweep) == [
        "solver=none seed=1",
        "solver=none seed=2",
        "solver=scf seed=1",
        "solver=scf seed=2",
    ]
    kinds = [point.run.config.model.solver.kind for point in sweep.points]
    assert kinds == ["none", "none", "scf", "scf"]
    assert [point.run.config.run.seed for point in sweep.points] == [1, 2, 1, 2]
    assert sweep.folder == Path.cwd() / "runs" / "small"


def test_a_point_is_named_by_its_resolved_configuration(sweep_file: Path, tmp_path: Path) -> None:
    first = load_sweep(sweep_file).points
    assert len({point.name for point in first}) == 4
    # Neither where it lies nor what the sweep is called changes a point, an option does.
    moved = load_sweep(sweep_file, ["sweep.name=other", "sweep.dir=elsewhere"]).points
    assert [p.name for p in moved] == [p.name for p in first]
    Path("base.yaml").write_text(Path("base.yaml").read_text().replace("epochs: 4", "epochs: 5"))
    assert not {p.name for p in load_sweep(sweep_file).points} & {p.name for p in first}


def test_the_training_file_of_a_point_is_the_point(sweep_file: Path) -> None:
    for point in load_sweep(sweep_file).points:
        file = Path("point.yaml")
        file.write_text(resolved_yaml(point.run.config))
        again = load_run(file)
        assert again.config == point.run.config
        assert config_hash(again.config) == point.name
        assert Path(again.config.run.dir) / again.config.run.name == point.folder


def test_a_block_replaces_the_whole_block(sweep_file: Path) -> None:
    Path("base.yaml").write_text(
        Path("base.yaml").read_text()
        + "model: {solver: {kind: scf, mixing: linear, max_steps: 7}, density: {l_max: 0}}\n"
    )
    edited(sweep_file, "{none: {kind: none}, scf: solver/scf}", "{plain: {kind: scf}}")
    point = load_sweep(sweep_file).points[0]
    solver = point.run.config.model.solver.options()
    assert (solver["mixing"], solver["max_steps"]) == ("krylov", 200)
    assert point.run.config.model.density.l_max == 0


def test_a_text_for_a_block_is_a_file_that_holds_it(sweep_file: Path) -> None:
    solver = load_sweep(sweep_file).points[2].run.config.model.solver.options()
    assert solver["initial_hardness"] == 500 and solver["tolerance"] == 1e-5
    Path("mine.yaml").write_text("model: {solver: {kind: qeq, hardness: element}}\n")
    edited(sweep_file, "scf: solver/scf", "mine: mine")
    assert load_sweep(sweep_file).points[2].run.config.model.solver.options()["hardness"] == (
        "element"
    )


def test_blocks_are_put_before_the_keys_inside_them(sweep_file: Path) -> None:
    edited(sweep_file, "  run.seed: [1, 2]", "  model.solver.tolerance: [1e-4]\n  run.seed: [1]")
    edited(sweep_file, "none: {kind: none}, ", "")
    text = sweep_file.read_text().splitlines()
    text[2], text[3] = text[3], text[2]  # whatever their order in the file
    sweep_file.write_text("\n".join(text))
    assert load_sweep(sweep_file).points[0].run.config.model.solver.options()["tolerance"] == 1e-4


def test_an_axis_of_kinds_drops_the_options_of_other_kinds(sweep_file: Path) -> None:
    edited(sweep_file, "model.solver: {none: {kind: none}, scf: solver/scf}",
           "model.solver.kind: [none, scf, local]")  # fmt: skip
    kinds = [point.run.config.model.solver.kind for point in load_sweep(sweep_file).points]
    assert kinds[::2] == ["none", "scf", "local"]


def test_elements_of_lists_and_lists_themselves(sweep_file: Path) -> None:
    edited(sweep_file, "run.seed: [1, 2]", "train.stages.0.epochs: [5, 6]\n  run.seed: [1]")
    edited(sweep_file, "model.solver: {none: {kind: none}, scf: solver/scf}",
           "model.solver: [{kind: non_scf}]\n"
           "  model.solver.receiver_widths: [[1.5], [1.5, 3.0]]")  # fmt: skip
    sweep = load_sweep(sweep_file)
    assert labels(sweep)[0] == "solver=non_scf receiver_widths=[1.5] epochs=5 seed=1"
    assert sweep.points[-1].run.config.model.solver.options()["receiver_widths"] == (1.5, 3.0)
    assert [p.run.config.train.stages[0].epochs for p in sweep.points] == [5, 6, 5, 6]


def test_mode_list_sets_several_keys_per_point_and_axes_multiply_it(sweep_file: Path) -> None:
    sweep_file.write_text(
        "sweep: {name: small, base: base, mode: list}\n"
        "points:\n"
        "  plain: {}\n"
        "  staged:\n"
        "    model.solver: {kind: scf}\n"
        "    train.stages: [{epochs: 1, gradient: direct}, {epochs: 2}]\n"
        "axes:\n"
        "  run.seed: [1, 2]\n"
    )
    sweep = load_sweep(sweep_file)
    assert labels(sweep) == [
        "points=plain seed=1",
        "points=plain seed=2",
        "points=staged seed=1",
        "points=staged seed=2",
    ]
    assert [s.gradient for s in sweep.points[3].run.config.train.stages] == ["direct", "implicit"]


def test_exclusions_by_name_by_value_and_by_list(sweep_file: Path) -> None:
    sweep_file.write_text(
        sweep_file.read_text() + "exclude:\n  - {model.solver: none, run.seed: [2, 1]}\n"
    )
    assert labels(load_sweep(sweep_file)) == ["solver=scf seed=1", "solver=scf seed=2"]
    edited(sweep_file, "[2, 1]", "2")
    assert labels(load_sweep(sweep_file))[:2] == ["solver=none seed=1", "solver=scf seed=1"]


def test_the_base_may_be_a_shipped_file(sweep_file: Path) -> None:
    edited(sweep_file, "none: {kind: none}, scf: solver/scf", "local: solver/local")
    sweep = load_sweep(sweep_file, ["sweep.base=quickstart"])
    assert sweep.base_file.source == "electrojax/configs/quickstart.yaml"
    assert sweep.points[0].run.config.train.stages[0].name == "forces_and_charges"


# What is replaced in the sweep file, and what must be answered.
REFUSED = {
    "unknown axis": (
        "  run.seed:",
        "  run.sede:",
        'sweep.yaml:4 axes.run.sede unknown axis: no key "sede" in the training file; '
        'did you mean "seed"?',
    ),
    "no such block": (
        "  run.seed:",
        "  modl.density.l_max:",
        'sweep.yaml:4 axes.modl.density.l_max unknown axis: no key "modl"',
    ),
    "empty axis": ("[1, 2]", "[]", "sweep.yaml:4 axes.run.seed is empty"),
    "value for an axis": ("[1, 2]", "1", "sweep.yaml:4 axes.run.seed must be a list of values"),
    "no axes": (
        "  model.solver: {none: {kind: none}, scf: solver/scf}\n  run.seed: [1, 2]\n",
        "  {}\n",
        "sweep.yaml:2 axes mode grid needs at least one axis",
    ),
    "everything excluded": (
        "executor:",
        "exclude: [{run.seed: [1, 2]}]\nexecutor:",
        "sweep.yaml:6 exclude leaves no point",
    ),
    "an exclusion of nothing": (
        "executor:",
        "exclude: [{run.seed: 3}]\nexecutor:",
        'sweep.yaml:6 exclude.0.run.seed "3" is not a variant of this axis; variants: 1, 2',
    ),
    "an exclusion of no axis": (
        "executor:",
        "exclude: [{seed: 1}]\nexecutor:",
        "sweep.yaml:6 exclude.0.seed is not an axis",
    ),
    "one value twice": ("[1, 2]", "[1, 1]", 'sweep.yaml:4 axes.run.seed "1" is there twice'),
    "one configuration twice": (
        "none: {kind: none}, scf: solver/scf",
        "one: {kind: local}, two: {kind: local}",
        "sweep.yaml:3 axes the points solver=one seed=1 and solver=two seed=1 are one config",
    ),
    "base missing": (
        "base: base}",
        "base: bse}",
        "sweep.yaml:1 sweep.base no file bse beside sweep.yaml or among the shipped",
    ),
    "block missing": (
        "scf: solver/scf",
        "scf: model/light",
        "sweep.yaml:3 axes.model.solver electrojax/configs/model/light.yaml has no block",
    ),
    "block file missing": (
        "scf: solver/scf",
        "scf: solver/sfc",
        "sweep.yaml:3 axes.model.solver is a block, so a text names a file that holds it: no file",
    ),
    "wrong value": (
        "[1, 2]",
        "[1, two]",
        'sweep.yaml:4 run.seed must be a whole number, got "two"',
    ),
    "option of another kind": (
        "  run.seed: [1, 2]",
        "  model.solver.tolerance: [1e-4]\n  run.seed: [1, 2]",
        "sweep.yaml:4 model.solver.tolerance unknown key",
    ),
    "a metric of no run": (
        "test/forces_rmse,",
        "test/froces_rmse,",
        'sweep.yaml:5 report.metrics.0 no run of this sweep could measure "test/froces_rmse"; '
        'did you mean "test/forces_rmse"?',
    ),
    "a split of no run": (
        "scf/steps]",
        "tset/dipole_rmse]",
        "sweep.yaml:5 report.metrics.1 no run of this sweep could measure",
    ),
    "mean over no axis": (
        "mean_over: run.seed",
        "mean_over: seed",
        'sweep.yaml:5 report.mean_over "seed" is not an axis; axes: model.solver, run.seed',
    ),
    "names of runs": ("  run.seed:", "  run.name:", "sweep.yaml:4 axes.run.name the sweep names"),
    "unknown executor": (
        "kind: local, workers",
        "kind: locl, workers",
        'sweep.yaml:6 executor.kind "locl" is not a kind; did you mean "local"?',
    ),
    "option of another executor": (
        "kind: local, workers: 2",
        "kind: local, jobs: 2",
        "sweep.yaml:6 executor.jobs unknown key",
    ),
    "points in a grid": (
        "executor:",
        "points: {a: {run.seed: 3}}\nexecutor:",
        "sweep.yaml:6 points belong to mode list, not grid",
    ),
    "search without a budget": (
        "base: base}",
        "base: base, mode: search}",
        "search mode search needs search: {trials: ...}",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_sweeps_are_answered_at_their_line(case: str, sweep_file: Path) -> None:
    old, new, start = REFUSED[case]
    lines = refused(edited(sweep_file, old, new)).splitlines()
    assert any(start in " ".join(line.split()) for line in lines), lines
    assert not Path("runs").exists()


def test_a_wrong_point_is_told_once_with_its_name(sweep_file: Path) -> None:
    edited(sweep_file, "  run.seed: [1, 2]", "  model.solver.tolerance: [1e-4]\n  run.seed: [1, 2]")
    message = refused(sweep_file)
    assert len(message.splitlines()) == 1
    assert "(point solver=none tolerance=0.0001 seed=1 and 1 more;" in message
    sweep_file.write_text(sweep_file.read_text() + "exclude: [{model.solver: none}]\n")
    assert len(load_sweep(sweep_file).points) == 2


def test_a_metric_that_some_run_has_is_enough(sweep_file: Path) -> None:
    edited(sweep_file, "scf/steps]", "test/dipole_rmse, scf/stability]")
    assert len(load_sweep(sweep_file).points) == 4  # scf has both, none has neither
    edited(sweep_file, "none: {kind: none}, scf: solver/scf", "none: {kind: none}")
    assert 'could measure "test/dipole_rmse"' in refused(sweep_file)


def test_missing_data_are_answered_before_anything_starts(sweep_file: Path) -> None:
    edited(sweep_file, "run.seed: [1, 2]", "data.train.path: [absent.xyz]")
    edited(sweep_file, ", mean_over: run.seed", "")
    message = refused(sweep_file)
    assert message.startswith(f"sweep.yaml:4  data.train.path   no such file: {Path.cwd()}/absent")
