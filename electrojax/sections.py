"""What every block of a configuration file is made of."""

import os
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from electrojax.text import hidden_character

LONGEST_NAME, LONGEST_PATH = 255, 3500
"""Bytes that Linux allows in the name of a file, and in a path with some room left."""

LONGEST_TEXT = 4096
SMALLEST, LARGEST = 1e-30, 1e30
"""Magnitudes of numbers: float32 has nothing between 0 and 1e-38, and ends at 3e38."""


def misplaced(key: str, message: str) -> PydanticCustomError:
    """Returns an error that points at a dotted key below the block being validated."""
    return PydanticCustomError("misplaced", "{message}", {"key": key, "message": message})


def _possible_path(path: str) -> str:
    """Returns a path that a file can have."""
    longest = max(len(os.fsencode(part)) for part in path.split("/"))
    if longest > LONGEST_NAME or len(os.fsencode(path)) > LONGEST_PATH:
        limits = f"at most {LONGEST_NAME} bytes in a name and {LONGEST_PATH} in all"
        raise misplaced("", f"is too long for a path: needed {limits}, got {longest} in one name")
    return path


def _folder_name(name: str) -> str:
    """Returns a name that leaves room for the suffixes of files beside it."""
    if (length := len(os.fsencode(name))) > LONGEST_NAME - 55:
        raise misplaced("", f"must have at most {LONGEST_NAME - 55} bytes, got {length}")
    return name


PositiveInt = Annotated[int, Field(ge=1, le=10**6)]
PositiveFloat = Annotated[float, Field(ge=1e-9, le=1e9)]
Steps = Annotated[int, Field(ge=1, lt=2**31)]
"""Counted in 32 bits on the device."""

Seed = Annotated[int, Field(ge=0, lt=2**63)]
Length = Annotated[float, Field(ge=1e-3, le=1e3)]
"""Å."""

Temperature = Annotated[float, Field(ge=1e-6, le=1e9)]
"""K."""

PossiblePath = Annotated[str, Field(min_length=1), AfterValidator(_possible_path)]
FilePath = Annotated[PossiblePath, Field(json_schema_extra={"format": "path"})]
FolderName = Annotated[str, Field(pattern=r"^[^\s/\\.~-][^/\\]*$"), AfterValidator(_folder_name)]
"""Of a folder to be made, which no shell takes for an option or for somebody's home."""


class Section(BaseModel):
    """A block of the file: unknown keys are refused, types are not converted, values are frozen.

    Attributes:
        MULTILINE: keys whose texts may have several lines.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    MULTILINE: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _plain_values(cls, data: Any) -> Any:
        for key, value in _leaves(data) if isinstance(data, dict) else ():
            if fault := _fault(value, "\n\t" if key in cls.MULTILINE else ""):
                raise misplaced(key, fault)
        return data

    @classmethod
    def suggestions(cls) -> list[str]:
        """Returns the keys that may stand in the block."""
        return list(cls.model_fields)


def _leaves(data: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields the scalars of a block, of its lists and of its tables, by dotted key."""
    for key, value in data.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{name}", item) for name, item in value.items())
        for item in value if isinstance(value, list | tuple) else (value,):
            yield key, item


def _fault(value: Any, allowed: str) -> str:
    """Why a scalar is none that a block may hold; empty where it may."""
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            return f"must have at most {LONGEST_TEXT} characters, got {len(value)}"
        hidden = hidden_character(value, allowed)
        return f"must be one line of visible text, has the character {hidden}" if hidden else ""
    if isinstance(value, float) and 0 < abs(value) < SMALLEST:
        return f"is 0 in single precision ({value:g}); needed 0, or at least {SMALLEST:g}"
    if isinstance(value, int | float) and LARGEST < abs(value) < float("inf"):
        return f"is beyond single precision; needed at most {LARGEST:g}"
    return ""
