"""Progress: what it says of the time that is left, and of cells that wait for answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from agents import Model
from harness.admission.ledger import LedgerTotals, Money, RolePace
from harness.experiment.servers import ServerSpec
from harness.runs.display import line, table
from harness.runs.progress import Progress
from harness.runs.time_left import ArmCells, TimeLeft


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


ROLES = [f"role{number}" for number in range(12)]


def planned(alias: str, server: str, seconds: float) -> list[Any]:
    model = Model(alias, "openai_compatible", alias, {}, server=server)
    return [SimpleNamespace(role=role, model=model, seconds=seconds) for role in ROLES]


def test_a_tenth_of_the_calls_tells_the_time_left_although_the_arms_differ_in_speed() -> None:
    """A fast hosted arm has ended while a slow one on a machine with one slot has begun: the mean of all calls says 47 s."""
    servers = {
        "cloud": ServerSpec("cloud", "openai", is_hosted=True),
        "box": ServerSpec("box", "ollama", parallel=1),
    }
    time_left = TimeLeft({"gpt": planned("gpt", "cloud", 3.0), "own": planned("own", "box", 1.0)}, servers)
    fast = {("gpt", role): RolePace(3, 3 * 0.5) for role in ROLES}
    slow = {("own", role): RolePace(1, 2.5) for role in ROLES[:4]}
    cells = {"gpt": ArmCells(left=0, ended=3, calls_ended=36), "own": ArmCells(left=10, ended=0, calls_ended=0)}

    left_s = time_left.by_arm(cells, fast | slow, now=10.0)

    assert left_s["gpt"] == 0.0
    assert left_s["own"] == pytest.approx((10 * 12 - 4) * 2.5)


def test_an_arm_that_has_not_begun_is_as_slow_against_its_plan_as_the_others_on_its_server() -> None:
    servers = {"box": ServerSpec("box", "ollama", parallel=2)}
    time_left = TimeLeft({"small": planned("small", "box", 1.0), "large": planned("large", "box", 5.0)}, servers)
    cells = {"small": ArmCells(left=1, ended=1, calls_ended=12), "large": ArmCells(left=2, ended=0, calls_ended=0)}
    paces = {("small", role): RolePace(1, 3.0) for role in ROLES}

    left_s = time_left.by_arm(cells, paces, now=100.0)
    later_s = time_left.by_arm(cells, paces, now=133.0)

    assert left_s["small"] == pytest.approx(12 * 3.0 / 2), "both slots were busy"
    assert left_s["large"] - left_s["small"] == pytest.approx(2 * 12 * 15.0 / 2)
    assert later_s["small"] == pytest.approx(12 * 3.0), "36 s of work in 36 s: one slot was busy"


WRITTEN = {
    "cells": 3,
    "stages": [],
    "oldest_s": 60.0,
    "next_poll_s": 5.0,
    "so_far": {"calls": 36, "input_tokens": 360, "output_tokens": 36, "api_cost_usd": 0.5},
}


def test_without_redis_what_cells_that_wait_for_answers_have_used_is_still_known_and_the_figures_add_up() -> None:
    progress = Progress.of({"gpt": 4}, [receipt("gpt", 0, 12) | {"cost_usd": 0.2, "api_cost_usd": 0.2, "reused_usd": 0.0}])
    progress.see_receipts()
    progress.see_deferred(WRITTEN)
    assert (progress.calls, progress.tokens, progress.spent_usd) == (36, (360, 36), 0.5)
    shown = table(progress)
    calls, tokens, paid = (shown.headings.index(heading) for heading in ("calls", "tokens", "paid"))
    rows = [[row[column] for column in (calls, tokens, paid)] for row in shown.rows.values()]
    assert rows == [["12", "132", "$0.2000"], ["24", "264", "$0.3000"]]


def test_a_run_that_has_ended_shows_its_receipts_and_not_what_was_written_while_it_ran() -> None:
    progress = Progress.of({"gpt": 1}, [receipt("gpt", 0, 12)])
    progress.see_deferred(WRITTEN | {"cells": 0})
    assert progress.calls == 12
    assert list(table(progress).rows) == ["gpt"]


def test_time_left_of_answers_that_come_later_is_not_that_of_the_calls_that_are_answered_at_once() -> None:
    hosted = ServerSpec("cloud", "openai", is_hosted=True)
    later: list[Any] = [
        SimpleNamespace(role=role, model=Model("big", "openai", "gpt-5", {"lane": "batch"}, "cloud"), seconds=10.0)
        for role in ROLES
    ]
    progress = Progress.of({"quick": 4, "big": 4}, [])
    progress.time_left = TimeLeft({"quick": planned("quick", "cloud", 10.0), "big": later}, {"cloud": hosted})
    progress.see_ledger(LedgerTotals(0, 0, 0, Money()))
    progress.see_ledger(LedgerTotals(12, 120, 12, Money(), {("quick", role): RolePace(1, 10.0) for role in ROLES}))
    assert progress.arms["quick"].left_s is not None
    assert progress.arms["big"].left_s is None
    assert progress.left_s is None
    assert line(progress).endswith("time left is up to the provider")
