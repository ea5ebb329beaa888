"""A cell that is suspended gives its place back and is run again later, without paying twice."""

from __future__ import annotations

from tests.fixtures.runs import Lab

PATIENT = """
from pathlib import Path

from agents import DECISION, Suspended

async def decide(ctx):
    report = await ctx.ask("market_analyst", [ctx.instrument(), "Describe the trend."])
    waited = Path("waited").joinpath(f"{ctx.snapshot.date}-{ctx.model('trader').alias}")
    if not waited.exists():
        waited.parent.mkdir(exist_ok=True)
        waited.touch()
        raise Suspended("the answer comes later", delay_s=0.5)
    return await ctx.ask("portfolio_manager", [report.text, DECISION.say()], form=DECISION)
"""
ENDLESS = """
from agents import Suspended

async def decide(ctx):
    await ctx.ask("market_analyst", [ctx.instrument(), "Describe the trend."])
    raise Suspended("nobody will ever answer", delay_s=0.0)
"""
OLD = """
async def decide(snapshot, lineup, pipeline, admission, clients):
    pass
"""


def test_a_suspended_cell_is_run_again_and_pays_only_for_what_was_not_answered(lab: Lab) -> None:
    (lab.folder / "patient.py").write_text(PATIENT)
    lab.experiment(dates=3, pipeline={"entry": "patient:decide"})

    lab.run()

    cells = lab.rows("cells")
    assert [(cell["status"], cell["decision_status"], cell["llm_calls"]) for cell in cells] == 6 * [("ok", "typed", 2)]
    assert len(list((lab.folder / "waited").iterdir())) == 6, "every cell was suspended"
    assert {cell["attempts"] for cell in cells} == {2}
    assert lab.paid()["calls"] == 12 == len(lab.rows("calls"))


def test_a_pipeline_of_0_1_0_is_refused_before_anything_is_frozen_or_sent(lab: Lab) -> None:
    (lab.folder / "old.py").write_text(OLD)
    lab.experiment(dates=1, pipeline={"entry": "old:decide"})

    output = lab.run(expect=2)

    assert "takes snapshot, lineup, pipeline, admission, clients, as in version 0.1.0" in " ".join(output.split())
    assert "async def decide(ctx: Context) -> Result" in " ".join(output.split())
    assert lab.paid()["calls"] == 0


def test_a_pipeline_that_suspends_its_cell_for_ever_is_given_up(lab: Lab) -> None:
    (lab.folder / "endless.py").write_text(ENDLESS)
    lab.experiment(dates=1, pipeline={"entry": "endless:decide"}, arms={"paid": {"all": "paid"}})

    lab.run()

    (cell,) = lab.rows("cells")
    assert (cell["status"], cell["error_type"], cell["llm_calls"]) == ("failed", "suspended", 1)
    assert cell["error"] == "it was suspended 100 times in a row without a new answer: nobody will ever answer"
    assert lab.paid()["calls"] == 1
