"""An experiment whose pipeline is a stand-in program, in a lab of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.runs import Lab

PROGRAMS = Path(__file__).parent / "programs"
RATED = '{"rating": "Overweight", "executive_summary": "Cheap and steady."}'


def attached(how: str = "", **more: Any) -> dict[str, Any]:
    """`pipeline:` of the stand-in program; `how` makes it misbehave."""
    return {
        "command": [sys.executable, "desk.py", "{ticker}", "{date}", *([how] if how else [])],
        "folder": str(PROGRAMS),
        "models": {"quick-model": "quick", "deep-model": "deep"},
        **more,
    }


def scripted(lab: Lab, decision: str = RATED) -> None:
    """The models call a tool once, argue, and decide."""
    tool = [{"name": "get_prices", "arguments": '{"ticker": "AAPL"}'}]
    forced = [{"name": "PortfolioDecision", "arguments": decision}]
    lab.fake.control(
        rules=[
            {"contains": "Data retrieved on", "do": {"text": "The trend is up; the close was 101.25."}},
            {"contains": "You are a trading assistant", "do": {"tool_calls": tool}},
            {"contains": "As the Portfolio Manager", "do": {"tool_calls": forced}},
        ]
    )


@pytest.fixture
def desk(lab: Lab) -> Lab:
    """A lab in which the stand-in program can be run."""
    scripted(lab)
    return lab
