"""From a training file and `--set` options to a checked, complete configuration."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from electrojax.config.document import Entry, Location, Position, dump_document, parse_document
from electrojax.config.kinds import Tables, default_tables, run_schema
from electrojax.config.layers import ConfigFile, find_file, read_layers
from electrojax.config.plugins import with_plugins
from electrojax.config.problems import Problem, as_written, blocks_in, config_error, schema_problems
from electrojax.config.schema import DataSource, RunConfig, Train
from electrojax.errors import ConfigError
from electrojax.files import is_file
from electrojax.models.former import unwritten
from electrojax.system.quantities import ALWAYS, REQUIRES, RESPONSES


@dataclass(frozen=True)
class Provenance:
    """Where each value of a configuration was written."""

    root: Entry

    def where(self, path: str) -> str:
        """Returns "file:line" of a dotted key, or of the block above it where it is a default."""
        return str(self.root.nearest(_location(path)).position)

    def error(self, path: str, message: str) -> ConfigError:
        """Returns an error that points at the line where a dotted key was written."""
        return config_error([self.problem(path, message)])

    def problem(self, path: str, message: str) -> Problem:
        """Returns one line of an error that may list several; see `problems.config_error`."""
        return Problem(self.root.nearest(_location(path)).position, path, message)


def _location(path: str) -> Location:
    return tuple(path.split("."))


@dataclass(frozen=True)
class LoadedRun:
    """A checked configuration, where its values were written, and the files it was read from."""

    config: RunConfig
    provenance: Provenance
    files: tuple[Path, ...]
    """The file itself first, then what it includes."""
    tables: Tables
    """The classes of its kinds."""

    def changed_defaults(self) -> list[str]:
        """Returns warnings of defaults that changed since a resolved.yaml was written.

        Such a file holds every default of its time; what it lacks came later.
        """
        if self.files[0].name != "resolved.yaml":
            return []
        solver, written = self.config.model.solver, self.provenance.root.plain()["model"]
        return [
            f"model.solver.{name} is not in this resolved.yaml of an older version: it was {value} "
            f"and is {getattr(solver, name)} now; write {name}: {value} to keep the old one"
            for name, value in unwritten(written).items()
            if getattr(solver, name) != value
        ]

    def data_files(self) -> Iterator[tuple[str, Path]]:
        """Yields the dotted key and the path of every data file that is not built in."""
        for name in ("train", "valid", "test"):
            source: DataSource | None = getattr(self.config.data, name)
            if source is not None and not source.path.startswith("builtin:"):
                yield f"data.{name}.path", Path(source.path)

    def require_data_files(self) -> None:
        """Checks that every data file is there.

        Raises:
            ConfigError: one line per file that is missing.
        """
        missing = [
            self.provenance.problem(key, f"no such file: {path}")
            for key, path in self.data_files()
            if not is_file(path)
        ]
        if missing:
            raise config_error(missing)


def load_run(
    path: str | os.PathLike[str], overrides: Sequence[str] = (), tables: Tables | None = None
) -> LoadedRun:
    """Returns the configuration of a training file, with its includes and `--set` options.

    Args:
        path: the file, or the name of one that is shipped, such as configs/quickstart.yaml.
        overrides: `section.key=value` texts, later ones win.
        tables: the backbones and solvers to know; electrojax's own where not given.

    Raises:
        ConfigError: one line for everything that is wrong.
    """
    file = find_file(path)
    document, files = read_layers(file, overrides)
    return load_document(document, file, files, tables)


def load_document(
    document: Entry,
    file: ConfigFile,
    files: Sequence[ConfigFile],
    tables: Tables | None = None,
) -> LoadedRun:
    """Returns the configuration of a training document that is laid together already.

    Args:
        document: what was read, layers and overrides applied.
        file: whose name a run without one has.
        files: all that were read.
        tables: the backbones and solvers to know; electrojax's own where not given.

    Raises:
        ConfigError: one line for everything that is wrong.
    """
    tables = with_plugins(default_tables() if tables is None else tables, document)
    schema = run_schema(tables)
    root, flat = _staged(_absolute(_named(document, file), schema))
    try:
        config = schema.model_validate(root.plain())
    except ValidationError as error:
        raise config_error(schema_problems(error, root, schema, flat)) from None
    problems = [*_unlearnable(config, tables, root, flat), *_gradients(config, tables, root, flat)]
    if problems:
        raise config_error(problems)
    return LoadedRun(config, Provenance(root), tuple(item.path for item in files), tables)


def complete_model(
    section: Mapping[str, Any], tables: Tables | None = None
) -> tuple[dict[str, Any], Tables]:
    """Returns the ``model`` section of a training file with every default, and its kinds' classes.

    Args:
        section: what a file would hold; relative paths start at the current directory.
        tables: the backbones and solvers to know; electrojax's own where not given.

    Raises:
        ConfigError: one line for everything that is wrong.
    """
    start = Position("model section", 1, Path.cwd())
    document = parse_document(dump_document(dict(section)), start)
    whole = Entry({"model": document}, start)
    tables = with_plugins(default_tables() if tables is None else tables, whole)
    schema = run_schema(tables)
    model: type[BaseModel] = schema.model_fields["model"].annotation  # type: ignore[assignment]
    root = _absolute(document, model)
    try:
        return model.model_validate(root.plain()).model_dump(mode="json"), tables
    except ValidationError as error:
        raise config_error(schema_problems(error, root, model, flat=False)) from None


def _unlearnable(config: RunConfig, tables: Tables, root: Entry, flat: bool) -> Iterator[Problem]:
    """Yields the losses of labels that the solver does not predict."""
    kind, solver = config.model.solver.kind, tables.solver(config.model.solver)
    provides = (*solver.provides, *solver.diagnoses)
    if "polarization" in provides:  # what has one answers to a field
        provides = (*provides, *RESPONSES)
    for index, stage in enumerate(config.train.stages):
        for term, needed in REQUIRES.items():
            if getattr(stage.loss, term) and needed not in (*ALWAYS, *provides):
                location = ("train", "stages", index, "loss", term)
                message = f'solver kind "{kind}" predicts no {term}; drop this weight'
                yield Problem(root.nearest(location).position, as_written(location, flat), message)


def _gradients(config: RunConfig, tables: Tables, root: Entry, flat: bool) -> Iterator[Problem]:
    """Yields the stages whose gradient the solver does not know."""
    kind, known = config.model.solver.kind, tables.solver(config.model.solver).gradients
    for index, stage in enumerate(config.train.stages):
        if stage.gradient not in known:
            others = [
                k for k, other in tables.solvers.items() if stage.gradient in other().gradients
            ]
            location = ("train", "stages", index, "gradient")
            message = (
                f'solver kind "{kind}" has gradient {" and ".join(known)} alone, so '
                f'"{stage.gradient}" of stage "{stage.name}" means nothing; drop it, or use solver '
                f"kind {' or '.join(others)}"
            )
            yield Problem(root.nearest(location).position, as_written(location, flat), message)


def _named(root: Entry, file: ConfigFile) -> Entry:
    """Names a run without a name after its file, and one without a folder ./runs."""
    run = root.child("run") or Entry({}, root.position)
    if not isinstance(run.value, dict):
        return root
    defaults = {"name": file.path.stem, "dir": os.path.abspath("runs")}
    missing = {key: Entry(text, run.position) for key, text in defaults.items()}
    return _with(root, "run", Entry({**missing, **run.value}, run.position))


def _with(block: Entry, key: str, entry: Entry) -> Entry:
    members = block.value if isinstance(block.value, dict) else {}
    return Entry({**members, key: entry}, block.position)


def _absolute(entry: Entry, *schemas: type[BaseModel]) -> Entry:
    """Makes relative paths absolute, each from the folder of the file in which it was written."""
    if isinstance(entry.value, list):
        return Entry([_absolute(item, *schemas) for item in entry.value], entry.position)
    if not isinstance(entry.value, dict):
        return entry
    members = dict(entry.value)
    for key, child in members.items():
        fields = [schema.model_fields[key] for schema in schemas if key in schema.model_fields]
        if any(field.json_schema_extra == {"format": "path"} for field in fields):
            members[key] = _absolute_path(child)
        else:
            below = [block for field in fields for block in blocks_in(field.annotation)]
            members[key] = _absolute(child, *below)
    return Entry(members, entry.position)


def _absolute_path(entry: Entry) -> Entry:
    path = entry.value
    if not isinstance(path, str) or not path or path.startswith("builtin:"):
        return entry
    joined = os.path.join(entry.position.folder, os.path.expanduser(path))
    return Entry(os.path.normpath(joined), entry.position)


def _staged(root: Entry) -> tuple[Entry, bool]:
    """Turns a single stage written directly under `train` into a list of one stage."""
    train = root.child("train")
    if train is None or not isinstance(train.value, dict):
        return root, False
    flat = {key: entry for key, entry in train.value.items() if key in Train.FLAT}
    if not flat:
        return root, False
    if "stages" in train.value:
        stages = train.value["stages"].position
        message = f"train.stages is given too ({stages}); set train.stages.0.KEY, or drop one form"
        raise config_error(
            Problem(entry.position, f"train.{key}", message) for key, entry in flat.items()
        )
    rest = {key: entry for key, entry in train.value.items() if key not in flat}
    stages_entry = Entry([Entry(flat, train.position)], train.position)
    staged = Entry({**rest, "stages": stages_entry}, train.position)
    return _with(root, "train", staged), True


def resolved(config: RunConfig) -> dict[str, Any]:
    """Returns the configuration as plain data with every default written out."""
    return config.model_dump(mode="json")


def resolved_yaml(config: RunConfig) -> str:
    """Returns a training file with every default written out; loading it gives an equal config."""
    return dump_document(resolved(config))


def config_hash(config: RunConfig) -> str:
    """Returns 16 hexadecimal digits that name what is computed.

    Two configurations share them if they differ in nothing but the name and folder of the run, and
    who is told of it.
    """
    data = resolved(config)
    del data["loggers"]
    data["run"] = {key: value for key, value in data["run"].items() if key not in ("name", "dir")}
    text = json.dumps(data, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
