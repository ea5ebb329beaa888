"""Progress: what it says of the time that is left."""

from __future__ import annotations

from typing import Any

from harness.admission.ledger import LedgerTotals, Money
from harness.runs.progress import Progress


def receipt(arm: str, number: int, calls: int) -> dict[str, Any]:
    return {
        "cell_id": f"{arm}-{number}",
        "arm": arm,
        "status": "ok",
        "llm_calls": calls,
        "input_tokens": 10 * calls,
        "output_tokens": calls,
        "cost_usd": 0.0,
    }


def after(seconds: float, progress: Progress) -> int | None:
    progress.started_at -= seconds
    left = progress.left_s
    return None if left is None else round(left)


def test_a_rule_that_ends_at_once_promises_nothing_about_models() -> None:
    progress = Progress.of({"macd": 2, "gpt": 4}, [])
    progress.add(receipt("macd", 0, 0))
    assert after(10.0, progress) is None


def test_time_left_follows_the_calls_also_of_cells_that_are_not_ended() -> None:
    progress = Progress.of({"macd": 2, "gpt": 4}, [])
    progress.see_ledger(LedgerTotals(0, 0, 0, Money()))
    for ended in (receipt("macd", 0, 0), receipt("macd", 1, 0), receipt("gpt", 0, 12)):
        progress.add(ended)
    progress.see_ledger(LedgerTotals(24, 240, 24, Money()))
    assert after(60.0, progress) == 60  # 24 of 48 calls in a minute


def test_calls_of_an_earlier_session_say_nothing_about_todays_pace() -> None:
    progress = Progress.of({"gpt": 4}, [receipt("gpt", 0, 12), receipt("gpt", 1, 12)])
    progress.see_ledger(LedgerTotals(24, 240, 24, Money()))
    progress.see_ledger(LedgerTotals(36, 360, 36, Money()))
    assert after(60.0, progress) == 60  # 12 calls in a minute, 12 to go


def test_a_replay_is_not_done_because_its_run_made_calls_before() -> None:
    progress = Progress.of({"gpt > llama": 2}, [])
    progress.see_ledger(LedgerTotals(500, 5000, 500, Money()))
    progress.add(receipt("gpt > llama", 0, 12))
    progress.see_ledger(LedgerTotals(512, 5120, 512, Money()))
    assert after(60.0, progress) == 60
