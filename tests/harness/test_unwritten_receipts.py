"""A cell whose results the tables cannot hold ends, with its message and with what it paid."""

from __future__ import annotations

from tests.fixtures.runs import Lab

UNWRITABLE = """
from dataclasses import replace

import agents

async def decide(ctx):
    result = await agents.decide(replace(ctx, pipeline=replace(ctx.pipeline, entry=None)))
    if ctx.snapshot.date.day == 15:
        return replace(result, decision=replace(result.decision, target_price="600 USD"))
    return result
"""
OWN = {"provider": "openai_compatible", "model": "tiny", "server": "box"}


def test_a_receipt_that_cannot_be_written_ends_its_cell_after_three_attempts_and_pays_once(lab: Lab) -> None:
    (lab.folder / "unwritable.py").write_text(UNWRITABLE)
    lab.experiment(dates=2, pipeline={"entry": "unwritable:decide"}, models={"own": OWN})

    lab.run()

    broken, whole = sorted(lab.rows("cells"), key=lambda cell: str(cell["case_id"]))
    assert (broken["status"], broken["error_type"], broken["attempts"]) == ("failed", "receipt", 3)
    assert "could not be written in 3 attempts" in broken["error"]
    assert "600 USD" in broken["error"]
    assert whole["status"] == "ok"
    assert lab.paid()["calls"] == 2 * 12 == len(lab.rows("calls"))
    assert broken["llm_calls"] == 12


def test_a_cell_that_cannot_be_started_ends_after_three_attempts_and_names_the_damaged_file(lab: Lab) -> None:
    lab.experiment(dates=2, pipeline={"depth": "single_call"}, models={"own": OWN})
    lab.fake.rule(status=400, error="no such field")
    lab.run()
    lab.harness("retry", "lab")
    lab.fake.control(rules=[])
    damaged, *_ = sorted((lab.runs[0] / "parts").glob("*.1.calls.parquet"))
    damaged.write_bytes(b"PAR1 half a file")

    output = lab.run(expect=2)

    assert f"parts/{damaged.name} is damaged" in output
    assert "delete it and run the same command again" in output
    assert lab.log.count("cannot be started") == 3

    damaged.unlink()
    lab.harness("retry", "lab")
    lab.run()
    assert [cell["status"] for cell in lab.rows("cells")] == ["ok", "ok"]
