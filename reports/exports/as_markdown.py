"""Markdown of a run, in the size of a pull request comment: verdicts, takeaways, caveats, gates."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from reports import gates
from reports.answer import brief, wording
from reports.answer.findings import find
from reports.answer.found import Findings
from reports.figures import known
from reports.visible import plain

if TYPE_CHECKING:
    from reports.answer.found import Row
    from reports.load import Run

COMMENT_LIMIT = 60_000
"""Characters of a Markdown export; a pull request comment may hold 65,536."""


def to_markdown(run: Run) -> str:
    """The answer in the size of a pull request comment: verdicts, takeaways, caveats, gates."""
    found = find(run) if len(run.judged) else None
    lines = [f"## {_md(str(run.experiment.get('name') or run.run_id))}: is there much of a difference?", ""]
    lines += [f"Run `{_md(run.run_id)}`, baseline **{_md(str(run.declared.baseline))}**, {len(run.cells):,} cells.", ""]
    if run.is_interim:
        lines += ["**Interim: the run is not finished; whole cases only, no verdicts.**", ""]
    if found is None:
        return "\n".join([*lines, "No whole case has ended yet.", ""])
    lines += list(_md_answer(found))
    lines += list(_md_arms(run, found))
    for title, sentences in (
        ("Takeaways", [t.text for t in found.takeaways]),
        ("Keep in mind", found.caveats),
        ("Gates", [str(gate) for gate in gates.check(run, found)]),
    ):
        if sentences:
            lines += ["", f"### {title}", "", *(f"- {_md(sentence)}" for sentence in sentences)]
    text = "\n".join([*lines, ""])
    return text if len(text) <= COMMENT_LIMIT else text[:COMMENT_LIMIT].rpartition("\n")[0] + "\n\n(cut here)\n"


def _md_answer(found: Findings) -> Iterator[str]:
    """What the page says first: over all arms, then arm by arm."""
    if said := brief.headline(found):
        yield from (f"**{_md(said)}**", "")
    for one in brief.briefs(found):
        yield f"- **{_md(one.arm)}**: {_md(one.text)}"
    yield ""


def _md_arms(run: Run, found: Findings) -> Iterator[str]:
    asked = [row for row in found.rows if row.is_declared and row.metric.name != "cost_per_usable"]
    rows = [found.row("cost_per_usable"), *asked]
    yield "| endpoint | " + " | ".join(map(_md, found.arms)) + " |"
    yield "|---|" + "---|" * len(found.arms)
    for row in rows:
        yield f"| {_md(row.metric.title)} | " + " | ".join(_md(_md_cell(row, arm)) for arm in found.arms) + " |"


def _md_cell(row: Row, arm: str) -> str:
    estimate, comparison = row.values.get(arm), row.comparisons.get(arm)
    text = "not measured" if estimate is None or not known(estimate.value) else wording.range_of(row.metric, estimate)
    if comparison is not None and comparison.verdict is not None:
        text += ": " + wording.verdict(row.metric, comparison.scale, comparison.verdict).partition(" (")[0]
    return text


def _md(text: str) -> str:
    """Text that Markdown and HTML leave alone: no markup, no mention, no link, one line."""
    one_line = re.sub(r"\s+", " ", plain(text))
    escaped = re.sub(r"([\\`*_{}\[\]<>#|~!])", r"\\\1", one_line)
    return escaped.replace("@", "@\u200b").replace("://", ":\u200b//").replace("&", "&amp;")
