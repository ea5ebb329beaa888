"""Roles are files: found by folder, checked when read, rendered strictly."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from agents import PipelineError, analyst_names, deep_roles, role_names
from agents.pipeline import roles
from agents.pipeline.flow import Turn
from agents.pipeline.prompts import instruction

TRADING_AGENTS = [
    "market_analyst",
    "sentiment_analyst",
    "news_analyst",
    "fundamentals_analyst",
    "bull",
    "bear",
    "research_manager",
    "trader",
    "aggressive",
    "conservative",
    "neutral",
    "portfolio_manager",
]


def test_the_roles_of_tradingagents_are_found_in_the_order_of_the_flow() -> None:
    assert [name for name in role_names() if name in TRADING_AGENTS] == TRADING_AGENTS
    assert deep_roles() == ("research_manager", "portfolio_manager")
    assert analyst_names() == ("market", "sentiment", "news", "fundamentals")


def test_every_prompt_renders_strictly_in_every_round() -> None:
    for role in roles.all_roles().values():
        for opens in (True, False):
            text = instruction(Turn(role, 2, 3, opens), None).text
            assert "{{" not in text
            assert text.startswith("# Your task\n")


def test_a_small_output_cap_asks_for_fewer_words() -> None:
    role = roles.all_roles()["market_analyst"]
    assert "At most 350 words" in instruction(Turn(role), None).text
    assert "At most 60 words" in instruction(Turn(role), 100).text


def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(roles.FOLDER, tmp_path / "roles"))


def test_a_new_role_is_one_file(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    text = (folder / "neutral.md").read_text().replace("order: 3", "order: 4").replace("Neutral risk voice", "Quant")
    (folder / "quant.md").write_text(text)
    found = roles.load(folder)
    assert [role.file for role in found.values() if role.stage == "risk"] == ["aggressive", "conservative", "neutral", "quant"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("stage: risk", "stage: lunch"), "unknown stage 'lunch'; known: analysis, debate"),
        (("tier: quick", "tier: wide"), "unknown tier 'wide'; known: quick, deep"),
        (("output: argument", "output: poem"), "unknown output 'poem'"),
        (("reads: [reports, plan, proposal, risk]", "reads: [tea leaves]"), "unknown reads 'tea leaves'"),
        (("reads: [reports, plan, proposal, risk]", "reads: reports"), "reads is a list of names"),
        (("words: 160", "wordz: 160"), "unknown key 'wordz'"),
        (("words: 160\n", ""), "lacks 'words'"),
        (("---\n", ""), "front matter"),
        (("stage: risk", "stage: [risk"), "is no YAML"),
        (("stage: risk", "stage: decision"), "stage decision needs exactly one role, found neutral.md, portfolio_manager.md"),
    ],
)
def test_an_invalid_role_file_is_named_with_the_fix(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    folder = copied(tmp_path)
    path = folder / "neutral.md"
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(PipelineError, match=r"neutral|stage decision") as raised:
        roles.load(folder)
    assert message in str(raised.value)


def test_an_unknown_name_in_a_prompt_is_an_error_not_a_blank(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    path = folder / "neutral.md"
    path.write_text(path.read_text() + "{{ nobody }}")
    with pytest.raises(PipelineError, match="nobody"):
        instruction(Turn(roles.load(folder)["neutral"], 1, 1), None)


def test_no_rating_is_put_forward_by_a_prompt() -> None:
    """A clause that leans to one rating has turned a hundred analyses into that rating elsewhere."""
    for name in ("research_manager", "portfolio_manager", "single_call"):
        text = roles.all_roles()[name].prompt
        scale = [text.count(word) for word in ("Overweight", "Underweight", "Buy", "Sell")]
        assert len(set(scale)) == 1, name
        assert "No rating is safer or more" in text
