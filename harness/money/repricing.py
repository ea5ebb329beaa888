"""Recorded calls under other prices: another date, another price file, another model; without a call."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from domain.hardware import Hardware
from domain.lanes import LANES
from domain.providers import PROVIDERS
from harness.errors import InvalidInput, Problem
from harness.experiment.yaml_file import closest_name
from harness.money import pricing
from harness.money.pricing import PriceTable, Tokens
from harness.storage import run_folder
from harness.storage.run_folder import RunFolder
from harness.storage.store import decode

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

WARNING = (
    "token use differs between model families, and so would the decisions: this is the price of these tokens, not of that run"
)
_SELLERS = tuple(name for name, provider in PROVIDERS.items() if provider.is_hosted)
"""Providers that bill at their own address, for runs whose manifest does not name the self-hosted servers."""
_HOSTED_ONLY = "calls of hosted models only: what own hardware costs does not hang on a price list"
_COLUMNS = [
    *(
        "run_id",
        "arm",
        "outcome",
        "provider",
        "server",
        "model_requested",
        "model_returned",
        "service_tier",
        "lane",
        "started_at",
    ),
    *("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "cost_usd", "cost_basis"),
]


@dataclass(frozen=True)
class RepricedServer:
    """A hosted server as a recorded call names it: enough to find a price."""

    name: str
    provider: str
    url: str | None = None
    is_hosted: bool = True

    @property
    def hardware(self) -> Hardware:
        return Hardware(self.provider)


@dataclass(frozen=True)
class RepricedLine:
    """Old and new bill of one arm's hosted calls."""

    arm: str
    calls: int
    old_usd: float | None
    new_usd: float | None
    unknown: int
    """Calls that the new prices do not know."""


@dataclass(frozen=True)
class Repriced:
    """A run at other prices, next to its recorded cost."""

    run: str
    prices: str
    as_of: str | None
    lines: tuple[RepricedLine, ...]
    warning: str = ""

    def to_plain(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "prices": self.prices,
            "as_of": self.as_of,
            "arms": {line.arm: {key: value for key, value in line.__dict__.items() if key != "arm"} for line in self.lines},
            "old_usd": _sum([line.old_usd for line in self.lines]),
            "new_usd": _sum([line.new_usd for line in self.lines]),
            "warning": self.warning,
        }


def reprice(results: str, run: str, table: PriceTable) -> Repriced:
    """Price every recorded hosted call of a run again, by what it really used."""
    folder = run_folder.find(results, run)
    as_of = table.as_of.isoformat() if table.as_of else None
    deployments = (folder.store.manifest().get("prices") or {}).get("priced_as") or {}
    table = replace(table, priced_as={**deployments, **table.priced_as})
    return Repriced(_name(folder), table.version, as_of, tuple(_lines(hosted_calls(folder), table, None)))


def what_if(results: str, experiment: str, model: str, table: PriceTable | None = None) -> Repriced:
    """The latest run's tokens, of all models, at another model's prices of today."""
    table = table or PriceTable(as_of=dt.datetime.now(dt.UTC))
    _refuse_unpriced(model, table)
    folder = run_folder.find(results, experiment)
    lines = tuple(_lines(_calls(folder), table, model))
    return Repriced(_name(folder), f"{model} ({table.version})", None, lines, WARNING)


def show(repriced: Repriced, console: Console) -> None:
    """Print old and new side by side."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = f"{repriced.run} at {repriced.prices}{f' as of {repriced.as_of[:10]}' if repriced.as_of else ''}"
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_footer=True)
    total_line = _whole(repriced.lines)
    table.add_column("arm", "all arms", overflow="fold")
    headings = ("calls", "cost then", "cost new", "new / then", "without a price")
    for heading, figure in zip(headings, _figures(total_line), strict=True):
        table.add_column(heading, figure, justify="right")
    for line in repriced.lines:
        table.add_row(Text(line.arm), *_figures(line))
    console.print(table)
    console.print(repriced.warning or _HOSTED_ONLY, markup=False, highlight=False)


def _figures(line: RepricedLine) -> tuple[str, ...]:
    ratio = f"{line.new_usd / line.old_usd:.2f}" if line.old_usd and line.new_usd is not None else "unknown"
    return f"{line.calls:,}", _usd(line.old_usd), _usd(line.new_usd), ratio, f"{line.unknown:,}"


def _whole(lines: Sequence[RepricedLine]) -> RepricedLine:
    old, new = _sum([line.old_usd for line in lines]), _sum([line.new_usd for line in lines])
    return RepricedLine("", sum(line.calls for line in lines), old, new, sum(line.unknown for line in lines))


def _lines(calls: pd.DataFrame, table: PriceTable, model: str | None) -> Iterator[RepricedLine]:
    for arm, group in calls.groupby("arm", sort=True):
        new = [_again(row, table, model) for row in group.to_dict("records")]
        old = [None if cost != cost else float(cost) for cost in group["cost_usd"]]
        yield RepricedLine(str(arm), len(group), _sum(old), _sum(new), sum(cost is None for cost in new))


def _again(row: Mapping[Any, Any], table: PriceTable, model: str | None) -> float | None:
    """New price of one call; a request that brought no answer, or whose answer named its cost, keeps what it was billed."""
    if row["outcome"] != "answered" or (model is None and row["cost_basis"] == "provider"):
        return None if row["cost_usd"] != row["cost_usd"] else float(row["cost_usd"])
    counts = {key: _count(row[key]) for key in ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens")}
    if counts["input_tokens"] is None or counts["output_tokens"] is None:
        return None
    tokens = Tokens(
        counts["input_tokens"], counts["output_tokens"], counts["cached_tokens"] or 0, counts["cache_write_tokens"] or 0
    )
    server = RepricedServer(str(row["server"]), _seller(model) if model else str(row["provider"]))
    requested = str(row["model_requested"])
    is_deployment = f"{server.name}/{requested}" in table.priced_as
    name = model or (None if is_deployment else _text(row["model_returned"])) or requested
    try:
        return table.usd(name, server, _tier(row, is_other_model=model is not None), tokens, row["started_at"].to_pydatetime())
    except ValueError:
        return None


def _tier(row: Mapping[Any, Any], *, is_other_model: bool) -> str | None:
    """The tier that the call was billed by; another model is priced as if it had answered at once."""
    lane = _text(row["lane"])
    is_deferred = lane is not None and LANES[lane].is_deferred
    return None if is_other_model else lane if is_deferred else _text(row["service_tier"])


def _refuse_unpriced(model: str, table: PriceTable) -> None:
    seller = _seller(model)
    if table.usd(model, RepricedServer(seller, seller), None, Tokens(1, 1), dt.datetime.now(dt.UTC)) is None:
        priced_models = _known_models()
        shown = ", ".join(name for name in priced_models if name.startswith("gpt-"))
        raise InvalidInput(
            [Problem("--what-if", f"no price known for {model!r}; known: {shown}", closest_name(model, priced_models))]
        )


def _seller(model: str) -> str:
    """The provider whose public prices have this model; the first one for a model that none has."""
    return next((seller for seller in _SELLERS if model in pricing.public_models(seller)), _SELLERS[0])


def _known_models() -> list[str]:
    return sorted(model for seller in _SELLERS for model in pricing.public_models(seller))


def hosted_calls(run: RunFolder) -> pd.DataFrame:
    """Calls that a provider billed, a gateway's too; what own hardware costs does not change with a price list."""
    calls, hardware = _calls(run), run.store.manifest().get("hardware")
    return calls[calls["provider"].isin(_SELLERS) if hardware is None else ~calls["server"].isin(hardware)]


def _calls(run: RunFolder) -> pd.DataFrame:
    if (raw := run.store.folder.read_if_there("calls.parquet")) is None:
        run.store.compact()
        raw = run.store.folder.read("calls.parquet")
    frame: pd.DataFrame = decode(raw, _COLUMNS).to_pandas()
    return frame


def _name(run: RunFolder) -> str:
    return f"{run.experiment}/{run.run_id}"


def _text(value: Any) -> str | None:
    """pandas reads NULL texts as NaN."""
    return value if isinstance(value, str) and value else None


def _count(value: Any) -> int | None:
    return None if value is None or value != value else int(value)


def _sum(costs: list[float | None]) -> float | None:
    """A sum is known when all its parts are; of nothing it is 0."""
    known_costs = [cost for cost in costs if cost is not None]
    return sum(known_costs) if len(known_costs) == len(costs) else None


def _usd(value: float | None) -> str:
    return "unknown" if value is None else f"${value:,.4f}"
