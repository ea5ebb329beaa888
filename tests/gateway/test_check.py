"""`check` runs a program once without any model, and says what must change."""

from __future__ import annotations

import json

from tests.fixtures.runs import Lab
from tests.gateway.conftest import attached


def test_a_program_is_checked_without_a_model(lab: Lab) -> None:
    lab.experiment(pipeline=attached(), arms={"paid": {"all": "paid"}})
    output = lab.harness("check", "lab.yaml")
    assert "7 of 7 calls named" in output
    assert "Overweight, from the forced tool; the program reported 'Overweight'" in output
    assert "the program asks for quick-model 6, deep-model" in output
    assert lab.paid()["calls"] == 0


def test_tools_are_called_with_what_a_program_can_look_up(lab: Lab) -> None:
    lab.experiment(pipeline=attached("strict"), arms={"paid": {"all": "paid"}})
    assert "7 of 7 calls named" in lab.harness("check", "lab.yaml")


def test_a_program_that_crashes_is_reported_with_its_error_and_not_with_a_setting(lab: Lab) -> None:
    lab.experiment(pipeline=attached("crash"), arms={"paid": {"all": "paid"}})
    (finding,) = json.loads(lab.harness("check", "lab.yaml", "--json", expect=2))["findings"]
    assert finding["found"] == (
        "the program ended with exit code 1 before it asked a model; its last line: ValueError: no such ticker"
    )
    assert "it ended before it asked a model" in finding["fix"]


def test_the_calls_of_a_program_that_crashed_are_not_counted_by_a_plan(lab: Lab) -> None:
    env = {"DIED": str(lab.folder / "died")}
    lab.experiment(pipeline=attached("die", env=env), arms={"paid": {"all": "paid"}})
    findings = json.loads(lab.harness("check", "lab.yaml", "--json", expect=2))["findings"]
    assert [finding["name"] for finding in findings] == ["program", "calls", "roles", "wires", "models"]
    assert "exit code 9" in findings[0]["found"]
    assert "never run" in " ".join(lab.harness("plan", "lab.yaml").split())


def test_a_pattern_of_files_that_matches_nothing_is_reported_with_what_the_program_wrote(desk: Lab) -> None:
    env = {"DATA_KEY": "made-up-key"}
    desk.experiment(pipeline=attached("writes", keep=["~/results/**"], env=env), arms={"paid": {"all": "paid"}})
    output = " ".join(desk.harness("check", "lab.yaml").split())
    assert "results/deep/log.json, results/state.json, results/huge.json (too large or too many)" in output
    assert "no file matches" not in output
    wrong = attached("writes", keep=["~/reports/**", "~/results/s*.json"], env=env)
    desk.experiment(pipeline=wrong, arms={"paid": {"all": "paid"}})
    output = " ".join(desk.harness("check", "lab.yaml").split())
    assert "pipeline.keep matches results/state.json" in output
    wrote = "~/results/a <b>&'.json, ~/results/deep/log.json, ~/results/huge.json"
    assert f"no file matches pipeline.keep ~/reports/**; the program wrote {wrote} fix: correct the pattern" in output
    desk.run("--yes")
    (cell,) = desk.rows("cells")
    assert json.loads(cell["program"])["files"]["unmatched"] == ["~/reports/**"]
    page = (desk.runs[-1] / "report.html").read_text()
    assert page.count("No file matched pipeline.keep ~/reports/** in 1 of 1 cases; it wrote ~/results/a &lt;b&gt;") == 1


def test_a_plan_counts_the_calls_that_a_check_or_a_run_found(desk: Lab) -> None:
    desk.experiment(pipeline=attached(), arms={"hybrid": {"deep": "paid", "quick": "own"}}, dates=2)
    unknown = " ".join(desk.harness("plan", "lab.yaml").split())
    assert "this attached program was not checked and never run" in unknown
    assert "harness check EXPERIMENT" in unknown
    assert "`plan` now counts 7 calls a case" in desk.harness("check", "lab.yaml")
    checked = json.loads(desk.harness("plan", "lab.yaml", "--json"))
    assert checked["calls"] == 14
    assert checked["arms"]["hybrid"]["basis"] == (
        "an attached program: 7 calls a case, as `check` counted; its tools may be asked more often in a run"
    )
    desk.run("--yes", "--limit", "1")
    measured = json.loads(desk.harness("plan", "lab.yaml", "--json"))
    assert (measured["to_run"], measured["calls"]) == (1, 7)
    assert measured["arms"]["hybrid"]["basis"] == "an attached program: 7 calls a case, as in earlier runs"
    paid_tokens = sum(row["input_tokens"] for row in desk.rows("calls"))
    assert abs(measured["input_tokens"] - paid_tokens) <= 7, "one case more, by the tokens of the first one"


def test_a_program_that_asks_nobody_fails_with_the_setting_to_change(lab: Lab) -> None:
    lab.experiment(pipeline=attached("elsewhere"), arms={"paid": {"all": "paid"}})
    plain = lab.printed("check", "lab.yaml", expect=2)
    assert (plain["schema"], plain["ready"]) == ("check/1", False)
    (finding,) = plain["findings"]
    assert "no call reached the gateway" in finding["found"]
    assert "BACKEND_URL" in finding["fix"]
    lab.experiment()
    assert "no arm with an attached program" in lab.harness("check", "lab.yaml", expect=2)


def test_keys_of_an_attached_program_belong_together(lab: Lab) -> None:
    wrong = {
        "no folder": ({"command": ["x"]}, "add folder"),
        "no command": ({"folder": "."}, "means something for an attached program only"),
        "entry too": (attached(entry="a:b"), "keep one of them"),
        "unknown target": (attached(models={"gpt": "huge"}), "unknown model 'huge'"),
        "long limit": (attached(time_limit="9h"), "raise cell_limit.hard"),
    }
    for part, problem in wrong.values():
        lab.experiment(pipeline=part)
        assert problem in lab.harness("plan", "lab.yaml", expect=2)
