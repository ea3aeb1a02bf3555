"""The configuration of backbones, solvers and loggers, made from the fields of their classes."""

import dataclasses
from collections.abc import Mapping
from functools import lru_cache

from pydantic import Field, create_model

from electrojax.config.logger_schema import list_of_loggers
from electrojax.config.schema import RunConfig
from electrojax.models.kinds import Kinds, kind_options, model_schema, summary
from electrojax.training.loggers import LOGGERS


@dataclasses.dataclass(frozen=True)
class Tables:
    """The classes that a `kind` may name.

    Each is a dataclass (a Flax module) whose fields are the options of its kind. A field's
    metadata may hold `config` (False hides it), `help`, `choices`, `positive`, `minimum`,
    `maximum` and `path` (True for a path, relative to the file).
    """

    backbones: Mapping[str, type]
    solvers: Mapping[str, type]
    loggers: Mapping[str, type] = dataclasses.field(default_factory=lambda: LOGGERS)


def default_tables() -> Tables:
    """Returns the backbones and solvers that electrojax knows; importing them imports jax."""
    from electrojax.nn.base import BACKBONES
    from electrojax.solvers.base import SOLVERS

    return Tables(BACKBONES, SOLVERS)


def run_schema(tables: Tables) -> type[RunConfig]:
    """Returns the schema of a training file whose kinds are those of the tables.

    Equal tables give the very same class, so that their configurations compare equal.
    """
    parts = (tables.backbones, tables.solvers, tables.loggers)
    return _run_schema(*(tuple(part.items()) for part in parts))


@lru_cache(maxsize=64)
def _run_schema(backbones: Kinds, solvers: Kinds, loggers: Kinds) -> type[RunConfig]:
    model = model_schema(backbones, solvers)
    told = [kind_options("logger", kind, module) for kind, module in loggers]
    described = Field(description=RunConfig.model_fields["model"].description)
    return create_model(
        "RunConfig",
        __base__=RunConfig,
        __doc__=summary(RunConfig),
        model=(model, described),
        loggers=(list_of_loggers(told), RunConfig.model_fields["loggers"]),
    )
