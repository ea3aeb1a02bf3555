"""Training files: what is refused and how it is said, paths, round trips and provenance."""

import os
from pathlib import Path
from typing import Any

import pytest

from electrojax.config.kinds import Tables, default_tables
from electrojax.config.resolve import LoadedRun, config_hash, load_run, resolved_yaml
from electrojax.errors import ConfigError


def refused(path: Path, tables: Tables, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_run(path, overrides, tables)
    return str(caught.value)


def edited(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


def test_a_complete_file_is_read_with_its_defaults(run_file: Path, tables: Tables) -> None:
    config = load_run(run_file, (), tables).config
    assert config.run.name == "water"
    assert config.model.backbone.kind == "light"
    assert config.model.backbone.options() == {"cutoff": 4.5, "channels": 16}
    assert config.model.solver.options()["tolerance"] == 1e-6
    assert [stage.epochs for stage in config.train.stages] == [3, 4]
    assert config.data.keys.forces == "REF_force"
    assert config.data.keys.born_charges == "REF_bec"
    assert config.data.require == ("energy", "forces")
    assert config.model.coulomb.boundary == "auto"


def test_the_unknown_key_of_the_design_note(run_file: Path, tables: Tables) -> None:
    edited(run_file, "    tolerance: 1e-6", "    mixng: linear")
    assert refused(run_file, tables) == (
        'run.yaml:11  model.solver.mixng   unknown key; did you mean "mixing"?  (solver kind "scf")'
    )


# What is replaced in the file, and the one line that must come of it.
REFUSED = {
    "text for a number": (
        "cutoff: 4.5",
        "cutoff: abc",
        'run.yaml:8  model.backbone.cutoff   must be a number, got "abc"',
    ),
    "negative cutoff": (
        "cutoff: 4.5",
        "cutoff: -4.5",
        "run.yaml:8  model.backbone.cutoff   must be at least 1e-09, got -4.5",
    ),
    "nan cutoff": (
        "cutoff: 4.5",
        "cutoff: .nan",
        "run.yaml:8  model.backbone.cutoff   must be a finite number, got NaN",
    ),
    "fraction of an epoch": (
        "epochs: 3",
        "epochs: 1.5",
        "run.yaml:14  train.stages.0.epochs   must be a whole number, got 1.5",
    ),
    "bool for an int": (
        "seed: 7",
        "seed: true",
        "run.yaml:1  run.seed   must be a whole number, got true",
    ),
    "number for a bool": (
        "tolerance: 1e-6",
        "implicit: 1",
        "run.yaml:11  model.solver.implicit   must be true or false, got 1",
    ),
    "number for a name": ("name: water", "name: 12", "run.yaml:1  run.name   must be text"),
    "folder for a name": ("name: water", "name: a/b", 'run.yaml:1  run.name   "a/b" does not fit'),
    "parent for a name": ("name: water", "name: ..", 'run.yaml:1  run.name   ".." does not fit'),
    "unknown section": ("data:\n", "dta:\n", 'run.yaml:2  dta   unknown key; did you mean "data"?'),
    "unknown kind": (
        "kind: scf",
        "kind: sfc",
        'run.yaml:10  model.solver.kind   "sfc" is not a kind; did you mean "scf"?',
    ),
    "unlike any kind": (
        "kind: scf",
        "kind: qqq",
        'run.yaml:10  model.solver.kind   "qqq" is not a kind; known here: none, scf',
    ),
    "no kind": ("kind: light, ", "", "run.yaml:8  model.backbone   needs a kind: mace, light"),
    "unknown label": (
        "  keys:",
        "  require: [energy, force]\n  keys:",
        'run.yaml:5  data.require.1   "force" is not known; did you mean "forces"?',
    ),
    "scalar for a block": (
        "  valid: {path: water.xyz, fraction: 0.1}",
        "  valid: water.xyz",
        'run.yaml:4  data.valid   must be a block of keys, got "water.xyz"',
    ),
    "unknown choice": (
        "loss: {energy: 1, forces: 10}",
        "schedule: cosin",
        'run.yaml:14  train.stages.0.schedule   "cosin" is not known; did you mean "cosine"?',
    ),
    "loss of nothing": (
        "loss: {energy: 1, forces: 10}",
        "loss: {energy: 0}",
        "run.yaml:14  train.stages.0.loss   every weight is 0",
    ),
    "validation on training frames": (
        ", fraction: 0.1}",
        "}",
        "run.yaml:4  data.valid.path   these are the training frames",
    ),
    "element": (
        "  keys:",
        "  atom_energies: {given: {H: -13.6, Xx: 1}}\n  keys:",
        'run.yaml:5  data.atom_energies.given.Xx   "Xx" is not the symbol of an element',
    ),
    "given without energies": (
        "  keys:",
        "  atom_energies: {mode: given}\n  keys:",
        "run.yaml:5  data.atom_energies.mode   given needs the energies",
    ),
    "decay without adamw": (
        "train:\n",
        "train:\n  optimizer: {weight_decay: 1e-4}\n",
        "run.yaml:13  train.optimizer.weight_decay   adam has no weight decay",
    ),
    "no stages": (
        "train:\n",
        "train:\n  stage: []\n",
        'run.yaml:13  train.stage   unknown key; did you mean "stages"?',
    ),
    "empty list": (
        "train:\n",
        "loggers: []\ntrain:\n",
        "run.yaml:12  loggers   must be a list of at least one element",
    ),
    "missing path": ("{path: water.xyz}", "{}", "run.yaml:3  data.train.path   is required"),
    "watched set": (
        "train:\n",
        "train:\n  early_stop: {metric: train/loss, patience: 3}\n",
        'run.yaml:13  train.early_stop.metric   "train/loss" does not fit',
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_values_are_refused_at_their_line(case: str, run_file: Path, tables: Tables) -> None:
    old, new, start = REFUSED[case]
    lines = refused(edited(run_file, old, new), tables).splitlines()
    assert any(" ".join(line.split()).startswith(" ".join(start.split())) for line in lines), lines


def test_all_problems_are_listed_in_the_order_of_the_file(run_file: Path, tables: Tables) -> None:
    edited(run_file, "seed: 7", "sed: 7")
    edited(run_file, "epochs: 4", "epochs: many")
    edited(run_file, "cutoff: 4.5", "cutoff: -1")
    lines = refused(run_file, tables).splitlines()
    assert [line.split()[0] for line in lines] == ["run.yaml:1", "run.yaml:8", "run.yaml:15"]
    # The three columns are aligned.
    assert len({line.index(message) for line, message in zip(lines, ["unk", "must", "must"])}) == 1


def test_set_is_checked_as_the_file_is(run_file: Path, tables: Tables) -> None:
    loaded = load_run(run_file, ["train.stages.0.epochs=9", "model.solver.kind=none"], tables)
    assert loaded.config.train.stages[0].epochs == 9
    assert loaded.config.model.solver.options() == {}
    message = refused(run_file, tables, "model.solver.tolerence=1")
    assert message.startswith('--set #1  model.solver.tolerence   unknown key; did you mean "tol')
    assert "unknown key" in refused(run_file, tables, "modle.solver.kind=scf")
    assert refused(run_file, tables, "run.seed=1", "run.seed=-1").startswith("--set #2  run.seed")


def test_one_stage_may_be_written_directly_under_train(run_file: Path, tables: Tables) -> None:
    text = run_file.read_text()
    flat = (
        text[: text.index("\ntrain:") + 1]
        + "train:\n  epochs: 5\n  loss: {forces: 1}\n  ema: 0.9\n"
    )
    run_file.write_text(flat)
    loaded = load_run(run_file, ["train.epochs=6"], tables)
    assert [stage.epochs for stage in loaded.config.train.stages] == [6]
    assert loaded.config.train.ema == 0.9
    assert loaded.provenance.where("train.stages.0.loss") == "run.yaml:14"
    edited(run_file, "epochs: 5", "epochs: -5")
    assert refused(run_file, tables).startswith("run.yaml:13  train.epochs   must be at least 1")
    edited(run_file, "epochs: -5", "epoch: 5")
    assert 'did you mean "epochs"?' in refused(run_file, tables)


def test_both_forms_of_train_at_once_are_refused(run_file: Path, tables: Tables) -> None:
    message = refused(run_file, tables, "train.epochs=6")
    assert message.startswith("--set #1  train.epochs   train.stages is given too (run.yaml:13)")


def test_paths_start_at_the_file_that_wrote_them(run_file: Path, tables: Tables) -> None:
    here = Path.cwd()
    Path("sub").mkdir()
    Path("sub/set.yaml").write_text("data: {test: {path: ../far/test.xyz}}\n")
    run_file.write_text("include: [sub/set]\n" + run_file.read_text())
    config = load_run(run_file, ["data.valid.path=other.xyz"], tables).config
    assert config.data.test is not None and config.data.valid is not None
    assert config.data.test.path == str(here / "far/test.xyz")
    assert config.data.train.path == str(here / "water.xyz")
    os.chdir("sub")
    config = load_run("../run.yaml", ["data.valid.path=other.xyz"], tables).config
    assert config.data.valid is not None
    assert config.data.train.path == str(here / "water.xyz")
    assert config.data.valid.path == str(here / "sub/other.xyz")


def test_builtin_and_absolute_paths_are_left_alone(run_file: Path, tables: Tables) -> None:
    overrides = ["data.train={path: builtin:ion_water, split: train}", "data.valid.path=/x/y.xyz"]
    config = load_run(run_file, overrides, tables).config
    assert config.data.train.path == "builtin:ion_water"
    assert config.data.valid is not None and config.data.valid.path == "/x/y.xyz"


def test_name_and_folder_default_to_the_file_and_here(run_file: Path, tables: Tables) -> None:
    edited(run_file, "run: {name: water, seed: 7}\n", "\n")
    config = load_run(run_file, (), tables).config
    assert (config.run.name, config.run.dir) == ("run", str(Path.cwd() / "runs"))
    Path("deep").mkdir()
    run_file.rename("deep/job.yaml")
    assert load_run("deep/job.yaml", (), tables).config.run.dir == str(Path.cwd() / "runs")
    loaded = load_run("deep/job.yaml", ["run.seed=1"], tables)
    assert loaded.config.run.name == "job"


def test_resolved_yaml_round_trips_from_any_folder(
    run_file: Path, tables: Tables, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = load_run(run_file, ["run.name='1e5'", "train.optimizer.clip=null"], tables).config
    text = resolved_yaml(config)
    other = tmp_path_factory.mktemp("elsewhere") / "resolved.yaml"
    other.write_text(text)
    again = load_run(other, (), tables).config
    assert again == config
    assert config_hash(again) == config_hash(config)
    for default in (
        "width: 1.5",
        "accuracy: 1.0e-05",
        "weight_decay: 0.0",
        "born_charges: REF_bec",
    ):
        assert default in text


def test_the_hash_names_what_is_computed(run_file: Path, tables: Tables) -> None:
    def hashed(*overrides: str) -> str:
        return config_hash(load_run(run_file, overrides, tables).config)

    assert hashed() == hashed("run.name=other", "run.dir=/elsewhere") == hashed("train.ema=0.99")
    different = {hashed(), hashed("run.seed=8"), hashed("model.solver.tolerance=1e-7")}
    assert len(different) == 3


def test_given_energies_alone_imply_their_mode(run_file: Path, tables: Tables) -> None:
    def mode(*overrides: str) -> str:
        return load_run(run_file, overrides, tables).config.data.atom_energies.mode

    given = "data.atom_energies.given={H: -13.6, No: -1}"
    assert mode() == "least_squares"
    assert mode(given) == "given"
    assert mode(given, "data.atom_energies.mode=least_squares") == "least_squares"


def test_batches_have_a_bound(run_file: Path, tables: Tables) -> None:
    def bounds(*overrides: str) -> Any:
        batching = load_run(run_file, overrides, tables).config.data.batching
        return batching.edges, batching.graphs

    assert bounds() == (None, 8)
    assert bounds("data.batching.edges=500") == (500, None)
    assert bounds("data.batching.edges=500", "data.batching.graphs=3") == (500, 3)


def provenance_of(path: Path, tables: Tables) -> LoadedRun:
    return load_run(path, ["data.keys.energy=E"], tables)


def test_provenance_points_at_lines(run_file: Path, tables: Tables) -> None:
    where = provenance_of(run_file, tables).provenance.where
    assert where("data.keys.forces") == "run.yaml:6"
    assert where("data.keys.energy") == "--set #1"
    assert where("data.keys.dipole") == "run.yaml:5"
    assert where("train.stages.1.learning_rate") == "run.yaml:15"
    assert where("model.coulomb.accuracy") == "run.yaml:7"


def test_later_code_can_raise_at_a_line(run_file: Path, tables: Tables) -> None:
    error = provenance_of(run_file, tables).provenance.error("data.keys.forces", "is in 0 frames")
    assert isinstance(error, ConfigError)
    assert str(error) == "run.yaml:6  data.keys.forces   is in 0 frames"


def test_missing_data_files_are_named_at_their_lines(run_file: Path, tables: Tables) -> None:
    loaded = load_run(run_file, ["data.test={path: builtin:ion_water, split: test}"], tables)
    with pytest.raises(ConfigError) as caught:
        loaded.require_data_files()
    lines = str(caught.value).splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["run.yaml:3", "data.train.path"],
        ["run.yaml:4", "data.valid.path"],
    ]
    Path("water.xyz").write_text("")
    loaded.require_data_files()
    assert loaded.files == (Path("run.yaml"),)


def test_a_loss_of_what_the_solver_does_not_predict_is_refused(
    run_file: Path, tables: Tables
) -> None:
    edited(run_file, "forces: 10}", "forces: 10, dipole: 1}")
    assert load_run(run_file, (), tables).config.train.stages[0].loss.dipole == 1.0
    assert refused(run_file, tables, "model.solver.kind=none") == (
        "run.yaml:14  train.stages.0.loss.dipole   "
        'solver kind "none" predicts no dipole; drop this weight'
    )
    message = refused(run_file, tables, "train.stages.1.loss={multipoles: 1}")
    assert message.startswith("--set #1  train.stages.1.loss.multipoles   solver kind")


@pytest.mark.parametrize("response", ["polarizability", "born_charges"])
def test_whatever_has_a_polarisation_can_be_trained_on_responses(
    response: str, run_file: Path
) -> None:
    """With the real tables: of all kinds only `none` has no density."""
    real = default_tables()
    for kind in real.solvers:
        options = [
            f"model.solver={{kind: {kind}}}",
            f"train.stages.0.loss={{energy: 1, {response}: 2}}",
            "train.stages.1.loss={energy: 1}",
        ]
        if kind == "none":
            assert f'"none" predicts no {response}' in refused(run_file, real, *options)
        else:
            loss = load_run(run_file, options, real).config.train.stages[0].loss
            assert getattr(loss, response) == 2.0


@pytest.mark.parametrize("value", ["null", "x", "-1", "1.5", "[]", "{}", "{kind: 3}", "[{x: 1}]"])
def test_any_value_anywhere_is_accepted_or_refused_in_words(
    value: str, run_file: Path, tables: Tables
) -> None:
    def keys(data: Any, path: str = "") -> list[str]:
        if not isinstance(data, (dict, list)):
            return [path]
        members = data.items() if isinstance(data, dict) else enumerate(data)
        below = [found for key, item in members for found in keys(item, f"{path}.{key}".strip("."))]
        return [path, *below] if path else below

    config = load_run(run_file, (), tables).config
    whole = Path("whole.yaml")
    whole.write_text(resolved_yaml(config))
    paths = keys(config.model_dump(mode="json"))
    assert len(paths) > 60
    for path in paths:
        try:
            load_run(whole, [f"{path}={value}"], tables)
        except ConfigError as error:
            assert "--set #1" in str(error) or "whole.yaml" in str(error)
            assert "Input should" not in str(error) and "Value error" not in str(error)
