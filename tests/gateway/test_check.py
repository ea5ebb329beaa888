"""`check` runs a program once without any model, and says what must change."""

from __future__ import annotations

import json

from tests.fixtures.runs import Lab
from tests.gateway.conftest import attached


def test_a_program_is_checked_without_a_model(lab: Lab) -> None:
    lab.experiment(pipeline=attached(), arms={"paid": {"all": "paid"}})
    output = lab.harness("check", "lab.yaml")
    assert "7 of 7 calls named" in output
    assert "Overweight, from the forced tool; the program says 'Overweight'" in output
    assert "the program asks for quick-model 6, deep-model" in output
    assert lab.paid()["calls"] == 0


def test_a_program_that_asks_nobody_fails_with_the_setting_to_change(lab: Lab) -> None:
    lab.experiment(pipeline=attached("elsewhere"), arms={"paid": {"all": "paid"}})
    plain = json.loads(lab.harness("check", "lab.yaml", "--json", expect=2))
    assert not plain["ready"]
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
