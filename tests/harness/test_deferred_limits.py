"""Deferred calls at their limits: files that are split, clocks that jump, and calls that are cancelled."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from harness.deferred.batch_files import BatchLimits, request_line
from harness.deferred.submissions import Pace
from tests.fixtures.deferred_desk import CELLS, Desk, statuses, waiting

DAYS = 86_400.0
LOST_CREATION = Pace(quiet_s=30.0, poll_s=0.05, longest_poll_s=0.1, grace_s=3600.0)
"""A process at this pace never looks for a batch whose handle was lost."""


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the wall clock of this process so far ahead, or behind if negative."""
    true_time, ahead_s = time.time, [0.0]

    def set_clock(seconds: float) -> None:
        ahead_s[0] = seconds

    monkeypatch.setattr(time, "time", lambda: true_time() + ahead_s[0])
    return set_clock


def sizes(desk: Desk) -> list[int]:
    return sorted(batch["request_counts"]["total"] for batch in desk.truth()["later"]["batches"])


def test_a_stage_is_split_at_the_number_of_requests_that_a_file_may_hold(desk: Desk) -> None:
    outcomes = desk.answered(desk.suspend(), limits=BatchLimits(requests=5))
    assert statuses(outcomes) == 2 * CELLS * [200]
    assert sizes(desk) == [2, 5, 5]
    assert desk.truth()["later"]["submitted_twice"] == 0


def test_a_stage_is_split_at_the_bytes_that_a_file_may_hold(desk: Desk) -> None:
    line = len(request_line(waiting(0)))
    outcomes = desk.answered(desk.suspend(), limits=BatchLimits(size_bytes=4 * line + line // 2))
    assert statuses(outcomes) == 2 * CELLS * [200]
    assert sizes(desk) == [4, 4, 4]


def test_a_batch_file_holds_what_openai_allows() -> None:
    assert BatchLimits() == BatchLimits(requests=50_000, size_bytes=200_000_000)


def test_a_batch_is_asked_for_less_and_less_often_and_its_calls_wait_a_minute_for_others() -> None:
    pace = Pace.of({})
    assert [pace.interval_s(age_s) for age_s in (0.0, 50.0, 200.0, 3600.0)] == [5.0, 5.0, 20.0, 60.0]
    assert pace.quiet_s == 60.0


@pytest.mark.parametrize("days", [3, -3], ids=["ahead", "behind"])
@pytest.mark.parametrize("lane", ["batch", "background_2h"])
def test_a_clock_that_jumps_while_answers_are_out_loses_nothing(
    desk: Desk, jump: Callable[[float], None], lane: str, days: float
) -> None:
    desk.fake.control(later={"ready_s": 3600.0})
    names = desk.suspend(lane=lane)
    with desk.coordinator(names) as coordinator:
        desk.until(lambda: len(desk.handles()) == (1 if lane == "batch" else 2 * CELLS), "handles")
        jump(days * DAYS)
        time.sleep(0.5)
        desk.fake.control(later={"ready_s": 0.1})
        desk.until(lambda: not coordinator.calls_out, "the last answer")
    outcomes = {outcome.call_id: outcome for name in names for outcome in desk.mailbox.outcomes(name)}
    assert statuses(outcomes) == 2 * CELLS * [200], desk.notes
    durations = [outcome.finished_at - outcome.sent_at for outcome in outcomes.values()]
    assert all(0 <= duration_s < 100 for duration_s in durations), durations
    assert desk.truth()["later"]["submitted_twice"] == 0


@pytest.mark.parametrize(("then", "now"), [(3, 0), (-3, 0), (0, 3), (0, -3), (3, 3)])
def test_a_lost_batch_is_found_whatever_the_clocks_of_both_processes_say(
    desk: Desk, jump: Callable[[float], None], then: float, now: float
) -> None:
    desk.fake.control(later={"cut_creation": 1})
    jump(then * DAYS)
    names = desk.suspend()
    with desk.coordinator(names, LOST_CREATION):
        desk.until(lambda: desk.truth()["later"]["batches"], "a batch")
    assert [submission.handle for submission in desk.mailbox.submissions()] == [None]
    jump(now * DAYS)
    assert statuses(desk.answered(names)) == 2 * CELLS * [200]
    assert len(desk.truth()["later"]["batches"]) == 1, "it was submitted twice"


def test_a_back_off_that_was_written_by_a_wrong_clock_does_not_delay_for_days(
    desk: Desk, jump: Callable[[float], None]
) -> None:
    jump(3 * DAYS)
    names = desk.suspend(cells=1, wait_s=1.0)
    jump(0.0)
    assert statuses(desk.answered(names)) == [200, 200]


def test_a_cancelled_model_leaves_the_others_alone_and_its_cells_wait_for_the_next_command(desk: Desk) -> None:
    desk.fake.control(later={"ready_s": 3600.0})
    names = desk.suspend(alias_of=lambda number: "dear" if number % 2 else "cheap")
    dear = {name for number, name in enumerate(names) if number % 2}
    with desk.coordinator(names) as coordinator:
        desk.until(lambda: len(desk.handles()) == 2, "a batch of each model")
        coordinator.cancel(["dear"])
        desk.until(lambda: coordinator.left == len(dear), "cells that are left")
        desk.fake.control(later={"ready_s": 0.1})
        desk.until(lambda: not coordinator.calls_out, "an end of both batches")
        assert set(coordinator.take_ready()) == set(names) - dear
        assert coordinator.waiting == 0
    assert statuses(desk.answered(names)) == [*CELLS * [200], *CELLS * ["cancelled"]]


@pytest.mark.parametrize("lane", ["batch", "background_8h"])
def test_what_was_not_sent_when_calls_are_cancelled_is_not_sent(desk: Desk, lane: str) -> None:
    names = desk.suspend(lane=lane)
    with desk.coordinator([*names, "cell-on-its-way"], start=False) as coordinator:
        coordinator.cancel()
        coordinator.start()
        desk.until(lambda: coordinator.left == len(names), "cells that are left")
    assert desk.truth()["later"]["submitted"] == 0
    assert statuses(desk.answered(names)) == 2 * CELLS * [200], "the next command sends them"


def test_background_responses_are_cancelled_one_by_one_and_what_was_answered_is_kept(desk: Desk) -> None:
    names = desk.suspend(cells=1, lane="background_8h")
    desk.fake.control(later={"ready_s": 3600.0})
    with desk.coordinator(names) as coordinator:
        desk.until(lambda: len(desk.handles()) == 2, "handles")
        coordinator.cancel()
        coordinator.wait_cancelled(30.0)
        assert (coordinator.calls_out, coordinator.reserved_usd) == (0, 0.0)
    assert statuses({outcome.call_id: outcome for outcome in desk.mailbox.outcomes(names[0])}) == ["cancelled", "cancelled"]
    assert desk.truth()["later"]["stored_responses"] == 0


def test_a_cancellation_that_does_not_reach_the_provider_is_requested_again(desk: Desk) -> None:
    desk.fake.control(later={"ready_s": 3600.0, "refuse_cancel": 2})
    names = desk.suspend()
    with desk.coordinator(names) as coordinator:
        desk.until(desk.handles, "a handle")
        coordinator.cancel()
        coordinator.wait_cancelled(30.0)
        assert [batch["status"] for batch in desk.truth()["later"]["batches"]] == ["cancelling"]
    assert any("cannot be cancelled yet" in note for note in desk.notes)


def test_a_batch_whose_creation_was_lost_is_found_and_cancelled_and_never_created_again(desk: Desk) -> None:
    desk.fake.control(later={"cut_creation": 1, "ready_s": 3600.0})
    names = desk.suspend()
    with desk.coordinator(names, LOST_CREATION):
        desk.until(lambda: desk.truth()["later"]["batches"], "a batch")
    with desk.coordinator(names) as coordinator:
        coordinator.cancel()
        coordinator.wait_cancelled(30.0)
        desk.fake.control(later={"ready_s": 0.1})
        desk.until(lambda: not coordinator.calls_out, "an end of the batch")
    assert [batch["status"] for batch in desk.truth()["later"]["batches"]] == ["cancelled"]
