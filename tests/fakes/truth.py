"""The truth ledger: every request that reached the fake, and what became of it, to hold ours against."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Heard:
    """One request."""

    path: str
    model: str
    prompt: str
    """sha256 of its messages."""
    at: float = field(default_factory=time.time)
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    outcome: str = "open"
    """answered | failed | cut | abandoned (the client went away) | open."""
    status: int = 0
    authorization: bool = False
    lane: str = "default"
    """Service tier as requested, batch or background_WINDOW."""
    seconds: float = 0.0


class Truth:
    """What happened, in order."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.open = 0
        self.peak = 0
        self._peaks: Counter[str] = Counter()
        self._open: Counter[str] = Counter()

    def begin(self, heard: Heard) -> Heard:
        self.heard.append(heard)
        self.open += 1
        self.peak = max(self.peak, self.open)
        self._open[heard.model] += 1
        self._peaks[heard.model] = max(self._peaks[heard.model], self._open[heard.model])
        return heard

    def end(self, heard: Heard) -> None:
        self.open -= 1
        self._open[heard.model] -= 1
        heard.seconds = time.time() - heard.at
        if heard.outcome == "open":
            heard.outcome = "abandoned"

    def summary(self, *, full: bool) -> dict[str, Any]:
        """Counts over all requests and per model; `full` adds each request."""
        prompts = Counter(one.prompt for one in self.heard if one.outcome == "answered")
        told = _sums(self.heard) | {
            "peak_concurrency": self.peak,
            "open": self.open,
            "models": {
                model: _sums([one for one in self.heard if one.model == model]) | {"peak_concurrency": self._peaks[model]}
                for model in sorted({one.model for one in self.heard})
            },
            "lanes": {
                f"{model}|{lane}": _sums([one for one in self.heard if (one.model, one.lane) == (model, lane)])
                for model, lane in sorted({(one.model, one.lane) for one in self.heard})
            },
            "distinct_prompts": len(prompts),
            "answered_twice": sum(count - 1 for count in prompts.values()),
        }
        if full:
            told |= {"prompts": dict(prompts), "requests": [asdict(one) for one in self.heard]}
        return told


def _sums(heard: list[Heard]) -> dict[str, Any]:
    answered = [one for one in heard if one.outcome == "answered"]
    outcomes = Counter(one.outcome for one in heard)
    return {"calls": len(heard)} | {
        **{name: outcomes[name] for name in ("answered", "failed", "cut", "abandoned")},
        "input_tokens": sum(one.input_tokens for one in answered),
        "cached_tokens": sum(one.cached_tokens for one in answered),
        "cache_write_tokens": sum(one.cache_write_tokens for one in answered),
        "output_tokens": sum(one.output_tokens for one in answered),
        "reasoning_tokens": sum(one.reasoning_tokens for one in answered),
    }
