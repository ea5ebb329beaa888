"""Every export can be checked by hand: own figure - baseline is the difference, inside its interval, and the verdict agrees."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from reports import exports
from tests.reports.synthetic import FakeArm, make_run, sessions
from tests.reports.test_figures_fit import ARMS
from tests.reports.test_page_odd_runs import ODD

DECLARED = {
    "same_rating": {"margin": 0.1},
    "usable": {"margin": 0.1},
    "excess_return_5": {"margin": 0.005},
    "cost": {"margin": 0.1},
}
DAYS = sessions("2025-09-02", 6)
DIFFERENT_CASES: Mapping[str, Any] = {
    "arms": {
        "base": FakeArm(),
        "twin": FakeArm(skip=(f"AAPL@{DAYS[0]}", f"MSFT@{DAYS[0]}")),
        "few": FakeArm("m", "openai", 0.3, repeats=1, skip=tuple(f"AAPL@{day}" for day in DAYS)),
    },
    "repeats": 3,
    "dates": DAYS,
    "texts": False,
}
RUNS: Mapping[str, Mapping[str, Any]] = {
    **{name: ODD[name] for name in ("one date", "one repeat", "all Hold", "zero cost", "unknown costs")},
    "many arms": {
        "arms": ARMS,
        "repeats": 3,
        "dates": sessions("2025-09-02", 14),
        "compare": {"baseline": "base", "metrics": DECLARED},
        "texts": False,
    },
    "arms that met different cases": DIFFERENT_CASES,
    "unfinished": {**DIFFERENT_CASES, "state": "running", "expected_cells": 200},
}


@pytest.fixture(params=RUNS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(make_run(tmp_path / "r1", **{"words": 6, **RUNS[request.param]}))


def test_what_is_exported_of_a_run_fits_together(folder: str) -> None:
    metrics = json.loads(exports.export(folder, "json"))["endpoints"]
    compared = {(each["name"], arm): shown for each in metrics for arm, shown in each["comparisons"].items()}
    for (name, _), shown in compared.items():
        better = next(each["better"] for each in metrics if each["name"] == name)
        figures = [shown["own"]["value"], shown["base"]["value"], shown["value"], shown["low"], shown["high"]]
        check_difference(name, shown["scale"], *figures)
        if shown["verdict"]:
            check_verdict(name, shown["scale"], better, shown["verdict"]["word"], shown["verdict"]["margin"], *figures[2:])
    rows = list(csv.DictReader(io.StringIO(exports.export(folder, "csv", "endpoints"))))
    assert {(row["endpoint"], row["arm"]) for row in rows if row["scale"]} == set(compared)
    for row in rows:
        check_csv_row(row, compared.get((row["endpoint"], row["arm"])))
    check_answer(list(markdown_rows(exports.export(folder, "md"))), compared)
    check_decision(exports.export(folder, "decision"))


def check_difference(name: str, scale: str, own: Any, base: Any, value: Any, low: Any, high: Any) -> None:
    if value is None:
        assert low is high is None, name
        return
    assert (own / base if scale == "ratio" else own - base) == pytest.approx(value, abs=1e-9), name
    if low is not None and high is not None:
        assert low - 1e-9 <= value <= high + 1e-9, name


def check_verdict(name: str, scale: str, better: str, word: str, margin: Any, value: Any, low: Any, high: Any) -> None:
    """The word says no more than the interval beside it."""
    if word == "undecided":
        return
    assert value is not None, name
    nothing, most = (0.0, 0.0) if scale == "ratio" else (0.0, margin or 0.0)
    if scale == "ratio":
        low, high, most = math.log(low), math.log(high), math.log1p(margin or 0.0)
    if better == "lower":
        low, high = -high, -low
    expected = {
        "better": low > nothing,
        "worse": high < nothing,
        "not worse": low > -most,
        "equivalent": low > -most and high < most,
    }
    assert expected[word], (name, word, low, high, margin)


def check_csv_row(row: Mapping[str, str], compared: Mapping[str, Any] | None) -> None:
    """The columns fit one another, and are those of the JSON export."""
    numbers = [float(row[name]) if row[name] else None for name in ("own_compared", "baseline_compared", *DIFFERENCE)]
    if compared is None:
        assert numbers == 5 * [None], row
        return
    check_difference(row["endpoint"], row["scale"], *numbers)
    assert numbers[2:] == [compared["value"], compared["low"], compared["high"]]
    assert row["verdict"] == (compared["verdict"] or {}).get("word", "")


DIFFERENCE = ("difference", "difference_low", "difference_high")


def markdown_rows(text: str) -> Iterator[dict[str, str]]:
    """The lines of the answer, heading -> text."""
    plain = re.sub(r"\\(.)", r"\1", text).replace("\u202f", " ").replace("\u2212", "-")
    head, _, *rows = [line.strip("| ").split(" | ") for line in plain.splitlines() if line.startswith("|")] or [[], []]
    for row in rows:
        assert len(row) == len(head), row
        yield dict(zip(head, row, strict=True))


def check_answer(rows: list[dict[str, str]], compared: Mapping[tuple[str, str], Any]) -> None:
    """The table of Markdown and of the terminal, to its last digit."""
    for row in rows[1:]:
        check_saved(row, rows[0])
        shown = compared.get(("same_rating", row["arm"]))
        if match := re.fullmatch(SAME, row["same rating"]):
            own, apart, low, high, other_base = (None if text is None else float(text) for text in match.groups())
            base = number(rows[0]["same rating"]) if other_base is None else other_base
            assert own is not None
            assert apart is not None
            assert low is not None
            assert high is not None
            assert own - base == pytest.approx(apart, abs=0.11), row
            assert low <= apart <= high, row
            check_bound(row["in short"], low, high)
        else:
            assert "(" not in row["same rating"], "a form that this test does not read"
            assert not shown or shown["low"] is None or shown["verdict"] is None, row


SAME = r"([\d.]+) % \(([-+]?[\d.]+) \[([-+]?[\d.]+) to ([-+]?[\d.]+)\](?: from ([\d.]+) %)?\)"


def check_saved(row: Mapping[str, str], base: Mapping[str, str]) -> None:
    """Saved per cent of the two costs that the reader sees: in its own cell, else those of the two lines."""
    match = re.fullmatch(r"(-?[\d.,]+) %(?: \(\$([\d.,]+) from \$([\d.,]+)\))?", row["saved"])
    if match is None:
        assert row["saved"] in ("unknown", "\u2013"), row
        return
    texts = match.groups()[1:] if match[2] else (row["per 1,000"].lstrip("$"), base["per 1,000"].lstrip("$"))
    own, dear = (float(text.replace(",", "")) for text in texts)
    slack = 100 * (last_digit(texts[0]) + own / dear * last_digit(texts[1])) / dear + last_digit(match[1])
    assert 100 * (1 - own / dear) == pytest.approx(float(match[1].replace(",", "")), abs=slack), row


def last_digit(text: str) -> float:
    """What a number may be off by because of its rounding."""
    return 0.51 * 10.0 ** -len(text.partition(".")[2])


def check_bound(word: str, low: float, high: float) -> None:
    """The bound in words is the end of the interval beside it."""
    if match := re.search(r"at most ([\d.]+) points less alike", word):
        assert float(match[1]) == pytest.approx(-low, abs=0.11), word
    if match := re.search(r"([\d.]+) to ([\d.]+) points less alike", word):
        assert float(match[1]) == pytest.approx(-high, abs=0.51), word
        assert float(match[2]) == pytest.approx(-low, abs=0.51), word


def check_decision(text: str) -> None:
    """What is saved is the difference of the two bills."""
    for saved, own, base in re.findall(r"\$([\d.,]+) a month at [\d,]+ decisions \(\$([\d.,]+) instead of \$([\d.,]+)\)", text):
        amounts = [float(amount.replace(",", "")) for amount in (saved, own, base)]
        slack = sum(map(last_digit, (saved, own, base)))
        assert abs(amounts[2] - amounts[1]) == pytest.approx(amounts[0], abs=slack), text


def number(text: str) -> float:
    match = re.search(r"-?[\d.]+", text)
    assert match, text
    return float(match[0])
