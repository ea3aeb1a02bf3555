"""What the manifest of a model file may hold."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, Strict, ValidationError, create_model, model_validator

from electrojax.models.kinds import kind_options
from electrojax.models.schema import KindOptions, Model
from electrojax.sections import Section, misplaced
from electrojax.system.types import Statistics
from electrojax.text import cut

Energy = Annotated[float, Field(ge=-1e7, le=1e7)]
"""eV; the largest atoms have 1e6."""

Element = Annotated[int, Field(ge=1, le=118)]
Direction = Annotated[tuple[Annotated[float, Field(ge=-1e9, le=1e9)], ...], Strict(False)]
"""In composition space."""


class FittedStatistics(Section):
    """What was fitted to the training data; see :class:`electrojax.system.types.Statistics`."""

    numbers: Annotated[tuple[Element, ...], Strict(False)] = Field(min_length=1)
    atomic_energies: Annotated[tuple[Energy, ...], Strict(False)]
    average_neighbors: float = Field(default=1.0, ge=0, le=1e9)
    energy_scale: float = Field(default=1.0, ge=0, le=1e9)
    energy_shift: Energy = 0.0
    undetermined: Annotated[tuple[Direction, ...], Strict(False)] = ()

    @model_validator(mode="after")
    def _one_per_element(self) -> Self:
        count = len(self.numbers)
        if sorted(set(self.numbers)) != list(self.numbers):
            raise misplaced("numbers", "must ascend, each element once")
        if len(self.atomic_energies) != count:
            raise misplaced("atomic_energies", f"must be {count}, one per element")
        if any(len(row) != count for row in self.undetermined):
            raise misplaced("undetermined", f"must have rows of {count}, one column per element")
        return self


class Head(Section):
    """One of several heads of a model: what it does not share with the first."""

    statistics: FittedStatistics
    parameters: Annotated[tuple[str, ...], Strict(False)] = Field(max_length=10_000)

    def fitted(self) -> Statistics:
        """Returns the statistics as a model takes them."""
        return Statistics(**self.statistics.model_dump())


class Manifest(Section):
    """The manifest of a model file."""

    format: int
    model: Model
    precision: Literal["float32", "float64"]
    statistics: FittedStatistics
    parameters: Annotated[tuple[str, ...], Strict(False)] = Field(max_length=10_000)
    info: dict[str, Any] = Field(default_factory=dict)
    plugins: dict[str, dict[str, str]] = Field(default_factory=dict)
    heads: dict[str, Head] = Field(default_factory=dict, max_length=1000)

    @model_validator(mode="after")
    def _heads_differ_in_known_parameters(self) -> Self:
        for name, head in self.heads.items():
            if unknown := sorted(set(head.parameters) - set(self.parameters)):
                raise misplaced("heads", f"{name}: parameter {unknown[0]} is not one of this model")
            if head.statistics.numbers != self.statistics.numbers:
                raise misplaced("heads", f"{name}: other elements than the model")
        return self

    def fitted(self) -> Statistics:
        """Returns the statistics as a model takes them."""
        return Statistics(**self.statistics.model_dump())


class ForeignOptions(KindOptions):
    """The options of a kind whose class is not here."""

    model_config = ConfigDict(extra="allow")


def checked_manifest(plain: Any, classes: Mapping[str, type | None]) -> Manifest:
    """Returns a manifest whose model section fits the classes of its kinds.

    Args:
        plain: as JSON holds it.
        classes: of its backbone and its solver; None for one that is not here.

    Raises:
        ValueError: telling the first key that is wrong.
    """
    schema = _schema(*((plain["model"][t]["kind"], classes[t]) for t in ("backbone", "solver")))
    try:
        return schema.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        place = [*map(str, first["loc"]), first.get("ctx", {}).get("key", "")]
        key = ".".join(part for part in place if part)
        got = "" if first["type"] == "misplaced" else f", got {cut(repr(first['input']), 60)}"
        raise ValueError(f"{key}: {cut(first['msg'])}{got}") from None


@lru_cache(maxsize=16)
def _schema(*kinds: tuple[str, type | None]) -> type[Manifest]:
    blocks: dict[str, Any] = {
        trade: (ForeignOptions if module is None else kind_options(trade, kind, module), ...)
        for trade, (kind, module) in zip(("backbone", "solver"), kinds)
    }
    model = create_model("Model", __base__=Model, **blocks)
    return create_model("Manifest", __base__=Manifest, model=(model, ...))
