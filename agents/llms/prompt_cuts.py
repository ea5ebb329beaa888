"""Prompts that a server cut without an error: it reports far fewer tokens than we count.

Ollama behind /v1 does this: no `num_ctx` can be sent, and the answer to the rest of the prompt looks like any other.
"""

from __future__ import annotations

from statistics import median

from agents.llms.tokens import estimate_parts
from agents.types import Request
from domain.usage import Usage

_SHARE = 0.6
"""A prompt of which less than this share arrived was cut; our counts are within 10 % on English texts."""
_CALIBRATING_CALLS = 20
_SHORTEST = 500
"""Counted tokens of a prompt that may be cut; the chat format distorts the count of shorter ones."""


class PromptCheck:
    """Compares what servers report with what we count, model by model; calibrated on a model's first whole calls."""

    def __init__(self) -> None:
        self._ratios: dict[tuple[str, str], list[float]] = {}

    def was_cut(self, request: Request, usage: Usage) -> bool:
        """Whether the reported prompt is too short to be whole; an unknown count decides nothing.

        Tools are not counted: servers write their schemas in far fewer tokens than JSON takes, or do not count them."""
        model, reported = request.model, prompt_tokens(usage)
        counted = estimate_parts(request.parts, model.name)
        if not reported or counted < _SHORTEST:
            return False
        ratios = self._ratios.setdefault((model.server, model.name), [])
        if reported < _SHARE * counted * (median(ratios) if ratios else 1.0):
            return True
        if len(ratios) < _CALIBRATING_CALLS and not request.tools:
            ratios.append(reported / counted)
        return False


def prompt_tokens(usage: Usage) -> int | None:
    """Reported tokens of the prompt, each once; a count below its cached part leaves that part out."""
    cached = usage.cached_tokens or 0
    if usage.input_tokens is None:
        return None
    return usage.input_tokens + cached if cached > usage.input_tokens else usage.input_tokens
