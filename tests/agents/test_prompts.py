"""Prompts are ordered for caches: shared parts first, byte for byte, the role's instruction last."""

from __future__ import annotations

import runpy
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from agents import DEPTHS, Call, CallSite, Pipeline, prompts_of, role_turns
from agents.pipeline.prompts import history, shorten
from agents.types import Part
from tests.agents.cell import run, snapshot

REPOSITORY = Path(__file__).resolve().parents[2]
DJIA = REPOSITORY.parent / "shared" / "data" / "djia-2025"


def calls(depth: str = "medium") -> list[Call]:
    _, admission, _ = run(Pipeline(depth=depth))
    return admission.calls


def shared(one: Call, other: Call) -> int:
    pairs = zip(one.request.parts, other.request.parts, strict=False)
    return next((at for at, (mine, theirs) in enumerate(pairs) if mine != theirs), 0)


def test_analysts_share_everything_but_their_task() -> None:
    analysts = [call for call in calls() if call.site.role.endswith("_analyst")]
    first = analysts[0].request.parts
    assert all(call.request.parts[:-1] == first[:-1] for call in analysts)
    assert len({call.request.parts[-1] for call in analysts}) == 4
    assert len({call.request.cache_key for call in analysts}) == 1


def test_everybody_after_the_analysts_begins_with_the_same_reports() -> None:
    later = [call for call in calls() if not call.site.role.endswith("_analyst")]
    prefix = later[0].request.parts[:6]
    assert [part.text.split("\n")[0] for part in prefix[2:]] == [
        "# Market analyst",
        "# Sentiment analyst",
        "# News analyst",
        "# Fundamentals analyst",
    ]
    assert all(call.request.parts[:6] == prefix for call in later)
    assert len({call.request.cache_key for call in later}) == 1


def test_a_debater_continues_the_prompt_of_the_one_before() -> None:
    by_place = {(call.site.role, call.site.round): call for call in calls()}
    assert shared(by_place["bull", 2], by_place["bear", 1]) == 7
    assert shared(by_place["bear", 2], by_place["bull", 2]) == 8
    assert shared(by_place["research_manager", 0], by_place["bear", 3]) == 11
    assert shared(by_place["portfolio_manager", 0], by_place["neutral", 3]) == 16


def test_no_block_of_the_snapshot_is_shown_twice() -> None:
    text = "\n\n".join(part.text for part in calls()[0].request.parts)
    assert text.count("Last session") == 1
    assert text.count("Returns to the last close") == 1
    assert text.count("Company news") == 1


def test_the_sentiment_analyst_alone_still_sees_the_news() -> None:
    _, admission, _ = run(Pipeline(analysts=("sentiment",)))
    text = "\n\n".join(part.text for part in admission.asked("sentiment_analyst")[0].parts)
    assert "Company news" in text
    assert "Social media" in text


def test_a_budget_cuts_an_analysts_material_with_an_announcement() -> None:
    _, admission, _ = run(Pipeline(budget_tokens={"market": 300}))
    text = "\n\n".join(part.text for part in admission.asked("market_analyst")[0].parts)
    assert "cut to fit the token budget" in text


def test_histories_keep_the_newest_and_announce_the_rest() -> None:
    spoken = [Part("user", f"# Voice {number}\n" + "word " * 100) for number in range(9)]
    kept = history(spoken, "debate", 350)
    assert "first 6 statements are left out" in kept[0].text
    assert kept[1:] == spoken[6:]
    assert history(spoken[:1], "debate", 10) == spawned(spoken[:1])
    assert "Nobody has spoken yet" in history([], "debate", 350)[0].text


def test_a_long_debates_prompts_mostly_continue_the_one_before() -> None:
    spoken = [Part("user", f"# Voice {number}\n" + "word " * 100) for number in range(40)]
    shown = [history(spoken[:end], "debate", 700) for end in range(1, 41)]
    assert all(kept[-1] == spoken[at] for at, kept in enumerate(shown)), "the newest is always there"
    assert all(sum(len(part.text) for part in kept) / 5 < 800 for kept in shown), "within the budget, the announcement aside"
    continued = sum(after[: len(before)] == before for before, after in pairwise(shown))
    assert continued >= 26, "one that forgets at every turn continues 6 of 39"


def spawned(parts: list[Part]) -> list[Part]:
    """A single statement is never left out, however long."""
    return parts


def test_a_long_text_is_cut_with_an_announcement_and_a_short_one_is_not() -> None:
    assert shorten("short", 100) == "short"
    cut = shorten("word " * 50_000, 100)
    assert len(cut) < 1000
    assert "[cut here:" in cut
    assert len(shorten("字" * 50_000, 100)) < 1000


def test_the_plan_knows_every_prompt_before_anybody_spoke() -> None:
    for depth in DEPTHS:
        planned = prompts_of(snapshot(), Pipeline(depth=depth))
        assert Counter(prompt.site.role for prompt in planned) == role_turns(Pipeline(depth=depth))
    assert planned[0].site == CallSite("portfolio_manager")
    assert prompts_of(snapshot(), Pipeline(rule="macd")) == ()
    shallow = prompts_of(snapshot(), Pipeline())
    sent = calls("shallow")
    sites = {call.site: call for call in sent}
    assert all(len(one.parts) == len(sites[one.site].request.parts) for one in shallow)
    assert shallow[0].parts == sites[shallow[0].site].request.parts
    assert shallow[5].cacheable_parts > 5


def test_a_cap_bounds_what_the_plan_expects() -> None:
    planned = prompts_of(snapshot(), Pipeline(max_output_tokens={"all": 100, "bull": 50}))
    caps = {one.site.role: one.output_tokens for one in planned}
    assert caps["bull"] == 50
    assert max(caps.values()) == 100


@pytest.mark.skipif(not DJIA.is_dir(), reason="the djia-2025 archive is not beside the repository")
def test_most_input_can_be_cached_and_grows_at_most_with_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(REPOSITORY), *sys.path])
    found = runpy.run_path(str(REPOSITORY / "benchmarks" / "prompt_tokens.py"))["main"](1)
    turns = [sum(role_turns(Pipeline(depth=depth)).values()) for depth in ("shallow", "medium", "deep")]
    assert [found["depths"][rounds]["calls"] for rounds in ("1", "3", "5")] == turns
    assert found["depths"]["1"]["cacheable_share"] >= 0.6
    assert found["growth_1_to_5"]["input_tokens"] <= found["growth_1_to_5"]["calls"]
    analysts = [share for role, share in found["depths"]["1"]["fact_share_by_role"].items() if role.endswith("_analyst")]
    assert analysts == [1.0] * 4
