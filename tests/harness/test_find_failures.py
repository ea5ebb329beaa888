"""`find` with candidates that fail on every call: dropped by the screen or stopped at a look, and reported as such."""

from __future__ import annotations

from reports.finding import SCREENED_OUT, STOPPED, Finding
from tests.fixtures.runs import HOSTED, Lab
from tests.harness.finding_lab import DATES, find, search


def test_candidates_that_fail_on_every_call_are_dropped_by_the_screen_or_stopped_at_the_first_look(lab: Lab) -> None:
    arms = {"paid": {"all": "paid"}, "dead": {"all": "far"}, "odd": {"all": "near", "pipeline": {"history_tokens": 1400}}}
    search(lab, arms=arms, dates=DATES[:6], find={"blocks": 2}, repeats={"baseline": 2, "arms": 1})
    fails = [{"model": name, "do": {"status": 400, "error": "no such deployment"}} for name in ("far", "near")]
    lab.fake.control(models=[HOSTED, "near", "far"], rules=fails)

    said = find(lab)
    found = Finding.of((lab.runs[0] / "find.json").read_text())
    assert (found.state("dead"), found.state("odd")) == (SCREENED_OUT, STOPPED)
    assert len(found.looks) == 1, "nothing was left to compare"
    replayed = {cell["arm"] for cell in lab.rows("cells") if cell["kind"] == "replay"}
    assert replayed == {"paid > far", "paid > paid"}, "odd has another pipeline, so its replays would show nothing"
    page = (lab.runs[0] / "report.html").read_text()
    for text in (said, page):
        assert "dropped by the screen: none of its 16 requests was answered" in text.replace("Dropped", "dropped")
        assert "topped: too far below a margin to catch up; same rating not known; usable at most 100.0 points worse" in text
        assert "no candidate could be shown to be good enough" in text.replace("No candidate", "no candidate")
    assert "Decisions: no arm is shown to be good enough to replace paid" in said
    assert "undecided: odd (no usable decision); dropped by the screen: dead" in said
    assert "the search has counted them as unusable" in said
    assert "harness retry" not in said, "what was decided with these failures stays"
