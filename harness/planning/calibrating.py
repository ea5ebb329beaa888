"""Calibration of our own count: what servers told of prompts that earlier runs sent, over what is counted of them here."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import agents
from agents import Model, Part, TokenCounter
from harness.storage.folder import Folder

if TYPE_CHECKING:
    import pandas as pd

MOST_COUNTED = 400
"""Prompts of one run that are counted: they tell a ratio."""


def count(run: Folder, calls: pd.DataFrame) -> pd.DataFrame:
    """The calls with our own count of each prompt, 0 where it was not made, and whether a tokenizer made it."""
    counters = [agents.counter_of(Model("", *names)) for names in _names(calls)]
    return calls.assign(counted=_counts(run, calls, counters), has_tokenizer=[counter.is_tokenizer for counter in counters])


def ratios(answered: pd.DataFrame) -> dict[str, float]:
    """model key -> told / counted; under "" the mean over the models whose tokenizer is not at hand."""
    known = answered[answered["counted"].gt(0) & answered["input_tokens"].gt(0)]
    by_tokenizer, estimated = (_by_model(known[known["has_tokenizer"] == has]) for has in (True, False))
    others = {"": sum(estimated.values()) / len(estimated)} if estimated else {}
    return by_tokenizer | estimated | others


def _by_model(known: pd.DataFrame) -> dict[str, float]:
    sums = known.groupby("model")[["input_tokens", "counted"]].sum()
    return {str(key): float(row["input_tokens"] / row["counted"]) for key, row in sums.iterrows()}


def _names(calls: pd.DataFrame) -> Iterable[tuple[str, str]]:
    return zip(calls["provider"].map(str), calls["model_requested"].map(str), strict=True)


def _counts(run: Folder, calls: pd.DataFrame, counters: list[TokenCounter]) -> list[float]:
    import pyarrow.parquet as pq

    raw = run.read_if_there("messages.parquet")
    if raw is None:
        return [0.0] * len(calls)
    table = pq.read_table(io.BytesIO(raw), columns=["message_id", "role", "text"])
    parts = {row["message_id"]: _part(row) for row in table.to_pylist()}
    every = max(1, len(calls) // MOST_COUNTED)
    each = enumerate(zip(calls["message_ids"], counters, strict=True))
    return [_count(ids, parts, counter) if row % every == 0 else 0.0 for row, (ids, counter) in each]


def _part(row: Mapping[str, Any]) -> Part:
    return Part(row["role"], row["text"] or "")


def _count(ids: Iterable[str], parts: Mapping[str, Part], counter: TokenCounter) -> float:
    return float(sum(counter.of_parts([parts[one] for one in ids if one in parts])))
