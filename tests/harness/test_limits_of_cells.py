"""Time limits of a cell: the soft one ends it with a receipt, the hard one kills its process and nobody else's cell."""

from __future__ import annotations

from typing import Any

from tests.fixtures.runs import Lab

STUCK = """
import time
from agents import Decision, Result

async def decide(ctx):
    if ctx.snapshot.date.day == 15:
        time.sleep(600)
    return Result(Decision("Buy"), "typed")
"""


def test_a_cell_over_its_soft_limit_ends_as_timeout_with_the_calls_it_made(lab: Lab) -> None:
    lab.experiment(dates=1, cell_limit={"soft": 10, "hard": 60})
    lab.fake.control(rules=[{"do": {"hang_s": 60}, "contains": "", "model": "tiny", "skip": 5}])

    lab.run()

    by_arm = {cell["arm"]: cell for cell in lab.rows("cells")}
    assert (by_arm["own"]["status"], by_arm["own"]["error_type"]) == ("timeout", "soft_limit")
    assert by_arm["own"]["service_s"] > 9.5
    assert by_arm["paid"]["status"] == "ok"
    outcomes = [call["outcome"] for call in lab.rows("calls") if call["arm"] == "own"]
    assert outcomes.count("answered") == 5
    assert "killed" in outcomes


def test_a_cell_that_blocks_its_process_is_killed_alone_and_given_up_after_two_deaths_of_its_own(lab: Lab) -> None:
    (lab.folder / "stuck.py").write_text(STUCK)
    lab.experiment(dates=3, pipeline={"entry": "stuck:decide"}, cell_limit={"soft": 1, "hard": 2}, **_one_arm())

    lab.run()

    ends = {cell["case_id"]: (cell["status"], cell["error_type"]) for cell in lab.rows("cells")}
    assert ends == {
        "AAPL@2012-06-15": ("failed", "poison"),
        "AAPL@2012-06-18": ("ok", None),
        "AAPL@2012-06-19": ("ok", None),
    }


def _one_arm() -> dict[str, Any]:
    own = {"provider": "openai_compatible", "model": "tiny", "server": "box"}
    return {"models": {"own": own}}
