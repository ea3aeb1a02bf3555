"""The configuration of backbones, solvers and loggers, made from the fields of their classes."""

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydantic import Field, create_model

from electrojax.config.logger_schema import list_of_loggers
from electrojax.config.schema import RunConfig
from electrojax.models.kinds import Kinds, kind_options, model_schema, summary
from electrojax.models.schema import KindOptions
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
