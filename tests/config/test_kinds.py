"""The schema is a function of the tables: fields of classes become options."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import ValidationError

from electrojax.config.kinds import Tables, kind_options, run_schema
from electrojax.config.resolve import load_run
from electrojax.errors import ConfigError
from electrojax.solvers.base import ChargeSolver


def option(default: Any, **metadata: Any) -> Any:
    return dataclasses.field(default=default, metadata=metadata)


class Plugin(ChargeSolver, kw_only=True):
    """A solver from elsewhere."""

    strength: float
    steps: int = option(3, minimum=1, maximum=9, help="number of steps")
    widths: tuple[float, ...] = option((1.0, 2.0), positive=True)
    mode: str = option("a", choices=("a", "b"))
    sign: Literal[-1, 1] = 1
    fast: bool = False
    species: Any = option(None, config=False)


@pytest.fixture
def options() -> Any:
    return kind_options("solver", "plugin", Plugin)


def test_fields_become_options_and_hidden_ones_do_not(options: Any) -> None:
    names = ["kind", "strength", "steps", "widths", "mode", "sign", "fast"]
    assert list(options.model_fields) == names
    assert options.model_fields["steps"].description == "number of steps"
    assert options.__doc__ == "A solver from elsewhere."
    block = options.model_validate({"kind": "plugin", "strength": 2, "widths": [1, 2.5]})
    # What `options` returns builds the class.
    module = Plugin(**block.options())
    assert (module.strength, module.steps, module.widths) == (2.0, 3, (1.0, 2.5))


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("steps", 0, "greater_than_equal"),
        ("steps", 10, "less_than_equal"),
        ("steps", 2.0, "int_type"),
        ("steps", True, "int_type"),
        ("strength", "2", "float_type"),
        ("strength", True, "float_type"),
        ("strength", float("inf"), "finite_number"),
        ("widths", [1.0, -1.0], "greater_than_equal"),
        ("widths", [1.0, "x"], "float_type"),
        ("widths", 1.0, "tuple_type"),
        ("mode", "c", "literal_error"),
        ("sign", 2, "literal_error"),
        ("fast", 1, "bool_type"),
        ("species", 1, "extra_forbidden"),
        ("parent", 1, "extra_forbidden"),
        ("name", "x", "extra_forbidden"),
    ],
)
def test_limits_and_types_are_kept(options: Any, key: str, value: Any, error: str) -> None:
    with pytest.raises(ValidationError) as caught:
        options.model_validate({"kind": "plugin", "strength": 1.0, key: value})
    assert [details["type"] for details in caught.value.errors()] == [error]


def test_a_field_that_yaml_cannot_hold_is_the_authors_error() -> None:
    @dataclasses.dataclass
    class Bad:
        table: dict[str, int] = dataclasses.field(default_factory=dict)

    with pytest.raises(TypeError, match=r"Bad\.table has type dict\[str, int\].*config"):
        kind_options("solver", "bad", Bad)


def test_equal_tables_give_the_same_class(tables: Tables) -> None:
    copy = Tables(dict(tables.backbones), dict(tables.solvers))
    assert run_schema(copy) is run_schema(tables)
    assert run_schema(Tables(tables.backbones, {"plugin": Plugin})) is not run_schema(tables)


def test_a_new_kind_needs_a_line_in_the_table_only(run_file: Path, tables: Tables) -> None:
    more = Tables(tables.backbones, {**tables.solvers, "plugin": Plugin})
    override = "model.solver={kind: plugin, strength: 2}"
    assert load_run(run_file, [override], more).config.model.solver.options()["strength"] == 2.0
    with pytest.raises(ConfigError, match='"plugin" is not a kind; known here: none, scf'):
        load_run(run_file, [override], tables)


def test_a_table_of_one_kind_still_names_it(run_file: Path, tables: Tables) -> None:
    only = Tables({"light": tables.backbones["light"]}, tables.solvers)
    assert load_run(run_file, (), only).config.model.backbone.kind == "light"
    with pytest.raises(ConfigError, match=r'did you mean "cutoff"\?  \(backbone kind "light"\)'):
        load_run(run_file, ["model.backbone.cutof=1"], only)
    with pytest.raises(ConfigError, match=r'model\.backbone\.kind   "mace" is not known'):
        load_run(run_file, ["model.backbone.kind=mace"], only)
