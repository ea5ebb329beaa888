"""Figures that stand side by side come from the same cases: own - baseline is the difference, in findings, exports and page."""

from __future__ import annotations

import json
import math
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from reports import Run, load
from reports.answer import table
from reports.answer.findings import Findings, find
from reports.exports.tabular import to_json
from reports.page.render import render
from tests.reports.synthetic import FakeArm, make_run, make_tables, sessions

ARMS = {
    "base": FakeArm(unparsed=0.05),
    "twin": FakeArm(unparsed=0.02, skip=("AAPL@2025-09-02", "JPM@2025-10-01")),
    "cheap": FakeArm("llama3.1:8b", "ollama", 0.02, 200.0, unparsed=0.2, noise=1.2),
    "once": FakeArm(repeats=1, failing=0.2),
    "broken": FakeArm("x", "ollama", failing=1.0),
    "macd": FakeArm(rule="macd", cost_usd=0.0),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return load(make_tables(tmp_path_factory.mktemp("fit") / "r", arms=ARMS, repeats=3, dates=sessions("2025-09-02", 14)))


@pytest.fixture(scope="module")
def findings(run: Run) -> Findings:
    return find(run)


def test_own_figure_and_baseline_give_the_difference_over_the_same_cases(findings: Findings) -> None:
    checked = 0
    for row in findings.rows:
        for comparison in row.comparisons.values():
            value, own, base = comparison.estimate.value, comparison.own, comparison.base
            if not math.isfinite(value):
                continue
            expected = own.value / base.value if comparison.scale == "ratio" else own.value - base.value
            assert expected == pytest.approx(value, abs=1e-9), (row.metric.name, comparison.arm)
            if row.metric.kind != "quantile":
                assert own.cases == base.cases == comparison.estimate.cases, (row.metric.name, comparison.arm)
            checked += 1
    assert checked > 80


def test_figures_of_the_exports_fit_too(run: Run) -> None:
    for metric in json.loads(to_json(run))["endpoints"]:
        for arm, shown in metric["comparisons"].items():
            if shown["value"] is not None:
                expected = _apart(shown["own"]["value"], shown["base"]["value"], shown["scale"])
                assert expected == pytest.approx(shown["value"], abs=1e-9), (metric["name"], arm)


def test_the_answer_fits_where_arms_have_different_cases(run: Run, findings: Findings) -> None:
    """Own figure minus the baseline's, of its line or as "from ...", is the difference that is shown."""
    base, *others = table.lines(run, findings)
    notes = []
    for line in others:
        for name in ("same", "opposite"):
            shown = getattr(line, name)
            if shown.text and shown.note[:1] in "+\u22120123456789":
                note = shown.note.replace("\u2212", "-")
                from_ = note.partition(" from ")[2] or getattr(base, name).text
                assert _number(shown.text) - _number(from_) == pytest.approx(_number(note), abs=0.11), (line.arm, name)
                notes.append(note)
    assert len(notes) >= 6
    assert any(" from " in note for note in notes)


def _number(text: str) -> float:
    return float(re.findall(r"[-+]?\d+(?:\.\d+)?", text)[0])


def test_intervals_stay_inside_what_a_figure_can_be(findings: Findings) -> None:
    for row in findings.rows:
        low, high = row.metric.range
        for figure in row.values.values():
            if math.isfinite(figure.low):
                assert low <= figure.low <= figure.high <= high, row.metric.name
        for comparison in row.comparisons.values():
            if comparison.scale == "difference" and math.isfinite(comparison.estimate.low):
                least, most = row.metric.range_of_differences
                assert least <= comparison.estimate.low <= comparison.estimate.high <= most, row.metric.name
    for one in findings.similarities.values():
        assert not one.kappa.low < -1
        assert not one.kappa.high > 1


def test_an_arm_without_a_usable_decision_has_no_better_cost(findings: Findings) -> None:
    comparison = findings.row("cost").comparisons["broken"]
    assert comparison.verdict is not None
    assert comparison.verdict.word == "undecided"
    assert "no usable decision" in comparison.verdict.reason
    assert (findings.counts["broken"].usable, findings.counts["broken"].unusable) == (0, 126)


def test_figures_beside_a_difference_on_the_page_fit_to_their_last_digit(tmp_path: Path) -> None:
    arms = {name: ARMS[name] for name in ("base", "twin", "cheap")}
    folder = make_run(tmp_path / "r", arms=arms, repeats=3, dates=sessions("2025-09-02", 6), words=6)
    html = Path(render(folder, 1)).read_text(encoding="utf-8")
    found = find(load(folder))
    checked = 0
    for row in found.judged:
        if row.metric.unit != "share":
            continue
        for comparison in row.comparisons.values():
            shown = _row_of(html, row.metric.title, comparison.arm)
            if shown is None or not math.isfinite(comparison.estimate.value):
                continue
            own, base, apart = shown
            assert own - base == pytest.approx(apart, abs=0.6), (row.metric.name, comparison.arm)
            checked += 1
    assert checked >= 4


def _apart(own: float, base: float, scale: str) -> float:
    return own / base if scale == "ratio" else own - base


def _row_of(html: str, title: str, arm: str) -> tuple[float, float, float] | None:
    """Own figure and baseline in per cent and their difference in points, as the table of measures shows them."""
    table = html.partition('id="judged"')[2].partition("</table>")[0]
    for line in table.split("<tr")[1:]:
        cells: list[Any] = re.findall(r"<t[hd].*?</t[hd]>", line, flags=re.S)
        words = [unescape(re.sub(r"<[^>]+>", " ", cell)).replace("\u202f", " ").replace("\u2212", "-") for cell in cells]
        if words and words[0].split("  ")[0].strip().startswith(title) and arm in words[1].split():
            figures = [re.search(r"[-+]?\d[\d.,]*", word) for word in words[2:5]]
            if all(figures):
                own, base, apart = (float(figure[0]) for figure in figures if figure)
                return own, base, apart
    return None
