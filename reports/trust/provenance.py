"""How a run was made: models as they answered, prices, versions, fingerprints, and the command that runs it again."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from domain.text import decode_json
from reports.load import OTHER_KINDS

if TYPE_CHECKING:
    import pandas as pd

    from reports.load import Run


@dataclass(frozen=True)
class Played:
    """One model as it answered in one arm."""

    arm: str
    provider: str
    requested: str
    returned: tuple[str, ...]
    """Names reported by the servers; several if the provider changed an alias during the run."""
    digest: str | None
    params: str
    context: int | None
    """Smallest context window seen, in tokens."""
    truncated: int
    """Calls whose prompt or answer was cut."""
    calls: int


@dataclass(frozen=True)
class PriceUsed:
    """Which price table priced how many calls."""

    basis: str
    version: str | None
    model: str
    calls: int
    unpriced: int


def models(run: Run) -> list[Played]:
    """Every (arm, model) that was asked."""
    keys = ["arm", "provider", "model_requested"]
    calls = run.pipeline_calls[[*keys, "model_digest", "context_window", "model_returned", "truncated"]]
    sent = _sent_parameters(run)
    return [
        _played(str(arm), str(provider), str(requested), group, str(sent[str(arm), str(provider), str(requested)]))
        for (arm, provider, requested), group in calls.groupby(keys, sort=False, dropna=False)
    ]


def prices(run: Run) -> list[PriceUsed]:
    calls = run.pipeline_calls[["cost_basis", "price_version", "model_returned", "model_requested", "cost_usd"]]
    model = calls["model_returned"].fillna(calls["model_requested"])
    rows = []
    groups = calls.groupby([calls["cost_basis"].fillna("unknown"), calls["price_version"].fillna(""), model], sort=True)
    for (basis, version, name), group in groups:
        rows.append(PriceUsed(str(basis), str(version) or None, str(name), len(group), int(group["cost_usd"].isna().sum())))
    return rows


def manifest(run: Run) -> list[tuple[str, str]]:
    """The manifest as (path, text) pairs."""
    return [(name, text) for name, text in flat(run.manifest) if text != ""]


def experiment_text(run: Run) -> str:
    """The resolved experiment as YAML."""
    import yaml

    return str(yaml.safe_dump(run.experiment, sort_keys=False, allow_unicode=True, width=110))


def fingerprints(run: Run) -> list[tuple[str, int]]:
    """Pipeline fingerprint -> cells; more than one means that prompts or flow changed between cells."""
    cells_by_fingerprint = run.cells["pipeline_fingerprint"].fillna("unknown").value_counts()
    return [(str(name), int(count)) for name, count in cells_by_fingerprint.items()]


def snapshots(run: Run) -> tuple[int, int]:
    """(distinct snapshots, cases whose arms did not all see the same bytes)."""
    per_case = run.cells.groupby("case_id")["snapshot_sha256"].nunique()
    return int(run.cells["snapshot_sha256"].nunique()), int((per_case > 1).sum())


def again(run: Run) -> str:
    """The command that runs it again."""
    file = run.record.experiment_file or f"experiments/{run.settings.name or 'EXPERIMENT'}.yaml"
    return run.record.command or f"python -m harness run {file}"


def _played(arm: str, provider: str, requested: str, group: pd.DataFrame, params: str) -> Played:
    digests = group["model_digest"].dropna().unique()
    context = group["context_window"].min()
    return Played(
        arm=arm,
        provider=provider,
        requested=requested,
        returned=tuple(sorted(map(str, group["model_returned"].dropna().unique()))),
        digest=" and ".join(map(str, digests)) if len(digests) else None,
        params=params,
        context=int(context) if context == context else None,
        truncated=int(group["truncated"].fillna(False).astype(bool).sum()),
        calls=len(group),
    )


class _Parameters:
    """Parameters of several requests; as text constant ones with their value, the others by name."""

    def __init__(self) -> None:
        self._requests = 0
        self._values: dict[str, set[str]] = {}
        self._uses = Counter[str]()

    def add(self, parameters: Mapping[str, Any]) -> None:
        self._requests += 1
        self._uses.update(parameters.keys())
        for name, value in parameters.items():
            self._values.setdefault(name, set()).add(json.dumps(value, sort_keys=True))

    def __str__(self) -> str:
        return ", ".join(f"{name} {self._shown(name)}" for name in sorted(self._values))

    def _shown(self, name: str) -> str:
        distinct = self._values[name] | ({"null"} if self._uses[name] < self._requests else set())
        return next(iter(distinct)).strip('"') if len(distinct) == 1 else f"({len(distinct)} values)"


def _sent_parameters(run: Run) -> Mapping[tuple[str, str, str], _Parameters]:
    """(arm, provider, model) -> the parameters sent."""
    sent: dict[tuple[str, str, str], _Parameters] = defaultdict(_Parameters)
    for piece in run.pieces("calls", ["kind", "arm", "provider", "model_requested", "params"]):
        distinct = piece[~piece["kind"].isin(OTHER_KINDS)].drop_duplicates()
        for _, arm, provider, requested, text in distinct.itertuples(index=False):
            if isinstance(parsed := _json(text) if isinstance(text, str) else None, Mapping):
                sent[str(arm), str(provider), str(requested)].add(parsed)
    return sent


def _json(text: str) -> Any:
    try:
        return decode_json(text)
    except ValueError:
        return None


def flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Everything in a nested mapping with its path, as text."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        yield name, ", ".join(str(item) for item in value)
    else:
        yield name, "" if value is None else str(value)
