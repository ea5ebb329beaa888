"""Whether a replayed model decides as the recorded one did: one sentence, and never more than the interval carries."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.exports import export
from reports.load import load
from reports.roles.likeness import DIFFERENT, SAME, UNDECIDED, AskedPrompt, Likeness, likenesses, of_prompts
from tests.reports.replayed import add_replay, give_forms
from tests.reports.synthetic import FakeArm, make_run, sessions

ARMS = {"gpt-5": FakeArm()}
Rating = Callable[[int], str]
"""Number of the case, in the order of the run -> rating."""


def replayed(folder: Path, dates: int, recorded: Rating, again: Rating | None, **targets: Rating) -> Path:
    """A run of gpt-5 on three tickers, asked again by itself and by other models; only the portfolio manager has a form."""
    terms = {"baseline": "gpt-5", "endpoints": {"same_rating": {"margin": 0.10}}}
    made = make_run(folder / "r", arms=ARMS, dates=sessions("2025-09-02", dates), compare=terms)
    cells = load(made).cells.sort_values(["date", "ticker"])
    number = {cell_id: place for place, cell_id in enumerate(cells["cell_id"])}
    give_forms(made, lambda call: recorded(number[call["cell_id"]]))

    def answering(rating: Rating) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
        def answer(call: Mapping[str, Any]) -> Mapping[str, Any]:
            form = json.dumps({"rating": rating(number[call["cell_id"]]), "confidence": 60, "summary": "as said"})
            return {"parsed": form if call["role"] == "portfolio_manager" else None}

        return answer

    for name, rating in targets.items():
        add_replay(made, "gpt-5", name, answering(rating))
    if again:
        add_replay(made, "gpt-5", "gpt-5", answering(again))
    return made


def every(ninth: int) -> Rating:
    """Hold on every ninth case, else Buy: draws of one model that slips on one case in nine."""
    return lambda case: "Hold" if case % 9 == ninth else "Buy"


def only(run: Path) -> Likeness:
    (found,) = likenesses(load(run))
    return found


def test_an_equal_model_decides_as_the_recorded_one_did_with_its_bound(tmp_path: Path) -> None:
    found = only(replayed(tmp_path, 30, every(0), every(1), luna=every(2)))

    assert found.word == SAME
    assert found.apart.value == pytest.approx(0, abs=0.01)
    assert found.text.startswith("luna decides as gpt-5 did: it gives gpt-5's rating or action on 78% of 90 prompts, ")
    assert "gpt-5 asked again on 78%; at most " in found.text
    assert found.text.endswith("points less often, within the margin of 10 points.")


def test_a_different_model_is_called_different_with_what_it_loses_at_least(tmp_path: Path) -> None:
    found = only(replayed(tmp_path, 12, every(0), every(1), luna=lambda case: "Sell"))

    assert found.word == DIFFERENT
    assert found.text.startswith("luna does not decide as gpt-5 did: it gives gpt-5's rating or action on 0% of 36 prompts")
    assert "points less often, beyond the margin of 10 points." in found.text
    assert found.apart.high < -0.10


def test_a_few_cases_leave_it_undecided_also_where_every_answer_agrees(tmp_path: Path) -> None:
    found = only(replayed(tmp_path, 3, lambda case: "Buy", lambda case: "Buy", luna=lambda case: "Buy"))

    assert found.word == UNDECIDED, "no noise was seen, which is not the same as no noise"
    assert found.text.startswith("Undecided whether luna decides as gpt-5 did: it gives gpt-5's rating or action on 100% of 9 ")
    assert found.apart.low < -0.10


def test_a_model_that_nothing_is_known_to_differ_from_by_chance_stays_undecided(tmp_path: Path) -> None:
    found = only(replayed(tmp_path, 12, every(0), None, luna=every(0)))

    assert found.word == UNDECIDED
    assert "no deciding prompt was answered by luna and again by gpt-5" in found.text


def test_an_answer_that_cannot_be_read_is_no_agreement(tmp_path: Path) -> None:
    made = replayed(tmp_path, 12, lambda case: "Buy", lambda case: "Buy", luna=lambda case: "")

    assert only(made).agreement == 0.0
    assert only(made).word == DIFFERENT


def test_each_model_has_one_sentence_on_the_same_prompts(tmp_path: Path) -> None:
    made = replayed(tmp_path, 12, every(0), every(1), luna=every(2), sol=lambda case: "Sell")

    found = likenesses(load(made))

    assert [(one.source, one.target, one.prompts) for one in found] == [("gpt-5", "luna", 36), ("gpt-5", "sol", 36)]
    exported = json.loads(export(str(made), "json"))["same_prompts"]
    assert [one["text"] for one in exported] == [one.text for one in found]


@pytest.mark.parametrize(("loss", "word", "at_least", "at_most"), [(0.0, SAME, 0.5, 1.0), (0.10, SAME, 0.0, 0.05)])
def test_the_last_runs_design_shows_an_equal_model_and_rarely_errs_on_the_margin(
    loss: float, word: str, at_least: float, at_most: float
) -> None:
    """8 dates x 3 tickers, three repeats, three deciding roles; a self-agreement of about 65 %."""
    dice = np.random.default_rng(3)

    words = [of_prompts("gpt-5", "luna", _world(dice, loss), 0.10).word for _ in range(200)]

    assert at_least <= words.count(word) / len(words) <= at_most


def _world(dice: np.random.Generator, loss: float) -> list[AskedPrompt]:
    """Each prompt has a favourite answer; the target agrees `loss` less often than the recorded model with itself."""
    prompts = []
    for date in range(8):
        for ticker in range(3):
            for _ in range(9):
                firm = 1 / (1 + np.exp(-(1.4 + dice.normal(0, 1))))
                one, two, three = (str(dice.choice(list("ABC"), p=[firm, (1 - firm) / 2, (1 - firm) / 2])) for _ in range(3))
                target = "Z" if dice.random() < loss / 0.65 else three
                prompts.append(AskedPrompt(f"{ticker}@{date}", date, one, two, target))
    return prompts
