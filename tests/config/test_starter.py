"""What init and schema print, and the configurations that ship with the package."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import electrojax
from electrojax.config.kinds import Tables, default_tables
from electrojax.config.layers import PACKAGE_CONFIGS, shipped_configs
from electrojax.config.md import load_md
from electrojax.config.resolve import load_run, resolved_yaml
from electrojax.config.starter import schema_json, schema_text, starter
from electrojax.data.datasets import resolve_source
from electrojax.data.reader import read_frames
from electrojax.errors import ConfigError
from electrojax.solvers.base import check_frame


@pytest.mark.parametrize("solver", sorted(default_tables().solvers))
def test_the_starter_of_every_solver_is_valid(solver: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(starter(solver))
    config = load_run(path).config
    assert config.model.solver.kind == solver
    # What the starter writes out for the solver are its defaults, or what the built-in set needs.
    default = load_run(path, [f"model.solver={{kind: {solver}}}"]).config.model.solver
    needed = {"split": {"formal_charges": {"O": -2.0, "H": 1.0, "Na": 1.0, "Cl": -1.0}}}
    assert config.model.solver == default.model_copy(update=needed.get(solver, {}))
    assert all(line == line.rstrip() for line in path.read_text().splitlines())


def test_the_starter_takes_its_options_from_the_table(tables: Tables) -> None:
    text = starter("scf", tables)
    assert "    tolerance: 1.0e-05       # largest residual, e\n" in text
    assert "    kind: scf                # one of: none, scf\n" in text
    with pytest.raises(ConfigError, match='no solver "sfc"; did you mean "scf"'):
        starter("sfc", tables)


OTHERS = ("md/", "sweep/")
"""Files of other verbs."""
PARTS = [name for name in shipped_configs() if not name.startswith(OTHERS)]


@pytest.mark.parametrize("name", PARTS)
def test_every_shipped_part_completes_a_run(name: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    layers = f"include: [model/light, solver/local, data/ion_water, {name}]\n"
    part = yaml.safe_load((PACKAGE_CONFIGS / f"{name}.yaml").read_text())
    with_stages = "stages" in part.get("train", {})
    path.write_text(layers + ("" if with_stages else "train: {epochs: 2, loss: {forces: 1}}\n"))
    load_run(path)


def test_the_quickstart_is_valid_and_round_trips(tmp_path: Path) -> None:
    config = load_run(PACKAGE_CONFIGS / "quickstart.yaml").config
    path = tmp_path / "resolved.yaml"
    path.write_text(resolved_yaml(config))
    assert load_run(path).config == config


def test_a_shipped_file_writes_to_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_run("configs/quickstart.yaml", ["data.test.path=mine.xyz"]).config
    assert config.run.dir == str(tmp_path / "runs")
    assert config.data.test is not None
    assert config.data.test.path == str(tmp_path / "mine.xyz")


def test_so_does_one_in_a_clone_beside_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "electrojax"
    shutil.copytree(PACKAGE_CONFIGS, package / "configs")
    (tmp_path / "configs").symlink_to("electrojax/configs")
    monkeypatch.chdir(tmp_path)
    # Without a package around them these are files of the user's own.
    own = load_md("configs/md/quickstart.yaml").config
    assert own.model == str(tmp_path / "configs/md/runs/quickstart/model.ejx")
    (package / "__init__.py").touch()
    assert load_md("configs/md/quickstart.yaml").config.model == str(
        tmp_path / "runs/quickstart/model.ejx"
    )


def test_the_link_in_the_repository_leads_into_the_package() -> None:
    link = Path(electrojax.__file__).resolve().parents[1] / "configs"
    if link.parent.joinpath("pyproject.toml").exists():
        assert str(link.readlink()) == "electrojax/configs"


def test_schema_text_lists_every_key_of_a_section(tables: Tables) -> None:
    text = schema_text("model.solver.scf", tables)
    assert text.splitlines() == [
        "model.solver (kind: scf): Charges iterated to self-consistency.",
        "  kind       scf                       required",
        "  mixing     linear | anderson         anderson  mixing scheme",
        "  tolerance  number >= 1e-09 <= 1e+09  1.0e-05   largest residual, e",
        "  implicit   true | false              true      whether gradients are implicit",
    ]
    assert schema_text("model.density.width", tables).count("\n") == 2
    assert "list of whole numbers" in schema_text("model.backbone", tables)
    assert "model.solver" in schema_text("model", tables)
    with pytest.raises(ConfigError, match=r'no section "model\.solvr".*"model\.solver"'):
        schema_text("model.solvr", tables)


def test_json_schema_describes_the_file_and_its_sections(tables: Tables) -> None:
    whole = json.loads(schema_json(None, tables))
    assert set(whole["properties"]) == {"include", "run", "data", "model", "train", "loggers"}
    assert '"required": [' not in schema_json(None, tables)
    assert whole["additionalProperties"] is False
    assert "epochs" in whole["$defs"]["Train"]["properties"]
    solver = json.loads(schema_json("model.solver", tables))
    tolerances = [block["properties"].get("tolerance") for block in solver["oneOf"]]
    assert tolerances[0] is None and tolerances[1]["minimum"] == 1e-9
    one = json.loads(schema_json("model.solver.scf", tables))
    assert set(one["properties"]) == {"kind", "mixing", "tolerance", "implicit"}


def test_reading_files_needs_no_jax() -> None:
    modules = ("document", "layers", "problems", "schema", "kinds", "resolve", "starter")
    imports = ", ".join(f"electrojax.config.{name}" for name in modules)
    code = f"import sys, {imports}; sys.exit('jax' in sys.modules or 'ase' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("solver", list(default_tables().solvers))
def test_the_starter_of_every_solver_can_treat_its_data(solver: str, tmp_path: Path) -> None:
    """What the built-in set does not have, such as formal charges, the starter gives."""
    path = tmp_path / "run.yaml"
    path.write_text(starter(solver))
    options = load_run(path, []).config.model.solver.model_dump()
    kind = default_tables().solvers[options.pop("kind")]
    frame = read_frames(resolve_source("builtin:ion_water"))[0]
    check_frame(kind(**options), solver, frame)
