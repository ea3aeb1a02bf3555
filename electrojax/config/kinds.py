"""The configuration of backbones, solvers and loggers, made from the fields of their classes."""

import dataclasses
import re
from collections.abc import Mapping
from functools import lru_cache, reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import Field, Strict, create_model

from electrojax.config.logger_schema import list_of_loggers
from electrojax.config.schema import KindOptions, Model, RunConfig
from electrojax.training.loggers import LOGGERS

_PLAIN = (int, float, bool, str)


@dataclasses.dataclass(frozen=True)
class Tables:
    """The classes that a `kind` may name.

    Each is a dataclass (a Flax module) whose fields are the options of its kind. A field's
    metadata may hold `config` (False hides it), `help`, `choices`, `positive`, `minimum`,
    `maximum` and `path` (True for a path, relative to the file).
    """

    backbones: Mapping[str, type]
    solvers: Mapping[str, type]
    loggers: Mapping[str, Any] = dataclasses.field(default_factory=lambda: LOGGERS)

    def solver(self, options: KindOptions) -> Any:
        """Returns a configured solver with default runtime fields, to ask what it predicts."""
        return self.solvers[options.kind](**options.options())

    def of(self, trade: str) -> Mapping[str, type]:
        """Returns the classes of a trade: "backbone", "solver" or "logger"."""
        return {"backbone": self.backbones, "solver": self.solvers, "logger": self.loggers}[trade]

    def classes(self) -> dict[tuple[str, str], type]:
        """Returns every class by trade and kind."""
        trades = ("backbone", "solver", "logger")
        return {(trade, kind): c for trade in trades for kind, c in self.of(trade).items()}

    def extended(self, trade: str, classes: Mapping[str, type]) -> "Tables":
        """Returns the tables with further classes of a trade."""
        return dataclasses.replace(self, **{f"{trade}s": {**self.of(trade), **classes}})


def default_tables() -> Tables:
    """Returns the backbones and solvers that electrojax knows; importing them imports jax."""
    from electrojax.nn.base import BACKBONES
    from electrojax.solvers.table import SOLVERS

    return Tables(BACKBONES, SOLVERS)


def run_schema(tables: Tables) -> type[RunConfig]:
    """Returns the schema of a training file whose kinds are those of the tables.

    Equal tables give the very same class, so that their configurations compare equal.
    """
    parts = (tables.backbones, tables.solvers, tables.loggers)
    return _run_schema(*(tuple(part.items()) for part in parts))


Kinds = tuple[tuple[str, type], ...]


@lru_cache(maxsize=64)
def _run_schema(backbones: Kinds, solvers: Kinds, loggers: Kinds) -> type[RunConfig]:
    fields: dict[str, Any] = {
        name: (_one_of(name, dict(table)), Field(description=Model.model_fields[name].description))
        for name, table in (("backbone", backbones), ("solver", solvers))
    }
    model = create_model("Model", __base__=Model, __doc__=Model.__doc__, **fields)
    told = [kind_options("logger", kind, module) for kind, module in loggers]
    described = Field(description=RunConfig.model_fields["model"].description)
    return create_model(
        "RunConfig",
        __base__=RunConfig,
        __doc__=_summary(RunConfig),
        model=(model, described),
        loggers=(list_of_loggers(told), RunConfig.model_fields["loggers"]),
    )


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
        "kind": (Literal[kind], Field(kind, description=_summary(module))),
    }
    hints = get_type_hints(module, include_extras=False)
    for field in dataclasses.fields(module):
        if _is_option(field):
            fields[field.name] = _option(module, field, hints[field.name])
    title = re.sub(r"\W|_", "", kind.title()) + block.title()
    return create_model(title, __base__=KindOptions, __doc__=_summary(module), **fields)


def _is_option(field: dataclasses.Field[Any]) -> bool:
    hidden = field.name in ("parent", "name") or field.name.startswith("_") or not field.init
    return not hidden and field.metadata.get("config", True)


def _summary(module: type) -> str:
    return " ".join((module.__doc__ or "").strip().split("\n\n")[0].split())


def _option(module: type, field: dataclasses.Field[Any], hint: Any) -> tuple[Any, Any]:
    metadata = field.metadata
    where = f"{module.__name__}.{field.name}"
    kind = Literal[metadata["choices"]] if "choices" in metadata else _yaml_type(where, hint)
    bounds: dict[str, Any] = {
        "gt": 0 if metadata.get("positive") else None,
        "ge": metadata.get("minimum"),
        "le": metadata.get("maximum"),
    }
    described: Any = Field(
        default=_default(field),
        description=metadata.get("help"),
        examples=[metadata["starter"]] if "starter" in metadata else None,
        json_schema_extra={"format": "path"} if metadata.get("path") else None,
    )
    if get_origin(hint) is tuple:
        item: Any = Annotated[get_args(hint)[0], Field(**bounds)]
        kind, bounds = tuple[item, ...], {}
        return Annotated[kind, Strict(False)], described
    return Annotated[kind, Field(**bounds)], described


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return ...


def _yaml_type(where: str, hint: Any) -> Any:
    if hint in _PLAIN or get_origin(hint) is Literal:
        return hint
    arguments = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return reduce(or_, (_yaml_type(where, each) for each in arguments))
    if hint == dict[str, float]:
        return hint
    if get_origin(hint) is tuple and arguments[0] in _PLAIN and arguments[1:] == (...,):
        return Annotated[hint, Strict(False)]
    raise TypeError(
        f"{where} has type {hint}, which is not an option for a configuration file: use int, "
        "float, bool, str, Literal, tuple[int, ...] or dict[str, float], or hide it with metadata "
        '{"config": False}'
    )
