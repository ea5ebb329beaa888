"""The ladder's corpus: texts, what a careful reader takes from them, and what the ladder reads."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from agents import DECISION, Admission, Answer, CallSite, Clients, Context, Form, Model, Pipeline, Reading, Request

CORPUS = Path(__file__).with_name("ladder_corpus.yaml")


@dataclass(frozen=True)
class Text:
    """One text of the corpus."""

    name: str
    group: str
    truth: str | None
    text: str
    repair: str | None = None
    """The second answer; the model repeats itself when there is none."""
    finish: str = "stop"


def texts() -> list[Text]:
    return [Text(**raw) for raw in yaml.safe_load(CORPUS.read_text(encoding="utf-8"))]


def climb(text: Text, form: Form = DECISION) -> Reading:
    """What the whole ladder reads when a model answers this text."""

    class Recorded:
        async def recall(self, site: CallSite, request: Request) -> Answer:
            said = text.text if site.kind == "primary" or text.repair is None else text.repair
            return Answer(said, finish_reason=text.finish, truncated=text.finish == "length")

    lineup, nothing_sent = {"portfolio_manager": Model("scripted", "scripted", "scripted-1")}, Clients({})
    ctx = Context(lineup, Pipeline(), cast("Admission", Recorded()), nothing_sent)
    return asyncio.run(ctx.ask("portfolio_manager", form.say(), form=form))


def verdict(text: Text, reading: Reading) -> str:
    """right | wrong | unparsed: no rating is right only where there is none to be had."""
    value: Mapping[str, Any] = reading.value or {}
    rating = value.get("rating")
    if rating is not None:
        return "right" if rating == text.truth else "wrong"
    return "right" if text.truth is None else "unparsed"
