"""What every block of a configuration file is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
FilePath = Annotated[str, Field(min_length=1, json_schema_extra={"format": "path"})]


def misplaced(key: str, message: str) -> PydanticCustomError:
    """Returns an error that points at a dotted key below the block being validated."""
    return PydanticCustomError("misplaced", "{message}", {"key": key, "message": message})


class Section(BaseModel):
    """A block of the file: unknown keys are refused, types are not converted, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @classmethod
    def suggestions(cls) -> list[str]:
        """Returns the keys that may stand in the block."""
        return list(cls.model_fields)
