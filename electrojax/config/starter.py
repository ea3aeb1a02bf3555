"""What `electrojax init` and `electrojax schema` print: a starter file and the schema in words."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from electrojax.config.document import dump_document
from electrojax.config.kinds import Tables, default_tables, kind_options, run_schema
from electrojax.config.plugins import with_kind
from electrojax.config.problems import blocks_in, kind_of, show
from electrojax.config.schema import Train
from electrojax.errors import ConfigError

_STARTER = """\
# A training file of electrojax, with the charge solver "{solver}".
#   electrojax check THIS_FILE     looks it over with the data; trains nothing
#   electrojax train THIS_FILE     trains; add --set train.stages.0.epochs=2 for a first try
#   electrojax schema              every key with its type, default and meaning
# Units: eV, Å, e. Paths are relative to this file.

run:
  name: {solver}_run  # the results go to runs/{solver}_run in the current directory
  seed: 1                    # initial parameters, splits and order of the batches
  precision: float32         # float64 is slower and exact enough for finite differences

data:
  # An extxyz file (.gz too) or a built-in set. With one file of your own:
  #   train: {{path: my_structures.xyz}}
  #   valid: {{path: my_structures.xyz, fraction: 0.1}}     # these frames leave train
  train: {{path: builtin:ion_water, split: train}}
  valid: {{path: builtin:ion_water, split: valid}}
  test: {{path: builtin:ion_water, split: test}}
  keys:                      # what the labels are called in the files
    energy: REF_energy       # eV
    forces: REF_forces       # eV/Å
    total_charge: total_charge     # e, an input
  require: [energy, forces]  # every frame must have these
  atom_energies:
    mode: least_squares      # or take the energies of isolated atoms, in eV: given: {{H: -13.6}}
  batching:
    graphs: 16               # structures per step; or bound the neighbour pairs with edges:
    buckets: 1               # array shapes, each compiled once; more waste less on mixed sizes

model:
{backbone}
  density:
    l_max: 1                 # 0: charges, 1: charges and dipoles
    width: 1.5               # Å, standard deviation of the Gaussians
  coulomb:
    boundary: auto           # open, periodic or slab, as each frame's pbc says
    method: auto             # direct, ewald, mesh or mesh_ewald: the cheapest
    accuracy: 1.0e-5         # RMS force error over RMS force of the lattice sums
{solver_block}

train:
  stages:
{stages}
  optimizer: {{name: adam, clip: 10.0}}
  ema: 0.99                  # running mean of the parameters, which is what is saved; 0: off
  checkpoint: {{every_epochs: 10, every_minutes: 10}}
  # early_stop: {{metric: valid/forces_rmse, patience: 40}}     # epochs without improvement

loggers: [jsonl]             # also tensorboard, wandb, mlflow: pip install 'electrojax[track]'
"""


_STAGES = """\
    - name: fit
      epochs: 100
      learning_rate: 1.0e-2
      schedule: cosine       # down to 1 % by the last epoch; or constant
      # weights of the squared errors (energy per atom){more_losses}
      loss: {{energy: 1, forces: 10}}"""

_STAGED = """\
    - name: warm             # one update of the labels' density per step: cheap
      epochs: 60
      gradient: direct       # without charge labels it starts from the local density
      learning_rate: 1.0e-2
      schedule: cosine       # down to 1 % by the last epoch; or constant
      # weights of the squared errors (energy per atom){more_losses};
      # and of itself: last_step, stability, level_slope, legendre_gap
      loss: {{energy: 1, forces: 10, multipoles: 50}}
    - name: closed           # the self-consistent density, which is what evaluation and MD use
      epochs: 60
      gradient: implicit     # or unroll, through a fixed number of updates
      learning_rate: 2.0e-3
      loss: {{energy: 50, forces: 20, multipoles: 10}}
  max_unconverged: 0.01      # a larger share of structures without a solution ends the run"""


def starter(solver: str = "local", tables: Tables | None = None) -> str:
    """Returns a commented training file that is complete and valid as it stands.

    Args:
        solver: the kind of charge solver to write out.
        tables: the backbones and solvers to know; electrojax's own where not given.

    Raises:
        ConfigError: there is no such solver.
    """
    tables = with_kind(default_tables() if tables is None else tables, "solver", solver)
    if solver not in tables.solvers:
        near = get_close_matches(solver, tables.solvers, n=1)
        hint = f'did you mean "{near[0]}"? ' if near else ""
        raise ConfigError(f'no solver "{solver}"; {hint}kinds: {", ".join(tables.solvers)}')
    backbone = "light" if "light" in tables.backbones else next(iter(tables.backbones))
    default = tables.solvers[solver]()
    labels = [name for name in default.provides if name in _LOSSES]
    staged = len(default.gradients) > 1 and "multipoles" in labels
    more = f"; this solver also learns: {', '.join(labels)}" if labels else ""
    return _STARTER.format(
        solver=solver,
        backbone=_block("backbone", backbone, tables.backbones),
        solver_block=_block("solver", solver, tables.solvers),
        stages=(_STAGED if staged else _STAGES).format(more_losses=more),
    )


_LOSSES = ("dipole", "charges", "multipoles")


def _block(name: str, kind: str, table: Any) -> str:
    options = kind_options(name, kind, table[kind])
    lines = [f"  {name}:", f"    kind: {kind:<18} # one of: {', '.join(table)}"]
    for key, field in options.model_fields.items():
        if key != "kind" and not field.is_required():
            # An example stands where the default asks for more than the built-in set has.
            value = field.examples[0] if field.examples else field.default
            text = f"    {key}: {_yaml(value)}"
            lines.append(f"{text:<28} # {field.description}" if field.description else text)
    return "\n".join(lines)


def _yaml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {item}" for key, item in value.items()) + "}"
    plain = [*value] if isinstance(value, tuple) else value
    return show(plain) if isinstance(plain, list) else dump_document({"x": plain})[3:].strip()


@dataclass(frozen=True)
class _Block:
    """A block of the file: its dotted keys, its schema, and its kind where it has several."""

    paths: tuple[str, ...]
    schema: type[BaseModel]
    kind: str | None

    def names(self) -> tuple[str, ...]:
        """The sections that mean this block."""
        return (*self.paths, *(f"{path}.{self.kind}" for path in self.paths if self.kind))


def _blocks(schema: type[BaseModel]) -> list[_Block]:
    paths: dict[type[BaseModel], list[str]] = {}
    for path, block in _walk(schema, ""):
        paths.setdefault(block, []).append(path)
    return [_Block(tuple(where), block, kind_of(block)) for block, where in paths.items()]


def _walk(schema: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    yield path, schema
    for name, field in schema.model_fields.items():
        for below in blocks_in(field.annotation):
            yield from _walk(below, f"{path}.{name}".strip("."))


def schema_text(section: str | None = None, tables: Tables | None = None) -> str:
    """Returns the keys of the training file, or of one section, with type, default and meaning.

    Args:
        section: a dotted key such as `train`, `model.solver` or `model.solver.local`.
        tables: the backbones and solvers to know; electrojax's own where not given.

    Raises:
        ConfigError: there is no such section.
    """
    blocks = _selected(section, tables)
    return "\n\n".join(_describe(block) for block in blocks)


def _selected(section: str | None, tables: Tables | None) -> list[_Block]:
    every = _blocks(run_schema(default_tables() if tables is None else tables))
    if not section:
        return every
    found = [block for block in every if section in block.names()]
    found += [b for b in every if any(path.startswith(f"{section}.") for path in b.paths)]
    if not found:
        holder, _, key = section.rpartition(".")
        found = [b for b in every if holder in b.names() and key in b.schema.model_fields]
    if not found:
        names = [name for block in every for name in block.names() if name]
        near = get_close_matches(section, names, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"sections: {', '.join(names)}"
        raise ConfigError(f'no section "{section}" in the training file; {hint}')
    return found


def _describe(block: _Block) -> str:
    summary = " ".join((block.schema.__doc__ or "").split("\n\n")[0].split())
    top = block.paths == ("",)
    title = "training file" if top else ", ".join(block.paths)
    title += f" (kind: {block.kind})" if block.kind else ""
    rows = [_row(name, field, block.kind) for name, field in block.schema.model_fields.items()]
    if top:
        rows.insert(0, ("include", "list of text", "[]", "files that this one is laid over"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths)) + f"  {row[3]}"
        for row in rows
    ]
    return "\n".join([f"{title}: {summary}", *(f"  {line.rstrip()}" for line in lines)])


def _row(name: str, field: FieldInfo, kind: str | None) -> tuple[str, str, str, str]:
    if kind is not None and name == "kind":
        return name, kind, "required", ""
    kind_of_value = _type(field.annotation) + _bounds(field.metadata)
    if field.json_schema_extra == {"format": "path"}:
        kind_of_value = "path"
    return name, kind_of_value, _default(field), field.description or ""


_NAMES = {int: "whole number", float: "number", bool: "true | false", str: "text"}


def _type(annotation: Any) -> str:
    if annotation in _NAMES:
        return _NAMES[annotation]
    if get_origin(annotation) is Literal:
        choices = " | ".join(str(choice) for choice in get_args(annotation))
        return choices if len(choices) < 60 else "names"
    if get_origin(annotation) is tuple:
        return f"list of {_plural(get_args(annotation)[0])}"
    if get_origin(annotation) is dict:
        return f"block of {_plural(get_args(annotation)[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "block"
    if hasattr(annotation, "__metadata__"):
        return _type(get_args(annotation)[0]) + _bounds(annotation.__metadata__)
    parts = [_type(part) for part in get_args(annotation) if part is not type(None)]
    return " | ".join(dict.fromkeys(parts))


def _plural(annotation: Any) -> str:
    name = _type(annotation)
    return re.sub(r"^(block|number|whole number)\b", r"\1s", name)


_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def _bounds(metadata: Any) -> str:
    """The limits in a field's metadata, which may nest them in another field."""
    found = ""
    for item in metadata:
        found += _bounds(item.metadata) if isinstance(item, FieldInfo) else ""
        found += "".join(
            f" {sign} {value:g}"
            for name, sign in _SIGNS.items()
            if (value := getattr(item, name, None)) is not None
        )
    return found


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default_factory is not None or field.default is PydanticUndefined:
        return ""
    return "not set" if field.default is None else _yaml(field.default)


def schema_json(section: str | None = None, tables: Tables | None = None) -> str:
    """Returns the JSON schema of the training file, or of one section, for editors.

    A file may leave to its includes what the whole must have, so nothing is marked as required.

    Args:
        section: a dotted key such as `train` or `model.solver`.
        tables: the backbones and solvers to know; electrojax's own where not given.

    Raises:
        ConfigError: there is no such section.
    """
    blocks = _selected(section, tables)
    variants = [block.schema for block in blocks if block.paths == blocks[0].paths]
    schemas = [_partial(variant.model_json_schema()) for variant in variants]
    if not section:
        names = {"type": "array", "items": {"type": "string"}}
        schemas[0]["properties"]["include"] = names
        _allow_flat_stage(schemas[0]["$defs"])
    whole = schemas[0] if len(schemas) == 1 else {"oneOf": schemas}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps({**head, **whole}, indent=2, ensure_ascii=False)


def _allow_flat_stage(definitions: dict[str, Any]) -> None:
    stage = definitions["Stage"]["properties"]
    definitions["Train"]["properties"].update({key: stage[key] for key in Train.FLAT})


def _partial(schema: Any) -> Any:
    if isinstance(schema, dict):
        kept = {key: item for key, item in schema.items() if not _is_requirement(key, item)}
        return {key: _partial(item) for key, item in kept.items()}
    return [_partial(item) for item in schema] if isinstance(schema, list) else schema


def _is_requirement(key: str, item: Any) -> bool:
    return key == "required" and isinstance(item, list)
