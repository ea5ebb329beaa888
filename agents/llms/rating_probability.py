"""The probability that a model gave to its rating, from the log probabilities of tokens that some servers return."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from domain.ratings import RATINGS

TOP_TOKENS = 10
"""Alternatives that are requested for each token: more than there are ratings."""
_RATING = re.compile(r'"(?:rating|action)"\s*:\s*"')


def rating_probability(tokens: Any) -> float | None:
    """Probability of the written rating, normalised over the five ratings; None where tokens were not returned.

    `tokens`: {token, logprob, top_logprobs: [{token, logprob}]} in the order of the text. A rating's probability is the product
    over its tokens. Of another rating only the token is known with which it would have branched off, and that counts for it;
    one that is not among the most likely tokens counts as 0.
    """
    listed = [token for token in tokens if isinstance(token, Mapping)] if isinstance(tokens, list) else []
    text = "".join(str(token.get("token") or "") for token in listed)
    start = next((match.end() for match in _RATING.finditer(text)), None)
    written = next((rating for rating in RATINGS if start is not None and text.startswith(f'{rating}"', start)), None)
    if start is None or written is None:
        return None
    chances = dict.fromkeys(RATINGS, 0.0)
    prefix_chance = 1.0
    for before, token in _of_value(listed, start, len(written)):
        for alternative, chance in _alternatives(token):
            for rating in RATINGS:
                if rating != written and _branches_to(rating, written, before, alternative):
                    chances[rating] += prefix_chance * chance
        own = _chance(token.get("logprob"))
        if own is None:
            return None
        prefix_chance *= own
    chances[written] = prefix_chance
    total = sum(chances.values())
    return prefix_chance / total if total > 0 else None


def _of_value(tokens: Sequence[Mapping[str, Any]], start: int, length: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The tokens of the rating, each with the number of its characters before it (negative: it begins with other text)."""
    position = 0
    for token in tokens:
        end = position + len(str(token.get("token") or ""))
        if end > start and position < start + length:
            yield position - start, token
        position = end


def _alternatives(token: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for other in token.get("top_logprobs") or ():
        if isinstance(other, Mapping) and (chance := _chance(other.get("logprob"))) is not None:
            yield str(other.get("token") or ""), chance


def _branches_to(rating: str, written: str, before: int, token: str) -> bool:
    """Whether this token, in place of the one that was written here, begins the rest of another rating."""
    if before < 0:
        # The token began before the value, as `"Buy` does: compare what lies inside it.
        token, before = token[-before:] if len(token) > -before else "", 0
    rest = rating[before:]
    is_same_so_far = rating[:before] == written[:before]
    is_next = bool(token) and (rest.startswith(token) or token.startswith(rest + '"') or token == rest)
    return is_same_so_far and is_next and not written[before:].startswith(token)


def _chance(logprob: Any) -> float | None:
    is_known = isinstance(logprob, (int, float)) and not isinstance(logprob, bool) and logprob <= 0.001
    return math.exp(min(0.0, logprob)) if is_known else None
