"""The counter of a model: which vocabulary counts its prompts, and what its chat format adds around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from agents.contract.lineup import Model
from agents.contract.request import Part
from agents.llms.counting import byte_pairs, gguf, sentence_pieces
from agents.llms.messages import join
from agents.llms.tokens import estimate_tokens
from agents.llms.weights import WEIGHTS, first_part
from domain import models


@dataclass(frozen=True)
class TokenCounter:
    """Counts texts as one model does, or as near as one comes without its tokenizer."""

    name: str
    """The vocabulary; `estimate` where there is none."""
    is_tokenizer: bool
    count: Callable[[str], int]
    per_message: int
    """Tokens that the chat format puts around one message."""
    per_request: int = 0
    """Tokens that it puts into each request besides."""

    def of_parts(self, parts: Sequence[Part]) -> list[int]:
        """Tokens of each part of a prompt with its share of the format; their sum is the prompt's."""
        counts = [self.count(part.text) + self._around(parts, place) for place, part in enumerate(parts)]
        return [counts[0] + self.per_request, *counts[1:]] if counts else []

    def _around(self, parts: Sequence[Part], place: int) -> int:
        is_joined = place > 0 and len(join(parts[place - 1 : place + 1])) == 1
        return self._joint if is_joined else self.per_message

    @cached_property
    def _joint(self) -> int:
        """The blank line between two parts of one message."""
        return self.count("a\n\na") - 2 * self.count("a")


def counter_of(model: Model) -> TokenCounter:
    """The best counter for a model on this machine; asks no server and fetches nothing."""
    line = models.line_of(model.name)
    if line and line.vocabulary:
        return _openai(line.vocabulary) or ESTIMATE
    return (_embedded(model.name) or ESTIMATE) if model.name in WEIGHTS else ESTIMATE


ESTIMATE = TokenCounter("estimate", False, estimate_tokens, per_message=8)
_FORMATS = {"o200k_base": (4, 3), "o200k_harmony": (4, 65)}
"""Per message and per request; gpt-oss is told in each request who it is and what channels there are."""


@cache
def _openai(vocabulary: str) -> TokenCounter | None:
    try:
        from toktok import batch_count
    except ImportError:
        return None
    per_message, per_request = _FORMATS[vocabulary]
    return TokenCounter(vocabulary, True, lambda text: batch_count([text], vocabulary)[0], per_message, per_request)


@cache
def _embedded(name: str) -> TokenCounter | None:
    """Out of the weights' own file, which names its vocabulary before anything else; None where it is not installed."""
    path = first_part(name)
    if path is None:
        return None
    vocabulary = gguf.vocabulary(path)
    count = sentence_pieces.counter(vocabulary) if vocabulary.kind == "llama" else byte_pairs.counter(vocabulary)
    return TokenCounter(name, True, count, per_message=5, per_request=4)
