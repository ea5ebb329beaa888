"""The coordinator of deferred calls against every fault of the provider, without a run around it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.deferred.coordinator import Coordinator
from harness.deferred.mailbox import Mailbox, Outcome, SuspendedCell, WaitingCall
from harness.deferred.submissions import Pace
from harness.storage.folder import open_folder
from tests.fakes.process import FakeModels

PACE = Pace(quiet_s=30.0, poll_s=0.05, longest_poll_s=0.1, grace_s=0.2)
CELLS = 6


def waiting(cell: int, lane: str = "batch", index: int = 0) -> WaitingCall:
    question = [{"role": "user", "content": f"Question {index} of cell {cell}?"}]
    body: dict[str, Any] = {"model": "gpt-5", "input": question, "max_output_tokens": 100, "store": False}
    if lane != "batch":
        body |= {"background": True, "background_options": {"completion_window": "8h"}, "store": True}
    return WaitingCall(
        f"call-{cell}-{index}", f"trader/0/primary/{index}", "trader", "hash", "cloud", "gpt", "gpt-5", lane, "/v1/responses",
        body, 10**9, "", time.time(),
    )  # fmt: skip


class Desk:
    """A mailbox with suspended cells, and the provider."""

    def __init__(self, folder: Path, fake: FakeModels) -> None:
        self.mailbox = Mailbox(open_folder(folder))
        self.fake = fake
        self.notes: list[str] = []

    def suspend(self, cells: int = CELLS, lane: str = "batch") -> list[str]:
        names = [f"cell-{number}" for number in range(cells)]
        for number, name in enumerate(names):
            self.mailbox.suspend(SuspendedCell(name, 1, {}, (waiting(number, lane), waiting(number, lane, 1))))
        return names

    @contextmanager
    def coordinator(self, names: list[str], pace: Pace = PACE) -> Iterator[Coordinator]:
        coordinator = Coordinator(self.mailbox, {"cloud": self.fake.openai("cloud")}, pace, "run", names)
        coordinator.start()
        try:
            yield coordinator
        finally:
            coordinator.close()
            self.notes = coordinator.notes
            if coordinator.error:
                raise coordinator.error

    def answered(self, names: list[str], patience_s: float = 30.0) -> dict[str, Outcome]:
        """Run until every cell is ready: call id -> outcome."""
        with self.coordinator(names) as coordinator:
            ready: set[str] = set()
            deadline = time.monotonic() + patience_s
            while ready < set(names):
                assert time.monotonic() < deadline, (ready, coordinator.progress, coordinator.notes)
                assert coordinator.error is None, coordinator.error
                ready.update(coordinator.take_ready())
                time.sleep(0.02)
        return {outcome.call_id: outcome for name in names for outcome in self.mailbox.outcomes(name)}

    def truth(self) -> Mapping[str, Any]:
        told: Mapping[str, Any] = self.fake.ledger()
        return told


@pytest.fixture
def desk(tmp_path: Path, fake_models: FakeModels) -> Desk:
    fake_models.control(later={"ready_s": 0.1})
    return Desk(tmp_path, fake_models)


def statuses(outcomes: Mapping[str, Outcome]) -> list[Any]:
    return sorted((outcome.cause or outcome.status for outcome in outcomes.values()), key=str)


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
        deadline = time.monotonic() + 20
        while not desk.truth()["later"]["batches"] and time.monotonic() < deadline:
            time.sleep(0.05)
    (lost,) = desk.mailbox.submissions()
    assert lost.handle is None
    assert lost.creating_at > 0
    outcomes = desk.answered(names)
    assert statuses(outcomes) == 2 * CELLS * [200]
    assert len(desk.truth()["later"]["batches"]) == 1


def test_a_batch_waits_for_cells_that_may_still_have_a_call_until_nothing_becomes_ready(desk: Desk) -> None:
    names = desk.suspend()
    with desk.coordinator([*names, "cell-on-its-way"], Pace(1.0, 0.05, 0.1, 0.2)) as coordinator:
        time.sleep(0.6)
        assert not desk.truth()["later"]["batches"], "one cell has not reached its next call"
        deadline = time.monotonic() + 20
        while coordinator.left and time.monotonic() < deadline:
            coordinator.take_ready()
            time.sleep(0.05)
    assert len(desk.truth()["later"]["batches"]) == 1


def test_cancelling_keeps_what_was_answered_and_marks_the_rest(desk: Desk) -> None:
    desk.fake.control(later={"ready_s": 1.5})
    names = desk.suspend()
    with desk.coordinator(names) as coordinator:
        deadline = time.monotonic() + 20
        while not desk.truth()["later"]["batches"] and time.monotonic() < deadline:
            time.sleep(0.05)
        coordinator.cancel()
        coordinator.wait_cancelled(10.0)
        assert coordinator.reserved_usd == pytest.approx(2 * CELLS * 1e-3)
    outcomes = desk.answered(names)
    assert statuses(outcomes) == 2 * CELLS * ["cancelled"]
    assert desk.truth()["answered"] == 0
