"""Every number of every file has a lower and an upper bound, and no text hides characters."""

import itertools
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from electrojax.config.document import Position, parse_document
from electrojax.config.kinds import default_tables, run_schema
from electrojax.config.layers import apply_overrides, find_file, read_layers
from electrojax.config.md import MdConfig
from electrojax.config.problems import blocks_in
from electrojax.config.resolve import load_run
from electrojax.errors import ConfigError
from electrojax.sections import Section
from electrojax.sweep.schema import Range, SweepConfig

SCHEMAS = {
    "training": lambda: run_schema(default_tables()),
    "md": lambda: MdConfig,
    "sweep": lambda: SweepConfig,
    "range": lambda: Range,
}


def numbers(annotation: Any, metadata: tuple[Any, ...] = ()) -> Iterator[tuple[type, Any]]:
    """Yields the numbers of a type with all that constrains each."""
    if annotation in (int, float):
        yield annotation, metadata
    elif get_origin(annotation) is Annotated:
        inner, *extra = get_args(annotation)
        yield from numbers(inner, (*metadata, *extra))
    elif get_origin(annotation) in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from numbers(part, metadata)
    elif get_origin(annotation) in (tuple, dict, list):
        for part in get_args(annotation):
            yield from numbers(part)


def limits(metadata: Any) -> dict[str, float]:
    found: dict[str, float] = {}
    for item in metadata:
        if isinstance(item, FieldInfo):
            found |= limits(item.metadata)
        for name in ("gt", "ge", "lt", "le"):
            if (value := getattr(item, name, None)) is not None:
                found[name] = value
    return found


def fields(schema: type[BaseModel], path: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in schema.model_fields.items():
        yield f"{path}.{name}", field
        for block in blocks_in(field.annotation):
            yield from fields(block, f"{path}.{name}")


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_number_has_both_bounds_within_single_precision(name: str) -> None:
    unbounded, counted = set(), 0
    for path, field in fields(SCHEMAS[name]()):
        for number, metadata in numbers(field.annotation, tuple(field.metadata)):
            counted += 1
            found = limits(metadata)
            low = found.get("ge", found.get("gt"))
            high = found.get("le", found.get("lt"))
            if (
                low is None
                or high is None
                or max(abs(low), abs(high)) > 1e30
                or (number is int and not -(2**63) <= low <= high <= 2**63)
            ):
                unbounded.add(path)
    assert counted >= (3 if name == "range" else 10)
    assert not unbounded


SENSELESS = {
    "run.seed": (10**30, 2**63, -1),
    "data.batching.buckets": (10**6, 2**63 - 1, 2**64, 0),
    "data.batching.graphs": (2**63,),
    "model.backbone.cutoff": (1e6, 1e9, 1e300, 2**31, 2**63, 1e-300, 0),
    "model.backbone.channels": (2**63 - 1, 10**6),
    "model.density.width": (5e-324, 1e308, -1),
    "model.solver.tolerance": (1e-300, 0.5, 1, 1e6, 2**31),
    "model.solver.max_steps": (2**63 - 1,),
    "model.solver.transfer_cutoff": (1e300, 5e-324),
    "train.stages.0.learning_rate": (1e300, 5e-324),
    "train.stages.0.loss.forces": (1e300, 5e-324, -1),
    "train.stages.0.epochs": (2**63, 0),
    "train.optimizer.clip": (1e300, 5e-324),
    "train.optimizer.weight_decay": (1e300,),
    "train.checkpoint.every_minutes": (1e300, 5e-324),
    "train.early_stop.patience": (2**63 - 1,),
    "data.atom_energies.given.H": (1e300, 5e-324),
    "model.coulomb.counter_heights": ([1e300], [5e-324]),
}
CASES = [(key, value) for key, values in SENSELESS.items() for value in values]

QUICK = ("run.name=x", "model.solver.kind=qeq", "train.optimizer.name=adamw")


@pytest.mark.parametrize(("key", "value"), CASES)
def test_senseless_values_are_refused_in_one_line(key: str, value: Any) -> None:
    """Faults F4, F5, F13 and F14 of the fuzz at commit 95c822f."""
    written = f"{key}={value!r}".replace("e+", "e").replace("'", "")
    with pytest.raises(ConfigError) as caught:
        load_run("configs/quickstart.yaml", [*QUICK, written])
    assert key in str(caught.value)
    assert str(caught.value).count("\n") == 0, caught.value


MD = {
    "total_charge": (2**64, 1e300),
    "external_field": ([1e300, 0, 0],),
    "multiplicity": (1e300, 0.5, 0),
    "timestep": (5e-324, 2**63),
    "ensemble.temperature": (1e300, 5e-324),
    "ensemble.friction": (1.7e308,),
    "neighbors.skin": (5e-324, 2**63),
    "neighbors.capacity": (1e9, 2**64),
    "steps": (2**64, 2**31),
    "seed": (10**399, -1),
    "stop.unconverged": (2**31,),
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, vs in MD.items() for v in vs])
def test_senseless_md_values_are_refused(key: str, value: Any) -> None:
    document, _ = read_layers(find_file("configs/md/quickstart.yaml"))
    kept = {"kind": "nvt_langevin", "temperature": 300}
    blocks = {"ensemble": kept} if key.startswith("ensemble") else {}
    overrides = [f"{k}={v}".replace("'", "") for k, v in blocks.items()]
    plain = apply_overrides(document, [*overrides, f"{key}={value!r}"]).plain()
    plain["run"] = {"name": "x"}
    with pytest.raises(ValidationError) as caught:
        MdConfig.model_validate(plain)
    places = [".".join(map(str, e["loc"])) + e.get("ctx", {}).get("key", "") for e in
              caught.value.errors()]  # fmt: skip
    assert all(key.split(".")[-1] in place for place in places), caught.value


HIDDEN = ("\x1b[31m", "\u202e", "\u2066", "\u200b", "\x00", "\x85", "\u2028", "\ufeff")


@pytest.mark.parametrize("character", HIDDEN)
def test_hidden_characters_are_refused_in_keys_and_texts(character: str) -> None:
    start = Position("f.yaml", 1, Path())
    escape = "".join(f"\\U{ord(c):08X}" for c in character)
    for text in (f'a: "x{escape}y"', f'"x{escape}y": 1', f'a: [{{b: "{escape}"}}]'):
        with pytest.raises(ConfigError, match=r"f\.yaml:1  has the invisible character U\+"):
            parse_document(text, start)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("run.name", '"a\\nb"'),
        ("run.name", '"-rf"'),
        ("run.name", '"~root"'),
        ("run.name", '"a\\tb"'),
        ("run.name", "n" * 256),
        ("run.name", "é" * 128),
        ("run.dir", "d" * 256),
        ("run.dir", "/".join(["d" * 200] * 30)),
        ("data.train.path", "d" * 300),
        ("data.keys.energy", '"a\\nb"'),
        ("train.stages.0.name", "n" * 201),
    ],
)
def test_names_that_no_folder_should_have(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=key.replace(".", r"\.")) as caught:
        load_run("configs/quickstart.yaml", [f"{key}={value}"])
    assert "\n" not in str(caught.value)


def test_ordinary_texts_in_any_script_are_kept() -> None:
    class Named(Section):
        name: str
        names: tuple[str, ...] = ()

    for text in ("Wasser", "eau salée", "水", "نمک", "a b", "Å³"):
        assert Named(name=text, names=(text,)).name == text
    for fault, name in itertools.product((5e-324, 1e31, "a\nb"), ("name", "names")):
        with pytest.raises(ValidationError):
            Named.model_validate({"name": "a", name: fault})


def test_an_error_lists_no_more_than_one_reads() -> None:
    many = ",".join(["a"] * 20_000)
    with pytest.raises(ConfigError) as caught:
        load_run("configs/quickstart.yaml", ["run.name=x", f"data.require=[{many}]"])
    lines = str(caught.value).splitlines()
    assert len(lines) == 41 and lines[-1].startswith("and ")
