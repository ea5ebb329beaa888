"""The manner of every part of the experiment file: strict, frozen, with units that people write."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from domain import units


class Part(BaseModel):
    """A part of the experiment file; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True)


def seconds(value: Any) -> Any:
    """25m, 90s, 2h or plain seconds -> seconds."""
    return units.seconds(value) if isinstance(value, str) else value


def share(value: Any) -> Any:
    """2pp, 5%, 20bp or a plain fraction -> fraction."""
    return units.share(value) if isinstance(value, str) else value


def as_list(value: Any) -> Any:
    """One text stands for a list of one."""
    return [value] if isinstance(value, str) else value


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:+-]{0,63}$")]
Whole = Annotated[int, Field(strict=True, ge=1)]
Count = Annotated[int, Field(strict=True, ge=0)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Usd = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Seconds = Annotated[
    float,
    Field(gt=0, allow_inf_nan=False, json_schema_extra={"type": ["number", "string"]}),
    BeforeValidator(seconds),
]
Share = Annotated[
    float,
    Field(ge=0, allow_inf_nan=False, json_schema_extra={"type": ["number", "string"]}),
    BeforeValidator(share),
]
Texts = Annotated[tuple[str, ...], BeforeValidator(as_list), Field(json_schema_extra={"type": ["array", "string"]})]
