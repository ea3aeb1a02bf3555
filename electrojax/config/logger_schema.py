"""The list of loggers in a training file: names, or blocks of a kind and its options."""

from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, Strict

from electrojax.models.schema import KindOptions
from electrojax.sections import misplaced


class JsonlOptions(KindOptions):
    """The run folder's metrics.jsonl, which is always written, listed or not."""

    kind: Literal["jsonl"] = "jsonl"


def list_of_loggers(variants: Sequence[type[KindOptions]]) -> Any:
    """Returns the type of a list of loggers.

    Args:
        variants: the options of every kind beside jsonl.
    """
    block: Any = Annotated[reduce(or_, variants, JsonlOptions), Field(discriminator="kind")]
    kinds = ("jsonl", *(variant.model_fields["kind"].default for variant in variants))
    written: Any = block | Literal.__getitem__(kinds)  # what editors may complete
    item: Any = Annotated[block, BeforeValidator(_as_block, json_schema_input_type=written)]
    return Annotated[tuple[item, ...], Strict(False), AfterValidator(_each_once)]


def _as_block(item: Any) -> Any:
    return {"kind": item} if isinstance(item, str) else item


def _each_once(loggers: tuple[KindOptions, ...]) -> tuple[KindOptions, ...]:
    kinds = [logger.kind for logger in loggers]
    for index, kind in enumerate(kinds):
        if kind in kinds[:index]:
            raise misplaced(str(index), f'"{kind}" is listed twice; keep one')
    return loggers
