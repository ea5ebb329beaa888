"""A price file of your own: negotiated rates, gateways, Azure; it overrides or adds to the public table."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from harness.errors import InvalidInput, Problem
from harness.experiment import yaml_file
from harness.experiment.terms import ConfigModel, Usd, Whole


class Above(ConfigModel):
    """Rates of a whole prompt that is longer than `tokens`."""

    tokens: Whole
    """Input tokens of one call above which these rates hold for all of it."""
    input: Usd
    """US dollars per million input tokens."""
    output: Usd
    """US dollars per million output tokens, reasoning included."""
    cached: Usd | None = None
    """US dollars per million input tokens read from a cache. Default: the input rate."""
    cache_write: Usd | None = None
    """US dollars per million input tokens written to a cache. Default: the input rate."""


class Price(ConfigModel):
    """One line of a price file, in US dollars per million tokens."""

    model: str = Field(min_length=1)
    """Name as the server returns it; * matches any characters."""
    input: Usd
    """Input that no cache had."""
    output: Usd
    """Output, reasoning included."""
    cached: Usd | None = None
    """Input read from a cache. Default: the input rate."""
    cache_write: Usd | None = None
    """Input written to a cache. Default: the input rate."""
    server: str | None = None
    """Only on this server of servers.yaml. Default: on all."""
    tier: str = "default"
    """Service tier that these rates hold for."""
    from_: dt.date | None = Field(default=None, alias="from")
    """First day (UTC) of these rates. Default: no limit."""
    above: Above | None = None
    """Rates of long prompts."""

    def usd(self, input_tokens: int, cached: int, cache_write: int, output_tokens: int) -> float:
        """Price of one call in US dollars; `input_tokens` includes cache reads and writes."""
        rates: Price | Above = self.above if self.above and input_tokens > self.above.tokens else self
        fresh = input_tokens - cached - cache_write
        read = rates.input if rates.cached is None else rates.cached
        written = rates.input if rates.cache_write is None else rates.cache_write
        total = fresh * rates.input + cached * read + cache_write * written + output_tokens * rates.output
        return total / 1e6


class PriceFile(ConfigModel):
    """A whole price file."""

    version: str = "own"
    """Name of this version of the prices, recorded as price_version of every call."""
    prices: tuple[Price, ...] = Field(min_length=1)
    """Lines; the last active one of a model, server and tier counts, one that names the server before one that does not."""

    @model_validator(mode="after")
    def _no_line_twice(self) -> Self:
        seen: set[tuple[Any, ...]] = set()
        for line in self.prices:
            key = (line.model, line.server, line.tier, line.from_)
            if key in seen:
                raise ValueError(f"{line.model!r} is priced twice for the same server, tier and date: name the server of each")
            seen.add(key)
        return self

    def find(self, model: str, server: str, tier: str, day: dt.date) -> Price | None:
        """The line for a model on a server, in a tier, on a day."""
        lines = [line for line in self.prices if self._holds(line, model, server, tier, day)]
        return max(lines, key=lambda line: (line.server is not None, line.from_ or dt.date.min), default=None)

    @staticmethod
    def _holds(line: Price, model: str, server: str, tier: str, day: dt.date) -> bool:
        return (
            fnmatchcase(model, line.model)
            and line.server in (None, server)
            and line.tier == tier
            and (line.from_ is None or line.from_ <= day)
        )

    @property
    def sha256(self) -> str:
        return sha256(self.model_dump_json(by_alias=True).encode()).hexdigest()


def load(path: Path) -> PriceFile:
    """Read a price file. Raises InvalidInput with every problem."""
    document = yaml_file.load(path)
    value: Mapping[str, Any] | Sequence[Any] = document.value
    if isinstance(value, list):
        document = yaml_file.Document(path, {"prices": value}, _under_prices(document.lines))
    try:
        return PriceFile.model_validate(document.value)
    except ValidationError as error:
        raise InvalidInput(yaml_file.problems(error, document)) from error
    except TypeError as error:
        raise InvalidInput([Problem(str(path), "no price file: a list of prices is expected", "see docs")]) from error


def _under_prices(lines: Mapping[yaml_file.Place, int]) -> dict[yaml_file.Place, int]:
    return {("prices", *place): line for place, line in lines.items()} | {("prices",): 1}
