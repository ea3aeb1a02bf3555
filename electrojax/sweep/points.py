"""From a sweep file to its points: checked training configurations with names of their own."""

import dataclasses
import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from electrojax.config.document import Entry
from electrojax.config.kinds import Tables, default_tables, run_schema
from electrojax.config.layers import ConfigFile, find_beside, find_file, read_layers
from electrojax.config.plugins import with_plugins
from electrojax.config.problems import Problem, config_error, schema_problems
from electrojax.config.resolve import LoadedRun, Provenance, _absolute, config_hash, load_document
from electrojax.errors import ConfigError
from electrojax.sweep.axes import Axis, Choice, apply_choices, read_axes, read_points
from electrojax.sweep.measures import check_measures
from electrojax.sweep.schema import SweepConfig


@dataclass(frozen=True)
class Point:
    """One training run of a sweep.

    Attributes:
        name: 16 hexadecimal digits of the resolved configuration; the run folder's name.
        values: the variant of every axis, by name.
        run: the checked configuration.
    """

    name: str
    values: Mapping[str, str]
    run: LoadedRun

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.run.config.run.dir) / self.name

    @property
    def label(self) -> str:
        """What tells the point from others, in words."""
        return label(self.values)


def label(values: Mapping[str, str]) -> str:
    """Returns the variants of a point in words, such as `solver=scf seed=1`."""
    short = [key.rpartition(".")[2] for key in values]
    names = [key if short.count(tail) > 1 else tail for key, tail in zip(values, short)]
    return " ".join(f"{name}={value}" for name, value in zip(names, values.values()))


@dataclass(frozen=True)
class LoadedSweep:
    """A checked sweep.

    Attributes:
        config: the file, typed.
        provenance: where its values were written.
        file: the file.
        base: the training file that points change, layers applied.
        base_file: its file.
        axes: what is varied.
        points: in order; none in mode search, whose points a study chooses.
    """

    config: SweepConfig
    provenance: Provenance
    file: ConfigFile
    base: Entry
    base_file: ConfigFile
    axes: tuple[Axis, ...]
    points: tuple[Point, ...] = ()

    @property
    def folder(self) -> Path:
        """The sweep's folder, ``{sweep.dir}/{sweep.name}``; it holds the run folders."""
        return Path(self.config.sweep.dir) / self.config.sweep.name

    def point(self, choices: Mapping[str, Choice], tables: Tables | None = None) -> Point:
        """Returns the point of one variant per axis.

        Raises:
            ConfigError: one line for everything that is wrong with its configuration.
        """
        document = apply_choices(self.base, list(choices.values()))
        loaded = load_document(document, self.base_file, [self.base_file], tables)
        name = config_hash(loaded.config)
        place = {"name": name, "dir": str(self.folder)}
        run = loaded.config.run.model_copy(update=place)
        config = loaded.config.model_copy(update={"run": run})
        values = {key: choice.name for key, choice in choices.items()}
        return Point(name, values, dataclasses.replace(loaded, config=config))


def load_sweep(
    path: str | os.PathLike[str], overrides: Sequence[str] = (), tables: Tables | None = None
) -> LoadedSweep:
    """Returns a sweep with all its points checked.

    Args:
        path: the sweep file, or the name of a shipped one, such as configs/sweep/design_space.yaml.
        overrides: `section.key=value` texts.
        tables: the backbones and solvers to know; electrojax's own where not given.

    Raises:
        ConfigError: for everything that can be wrong before a run begins, with its place.
    """
    tables = default_tables() if tables is None else tables
    file = find_file(path)
    document, _ = read_layers(file, overrides)
    root = _absolute(_named(document, file), SweepConfig)
    try:
        config = SweepConfig.model_validate(root.plain())
    except ValidationError as error:
        raise config_error(schema_problems(error, root, SweepConfig, False)) from None
    base_entry = root.nearest(("sweep", "base"))
    base_file = find_beside(base_entry, file, "sweep.base")
    base, _ = read_layers(base_file)
    schema, search = run_schema(with_plugins(tables, base)), config.sweep.mode == "search"
    axes = read_axes(root.child("axes") or Entry({}, root.position), file, schema, search)
    if (points := root.child("points")) is not None:
        axes = (read_points(points, file, schema), *axes)
    sweep = LoadedSweep(config, Provenance(root), file, base, base_file, axes)
    sample = _checked(sweep, _corners(axes) if search else _grid(sweep), tables)
    check_measures(sweep.config, sweep.provenance, [point.run for point in sample])
    return sweep if search else LoadedSweep(**{**vars(sweep), "points": sample})


def _named(root: Entry, file: ConfigFile) -> Entry:
    """Names a sweep without a name after its file, and puts it into ./runs."""
    head = root.child("sweep")
    if head is None or not isinstance(head.value, dict) or not isinstance(root.value, dict):
        return root
    defaults = {"name": file.path.stem, "dir": os.path.abspath("runs")}
    missing = {key: Entry(text, head.position) for key, text in defaults.items()}
    return Entry(
        {**root.value, "sweep": Entry({**missing, **head.value}, head.position)}, root.position
    )


MOST_POINTS = 10_000
"""Of a sweep; axes multiply."""

Chosen = dict[str, Choice]


def _combinations(axes: Sequence[Axis]) -> Iterator[Chosen]:
    for choices in itertools.product(*(axis.choices for axis in axes)):
        yield {axis.key: choice for axis, choice in zip(axes, choices)}


def _corners(axes: Sequence[Axis]) -> Iterator[Chosen]:
    """Yields the first variant of every axis, and from there each axis alone to its others."""
    first = {axis.key: axis.ends[0] for axis in axes}
    yield first
    for axis in axes:
        for choice in axis.ends[1:]:
            yield {**first, axis.key: choice}


def _grid(sweep: LoadedSweep) -> Iterator[Chosen]:
    """Yields every combination that is not excluded."""
    count = math.prod(len(axis.choices) for axis in sweep.axes)
    if count > MOST_POINTS:
        message = (
            f"have {count} combinations, more than {MOST_POINTS}; sweep fewer values, or search"
        )
        raise sweep.provenance.error("axes", message)
    rules = [_rule(sweep, index) for index in range(len(sweep.config.exclude))]
    left = [
        chosen
        for chosen in _combinations(sweep.axes)
        if not any(all(chosen[key].name in names for key, names in rule.items()) for rule in rules)
    ]
    if not left:
        message = "leaves no point at all; the sweep is empty"
        raise sweep.provenance.error("exclude", message)
    yield from left


def _rule(sweep: LoadedSweep, index: int) -> dict[str, set[str]]:
    """The names of the variants by axis that an exclusion is about.

    Raises:
        ConfigError: it names an axis or a variant that does not exist, which would exclude nothing.
    """
    written, rule = sweep.config.exclude[index], {}
    entry = sweep.provenance.root.nearest(("exclude", index))
    axes = {axis.key: axis for axis in sweep.axes}
    for key, value in written.items():
        at = entry.nearest((key,)).position
        if key not in axes:
            message = f"is not an axis; axes: {', '.join(axes)}"
            raise config_error([Problem(at, f"exclude.{index}.{key}", message)])
        names = [choice.name for choice in axes[key].choices]
        wanted = {_variant(axes[key], item) for item in _listed(value)}
        if unknown := wanted - set(names):
            message = (
                f'"{min(unknown)}" is not a variant of this axis; variants: {", ".join(names)}'
            )
            raise config_error([Problem(at, f"exclude.{index}.{key}", message)])
        rule[key] = wanted
    return rule


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _variant(axis: Axis, value: Any) -> str:
    """The name of a variant, which may also be told by its value."""
    for choice in axis.choices:
        if value == choice.name or any(e.plain() == value for _, e in choice.settings):
            return choice.name
    return str(value)


def _checked(sweep: LoadedSweep, chosen: Iterator[Chosen], tables: Tables) -> tuple[Point, ...]:
    """The points, all of them valid and different.

    Raises:
        ConfigError: each wrong line once, with a point that has it.
    """
    points: dict[str, Point] = {}
    wrong: dict[str, list[str]] = {}
    for choices in chosen:
        here = label({key: choice.name for key, choice in choices.items()})
        try:
            point = sweep.point(choices, tables)
            point.run.require_data_files()
        except ConfigError as error:
            for line in str(error).splitlines():
                wrong.setdefault(line, []).append(here)
            continue
        if (same := points.get(point.name)) is not None:
            message = (
                f"the points {same.label} and {here} are one configuration ({point.name}); "
                "drop one value, or exclude one of them"
            )
            raise config_error([Problem(_last_change(sweep, same, choices), "axes", message)])
        points[point.name] = point
    if wrong:
        raise ConfigError("\n".join(_with_points(line, names) for line, names in wrong.items()))
    return tuple(points.values())


def _last_change(sweep: LoadedSweep, same: Point, choices: Chosen) -> Any:
    """The place of the axis in which two equal points differ."""
    differing = [axis for axis in sweep.axes if same.values[axis.key] != choices[axis.key].name]
    return (differing or list(sweep.axes))[-1].position


def _with_points(line: str, names: Sequence[str]) -> str:
    others = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{line}  (point {names[0]}{others}; `exclude` leaves points out)"
