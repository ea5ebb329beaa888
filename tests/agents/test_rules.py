"""Rules decide without a model, say every parameter, and never guess on a window that is not full."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from agents import Pipeline, rule_names
from agents.inputs.datum import Bar, Split
from agents.inputs.snapshot import Snapshot
from agents.pipeline import rules
from tests.agents.cell import run, snapshot


def with_closes(closes: Sequence[float], splits: tuple[Split, ...] = ()) -> Snapshot:
    case = snapshot()
    end = case.last
    days = [end.date - dt.timedelta(days=len(closes) - 1 - at) for at in range(len(closes))]
    bars = tuple(
        Bar(day, close, close * 1.01, close * 0.99, close, 1e6, end.available_at)
        for day, close in zip(days, closes, strict=True)
    )
    return replace(case, prices=bars, splits=splits, dividends=())


def wave(shape: Callable[[int], float], sessions: int = 120) -> Snapshot:
    return with_closes([shape(at) for at in range(sessions)])


UP, DOWN = wave(lambda at: 100 + at * at / 50), wave(lambda at: 400 - at * at / 50)


@pytest.mark.parametrize(
    ("rule", "case", "rating"),
    [
        ("always_hold", UP, "Hold"),
        ("macd", UP, "Buy"),
        ("macd", DOWN, "Sell"),
        ("sma", UP, "Buy"),
        ("sma", DOWN, "Sell"),
        ("zmr", UP, "Sell"),
        ("zmr", DOWN, "Buy"),
        ("kdj_rsi", UP, "Sell"),
        ("kdj_rsi", DOWN, "Buy"),
        ("kdj_rsi", wave(lambda at: 100 + at % 2), "Hold"),
        ("zmr", wave(lambda at: 100.0), "Hold"),
        ("macd", wave(lambda at: 100.0), "Hold"),
        ("sma", wave(lambda at: 100.0), "Hold"),
    ],
)
def test_a_rule_follows_its_book(rule: str, case: Snapshot, rating: str) -> None:
    result = rules.decide(rule, case)
    assert result.decision is not None
    assert (result.decision.rating, result.decision_status) == (rating, "rule")


@pytest.mark.parametrize(
    ("rule", "parameters"),
    [
        ("macd", ["fast=12", "slow=26", "signal=9"]),
        ("kdj_rsi", ["window=9", "smoothing=3", "below 20", "above 80", "sessions=14", "below 30", "above 70"]),
        ("zmr", ["window=20", "threshold=1"]),
        ("sma", ["short=10", "long=50"]),
    ],
)
def test_every_parameter_is_printed(rule: str, parameters: list[str]) -> None:
    result = rules.decide(rule, snapshot())
    assert result.decision is not None
    assert all(parameter in result.decision.rationale for parameter in parameters)


@pytest.mark.parametrize("rule", [name for name in rule_names() if name != "always_hold"])
def test_a_window_that_is_not_full_is_a_missing_decision_with_the_reason(rule: str) -> None:
    result = rules.decide(rule, with_closes([100.0, 101.0]))
    assert (result.decision, result.decision_status) == (None, "missing")
    assert "the snapshot has 2" in result.reports["portfolio_manager"]


def test_a_split_is_no_crash() -> None:
    closes = [400.0] * 60 + [100.0] * 60
    at = with_closes(closes)
    split = Split(at.prices[60].date, 4.0, at.last.available_at)
    result = rules.decide("zmr", with_closes(closes[: 60 + 5], ()))
    assert result.decision is not None
    case = with_closes(closes, (split,))
    assert rules.decide("macd", case).decision is not None
    assert rules.decide("macd", case).decision.rating == "Hold"  # type: ignore[union-attr]


def test_a_rule_asks_no_model() -> None:
    result, admission, _ = run(Pipeline(rule="sma"), models={})
    assert (result.decision_status, admission.calls, list(result.stage_ratings)) == ("rule", [], ["portfolio_manager"])
