"""What changed between two runs: differences over the common cases, verdicts, models, prices, prompts, settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reports.answer import paired_runs, wording
from reports.answer.findings import Findings, find
from reports.answer.paired_runs import PairedDifference
from reports.format import known
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
    is_detail: bool = False
    """Hashes and versions: shown when asked for."""


@dataclass(frozen=True)
class Changes:
    """Everything that changed from one run to another."""

    experiment: str
    before: str
    after: str
    """Ids of the runs."""
    summary: str
    """What a reader wants to know first."""
    paired: tuple[PairedDifference, ...]
    """Over the cases that are in both runs."""
    groups: tuple[Group, ...]


def between(first: str, second: str) -> Changes:
    """Compare two run folders. Raises NoRun."""
    before, after = load(first), load(second)
    numbers = [find(run) if len(run.measured_cells) else None for run in (before, after)]
    groups = (
        Group("Verdicts", "Every verdict is the same.", tuple(_verdicts(*numbers))),
        Group("Models as they answered", "The same models answered, with the same digests.", tuple(_models(before, after))),
        Group("Prices", "The same price tables were used.", tuple(_prices(before, after))),
        Group("Prompts and flow", "Prompts and flow are the same.", tuple(_fingerprints(before, after))),
        Group("Settings of the experiment", "The experiment is the same.", tuple(_terms(before, after))),
        Group(
            "Figures over all cases of each run",
            "Every figure and interval of a declared metric is the same.",
            tuple(_figures(*numbers)),
            is_detail=True,
        ),
        Group("Versions and machine", "Both ran on the same versions.", tuple(_manifest(before, after)), is_detail=True),
    )
    summary = _summary(before, after, groups)
    return Changes(after.name, before.run_id, after.run_id, summary, paired_runs.differences(before, after), groups)


def _summary(before: Run, after: Run, groups: Sequence[Group]) -> str:
    """Cases in common, verdicts that changed, and what else did."""
    counts = [run.measured_cells["case_id"].nunique() for run in (before, after)]
    common = len(set(before.measured_cells["case_id"]) & set(after.measured_cells["case_id"]))
    verdicts = len(groups[0].changes)
    changed = [group.title.lower() for group in groups[1:] if group.changes and not group.is_detail]
    same = [group.title.lower() for group in groups[1:] if not group.changes and not group.is_detail]
    sentences = [
        f"{common:,} {'case is' if common == 1 else 'cases are'} in both runs ({counts[0]:,} before, {counts[1]:,} after)",
        "no verdict changed" if not verdicts else f"{verdicts} {'verdict' if verdicts == 1 else 'verdicts'} changed",
    ]
    if changed:
        sentences.append(f"different: {', '.join(changed)}")
    if same:
        sentences.append(f"the same: {', '.join(same)}")
    return "; ".join(sentences) + "."


def as_text(changes: Changes, is_full: bool = False) -> str:
    """The changes as text for a terminal; hashes and versions only in full."""
    lines = [f"{changes.experiment}: {changes.after} against {changes.before}", changes.summary]
    if changes.paired:
        lines += ["", f"Differences over the common cases, {changes.after} minus {changes.before} [95 % interval]"]
        lines += _columns([paired_runs.HEAD, *(difference.words for difference in changes.paired)])
        lines += [f"  {note}" for note in paired_runs.NOTES]
    else:
        lines += ["", "No case is in both runs, so nothing can be compared pair by pair."]
    for group in changes.groups:
        if group.changes and (is_full or not group.is_detail):
            lines += ["", group.title, *(f"  {c.what}: {c.before} -> {c.after}" for c in group.changes)]
    hidden = sum(len(group.changes) for group in changes.groups if group.is_detail)
    if hidden and not is_full:
        lines += ["", f"{hidden} more {'line' if hidden == 1 else 'lines'} on figures of each run, versions and hashes: --full"]
    return "\n".join(lines)


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  " + "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]


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


def _models(before: Run, after: Run) -> Iterator[Change]:
    """Arms of both runs whose models answered under other names, or under the same names with other weights."""
    old, new = (_played(run) for run in (before, after))
    for arm in [arm for arm in new if arm in old]:
        names = [sorted(of_run[arm]) for of_run in (old, new)]
        if names[0] != names[1]:
            yield Change(arm, *(" and ".join(of_run) for of_run in names))
        elif old[arm] != new[arm]:
            reweighted = [name for name in names[0] if old[arm][name] != new[arm][name]]
            yield Change(arm, " and ".join(reweighted), "the same names, other weights (digests)")


def _played(run: Run) -> dict[str, dict[str, str]]:
    """arm -> name of a model that answered -> its digest."""
    models: dict[str, dict[str, str]] = {}
    for played in provenance.models(run):
        for name in played.returned or (f"{played.requested} (name not reported)",):
            models.setdefault(played.arm, {})[name] = played.digest or ""
    return models


def _prices(before: Run, after: Run) -> Iterator[Change]:
    """Models whose price table changed; what a million tokens cost on average depends on their mix, not on prices."""
    old, new = (_price_tables(run) for run in (before, after))
    for model in [name for name in old if name in new]:
        if old[model] != new[model]:
            yield Change(model, old[model], new[model])


def _price_tables(run: Run) -> dict[str, str]:
    calls = run.pipeline_calls
    versions = calls.groupby(calls["model_requested"])["price_version"]
    return {str(model): ", ".join(sorted(set(of_model.dropna()))) or "no table" for model, of_model in versions}


def _fingerprints(before: Run, after: Run) -> Iterator[Change]:
    old, new = _fingerprint(before), _fingerprint(after)
    if old != new:
        yield Change("roles, prompts, forms or flow", "one version", "another version")


def _fingerprint(run: Run) -> str:
    return ", ".join(sorted(name for name, _ in provenance.fingerprints(run)))


def _terms(before: Run, after: Run) -> Iterator[Change]:
    terms = [{k: v for k, v in run.experiment.items() if k not in _NOT_TERMS} for run in (before, after)]
    lists = [name for name in dict.fromkeys([*terms[0], *terms[1]]) if all(_is_list(of_run.get(name)) for of_run in terms)]
    for name in lists:
        old, new = ([str(value) for value in of_run.pop(name)] for of_run in terms)
        if old != new:
            yield Change(name.replace("_", " "), _apart(old, new), _apart(new, old))
    yield from _mappings(*terms)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(item, list | dict) for item in value)


def _apart(values: Sequence[str], others: Sequence[str]) -> str:
    """A list by what it has and the other has not."""
    own = [value for value in values if value not in others]
    words = ", ".join(own[:6]) + (f" and {len(own) - 6} more" if len(own) > 6 else "")
    shared = len(values) - len(own)
    return " and ".join(part for part in (f"{shared} in both" if shared else "", words) if part) or "none"


def _manifest(before: Run, after: Run) -> Iterator[Change]:
    versions = [{k: v for k, v in run.manifest.items() if k not in _NOT_VERSIONS} for run in (before, after)]
    fingerprints = [{"pipeline fingerprint": _fingerprint(run)} for run in (before, after)]
    yield from _mappings(*(of_run | named for of_run, named in zip(versions, fingerprints, strict=True)))


def _mappings(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    old, new = (dict(provenance.flat(value)) for value in (before, after))
    for name in dict.fromkeys([*old, *new]):
        texts: Sequence[str] = [mapping.get(name) or "not set" for mapping in (old, new)]
        if texts[0] != texts[1]:
            yield Change(name.replace("_", " "), *texts)
