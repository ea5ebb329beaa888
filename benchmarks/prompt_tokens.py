"""python -m benchmarks.prompt_tokens (after `make demo`)

Input tokens of a decision, how much of them a prompt cache can serve, and which facts reach each role: JSON on stdout.

A scripted lineup answers as long as each role is asked to; the cases are djia-2025's (env DJIA_2025, or beside the repository),
else the demo's; a number as argument takes so many of them. Tokens are estimated as `ask` does before it sends
(agents/llms/tokens.py: no tokenizer, no network).

cacheable_share      input tokens that stand in the longest exact prefix, of 1,024 tokens or more, that a call shares with one
                     that was sent before it in the same cell, over all input tokens
without_siblings     the same, but only calls that had ended before this one began count: the four analysts start together, so a
                     hosted cache may not have seen the first when the second arrives (a local server takes them in turn)
input_usd            US dollars of input per decision for gpt-6.1-sol, at one and at three repeats: as an unmarked prompt pays
                     (as_today), without a cache, ours, and the minimum over all placements (benchmarks/cache_costs.py)
growth_when_roles_overrun  how often -> growth from depth 1 to 5 when free texts are so many times as long as asked for
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agents import (
    Call,
    CallSite,
    Context,
    Pipeline,
    Request,
    Snapshot,
    decide,
    estimate_tokens,
    freeze_case,
    instrument,
    open_sources,
    view,
)
from benchmarks import cache_costs
from tests.fakes.scripted import OpenAdmission, ScriptedClients, fill, lineup

REPOSITORY = Path(__file__).resolve().parents[1]
LEAST_PREFIX = 1024
ROUNDS = {"1": "shallow", "3": "medium", "5": "deep"}
CASES = (("AAPL", "2025-06-02"), ("JPM", "2025-04-15"), ("BA", "2025-07-01"))
DEMO_CASES = (("AAPL", "2010-03-01"), ("IBM", "2005-06-01"), ("MSFT", "2012-09-04"))
WORDS = {"report": 350, "argument": 180}
REPEATS = (1, 3)
OVERRUNS = (0.5, 1.25, 1.5, 2.0)
_FACT = re.compile(r"\d[\d,]*\.?\d*")


def main(most: int | None = None) -> dict[str, Any]:
    """Figures over the first `most` cases; without overruns where that is said."""
    cases = snapshots()[:most]
    depths = {rounds: measure(depth, cases) for rounds, depth in ROUNDS.items()}
    shallow, deep = depths["1"], depths["5"]
    return {
        "cases": [f"{case.ticker}@{case.date}" for case in cases],
        "depths": depths,
        "growth_1_to_5": {
            "input_tokens": round(deep["input_tokens"] / shallow["input_tokens"], 3),
            "calls": round(deep["calls"] / shallow["calls"], 3),
        },
        "input_usd": {str(repeats): input_usd(cases, repeats) for repeats in REPEATS},
        "growth_when_roles_overrun": {str(times): growth(cases[:1], times) for times in OVERRUNS if most is None},
    }


def input_usd(cases: Sequence[Snapshot], repeats: int) -> dict[str, float]:
    """Means over the cases."""
    each = [cache_costs.input_usd(case, _talkative(case, 1.0), repeats) for case in cases]
    return {way: _mean([usd[way] for usd in each]) for way in each[0]}


def growth(cases: Sequence[Snapshot], times: float) -> float:
    """Input tokens at depth 5 over those at depth 1 when every free text is so many times as long as it was asked to be."""
    shallow, deep = (measure(ROUNDS[rounds], cases, times)["input_tokens"] for rounds in ("1", "5"))
    return float(round(deep / shallow, 3))


def snapshots() -> list[Snapshot]:
    """Real cases where the archive is at hand, the demo's otherwise."""
    folder = Path(os.environ.get("DJIA_2025", REPOSITORY.parent / "shared" / "data" / "djia-2025"))
    if folder.is_dir():
        return _frozen(CASES, {"prices": "archive", "filings": "archive", "news": "archive", "archive": str(folder)})
    return _frozen(DEMO_CASES, {"prices": "demo"})


def _frozen(cases: Sequence[tuple[str, str]], data: Mapping[str, Any]) -> list[Snapshot]:
    desk = open_sources(data, archive=data.get("archive"))
    return [freeze_case(ticker, dt.date.fromisoformat(date), desk, data) for ticker, date in cases]


def measure(depth: str, cases: Sequence[Snapshot], times: float = 1.0) -> dict[str, Any]:
    """Means over the cases; `times`: how long free texts are, against what is asked for."""
    cells = [(case, _calls(case, depth, times)) for case in cases]
    measured = [_measure(calls) for _, calls in cells]
    roles = dict.fromkeys(call.site.role for call in cells[0][1])
    facts = [_fact_shares(case, calls) for case, calls in cells]
    return {
        **{key: _mean([one[key] for one in measured]) for key in measured[0]},
        "calls": len(cells[0][1]),
        "fact_share_by_role": {role: _mean([one[role] for one in facts]) for role in roles},
    }


def _calls(case: Snapshot, depth: str, times: float) -> list[Call]:
    gate = OpenAdmission()
    clients: Any = ScriptedClients(gate, _talkative(case, times))
    result = asyncio.run(decide(Context(lineup(), Pipeline(depth=depth), gate, clients, case)))
    if result.error is not None:
        raise result.error
    order = {id(request): at for at, (_, request) in enumerate(gate.admitted)}
    return sorted(gate.calls, key=lambda call: order[id(call.request)])


def _talkative(case: Snapshot, times: float) -> Any:
    """Answers `times` as long as asked for; analysts quote the figures of their own material, one per ten words."""

    def script(place: CallSite, request: Request) -> str:
        if request.schema is not None:
            long = {
                name: _prose(name, kind["maxLength"] // 6)
                for name, kind in request.schema["properties"].items()
                if "maxLength" in kind
            }
            return json.dumps(json.loads(fill(request.schema)) | long)
        field = place.role.removesuffix("_analyst")
        if field == place.role:
            return _prose(f"{place.role} {place.round}", round(WORDS["argument"] * times))
        figures = _FACT.findall(view(case, field))
        return " ".join(f"{_prose(field, 9)} {figure}" for figure in figures[: round(WORDS["report"] * times / 10)])

    return script


def _prose(about: str, words: int) -> str:
    text = f"{about} says that the margin of the quarter rose while the debt of the company fell and ".split()
    return " ".join(text[at % len(text)] for at in range(words))


def _measure(calls: Sequence[Call]) -> dict[str, float]:
    prompts = [_text(call.request) for call in calls]
    tokens = [estimate_tokens(prompt) for prompt in prompts]
    cached = [_cached(prompts[at], prompts[:at]) for at in range(len(calls))]
    strict = [
        _cached(prompts[at], [prompts[i] for i in range(at) if not _siblings(calls[i], calls[at])]) for at in range(len(calls))
    ]
    return {
        "input_tokens": sum(tokens),
        "cacheable_share": round(sum(cached) / sum(tokens), 4),
        "cacheable_share_without_siblings": round(sum(strict) / sum(tokens), 4),
        "input_tokens_analysts": sum(count for count, call in zip(tokens, calls, strict=True) if _is_analyst(call)),
        "tokens_per_call": sum(tokens) / len(tokens),
    }


def _cached(prompt: str, earlier: Sequence[str]) -> int:
    longest = max((_common(prompt, other) for other in earlier), default=0)
    tokens = estimate_tokens(prompt[:longest])
    return tokens if tokens >= LEAST_PREFIX else 0


def _common(one: str, other: str) -> int:
    """Characters of the exact common prefix, by bisection."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _siblings(one: Call, other: Call) -> bool:
    return _is_analyst(one) and _is_analyst(other)


def _is_analyst(call: Call) -> bool:
    return call.site.role.endswith("_analyst")


def _text(request: Request) -> str:
    return "\n\n".join(part.text for part in request.parts)


def _fact_shares(case: Snapshot, calls: Sequence[Call]) -> dict[str, float]:
    """role -> share of the snapshot's figures (as they are shown) that stand in its first prompt."""
    shown = "\n".join([instrument(case), *(view(case, field) for field in ("market", "sentiment", "news", "fundamentals"))])
    facts = set(_FACT.findall(shown))
    first = {call.site.role: _text(call.request) for call in reversed(calls)}
    return {role: round(len(facts & set(_FACT.findall(text))) / len(facts), 4) for role, text in first.items()}


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=int, nargs="?", help="how many cases (default: all)")
    print(json.dumps(main(parser.parse_args().cases), indent=2))
