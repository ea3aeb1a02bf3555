"""The schema of a kind's options, made from the fields of its class."""

import dataclasses
import re
from collections.abc import Mapping
from functools import lru_cache, reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import Field, Strict, create_model

from electrojax.models.schema import KindOptions, Model

_PLAIN = (int, float, bool, str)

Kinds = tuple[tuple[str, type], ...]
"""Names and classes, as a key of a cache."""


@lru_cache(maxsize=64)
def model_schema(backbones: Kinds, solvers: Kinds) -> type[Model]:
    """Returns the schema of a model section whose kinds are those of the tables.

    Equal tables give the very same class, so that their configurations compare equal.
    """
    fields: dict[str, Any] = {
        name: (_one_of(name, dict(table)), Field(description=Model.model_fields[name].description))
        for name, table in (("backbone", backbones), ("solver", solvers))
    }
    return create_model("Model", __base__=Model, __doc__=Model.__doc__, **fields)


def _one_of(name: str, table: Mapping[str, type]) -> Any:
    variants = [kind_options(name, kind, module) for kind, module in table.items()]
    if len(variants) == 1:
        return variants[0]
    return Annotated[reduce(or_, variants), Field(discriminator="kind")]


def kind_options(block: str, kind: str, module: type) -> type[KindOptions]:
    """Returns the schema of one kind's options.

    Args:
        block: "backbone", "solver" or "logger", for the schema's title.
        kind: the kind's name.
        module: its class, a dataclass.

    Raises:
        TypeError: a field's type cannot be written in YAML and the field is not hidden.
    """
    fields: dict[str, Any] = {
        "kind": (Literal[kind], Field(kind, description=summary(module))),
    }
    hints = get_type_hints(module, include_extras=False)
    for field in dataclasses.fields(module):
        if _is_option(field):
            fields[field.name] = _option(module, field, hints[field.name])
    title = re.sub(r"\W|_", "", kind.title()) + block.title()
    return create_model(title, __base__=KindOptions, __doc__=summary(module), **fields)


def _is_option(field: dataclasses.Field[Any]) -> bool:
    hidden = field.name in ("parent", "name") or field.name.startswith("_") or not field.init
    return not hidden and field.metadata.get("config", True)


def summary(module: type) -> str:
    """Returns the first paragraph of a class's docstring, in one line."""
    return " ".join((module.__doc__ or "").strip().split("\n\n")[0].split())


def _option(module: type, field: dataclasses.Field[Any], hint: Any) -> tuple[Any, Any]:
    metadata = field.metadata
    where = f"{module.__name__}.{field.name}"
    if "choices" in metadata:
        kind: Any = Literal[metadata["choices"]]
    else:
        kind = _yaml_type(where, hint, metadata)
    described: Any = Field(
        default=_default(field),
        description=metadata.get("help"),
        examples=[metadata["starter"]] if "starter" in metadata else None,
        json_schema_extra={"format": "path"} if metadata.get("path") else None,
    )
    return kind, described


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return ...


def _yaml_type(where: str, hint: Any, metadata: Mapping[str, Any]) -> Any:
    """The type of an option, every number with both bounds.

    Raises:
        TypeError: it cannot be written in YAML.
    """
    arguments = get_args(hint)
    if hint in (int, float):
        return Annotated[hint, Field(**_bounds(hint, metadata))]
    if hint in (bool, str) or get_origin(hint) is Literal:
        return hint
    if get_origin(hint) in (Union, UnionType):
        return reduce(or_, (_yaml_type(where, each, metadata) for each in arguments))
    if hint == dict[str, float]:
        return dict.__class_getitem__((str, _yaml_type(where, float, metadata)))
    if get_origin(hint) is tuple and arguments[0] in _PLAIN and arguments[1:] == (...,):
        item = _yaml_type(where, arguments[0], metadata)
        return Annotated[tuple.__class_getitem__((item, ...)), Strict(False)]
    raise TypeError(
        f"{where} has type {hint}, which is not an option for a configuration file: use int, "
        "float, bool, str, Literal, tuple[int, ...] or dict[str, float], or hide it with metadata "
        '{"config": False}'
    )


def _bounds(number: type, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What a number may be; where its class says nothing, what no physical one exceeds."""
    most = 10**6 if number is int else 1e9
    least = (1 if number is int else 1e-9) if metadata.get("positive") else -most
    return {"ge": metadata.get("minimum", least), "le": metadata.get("maximum", most)}
