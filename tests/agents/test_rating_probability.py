"""The probability of a rating: from the tokens that a server returns, over the five ratings, and unknown without them."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from agents import DECISION, Model
from agents.llms.rating_probability import rating_probability
from agents.types import Part, Request, Server
from tests.agents.admissions import asked
from tests.fakes.process import FakeModels


def token(text: str, chance: float = 1.0, **others: float) -> dict[str, Any]:
    top = {text: chance} | others
    listed = [{"token": name, "logprob": math.log(probability)} for name, probability in top.items()]
    return {"token": text, "logprob": math.log(chance), "top_logprobs": listed}


HEAD, TAIL = [token('{"'), token("rating"), token('": "')], [token('"}')]


def test_one_token_against_the_others_of_its_place() -> None:
    tokens = [*HEAD, token("Buy", 0.6, Over=0.2, Hold=0.1, cat=0.1), *TAIL]
    assert rating_probability(tokens) == pytest.approx(0.6 / 0.9)


def test_a_rating_of_several_tokens_is_their_product() -> None:
    tokens = [*HEAD, token("Over", 0.5, Under=0.25, Sell=0.25), token("weight", 0.8, lap=0.2), *TAIL]
    assert rating_probability(tokens) == pytest.approx(0.4 / 0.9)


def test_a_token_that_begins_before_the_value_counts_from_its_inside() -> None:
    both = {"token": ' "Hold', "logprob": math.log(0.7), "top_logprobs": [{"token": ' "Sell', "logprob": math.log(0.3)}]}
    assert rating_probability([token('{"rating":'), both, *TAIL]) == pytest.approx(0.7)


@pytest.mark.parametrize(
    "tokens", [None, [], "Buy", [{"token": '{"rating": "Buy"}'}], [*HEAD, token("Maybe"), *TAIL], [None, 3]]
)
def test_nothing_is_known_without_tokens_or_without_a_rating(tokens: Any) -> None:
    assert rating_probability(tokens) is None


ANSWER = {"summary": "s", "thesis": "t", "rating": "Hold", "confidence": 70, "target_price": 90, "horizon": "6 weeks"}
TEXT = json.dumps(ANSWER)
BEFORE, AFTER = TEXT.split("Hold")
TOKENS = [token(BEFORE), token("Hold", 0.5, Buy=0.3, Sell=0.1, the=0.1), token(AFTER)]


@pytest.mark.parametrize("provider", ["vllm", "ollama"])
def test_it_is_asked_for_only_where_wanted_and_is_no_identity(fake_models: FakeModels, provider: str) -> None:
    fake_models.control(rules=[{"do": {"text": TEXT, "logprobs": TOKENS}}])
    server: Server = fake_models.ollama() if provider == "ollama" else fake_models.compatible()
    name = "llama3.1:8b" if provider == "ollama" else "tiny"
    plain = Model("m", server.provider, name, {"max_output_tokens": 500}, server.name)
    wanted = Model("m", server.provider, name, {"max_output_tokens": 500, "rating_probability": True}, server.name)
    assert plain.identity() == wanted.identity()
    parts = (Part("user", f"Decide.\n{DECISION.say()}"),)
    for model, expected in ((plain, None), (wanted, 0.5 / 0.9)):
        call = asked(server, Request(model, parts, schema=DECISION.schema()))
        assert call.answer is not None, call.failure
        assert call.answer.rating_probability == (None if expected is None else pytest.approx(expected))
    free = asked(server, Request(wanted, (Part("user", "Report."),)))
    assert "logprobs" not in json.dumps(dict(free.params))
