"""Gates that compare with an earlier run, case by case with the paired tests of `report A B`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.experiment.terms import Gates
from reports.answer import gates
from reports.answer.findings import find
from reports.load import load
from tests.fixtures.runs import Lab
from tests.reports.synthetic import FakeArm, make_run, sessions

DATES = sessions("2025-01-02", 12)
LIMITS = {"same_rating": -0.1, "usable": -0.05, "cost": 0.1}


def checked(tmp_path: Path, limits: dict[str, float] | None = None, **after: object) -> dict[str, gates.Gate]:
    """Name -> gate of the local arm, of a run that differs from an earlier one as `after` says."""
    hosted = FakeArm(noise=0.2)
    before = make_run(tmp_path / "before", arms={"gpt-5": hosted, "local": FakeArm(noise=0.2)}, dates=DATES, repeats=2)
    local = FakeArm(**{"noise": 0.2, **after})  # type: ignore[arg-type]
    later = make_run(tmp_path / "after", arms={"gpt-5": hosted, "local": local}, dates=DATES, repeats=2)
    (later / gates.FILE).write_text(gates.changes_since(load(before), load(later), limits or LIMITS))
    run = load(later)
    return {gate.name: gate for gate in gates.check(run, find(run)) if gate.arm == "local"}


def test_an_unchanged_arm_passes_and_a_gate_says_what_it_compares(tmp_path: Path) -> None:
    found = checked(tmp_path)

    assert found.keys() == LIMITS.keys()
    assert [str(gate) for gate in found.values() if not gate.is_passed] == []
    assert "for local against before changed by 0 pp over 36 common cases" in str(found["same_rating"])


def test_a_dearer_arm_fails_the_gate_on_cost_alone(tmp_path: Path) -> None:
    found = checked(tmp_path, cost_usd=0.48)

    assert [name for name, gate in found.items() if not gate.is_passed] == ["cost"]
    assert str(found["cost"]).startswith("FAILED: cost for local against before changed by +")
    assert str(found["cost"]).endswith("must be at most +10.0 %")


def test_an_arm_that_decides_otherwise_fails_the_gate_on_same_rating(tmp_path: Path) -> None:
    found = checked(tmp_path, lean=2.5)

    assert not found["same_rating"].is_passed
    assert str(found["same_rating"]).endswith("must be at least \N{MINUS SIGN}10.0 pp")


def test_a_change_past_its_limit_that_may_be_chance_passes() -> None:
    gate = gates.ChangeGate("same_rating", "local", -0.1, -0.12, "share", p=0.3, cases=20, before="x")

    assert gate.is_passed
    assert not gates.ChangeGate("same_rating", "local", -0.1, -0.12, "share", p=0.01).is_passed
    assert not gates.ChangeGate("same_rating", "local", -0.1, -0.12, "share", p=None).is_passed
    assert gates.ChangeGate("same_rating", "local", -0.1, 0.2, "share", p=0.99).is_passed
    assert not gates.ChangeGate("same_rating", "local", 0.0, -0.2, "share", p=0.01).is_passed


def test_runs_without_a_common_arm_fail_and_say_so(tmp_path: Path) -> None:
    before = make_run(tmp_path / "before", arms={"a": FakeArm(), "b": FakeArm()}, dates=DATES[:2])
    later = make_run(tmp_path / "after", arms={"c": FakeArm(), "d": FakeArm()}, dates=DATES[:2])
    (later / gates.FILE).write_text(gates.changes_since(load(before), load(later), LIMITS))
    found = gates.check(load(later), find(load(later)))

    assert not any(gate.is_passed for gate in found)
    assert "was not measured (no arm of before is in this run)" in str(found[0])


def test_limits_are_written_with_a_sign() -> None:
    read = Gates.model_validate({"same_rating": "-10pp", "cost": "+10%", "against": "x"})

    assert (read.same_rating, read.cost) == (-0.1, 0.1)
    for wrong in ({"same_rating": "10pp"}, {"same_rating": "+10pp"}, {"cost": "-10%"}):
        with pytest.raises(ValueError, match=r"no change|less than or equal to 0|greater than or equal to 0"):
            Gates.model_validate(wrong)


def test_a_run_is_compared_with_the_one_before_it_and_ends_with_4_if_it_lost(lab: Lab) -> None:
    lab.experiment(dates=3, gates={"usable": "-20pp"})
    first = lab.run("--yes")
    assert "not checked: the gates usable compare with an earlier run; pass --against RUN" in first

    missing = lab.run("--yes", "--fresh", "--against", "nothere", expect=2)
    assert "no run 'nothere'" in missing
    assert len(lab.runs) == 1

    same = lab.run("--yes", "--fresh", "--against", "lab", expect=0)
    assert f"passed: usable for paid against {lab.runs[0].name} changed by 0 pp over 3 common cases" in same

    lab.fake.control(rules=[{"do": {"text": "no decision at all"}, "contains": '"target_price"'}])
    worse = lab.run("--yes", "--fresh", "--against", f"lab/{lab.runs[0].name}", expect=4)

    assert f"FAILED: usable for paid against {lab.runs[0].name} changed by" in worse
    kept = json.loads((lab.runs[-1] / "gates.json").read_text())
    assert {gate["passed"] for gate in kept if gate["name"] == "usable"} == {False}
