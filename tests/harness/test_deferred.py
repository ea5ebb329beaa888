"""The coordinator of deferred calls against every fault of the provider, without a run around it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.deferred.coordinator import Coordinator
from harness.deferred.stage_progress import CallStage
from harness.deferred.submissions import Pace
from tests.fixtures.deferred_desk import CELLS, PACE, Desk, statuses


def test_all_calls_of_a_model_share_one_file_and_order_does_not_matter(desk: Desk) -> None:
    outcomes = desk.answered(desk.suspend())
    assert statuses(outcomes) == 2 * CELLS * [200]
    assert all(f"call-{number}-{index}" in outcomes for number in range(CELLS) for index in (0, 1))
    told = desk.truth()["later"]
    assert (len(told["batches"]), told["submitted"], told["submitted_twice"], told["files"]) == (1, 2 * CELLS, 0, 0)
    assert not list(desk.mailbox.submissions())


def test_background_responses_are_stored_until_they_are_recorded_and_deleted_then(desk: Desk) -> None:
    outcomes = desk.answered(desk.suspend(lane="background_8h"))
    assert statuses(outcomes) == 2 * CELLS * [200]
    told = desk.truth()
    assert (told["later"]["submitted"], told["later"]["stored_responses"]) == (2 * CELLS, 0)
    assert told["lanes"]["gpt-5|background_8h"]["answered"] == 2 * CELLS


FAULTS: list[tuple[dict[str, Any], dict[Any, int]]] = [
    ({"refuse_line": 3}, {"bad_request": 1, 200: 11}),
    ({"fail_lines": 2}, {429: 2, 200: 10}),
    ({"expire_half": True}, {"expired": 6, 200: 6}),
    ({"refuse_creation": 2}, {200: 12}),
    ({"cut_upload": 1}, {200: 12}),
    ({"cut_creation": 1}, {200: 12}),
    ({"cut_download": 1}, {200: 12}),
    ({"cut_download": 9}, {"bad_answer": 1, 200: 11}),
    ({"forget": 2}, {200: 12}),
    ({"forget": 5}, {200: 12}),
    ({"refuse_all": True}, {200: 12}),
    ({"delete_outputs": True}, {"bad_answer": 12}),
]


@pytest.mark.parametrize(("fault", "expected"), FAULTS, ids=[next(iter(fault)) + str(n) for n, (fault, _) in enumerate(FAULTS)])
def test_a_fault_of_a_batch_is_answered_and_nothing_is_submitted_twice(
    desk: Desk, fault: dict[str, Any], expected: dict[Any, int]
) -> None:
    desk.fake.control(later=fault)
    outcomes = desk.answered(desk.suspend())
    assert statuses(outcomes) == sorted([kind for kind, count in expected.items() for _ in range(count)], key=str), desk.notes
    assert desk.truth()["later"]["submitted_twice"] == 0
    if "refuse_line" in fault:
        assert "line 3 of the batch was refused: The body is invalid." in next(
            outcome.message for outcome in outcomes.values() if outcome.cause == "bad_request"
        )


def test_a_background_creation_whose_answer_is_lost_is_uncertain_and_said_aloud(desk: Desk) -> None:
    desk.fake.control(later={"cut_creation": 1})
    outcomes = desk.answered(desk.suspend(cells=1, lane="background_2h"))
    assert statuses(outcomes) == [200, "uncertain"]
    assert any("may have been billed" in note for note in desk.notes)


def test_a_new_process_finds_a_batch_whose_handle_was_lost_by_its_metadata(desk: Desk) -> None:
    desk.fake.control(later={"cut_creation": 1, "ready_s": 1.0})
    names = desk.suspend()
    with desk.coordinator(names, Pace(30.0, 0.05, 0.1, grace_s=3600.0)):
        desk.until(lambda: desk.truth()["later"]["batches"], "a batch")
    (lost,) = desk.mailbox.submissions()
    assert lost.handle is None
    assert lost.creating_at > 0
    outcomes = desk.answered(names)
    assert statuses(outcomes) == 2 * CELLS * [200]
    assert len(desk.truth()["later"]["batches"]) == 1


def test_a_batch_waits_for_cells_that_may_still_have_a_call(desk: Desk) -> None:
    names = desk.suspend()
    with desk.coordinator([*names, "cell-on-its-way"], replace(PACE, quiet_s=3600.0)) as coordinator:
        desk.until(lambda: coordinator.progress.get("collecting") == 2 * CELLS, "calls that are not sent")
        assert not desk.truth()["later"]["batches"], "one cell has not reached its next call"
        coordinator.ended("cell-on-its-way")
        desk.until(lambda: desk.truth()["later"]["batches"], "a batch")
    assert len(desk.truth()["later"]["batches"]) == 1


def test_a_batch_is_sent_once_nothing_became_ready_for_a_while(desk: Desk) -> None:
    names = desk.suspend()
    with desk.coordinator([*names, "cell-on-its-way"], replace(PACE, quiet_s=0.5)):
        desk.until(lambda: desk.truth()["later"]["batches"], "a batch")
    assert len(desk.truth()["later"]["batches"]) == 1


@pytest.mark.parametrize("lane", ["batch", "background_8h"])
def test_a_stage_counts_what_it_needs_what_is_submitted_and_what_is_back_also_after_a_restart(desk: Desk, lane: str) -> None:
    names = desk.suspend(cells=2, lane=lane)
    every = [f"cell-{number}" for number in range(CELLS)]
    planned = {CallStage("trader", "gpt-5", lane): 2 * CELLS, CallStage("portfolio manager", "gpt-5", lane): CELLS}
    expected = ("trader", 2 * CELLS, 2 * CELLS, 4)

    def stages(coordinator: Coordinator) -> list[tuple[Any, ...]]:
        return [tuple(row[key] for key in ("name", "calls", "submitted", "back")) for row in coordinator.progress["stages"]]

    with desk.coordinator(every, replace(PACE, quiet_s=0.1), planned=planned) as coordinator:
        ready: set[str] = set()
        while ready < set(names):
            ready.update(coordinator.take_ready())
        desk.fake.control(later={"ready_s": 3600.0})
        desk.suspend(lane=lane)
        for name in every[2:]:
            coordinator.suspended(name)
        desk.until(lambda: stages(coordinator) == [expected], "all calls of the stage with the provider")

    with desk.coordinator(every, planned=planned) as again:
        desk.until(lambda: again.progress and stages(again) == [expected], "the same figures")


def test_what_a_cancelled_batch_may_still_cost_is_known_until_it_has_ended(desk: Desk) -> None:
    desk.fake.control(later={"ready_s": 3600.0})
    names = desk.suspend()
    with desk.coordinator(names) as coordinator:
        desk.until(desk.handles, "a handle")
        coordinator.cancel()
        coordinator.wait_cancelled(30.0)
        assert coordinator.reserved_usd == pytest.approx(2 * CELLS * 1e-3)
    desk.fake.control(later={"ready_s": 0.1})
    assert statuses(desk.answered(names)) == 2 * CELLS * ["cancelled"]
    assert desk.truth()["answered"] == 0


@pytest.mark.parametrize("lane", ["batch", "background_8h"])
def test_a_key_that_is_refused_fails_the_calls_at_once_and_names_the_lane(desk: Desk, lane: str) -> None:
    desk.fake.control(api_key="sk-another")
    outcomes = desk.answered(desk.suspend(cells=1, lane=lane))
    assert statuses(outcomes) == ["auth", "auth"]
    for outcome in outcomes.values():
        assert f"lane {lane} of gpt-5 was refused: " in outcome.message
        assert "if it does not offer this lane to this model or key, use lane: now" in outcome.message
    assert desk.truth()["later"]["submitted"] == 0


def test_a_key_that_may_not_write_files_is_refused_at_once_and_the_permission_is_named(desk: Desk) -> None:
    desk.fake.control(later={"refuse_files": True})
    outcomes = desk.answered(desk.suspend(cells=1))
    assert statuses(outcomes) == ["auth", "auth"]
    for outcome in outcomes.values():
        assert "batches need a key that may write files and batches: change its permissions" in outcome.message
    assert desk.truth()["later"]["submitted"] == 0


@pytest.mark.parametrize(("uncounted", "is_reported"), [(0, False), (7, True)])
def test_the_tokens_that_a_batch_reports_are_compared_with_the_sum_of_its_lines(
    desk: Desk, uncounted: int, is_reported: bool
) -> None:
    desk.fake.control(later={"uncounted_tokens": uncounted})
    assert statuses(desk.answered(desk.suspend())) == 2 * CELLS * [200]
    truth = desk.truth()
    tokens = truth["input_tokens"] + truth["output_tokens"]
    differences = [note for note in desk.notes if "the provider counts" in note]
    assert [note.partition(": ")[2] for note in differences] == is_reported * [
        f"the provider counts {tokens + uncounted:,} tokens, its lines {tokens:,}"
    ]
