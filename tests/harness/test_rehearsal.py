"""A rehearsal, end to end, with the real embedded model: every arm plays, nothing is paid, and the plan follows."""

from __future__ import annotations

from tests.fixtures.runs import Lab


def test_a_rehearsal_plays_every_arm_asks_no_server_and_ends_with_the_plan(lab: Lab) -> None:
    lab.experiment(dates=2, pipeline={"depth": "single_call"})
    lab.environment["FAKE_KEY"] = ""

    said = lab.harness("run", "lab.yaml", "--rehearse", timeout_s=240)

    assert lab.paid()["calls"] == 0
    run = next((lab.folder / "results" / "lab-rehearsal").iterdir())
    assert len(list((run / "parts").glob("*.cell.parquet"))) == 2
    assert (run / "report.html").exists()
    assert not (lab.folder / "results" / "lab").exists()
    assert said.index("lab-rehearsal") < said.index("report: ") < said.index("plan of lab ")
