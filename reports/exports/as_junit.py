"""JUnit of a run, for CI: a test per cell, a suite per arm, and one for the gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from domain.ratings import RATINGS
from reports import gates, grid
from reports.answer.findings import find
from reports.figures import known
from reports.visible import plain

if TYPE_CHECKING:
    from reports.load import Run


def to_junit(run: Run) -> str:
    """A test suite per arm with a test per cell, and one for the gates; a cell without a usable decision fails."""
    root = ET.Element("testsuites", name=str(run.experiment.get("name") or run.run_id))
    declared = gates.check(run, find(run)) if len(run.judged) else []
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
    """Why a cell has no usable decision; empty when it has one."""
    word = grid.word(cell["rating"], cell["status"], cell["decision_status"])
    if word in RATINGS:
        return ""
    return f"{word}: {cell['error']}" if isinstance(cell["error"], str) else f"no usable decision: {word}"


def _xml(text: str) -> str:
    """XML 1.0 has no place for control characters, not even escaped."""
    return plain(text).replace("\ufffe", "[U+FFFE]").replace("\uffff", "[U+FFFF]")


def _seconds(value: Any) -> float:
    return float(value) if known(value) else 0.0
