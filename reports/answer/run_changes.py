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
    """One difference between the runs."""

    what: str
    before: str
    after: str


@dataclass(frozen=True)
class Group:
    """Changes of one kind; `same` is the sentence for no changes."""

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
    """Compare two run folders. Raises NoRun."""
    before, after = load(first), load(second)
    numbers = [find(run) if len(run.measured_cells) else None for run in (before, after)]
    groups = (
        Group("Verdicts", "Every verdict is the same.", tuple(_verdicts(*numbers))),
        Group(
            "Figures",
            "Every figure and interval of a declared metric, and what a usable decision costs, is the same.",
            tuple(_figures(*numbers)),
        ),
        Group("Decisions", "No case is in both runs.", tuple(_decisions(before, after))),
        Group("Models as they answered", "The same models answered, with the same digests.", tuple(_models(before, after))),
        Group("Prices", "The same price tables were used.", tuple(_prices(before, after))),
        Group("Prompts and flow", "The fingerprints are equal.", tuple(_fingerprints(before, after))),
        Group("Terms of the experiment", "The experiment is the same.", tuple(_terms(before, after))),
        Group("Versions and machine", "Both ran on the same versions.", tuple(_manifest(before, after))),
    )
    return Changes(after.name, before.run_id, after.run_id, groups)


def as_text(changes: Changes) -> str:
    """The changes as text for a terminal."""
    lines = [f"{changes.experiment}: what changed from {changes.before} to {changes.after}"]
    for group in changes.groups:
        lines.append(f"\n{group.title}")
        lines += [f"  {c.what}: {c.before} -> {c.after}" for c in group.changes] or [f"  {group.same}"]
    return "\n".join(lines)


def _verdicts(before: Findings | None, after: Findings | None) -> Iterator[Change]:
    for name, arm in _pairs(before, after):
        old, new = (_verdict(findings, name, arm) for findings in (before, after))
        if old != new:
            yield Change(f"{arm}, {_title(after, before, name)}", old, new)


def _figures(before: Findings | None, after: Findings | None) -> Iterator[Change]:
    """Cost per usable decision and every declared metric, for arms whose figure or interval changed."""
    for name, arm in _pairs(before, after, with_baseline=True):
        old, new = (_figure(findings, name, arm) for findings in (before, after))
        if old != new:
            yield Change(f"{arm}, {_title(after, before, name)}", old, new)


def _pairs(*both_findings: Findings | None, with_baseline: bool = False) -> list[tuple[str, str]]:
    present = [findings for findings in both_findings if findings is not None]
    names = dict.fromkeys(["cost", *(row.metric.name for findings in present for row in findings.declared)])
    arms = dict.fromkeys(arm for findings in present for arm in findings.arms if with_baseline or arm != findings.baseline)
    return [(name, arm) for name in names for arm in arms]


def _verdict(findings: Findings | None, name: str, arm: str) -> str:
    if findings is None or findings.is_interim:
        return "none: the run is unfinished"
    verdict = findings.verdict(name, arm)
    if verdict is None:
        return "not judged"
    comparison = findings.row(name).comparisons[arm]
    return wording.verdict(findings.row(name).metric, comparison.scale, verdict).partition(" (")[0]


def _figure(findings: Findings | None, name: str, arm: str) -> str:
    row = next((row for row in findings.rows if row.metric.name == name), None) if findings else None
    estimate = row.values.get(arm) if row else None
    if row is None or estimate is None or not known(estimate.value):
        return "not measured"
    return wording.range_of(row.metric, estimate)


def _title(after: Findings | None, before: Findings | None, name: str) -> str:
    rows = [row for findings in (after, before) if findings for row in findings.rows if row.metric.name == name]
    return rows[0].metric.title if rows else name


def _decisions(before: Run, after: Run) -> Iterator[Change]:
    """Cells asked in both runs: how many ratings are not what they were."""
    keys = ["case_id", "arm", "repeat"]
    both = before.cells.merge(after.cells, on=keys, suffixes=("_before", "_after"))
    for arm, group in both.groupby("arm", sort=False):
        old, new = group["rating_before"].fillna("none"), group["rating_after"].fillna("none")
        sentence = f"{int((old != new).sum())} of {len(group)} have another rating"
        reused = int((group["run_id_before"] == group["run_id_after"]).sum())
        yield Change(
            str(arm), f"{len(group)} cells in both", sentence + (f"; {reused} were reused, not run again" if reused else "")
        )


def _models(before: Run, after: Run) -> Iterator[Change]:
    old, new = ({(p.arm, p.requested): p for p in provenance.models(run)} for run in (before, after))
    for key in dict.fromkeys([*old, *new]):
        texts = [_model(played.get(key)) for played in (old, new)]
        if texts[0] != texts[1]:
            yield Change(f"{key[0]}, {key[1]}", *texts)


def _model(played: provenance.Played | None) -> str:
    if played is None:
        return "not asked"
    digest = f", digest {played.digest[:16]}" if played.digest else ""
    return (" and ".join(played.returned) or "name not reported") + digest


def _prices(before: Run, after: Run) -> Iterator[Change]:
    old, new = (_price_of(run) for run in (before, after))
    for model in dict.fromkeys([*old, *new]):
        texts = [prices.get(model, "not asked") for prices in (old, new)]
        if texts[0] != texts[1]:
            yield Change(model, *texts)


def _price_of(run: Run) -> dict[str, str]:
    """Return model -> its price tables and its average price per million tokens."""
    calls = run.pipeline_calls
    model = calls["model_requested"]
    tokens = (calls["input_tokens"] + calls["output_tokens"]).where(calls["cost_usd"].notna())
    sums = {
        str(name): (cost, float(tokens[group.index].sum())) for name, group in calls.groupby(model) if (cost := _sum(group))
    }
    tables = calls.groupby(model)["price_version"].agg(lambda versions: ", ".join(sorted(set(versions.dropna()))) or "no table")
    price_by_model = {}
    for name, table in tables.items():
        cost, count = sums.get(str(name), (None, 0.0))
        price_by_model[str(name)] = f"{table}; " + (
            f"{usd_text(cost / count * 1e6)} per million tokens" if cost and count else "price unknown"
        )
    return price_by_model


def _sum(group: Any) -> float | None:
    value = group["cost_usd"].sum(min_count=1)
    return float(value) if known(value) else None


def _fingerprints(before: Run, after: Run) -> Iterator[Change]:
    old, new = (sorted(name for name, _ in provenance.fingerprints(run)) for run in (before, after))
    if old != new:
        yield Change("pipeline fingerprint", ", ".join(old), ", ".join(new))


def _terms(before: Run, after: Run) -> Iterator[Change]:
    yield from _mappings(*({k: v for k, v in run.experiment.items() if k not in _NOT_TERMS} for run in (before, after)))


def _manifest(before: Run, after: Run) -> Iterator[Change]:
    versions = [{k: v for k, v in run.manifest.items() if k not in _NOT_VERSIONS} for run in (before, after)]
    yield from _mappings(*versions)


def _mappings(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    old, new = (dict(provenance.flat(value)) for value in (before, after))
    for name in dict.fromkeys([*old, *new]):
        texts: Sequence[str] = [mapping.get(name) or "not set" for mapping in (old, new)]
        if texts[0] != texts[1]:
            yield Change(name.replace("_", " "), *texts)
