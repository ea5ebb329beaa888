"""The grid of decisions: one row per case, one column per arm, one letter per repeat."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from domain.ratings import SCORES
from reports.format import known

if TYPE_CHECKING:
    import pandas as pd

    from reports.load import Run

LETTERS: Mapping[str, str] = {"Buy": "B", "Overweight": "o", "Hold": "H", "Underweight": "u", "Sell": "S"}
"""Rating -> its letter; letters differ in case too, so that they can be distinguished without colour."""

REASONS: Mapping[str, str] = {"unparsed": "unreadable", "truncated": "cut at the token limit", "missing": "no answer"}
"""Status of a decision -> why there is no rating, where its own name does not say it."""


@dataclass(frozen=True)
class Mark:
    """The answer of one repeat."""

    word: str
    """The rating, or the reason why there is none."""

    @property
    def letter(self) -> str:
        return LETTERS.get(self.word, "?")

    @property
    def code(self) -> str:
        """CSS class of its colour: r2 .. r-2, rx without a usable decision."""
        return f"r{SCORES[self.word]}" if self.word in SCORES else "rx"


@dataclass(frozen=True)
class CaseRow:
    """One case."""

    case_id: str
    ticker: str
    date: dt.date
    answers: Mapping[str, Mapping[int, str]]
    """arm -> repeat -> rating or the reason why there is none; without arms that did not run."""
    outcome: float | None
    """Excess return over the shown horizon; None when pending or missing."""

    def words(self, arm: str) -> list[str]:
        """All answers of an arm."""
        return list(self.answers.get(arm, {}).values())

    def spread(self, rules: frozenset[str] = frozenset()) -> float:
        """Distance between the highest and the lowest mean score of the arms with models; 0 for fewer than two."""
        scores = [[SCORES[word] for word in self.words(arm) if word in SCORES] for arm in self.answers if arm not in rules]
        means = [sum(of_arm) / len(of_arm) for of_arm in scores if of_arm]
        return max(means) - min(means) if means else 0.0


def rows(run: Run) -> list[CaseRow]:
    """All cases by date and ticker; of an unfinished run, the complete ones."""
    outcomes = _outcomes(run)
    cells = run.measured_cells.sort_values(["date", "ticker", "repeat"], kind="stable")
    answers: dict[str, dict[str, dict[int, str]]] = {}
    facts: dict[str, tuple[str, dt.date]] = {}
    columns = (cells[name] for name in ("case_id", "ticker", "date", "arm", "repeat", "rating", "status", "decision_status"))
    for case_id, ticker, date, arm, repeat, *answer in zip(*columns, strict=True):
        facts.setdefault(str(case_id), (str(ticker), _day(date)))
        answers.setdefault(str(case_id), {}).setdefault(str(arm), {})[int(repeat)] = mark(*answer).word
    return [CaseRow(case, *facts[case], answers[case], outcomes.get(case)) for case in facts]


def mark(rating: Any, status: Any, decision: Any) -> Mark:
    """The rating, else the cell's status, else the decision's status."""
    if isinstance(rating, str) and rating in SCORES:
        return Mark(rating)
    if status != "ok":
        return Mark(str(status).replace("_", " "))
    return Mark(REASONS.get(decision, decision) if isinstance(decision, str) else REASONS["missing"])


def horizon(run: Run) -> int | None:
    """The horizon whose outcome the grid shows: 5 sessions if declared, else the middle one."""
    there = sorted(run.settings.horizons)
    return 5 if 5 in there else there[len(there) // 2] if there else None


def distribution(case_rows: Sequence[CaseRow], arm: str) -> Counter[str]:
    """Return answer -> how often the arm gave it."""
    return Counter(word for row in case_rows for word in row.words(arm))


def flips(case_rows: Sequence[CaseRow], arm: str) -> tuple[int, int]:
    """(cases in which the arm's repeats disagree, cases with more than one repeat)."""
    repeated = [words for row in case_rows if len(words := row.words(arm)) > 1]
    return sum(len(set(words)) > 1 for words in repeated), len(repeated)


def compact(case_rows: Sequence[CaseRow], arms: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    """The answers as one text per case and arm, one character per repeat, and the reasons behind the digits in them.

    B o H u S are ratings, a digit is a place in the list of reasons, a space is a repeat that was not run.
    """
    reasons = sorted({word for row in case_rows for arm in row.answers for word in row.words(arm)} - set(LETTERS))
    codes = {**LETTERS, **{reason: str(min(place, 9)) for place, reason in enumerate(reasons)}}
    return [[_coded(row.answers.get(arm, {}), codes) for arm in arms] for row in case_rows], reasons


def _coded(answers: Mapping[int, str], codes: Mapping[str, str]) -> str:
    return "".join(codes[answers[repeat]] if repeat in answers else " " for repeat in range(max(answers, default=-1) + 1))


def _outcomes(run: Run) -> dict[str, float]:
    chosen: pd.DataFrame = run.outcomes[(run.outcomes["horizon"] == horizon(run)) & (run.outcomes["status"] == "known")]
    pairs: Iterator[tuple[Any, Any]] = zip(chosen["case_id"], chosen["excess"], strict=True)
    return {str(case): float(excess) for case, excess in pairs if known(excess)}


def _day(value: Any) -> dt.date:
    return value.date() if isinstance(value, dt.datetime) else value
