"""What changed between two runs: terms, prompts, models, prices, figures, verdicts, decisions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reports.answer import wording
from reports.answer.findings import Findings, find
from reports.format import known, usd_text
from reports.load import load
from reports.trust import provenance

if TYPE_CHECKING:
    from reports.load import Run

_NOT_TERMS = frozenset({"name", "budget", "cell_limit", "gates"})
_NOT_VERSIONS = (
    "run_id",
    "started_at",
    "finished_at",
    "cells",
    "state",
    "status",
    "experiment",
    "asked",
    "command",
    "shutdowns",
)


@dataclass(frozen=True)
class Change:
    """One thing that is not as it was."""

    what: str
    before: str
    after: str


@dataclass(frozen=True)
class Group:
    """Changes of one sort; `same` says what did not change when there are none."""

    title: str
    same: str
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Changes:
    """Everything that changed from one run to another."""

    experiment: str
    before: str
    after: str
    """Ids of the runs."""
    groups: tuple[Group, ...]


def between(first: str, second: str) -> Changes:
    """What changed from the first run (its folder) to the second. Raises NoRun."""
    before, after = load(first), load(second)
    numbers = [find(run) if len(run.judged) else None for run in (before, after)]
    groups = (
        Group("Verdicts", "Every verdict is as it was.", tuple(_verdicts(*numbers))),
        Group(
            "Figures",
            "Every figure and interval of a declared endpoint, and what a usable decision costs, reads as it did.",
            tuple(_figures(*numbers)),
        ),
        Group("Decisions", "No case was asked in both runs.", tuple(_decisions(before, after))),
        Group("Models as they answered", "The same models answered, with the same digests.", tuple(_models(before, after))),
        Group("Prices", "The same price tables were used.", tuple(_prices(before, after))),
        Group("Prompts and flow", "The fingerprints are equal.", tuple(_fingerprints(before, after))),
        Group("Terms of the experiment", "The experiment says the same.", tuple(_terms(before, after))),
        Group("Versions and machine", "Both ran on the same versions.", tuple(_manifest(before, after))),
    )
    return Changes(str(after.experiment.get("name") or after.run_id), before.run_id, after.run_id, groups)


def as_text(found: Changes) -> str:
    """The same for a terminal."""
    lines = [f"{found.experiment}: what changed from {found.before} to {found.after}"]
    for group in found.groups:
        lines.append(f"\n{group.title}")
        lines += [f"  {c.what}: {c.before} -> {c.after}" for c in group.changes] or [f"  {group.same}"]
    return "\n".join(lines)


def _verdicts(before: Findings | None, after: Findings | None) -> Iterator[Change]:
    for name, arm in _pairs(before, after):
        one, two = (_verdict(found, name, arm) for found in (before, after))
        if one != two:
            yield Change(f"{arm}, {_title(after, before, name)}", one, two)


def _figures(before: Findings | None, after: Findings | None) -> Iterator[Change]:
    """What a usable decision costs and every declared endpoint, of every arm whose figure or interval reads differently."""
    for name, arm in _pairs(before, after, with_baseline=True):
        one, two = (_figure(found, name, arm) for found in (before, after))
        if one != two:
            yield Change(f"{arm}, {_title(after, before, name)}", one, two)


def _pairs(*found: Findings | None, with_baseline: bool = False) -> list[tuple[str, str]]:
    there = [one for one in found if one is not None]
    names = dict.fromkeys(["cost_per_usable", *(row.metric.name for one in there for row in one.declared)])
    arms = dict.fromkeys(arm for one in there for arm in one.arms if with_baseline or arm != one.baseline)
    return [(name, arm) for name in names for arm in arms]


def _verdict(found: Findings | None, name: str, arm: str) -> str:
    if found is None or found.is_interim:
        return "none: the run is unfinished"
    given = found.verdict(name, arm)
    if given is None:
        return "not judged"
    comparison = found.row(name).comparisons[arm]
    return wording.verdict(found.row(name).metric, comparison.scale, given).partition(" (")[0]


def _figure(found: Findings | None, name: str, arm: str) -> str:
    row = next((row for row in found.rows if row.metric.name == name), None) if found else None
    estimate = row.values.get(arm) if row else None
    if row is None or estimate is None or not known(estimate.value):
        return "not measured"
    return wording.range_of(row.metric, estimate)


def _title(after: Findings | None, before: Findings | None, name: str) -> str:
    rows = [row for found in (after, before) if found for row in found.rows if row.metric.name == name]
    return rows[0].metric.title if rows else name


def _decisions(before: Run, after: Run) -> Iterator[Change]:
    """Cells asked in both runs: how many ratings are not what they were."""
    keys = ["case_id", "arm", "repeat"]
    both = before.cells.merge(after.cells, on=keys, suffixes=("_before", "_after"))
    for arm, group in both.groupby("arm", sort=False):
        one, two = group["rating_before"].fillna("none"), group["rating_after"].fillna("none")
        told = f"{int((one != two).sum())} of {len(group)} have another rating"
        reused = int((group["run_id_before"] == group["run_id_after"]).sum())
        yield Change(
            str(arm), f"{len(group)} cells in both", told + (f"; {reused} were reused, not asked again" if reused else "")
        )


def _models(before: Run, after: Run) -> Iterator[Change]:
    one, two = ({(p.arm, p.asked): p for p in provenance.models(run)} for run in (before, after))
    for key in dict.fromkeys([*one, *two]):
        texts = [_model(found.get(key)) for found in (one, two)]
        if texts[0] != texts[1]:
            yield Change(f"{key[0]}, {key[1]}", *texts)


def _model(played: provenance.Played | None) -> str:
    if played is None:
        return "not asked"
    digest = f", digest {played.digest[:16]}" if played.digest else ""
    return (" and ".join(played.returned) or "name not told") + digest


def _prices(before: Run, after: Run) -> Iterator[Change]:
    one, two = (_price_of(run) for run in (before, after))
    for model in dict.fromkeys([*one, *two]):
        texts = [found.get(model, "not asked") for found in (one, two)]
        if texts[0] != texts[1]:
            yield Change(model, *texts)


def _price_of(run: Run) -> dict[str, str]:
    """model -> its price tables, and what a thousand of its tokens came to."""
    calls = run.pipeline_calls
    model = calls["model_requested"]
    tokens = (calls["input_tokens"] + calls["output_tokens"]).where(calls["cost_usd"].notna())
    sums = {
        str(name): (cost, float(tokens[group.index].sum())) for name, group in calls.groupby(model) if (cost := _sum(group))
    }
    tables = calls.groupby(model)["price_version"].agg(lambda found: ", ".join(sorted(set(found.dropna()))) or "no table")
    told = {}
    for name, table in tables.items():
        cost, count = sums.get(str(name), (None, 0.0))
        told[str(name)] = f"{table}; " + (
            f"{usd_text(cost / count * 1e6)} per million tokens" if cost and count else "price unknown"
        )
    return told


def _sum(group: Any) -> float | None:
    value = group["cost_usd"].sum(min_count=1)
    return float(value) if known(value) else None


def _fingerprints(before: Run, after: Run) -> Iterator[Change]:
    one, two = (sorted(name for name, _ in provenance.fingerprints(run)) for run in (before, after))
    if one != two:
        yield Change("pipeline fingerprint", ", ".join(one), ", ".join(two))


def _terms(before: Run, after: Run) -> Iterator[Change]:
    yield from _mappings(*({k: v for k, v in run.experiment.items() if k not in _NOT_TERMS} for run in (before, after)))


def _manifest(before: Run, after: Run) -> Iterator[Change]:
    kept = [{k: v for k, v in run.manifest.items() if k not in _NOT_VERSIONS} for run in (before, after)]
    yield from _mappings(*kept)


def _mappings(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    one, two = (dict(provenance.flat(value)) for value in (before, after))
    for name in dict.fromkeys([*one, *two]):
        texts: Sequence[str] = [found.get(name) or "not said" for found in (one, two)]
        if texts[0] != texts[1]:
            yield Change(name.replace("_", " "), *texts)
