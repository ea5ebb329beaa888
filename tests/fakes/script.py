"""What a test tells the fake to do: rules that match a request and change how it is answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass
class Behaviour:
    """How one request is answered; the defaults are a healthy server."""

    latency_s: float = 0.0
    """Before the first byte."""
    status: int = 200
    error: str = "the fake was told to fail"
    error_type: str = "server_error"
    error_code: str | None = None
    retry_after: str | None = None
    raw: str | None = None
    """This body instead of an answer, with `status`."""
    hang_s: float = 0.0
    """Silence after the headers of a stream, or before anything without one."""
    cut: bool = False
    """The connection ends in the middle of the body."""
    text: str | None = None
    view: str = ""
    """Choices of a form follow from this text and the prompt's ticker and date, not from the rest of the prompt."""
    strays: float = 0.0
    """Share of cases in which a model with a view has another one."""
    wavers: float = 0.0
    """Chance that an answer of a model with a view has random choices."""
    output_tokens: int = 60
    """Length of a free answer; a scripted text or a schema has its own."""
    thinking: str = ""
    reasoning_tokens: int = 0
    refusal: str | None = None
    finish: str | None = None
    """Chat: finish_reason; Ollama: done_reason; Responses: max_output_tokens or content_filter makes it incomplete."""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    """{name, arguments: text}."""
    model: str | None = None
    """Another model's name in the answer."""
    service_tier: str | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    input_tokens: int | None = None
    vocabulary: str = ""
    """Counts the prompt (o200k_base ...) in place of four characters to a token, times `counts`."""
    counts: float = 1.0
    warm: float = 1.0
    """Then also: share that the cache gives of what it has seen."""
    load_s: float | None = None
    chunk_tokens: int = 16
    token_s: float = 0.0
    """Pause per output token within a stream."""
    usage: bool = True
    logprobs: list[dict[str, Any]] | None = None
    """Tokens of the answer as returned where they are asked for; their text replaces the answer's."""


@dataclass
class Rule:
    """Applies to requests that match, `times` times, after `skip` matching ones."""

    do: Mapping[str, Any]
    contains: str = ""
    """A text somewhere in the prompt."""
    model: str = ""
    path: str = ""
    times: int | None = None
    skip: int = 0

    def applies(self, path: str, model: str, prompt: str) -> bool:
        if self.path not in path or (self.model and self.model != model) or self.contains not in prompt:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is None:
            return True
        self.times -= 1
        return self.times >= 0


class Script:
    """The rules in force, first match wins, over the defaults."""

    def __init__(self) -> None:
        self.defaults: dict[str, Any] = {}
        self.rules: list[Rule] = []

    def change(self, told: Mapping[str, Any]) -> None:
        """{defaults: {...}, rules: [{do: {...}, contains, model, path, times, skip}]}; rules replace the old ones."""
        _known(told.get("defaults", {}))
        for rule in told.get("rules", []):
            _known(rule["do"])
        self.defaults |= told.get("defaults", {})
        if "rules" in told:
            self.rules = [Rule(**rule) for rule in told["rules"]]

    def behaviour(self, path: str, model: str, prompt: str) -> Behaviour:
        rule = next((rule for rule in self.rules if rule.applies(path, model, prompt)), None)
        return Behaviour(**{**self.defaults, **(rule.do if rule else {})})


def _known(behaviour: Mapping[str, Any]) -> None:
    names = {one.name for one in fields(Behaviour)}
    if unknown := set(behaviour) - names:
        raise ValueError(f"unknown behaviour {sorted(unknown)}; known: {sorted(names)}")
