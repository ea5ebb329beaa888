"""Figures of benchmarks.gpu: what a hardware card says about one number of slots.

They come from the tables of a run and the power meter; the speed of a server that reports no times from streamed answers.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pandas as pd

from harness.experiment.hardware_cards import CardSetting
from reports.money import machine_time
from reports.money.hardware import PowerReading, counted_joules, energy_used, idle_watts

_LOADED_S = 0.5
"""A longer load time is a load; Ollama 0.17 reports up to 0.4 s for a model that is there."""


@dataclass(frozen=True)
class Measured:
    """One number of slots: the figures of the card, and those that only this run shows."""

    setting: CardSetting
    usable: int
    seconds: float
    idle_watts: float | None
    counter_gap: float | None
    """(our energy - the counter's) / the counter's, over the same span."""

    def to_plain(self) -> dict[str, Any]:
        gap = None if self.counter_gap is None else round(self.counter_gap, 4)
        extra = {"usable": self.usable, "seconds": round(self.seconds, 1), "idle_watts": self.idle_watts}
        return self.setting.model_dump(mode="json") | extra | {"ours_against_counter": gap}


@dataclass(frozen=True)
class Speeds:
    """What streamed requests showed, of a server that reports no times."""

    prefill_tokens_per_s: float
    decode_tokens_per_s: float
    first_token_s: float


def figures(
    calls: pd.DataFrame,
    cells: pd.DataFrame,
    readings: list[PowerReading],
    slots: int,
    usd_per_hour: float | None,
    speeds: Speeds | None = None,
) -> Measured:
    """The figures of one run from its tables and the meter's readings; `speeds`: of a server that reports no times."""
    answered = calls[calls["outcome"] == "answered"].assign(start=calls["started_at"].map(lambda at: at.timestamp()))
    spans = list(zip(answered["start"], answered["start"] + answered["duration_s"], strict=True))
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    decisions, busy_s = len(cells), sum(machine_time.shares(spans))
    energy, counted = energy_used(readings, first, last, 0.0), counted_joules(readings, first, last)
    fresh = answered["input_tokens"] - answered["cached_tokens"].fillna(0)
    input_tokens, output_tokens = (float(answered[name].sum()) for name in ("input_tokens", "output_tokens"))
    first_token_s = answered["ttft_s"].fillna(answered["duration_s"] - answered["decode_s"])
    if speeds is None:
        speeds = Speeds(
            _rate(fresh, answered["prefill_s"]), _rate(answered["output_tokens"], answered["decode_s"]), first_token_s.median()
        )
    optional = {
        "server_queue_s": waits.mean() if (waits := answered["server_queue_s"].dropna()).size else None,
        "watts": None if energy is None else energy / (last - first),
        "joules_per_decision": None if energy is None else energy / decisions,
        "counter_joules_per_decision": None if counted is None else counted / decisions,
        "usd_per_decision": None if usd_per_hour is None else busy_s / 3600 * usd_per_hour / decisions,
    }
    setting = CardSetting(
        slots=slots,
        prefill_tokens_per_s=rounded(speeds.prefill_tokens_per_s),
        decode_tokens_per_s=rounded(speeds.decode_tokens_per_s),
        input_tokens_per_s=rounded(input_tokens / (last - first)),
        output_tokens_per_s=rounded(output_tokens / (last - first)),
        first_token_s=rounded(speeds.first_token_s),
        queued_s=rounded(float(answered["queued_s"].mean())),
        slots_busy=min(1.0, rounded(float(answered["duration_s"].sum()) / slots / (last - first))),
        loads=int((answered["load_s"].fillna(0) > _LOADED_S).sum()),
        decisions=decisions,
        input_tokens_per_decision=rounded(input_tokens / decisions),
        output_tokens_per_decision=rounded(output_tokens / decisions),
        seconds_per_decision=rounded(busy_s / decisions),
        **{name: None if value is None else rounded(value) for name, value in optional.items()},
    )
    gap = None if energy is None or not counted else energy / counted - 1
    return Measured(setting, int(cells["rating"].notna().sum()), last - first, idle_watts(readings, spans), gap)


def _rate(tokens: pd.Series[Any], seconds: pd.Series[Any]) -> float:
    is_known = tokens.gt(0) & seconds.gt(0)
    return float(tokens[is_known].sum() / seconds[is_known].sum())


def rounded(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")


# --- streamed answers ------------------------------------------------------------------------------------------------------


def has_times(calls: pd.DataFrame) -> bool:
    """Whether the server reported how long it read and wrote."""
    return bool(calls["prefill_s"].notna().any() and calls["decode_s"].notna().any())


def streamed_speeds(url: str, model: str, slots: int) -> Speeds:
    """Speeds of as many streamed requests at a time as there are slots, by the arrival of their tokens."""
    with ThreadPoolExecutor(slots) as pool:
        streams = list(pool.map(lambda _: _stream(url, model), range(slots)))
    prompt_tokens, output_tokens = (sum(stream[place] for stream in streams) for place in (0, 1))
    first_s, rest_s = (sum(stream[place] for stream in streams) for place in (2, 3))
    # The first token is part of reading the prompt.
    written = max(1, output_tokens - slots)
    return Speeds(prompt_tokens / first_s, written / max(rest_s, 1e-3), first_s / slots)


def _stream(url: str, model: str) -> tuple[int, int, float, float]:
    """Prompt tokens, output tokens, seconds to the first and from the first to the last token of one streamed answer."""
    lines = [f"Check {uuid.uuid4().hex}", *(f"Session {number}: close {100 + number}.00." for number in range(60))]
    messages = [{"role": "user", "content": "\n".join([*lines, "Describe these sessions at length."])}]
    body = {"model": model, "messages": messages, "max_tokens": 100, "stream": True, "stream_options": {"include_usage": True}}
    usage: dict[str, Any] = {}
    first = last = None
    started = time.perf_counter()
    with httpx.stream("POST", f"{url}/chat/completions", json=body, timeout=600) as answer:
        for line in answer.iter_lines():
            event = json.loads(line[5:]) if line.startswith("data:") and line[5:].strip() != "[DONE]" else {}
            usage = event.get("usage") or usage
            if any(_text_of(choice) for choice in event.get("choices") or ()):
                last = time.perf_counter()
                first = first or last
    if first is None or last is None or not usage.get("prompt_tokens"):
        sys.exit(f"{url} reports no times and streams no usage (HTTP {answer.status_code}): its speed cannot be measured")
    return int(usage["prompt_tokens"]), int(usage["completion_tokens"]), first - started, last - first


def _text_of(choice: Mapping[str, Any]) -> str:
    delta = choice.get("delta") or {}
    return str(delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning") or "")
