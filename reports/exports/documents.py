"""JUnit for CI and Markdown for a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from domain.ratings import RATINGS
from reports import grid
from reports.answer import caveats, gates, sentences, table
from reports.answer.findings import Findings, find
from reports.format import known, plain, usd_text
from reports.money import breakdown
from reports.roles.likeness import likenesses

if TYPE_CHECKING:
    from reports.load import Run


def to_junit(run: Run) -> str:
    """A test suite per arm with a test per cell, and one for the gates; a cell without a usable decision fails."""
    root = ET.Element("testsuites", name=run.name)
    declared = gates.check(run, find(run)) if len(run.measured_cells) else []
    if declared:
        _suite(root, "gates", [(f"{g.name} {g.arm or ''}".strip(), 0.0, "" if g.is_passed else str(g)) for g in declared])
    for arm in run.arms:
        cells = run.cells[run.cells["arm"] == arm].to_dict("records")
        _suite(root, arm, [(f"{c['case_id']} repeat {c['repeat'] + 1}", _seconds(c["service_s"]), _trouble(c)) for c in cells])
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(root: ET.Element, name: str, tests: Sequence[tuple[str, float, str]]) -> None:
    failed = sum(bool(trouble) for _, _, trouble in tests)
    suite = ET.SubElement(root, "testsuite", name=_xml(name), tests=str(len(tests)), failures=str(failed), errors="0")
    for test, seconds, trouble in tests:
        case = ET.SubElement(suite, "testcase", classname=_xml(name), name=_xml(test), time=f"{seconds:.3f}")
        if trouble:
            ET.SubElement(case, "failure", message=_xml(trouble)[:500]).text = _xml(trouble)


def _trouble(cell: Mapping[Any, Any]) -> str:
    """Why a cell has no usable decision; empty if it has one."""
    word = grid.mark(cell["rating"], cell["status"], cell["decision_status"]).word
    if word in RATINGS:
        return ""
    return f"{word}: {cell['error']}" if isinstance(cell["error"], str) else f"no usable decision: {word}"


def _xml(text: str) -> str:
    """Text for XML 1.0, which allows no control characters, not even escaped."""
    return plain(text).replace("\ufffe", "[U+FFFE]").replace("\uffff", "[U+FFFF]")


def _seconds(value: Any) -> float:
    return float(value) if known(value) else 0.0


COMMENT_LIMIT = 60_000
"""Characters of a Markdown export; a pull request comment may hold 65,536."""


def to_markdown(run: Run) -> str:
    """The answer in the size of a pull request comment: verdicts, takeaways, caveats, gates."""
    findings = find(run) if len(run.measured_cells) else None
    lines = [f"## {escaped(run.name)}: is there much of a difference?", ""]
    lines += [f"Run `{escaped(run.run_id)}`, baseline **{escaped(str(run.baseline))}**, {len(run.cells):,} cells.", ""]
    bill = breakdown.whole_split(run)
    if bill.reused.of:
        lines += [f"Paid by this run: {_md_total(bill.paid)}; reused from earlier runs: {_md_total(bill.reused)}.", ""]
    if run.is_interim:
        lines += ["**Interim: the run is not finished; whole cases only, no verdicts.**", ""]
    if findings is None:
        return "\n".join([*lines, "No whole case has ended yet.", ""])
    lines += list(_md_answer(run, findings))
    for title, texts in (
        ("What the table does not show", [f"{one.lead} {one.text}" for one in _takeaways(run, findings)]),
        ("Before you rely on it", [one.sentence for one in caveats.caveats(run, findings)]),
        ("Gates", [str(gate) for gate in gates.check(run, findings)]),
    ):
        if texts:
            lines += ["", f"### {title}", "", *(f"- {escaped(text)}" for text in texts)]
    text = "\n".join([*lines, ""])
    return text if len(text) <= COMMENT_LIMIT else text[:COMMENT_LIMIT].rpartition("\n")[0] + "\n\n(cut here)\n"


def _takeaways(run: Run, findings: Findings) -> Sequence[sentences.Takeaway]:
    return sentences.takeaways(run, findings, [likeness.text for likeness in likenesses(run)])


def _md_total(total: breakdown.Total) -> str:
    if not total.is_whole:
        return "$0.00" if not total.of else "unknown" if total.value is None else f"at least {usd_text(total.value)}"
    return usd_text(total.value or 0.0)


def _md_answer(run: Run, findings: Findings) -> Iterator[str]:
    """The first screen of the page: two sentences and the table."""
    if not findings.is_interim:
        yield from (f"**Decisions:** {escaped(sentences.decisions(findings).text)}", "")
        if len(findings.arms) > 1:
            yield from (f"**Returns:** {escaped(sentences.returns(findings).text)}", "")
    head, *rows = table.text_rows(table.lines(run, findings))
    yield f"| {' | '.join(map(escaped, head))} |"
    yield "|---|" + "---:|" * (len(head) - 2) + "---|"
    yield from (f"| {' | '.join(map(escaped, row))} |" for row in rows)


def escaped(text: str) -> str:
    """Text on one line with Markdown, HTML, mentions and links escaped."""
    one_line = re.sub(r"\s+", " ", plain(text))
    escaped = re.sub(r"([\\`*_{}\[\]<>#|~!])", r"\\\1", one_line)
    return escaped.replace("@", "@\u200b").replace("://", ":\u200b//").replace("&", "&amp;")
