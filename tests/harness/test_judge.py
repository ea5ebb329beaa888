"""Judging, end to end over real wire formats: both orders, masked, broken answers as broken, paid and resumed like any call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from harness.errors import InvalidInput
from harness.experiment import replay_cells
from harness.experiment.replay_cells import ReplayRequest
from harness.runs.replay import find
from tests.fakes.process import FakeModels
from tests.fixtures.runs import Lab

ROLES = ("bull", "trader")
JUDGE, CHATTY = "arbiter judges own > paid", "chatty judges own > paid"
MODELS = {
    "paid": {"provider": "openai", "model": "gpt-5", "server": "cloud", "reasoning_effort": "low"},
    "own": {"provider": "openai_compatible", "model": "tiny", "server": "box"},
    "arbiter": {"provider": "openai", "model": "gpt-5-mini", "server": "cloud", "reasoning_effort": "low"},
    "chatty": {"provider": "openai_compatible", "model": "chatty", "server": "box"},
}
SAID = "As an AI language model by OpenAI, **gpt-5** sees AAPL at 118.38."
ASKS = "better answer"
"""In the schema's and the form's words of a judge only."""


def replay(lab: Lab, *more: str) -> str:
    roles = ("--roles", ",".join(ROLES), "--noise-floor", "0")
    options = ("--experiment", "lab.yaml", "--yes", "--from", "own", "--to", "paid")
    return lab.harness("replay", "lab", *options, *roles, *more)


def verdicts(lab: Lab, arm: str = JUDGE) -> list[dict[str, Any]]:
    return [call for call in lab.rows("calls") if call["arm"] == arm]


def shown(lab: Lab, call: dict[str, Any]) -> list[str]:
    texts = {row["message_id"]: row["text"] for row in lab.rows("messages")}
    return [texts[name] for name in call["message_ids"]]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, fake_models_process: FakeModels) -> Iterator[tuple[Lab, str]]:
    """A lab whose own arm was replayed and judged by `arbiter`, who prefers what stands first."""
    fake_models_process.reset()
    lab = Lab(tmp_path_factory.mktemp("judged"), fake_models_process)
    lab.experiment(dates=1, models=MODELS, arms={"own": {"all": "own"}})
    lab.fake.control(
        models=["gpt-5", "gpt-5-mini", "tiny", "chatty"],
        rules=[
            {"do": {"text": '{"reason": "it cites the close", "verdict": "A"}'}, "contains": ASKS, "model": "gpt-5-mini"},
            {"do": {"text": "A reasoned answer is the better one."}, "contains": ASKS, "model": "chatty"},
            {"do": {"text": SAID}, "model": "gpt-5", "contains": "bull"},
        ],
    )
    lab.run()
    yield lab, replay(lab, "--judge", "arbiter", "--judge", "chatty")
    lab.close()


def test_every_pair_is_judged_in_both_orders_over_the_same_material(judged: tuple[Lab, str]) -> None:
    lab, said = judged
    assert f"own > paid: 1 cells, {JUDGE}: 1 cells, {CHATTY}: 1 cells; 3 to do" in said
    found = verdicts(lab)
    assert sorted((call["role"], call["index"]) for call in found) == [(role, order) for role in ROLES for order in (0, 1)]
    assert {(call["kind"], call["model_requested"]) for call in found} == {("judge", "gpt-5-mini")}
    first, second = (shown(lab, next(c for c in found if (c["role"], c["index"]) == ("trader", order))) for order in (0, 1))
    assert first[:-3] == second[:-3], "the recorded prompt stands first, byte for byte"
    answers = [[part.partition("\n")[2] for part in parts[-3:-1]] for parts in (first, second)]
    assert answers[0] == answers[1][::-1]
    assert answers[0][0] != answers[0][1]


def test_who_wrote_an_answer_is_hidden_and_the_ticker_stays(judged: tuple[Lab, str]) -> None:
    lab, _ = judged
    bull = next(call for call in verdicts(lab) if (call["role"], call["index"]) == ("bull", 0))
    assert shown(lab, bull)[-2] == "# Answer B\n[a model] sees AAPL at 118.38."


def test_a_verdict_is_typed_and_billed_in_its_cell(judged: tuple[Lab, str]) -> None:
    lab, _ = judged
    found = verdicts(lab)
    assert {json.loads(call["parsed"])["verdict"] for call in found} == {"A"}
    (cell,) = [row for row in lab.rows("cells") if row["arm"] == JUDGE]
    assert (cell["kind"], cell["status"], cell["llm_calls"]) == ("judge", "ok", 4)
    assert cell["api_cost_usd"] == pytest.approx(sum(call["cost_usd"] for call in found))
    assert cell["api_cost_usd"] > 0


def test_judging_again_pays_nothing(judged: tuple[Lab, str]) -> None:
    lab, _ = judged
    before = lab.paid()["calls"]
    assert "0 to do" in replay(lab, "--judge", "arbiter")
    assert lab.paid()["calls"] == before


def test_a_verdict_that_cannot_be_read_is_none_and_no_tie(judged: tuple[Lab, str]) -> None:
    lab, _ = judged
    found = verdicts(lab, CHATTY)
    assert len(found) == 4
    assert {call["response"] for call in found} == {"A reasoned answer is the better one."}
    assert {call["parsed"] for call in found} == {None}


def test_judges_stand_apart_from_arms_and_replays_of_the_report(judged: tuple[Lab, str]) -> None:
    from reports.load import load

    lab, _ = judged
    run = load(lab.runs[-1])
    assert run.arms == ("own",)
    assert set(run.replays["arm"]) == {"own > paid"}
    assert set(run.judgements["arm"]) == {JUDGE, CHATTY}
    assert run.is_interim is False


def test_a_judge_nobody_knows_is_named_with_those_that_are_known(judged: tuple[Lab, str]) -> None:
    lab, _ = judged
    found = find(str(lab.folder / "results"), "lab")
    with pytest.raises(InvalidInput, match="unknown model 'arbitre'; known: paid, own, arbiter, chatty"):
        replay_cells.check_replay(found.experiment, ReplayRequest("own", ("paid",), judges=("arbitre",)))
