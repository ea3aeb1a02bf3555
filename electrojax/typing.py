"""Pytree data classes whose fields declare their axis, and the legend of dimension names.

Dimensions: N nodes (atoms), E edges, G graphs (structures), K k-vectors, C density channels,
M = (l_max + 1)² multipole components, S species.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, TypeVar, dataclass_transform

import jax
import numpy as np

Array = jax.Array
ArrayLike = jax.Array | np.ndarray
Axis = Literal["nodes", "edges", "pairs", "graphs"]
Kind = Literal["float", "int", "bool"]
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class AxisSpec:
    """How one array field is stacked and padded when structures are collated into a batch.

    Args:
        axis: the axis that grows with the number of structures (always axis 0 of the array).
        shape: the trailing shape.
        kind: ``float`` (cast to the batch's dtype), ``int`` (int32) or ``bool``.
        pad: the value of padding entries, or an array of the trailing shape.
        index_of: the axis that the values index into; collating offsets them by the entries before,
            and padding entries point one past its end, where JAX drops scatters.
    """

    axis: Axis
    shape: tuple[int, ...] = ()
    kind: Kind = "float"
    pad: Any = 0
    index_of: Axis | None = None


def array(
    axis: Axis,
    shape: tuple[int, ...] = (),
    kind: Kind = "float",
    pad: Any = 0,
    index_of: Axis | None = None,
) -> Any:
    """Returns a data-class field that holds an array along ``axis`` (see :class:`AxisSpec`)."""
    spec = AxisSpec(axis, shape, kind, pad, index_of)
    return dataclasses.field(metadata={"spec": spec})


def static(default: Any = dataclasses.MISSING) -> Any:
    """Returns a data-class field that is part of the compiled program, not of its data."""
    return dataclasses.field(default=default, metadata={"static": True})


def specs(cls: type) -> dict[str, AxisSpec]:
    """Returns the axis declarations of a struct's array fields, by field name, in order."""
    return {f.name: f.metadata["spec"] for f in dataclasses.fields(cls) if "spec" in f.metadata}


@dataclass_transform(frozen_default=True, field_specifiers=(array, static))
def struct(cls: type[T]) -> type[T]:
    """Turns a class into a frozen data class registered as a JAX pytree.

    Fields made by :func:`static` become auxiliary data (hashable, part of the compiled program);
    every other field is a child.
    """
    frozen: Any = dataclasses.dataclass(frozen=True)(cls)
    fields = dataclasses.fields(frozen)
    meta = [f.name for f in fields if f.metadata.get("static")]
    data = [f.name for f in fields if not f.metadata.get("static")]
    keys = [jax.tree_util.GetAttrKey(name) for name in data]

    def flatten(instance: T) -> tuple[Any, tuple[Any, ...]]:
        return [getattr(instance, n) for n in data], tuple(getattr(instance, n) for n in meta)

    def flatten_with_keys(instance: T) -> tuple[Any, tuple[Any, ...]]:
        children, aux = flatten(instance)
        return list(zip(keys, children)), aux

    def unflatten(aux: tuple[Any, ...], children: Any) -> T:
        instance: T = frozen(**dict(zip(data, children)), **dict(zip(meta, aux)))
        return instance

    # Not register_dataclass: up to jaxlib 0.11.2 tree structures of two of its classes are equal if
    # only their fields are as many, and one in a hundred processes runs the program of the other.
    jax.tree_util.register_pytree_with_keys(frozen, flatten_with_keys, unflatten, flatten)
    return frozen


def replace(instance: T, **changes: Any) -> T:
    """Returns a copy of a struct with some fields changed."""
    return dataclasses.replace(instance, **changes)  # type: ignore[type-var]


Reporter = Callable[[str], None]
"""Receives one line of plain text about progress or a warning."""
