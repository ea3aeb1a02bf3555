"""Kinds of other packages in a training file: by entry point, and by module:Class."""

import json
import sys
from pathlib import Path

import pytest

from electrojax.config.plugins import every_kind
from electrojax.config.resolve import load_run, resolved_yaml
from electrojax.config.starter import schema_json, schema_text, starter
from electrojax.errors import ConfigError
from tests.plugins import MODULE, install, put_on_path, uninstalled

PATH = f"{MODULE}:EvenCharges"
RUN = """\
data:
  train: {path: builtin:ion_water, split: train}
model:
  backbone: {kind: light}
  solver:
    kind: KIND
    scale: 2.0
train: {epochs: 1}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("plugin"))


def written(folder: Path, kind: str, **more: str) -> Path:
    path = folder / "run.yaml"
    rest = "".join(f"{key}: {value}\n" for key, value in more.items())
    path.write_text(RUN.replace("KIND", kind) + rest)
    return path


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_run(path)
    return " ".join(str(caught.value).replace(str(path), "run.yaml").split())


@pytest.mark.parametrize("kind", ["even", PATH])
def test_an_installed_solver_is_a_kind(
    kind: str, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(monkeypatch, site)
    run = load_run(written(tmp_path, kind, loggers="[csv, {kind: jsonl}]"))
    assert run.tables.solver(run.config.model.solver).scale == 2.0
    assert [logger.kind for logger in run.config.loggers] == ["csv", "jsonl"]
    again = tmp_path / "resolved.yaml"
    again.write_text(resolved_yaml(run.config))
    assert load_run(again).config == run.config


def test_a_module_on_the_path_is_one_where_the_file_names_it(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(monkeypatch, uninstalled(site, tmp_path))
    assert load_run(written(tmp_path, PATH)).config.model.solver.options()["spread"] == "evenly"
    assert f"kind: {PATH}" in starter(PATH)
    assert "before they are spread" in schema_text(f"model.solver.{PATH}", every_kind([PATH]))


def test_nothing_is_imported_that_no_file_names(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(monkeypatch, site)
    load_run(written(tmp_path, "latent"), ["model.solver.kind=local"])
    assert MODULE not in sys.modules
    own = json.loads(schema_json())
    assert MODULE not in sys.modules
    more = json.loads(schema_json(None, every_kind()))
    added = set(more["$defs"]) - set(own["$defs"])
    assert added == {"EvenSolver", "NarrowBackbone", "CsvLogger"}
    assert all(more["$defs"][name] == own["$defs"][name] for name in ("LocalSolver", "ScfSolver"))


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("evn", "run.yaml:6 model.solver.kind \"evn\" does not exist; choose from ['even',"),
        ("no_such:Solver", 'run.yaml:6 model.solver.kind "no_such:Solver" cannot be imported'),
        (f"{MODULE}:Narrow", "is not a solver: it does not derive from electrojax.solvers.base"),
        (f"{MODULE}:BOUNDARIES", "is not a solver: it is not a class"),
        ("json:loads", "is not a solver: it is not a class"),
    ],
)
def test_what_is_no_solver_is_refused_at_its_line(
    kind: str, complaint: str, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(monkeypatch, site)
    assert complaint in refused(written(tmp_path, kind))


def test_options_of_a_plugin_are_checked_as_ours(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(monkeypatch, site)
    path = written(tmp_path, "even")
    path.write_text(path.read_text().replace("scale: 2.0", "scale: -1"))
    assert "run.yaml:7 model.solver.scale must be" in refused(path)
    path = written(tmp_path, "even", loggers="[json:JSONEncoder]")
    assert "run.yaml:9 loggers.0" in refused(path) and "it is not a data class" in refused(path)


def test_a_package_may_not_take_a_name_that_is_taken(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(monkeypatch, site)
    other = tmp_path / "other-1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (other / "entry_points.txt").write_text(f"[electrojax.solvers]\neven = {PATH}\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert 'names a solver "even", as' in refused(written(tmp_path, "even"))
    (other / "entry_points.txt").write_text(f"[electrojax.solvers]\nscf = {PATH}\n")
    assert 'package other names a solver "scf", as electrojax does' in refused(
        written(tmp_path, "even")
    )
