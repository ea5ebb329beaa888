"""Synthetic runs: a run folder with tables as the harness writes them, from a seed and a sentence per arm."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from reports import tables

ROLES = (
    "market_analyst",
    "sentiment_analyst",
    "news_analyst",
    "fundamentals_analyst",
    "bull",
    "bear",
    "research_manager",
    "trader",
    "aggressive",
    "conservative",
    "neutral",
    "portfolio_manager",
)
DEBATERS = ("bull", "bear", "aggressive", "conservative", "neutral")
STAGES = ("research_manager", "trader", "portfolio_manager")
RATINGS = ("Sell", "Underweight", "Hold", "Overweight", "Buy")
ACTIONS = ("SELL", "SELL", "HOLD", "BUY", "BUY")


@dataclass(frozen=True)
class FakeArm:
    """How one arm behaves in a synthetic run."""

    model: str = "gpt-5"
    provider: str = "openai"
    cost_usd: float | None = 0.24
    """Mean per cell; None is unknown."""
    seconds: float = 60.0
    failing: float = 0.0
    """Share of cells that end as failed."""
    unparsed: float = 0.0
    """Share of cells that answer without a readable decision."""
    lean: float = 0.0
    """Added to the score's latent value."""
    noise: float = 0.5
    """Standard deviation of the latent value within a case, over repeats."""
    skill: float = 0.0
    """Weight of the future excess return (in its standard deviations) in the latent value."""
    rating: str | None = None
    """Always this one."""
    rule: str | None = None
    """A rule arm: no calls, costs nothing."""
    repeats: int | None = None
    """Instead of the run's."""
    skip: Sequence[str] = ()
    """case_ids that this arm never met."""


def sessions(first: str, count: int, every: int = 21) -> list[dt.date]:
    """Weekdays, every n-th of them."""
    days = np.datetime64(first) + np.arange(count * every * 2) * np.timedelta64(1, "D")
    weekdays = days[np.is_busday(days)][: count * every : every]
    return [day.astype(object) for day in weekdays]


def make_run(
    folder: Path,
    *,
    arms: Mapping[str, FakeArm] | None = None,
    tickers: Sequence[str] = ("AAPL", "MSFT", "JPM"),
    dates: Sequence[dt.date] | None = None,
    repeats: int = 1,
    compare: Mapping[str, Any] | None = None,
    outcomes: str = "known",
    horizons: Sequence[int] = (1, 5, 20),
    state: str = "finished",
    expected_cells: int | None = None,
    texts: bool = True,
    by_date: float = 0.3,
    seed: int = 7,
    experiment: Mapping[str, Any] | None = None,
    words: int = 40,
    text: str | Sequence[str] | None = None,
) -> Path:
    """Write a run folder and return it. `outcomes`: known | pending | absent; `by_date`: share of latent variance by date;
    `text`: what every role says, instead of `words` words; of several, the prompts quote the first and a role says any."""
    world = _World(np.random.default_rng(seed), list(tickers), list(dates or sessions("2025-09-02", 8)), by_date, words, text)
    arms = dict(
        arms or {"gpt-5": FakeArm(), "llama3.1-8b": FakeArm("llama3.1:8b", "ollama", 0.02, 200.0, unparsed=0.05, noise=0.8)}
    )
    cells: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for name, arm in arms.items():
        for case in world.cases:
            if case[0] in arm.skip:
                continue
            for repeat in range(1 if arm.rule else (arm.repeats or repeats)):
                cell, sent = world.cell(name, arm, case, repeat, texts)
                cells.append(cell)
                calls.extend(sent)
    for row in (*cells, *calls):
        row["run_id"] = folder.name
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, "cells", cells)
    _write(folder, "calls", calls)
    if texts:
        _write(folder, "messages", [{"message_id": i, "role": r, "text": t} for i, (r, t) in world.messages.items()])
    if outcomes != "absent":
        _write(folder, "outcomes", world.outcomes(horizons, outcomes))
        _write(folder, "daily", world.daily())
    settings = _experiment(arms, world, repeats, compare, horizons) | dict(experiment or {})
    (folder / "experiment.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    manifest = {"run_id": folder.name, "experiment": settings["name"], "state": state, "cells": expected_cells or len(cells)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


make_tables = partial(make_run, texts=False)
"""The same without texts, for numbers alone: no figure of a text is traced, which is most of what a report costs."""


class _World:
    """Latent truth of a synthetic run: what cases are like and what happened after them."""

    def __init__(
        self,
        rng: np.random.Generator,
        tickers: list[str],
        dates: list[dt.date],
        by_date: float,
        words: int,
        text: str | Sequence[str] | None,
    ) -> None:
        self.rng, self.tickers, self.dates, self.words = rng, tickers, dates, words
        self.texts = [text] if isinstance(text, str) else text
        self.rng_of_texts = np.random.default_rng(0)
        self.cases = [(f"{ticker}@{date}", ticker, date) for date in dates for ticker in tickers]
        self.messages: dict[str, tuple[str, str]] = {}
        date_part = {date: rng.normal() for date in dates}
        self.latent = {
            case: float(np.sqrt(by_date) * date_part[date] + np.sqrt(1 - by_date) * rng.normal())
            for case, _, date in self.cases
        }
        self.excess = {case: float(rng.normal()) for case, _, _ in self.cases}

    def cell(
        self, name: str, arm: FakeArm, case: tuple[str, str, dt.date], repeat: int, texts: bool
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        case_id, ticker, date = case
        rng = self.rng
        failed, unparsed = rng.random() < arm.failing, rng.random() < arm.unparsed
        level = self._level(arm, case_id)
        is_usable = not (failed or unparsed)
        cell_id = _sha(f"{name}|{case_id}|{repeat}")
        started = dt.datetime(2026, 11, 20, tzinfo=dt.UTC) + dt.timedelta(seconds=len(self.messages))
        calls = [] if arm.rule else self._calls(name, arm, case_id, cell_id, started, failed, texts)
        service_s = sum(call["duration_s"] for call in calls) * 0.6
        cell = {
            "cell_id": cell_id,
            "cell_key": _sha("key" + cell_id),
            "case_id": case_id,
            "arm": name,
            "kind": "pipeline",
            "ticker": ticker,
            "date": date,
            "repeat": repeat,
            "status": "failed" if failed else "ok",
            "decision_status": "missing" if failed else "unparsed" if unparsed else "rule" if arm.rule else "typed",
            "rating": RATINGS[level] if is_usable else None,
            "action": ACTIONS[level] if is_usable else None,
            "score": level - 2 if is_usable else None,
            "confidence": round(float(rng.uniform(0.4, 0.9)), 2) if is_usable and not arm.rule else None,
            "rationale": self._say(f"{name} on {case_id}") if texts else None,
            "reports": [(_spot(call), call["response"]) for call in calls if call["response"]],
            "stage_ratings": [(role, self._stage(level, role) if is_usable else None) for role in STAGES if not arm.rule],
            "tool_skill": [(key, 0) for key in ("calls", "valid", "unknown_tool", "bad_arguments", "capped_rounds")],
            "masked": False,
            "cost_usd": 0.0 if arm.rule else _total(calls, "cost_usd"),
            "api_cost_usd": _total(calls, "cost_usd") if arm.provider == "openai" and not arm.rule else 0.0,
            "cost_basis": calls[0]["cost_basis"] if calls else "api_price",
            "llm_calls": len(calls),
            "queued_s": sum(call["queued_s"] for call in calls),
            "service_s": service_s if calls else 0.01,
            "wall_s": service_s + 2.0,
            "attempts": 1,
            "error_type": "server_error" if failed else None,
            "error": "the server answered 500 five times" if failed else None,
            "snapshot_sha256": _sha(case_id),
            "pipeline_fingerprint": _sha("pipeline"),
            "worker": "host:1",
            "started_at": started,
            "finished_at": started + dt.timedelta(seconds=service_s + 2.0),
        }
        for kind in ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens"):
            cell[kind] = 0 if arm.rule else _total(calls, kind)
        return cell, calls

    def _level(self, arm: FakeArm, case_id: str) -> int:
        """0 (Sell) to 4 (Buy)."""
        if arm.rating:
            return RATINGS.index(arm.rating)
        latent = self.latent[case_id] + arm.lean + arm.skill * self.excess[case_id] + arm.noise * self.rng.normal()
        return int(np.digitize(latent, (-1.5, -0.5, 0.5, 1.5)))

    def _stage(self, level: int, role: str) -> str:
        if role == "portfolio_manager":
            return RATINGS[level]
        return RATINGS[int(np.clip(level + self.rng.choice((-1, 0, 0, 0, 1)), 0, 4))]

    def _calls(
        self, name: str, arm: FakeArm, case_id: str, cell_id: str, started: dt.datetime, failed: bool, texts: bool
    ) -> list[dict[str, Any]]:
        shared = (
            self._message("user", f"Instrument and data of {case_id}. " + (self.texts[0] if self.texts else self._say(case_id)))
            if texts
            else ""
        )
        calls = []
        for index, role in enumerate(ROLES[:7] if failed else ROLES):
            is_broken = failed and index == 6
            seconds = float(arm.seconds / 12 * self.rng.lognormal(0, 0.3))
            tokens_in, tokens_out = int(self.rng.integers(800, 4000)), int(self.rng.integers(100, 600))
            cost = None if arm.cost_usd is None else float(arm.cost_usd / 12 * self.rng.lognormal(-0.02, 0.2))
            is_hosted = arm.provider == "openai"
            calls.append(
                {
                    "cell_id": cell_id,
                    "call_id": _sha(f"{cell_id}{role}"),
                    "arm": name,
                    "role": role,
                    "round": 1 if role in DEBATERS else 0,
                    "kind": "primary",
                    "index": 0,
                    "cell_attempt": 1,
                    "outcome": "failed" if is_broken else "answered",
                    "provider": arm.provider,
                    "server": "openai" if is_hosted else "gpu-box",
                    "model_requested": arm.model,
                    "model_returned": None if is_broken else arm.model,
                    "model_digest": None if is_hosted else _sha(arm.model),
                    "message_ids": [self._message("system", f"You are the {role}."), shared] if texts else [],
                    "response": None if is_broken or not texts else self._say(f"{role} of {name} on {case_id}"),
                    "finish_reason": None if is_broken else "stop",
                    "input_tokens": tokens_in,
                    "cached_tokens": tokens_in // 3 if is_hosted else None,
                    "cache_write_tokens": None,
                    "output_tokens": tokens_out,
                    "reasoning_tokens": tokens_out // 2 if is_hosted else None,
                    "context_window": 400_000 if is_hosted else 32_768,
                    "truncated": False,
                    "params": json.dumps({"temperature": 0.7}),
                    "service_tier": "default" if is_hosted else None,
                    "started_at": started + dt.timedelta(seconds=index * seconds),
                    "queued_s": 0.1,
                    "backoff_s": 0.0,
                    "ttft_s": seconds * 0.2,
                    "duration_s": seconds,
                    "load_s": None if is_hosted else 0.01,
                    "prefill_s": None if is_hosted else seconds * 0.2,
                    "decode_s": None if is_hosted else seconds * 0.8,
                    "server_queue_s": None if is_hosted else 0.0,
                    "http_status": 500 if is_broken else None,
                    "error_type": "server_error" if is_broken else None,
                    "error": "internal error" if is_broken else None,
                    "cost_usd": cost,
                    "cost_basis": "unknown" if cost is None else "api_price" if is_hosted else "gpu_time",
                    "price_version": "2026-07-01" if is_hosted else None,
                    "request_id": f"req_{_sha(cell_id + role)[:12]}",
                }
            )
        return calls

    def outcomes(self, horizons: Sequence[int], status: str) -> list[dict[str, Any]]:
        rows = []
        for case_id, _, date in self.cases:
            for horizon in horizons:
                entry_at = _busday(date, 1)
                excess = 0.02 * np.sqrt(horizon) * self.excess[case_id]
                known = status == "known"
                rows.append(
                    {
                        "case_id": case_id,
                        "horizon": horizon,
                        "entry_at": entry_at,
                        "entry": 100.0,
                        "exit_at": _busday(date, 1 + horizon),
                        "exit": 100.0 * (1 + excess) if known else None,
                        "return": float(excess) if known else None,
                        "benchmark": "SPY",
                        "excess": float(excess) if known else None,
                        "status": "known" if known else "pending",
                    }
                )
        return rows

    def daily(self) -> list[dict[str, Any]]:
        first, last = min(self.dates), _busday(max(self.dates), 21)
        day = np.timedelta64(1, "D")
        days = np.arange(np.datetime64(first) - 60 * day, np.datetime64(last) + day)
        days = days[np.is_busday(days)]
        rows = []
        for ticker in self.tickers:
            close = 100 * np.exp(np.cumsum(self.rng.normal(0.0003, 0.015, len(days))))
            opens = close * (1 + self.rng.normal(0, 0.003, len(days)))
            rows += [
                {"ticker": ticker, "date": day.astype(object), "open": float(o), "close": float(c)}
                for day, o, c in zip(days, opens, close, strict=True)
            ]
        return rows

    def _say(self, subject: str) -> str:
        if self.texts is not None:
            return str(self.rng_of_texts.choice(self.texts))
        vocabulary = ("the", "close", "of", "118.38", "stands", "above", "its", "50-day", "average", "momentum", "fades", "and")
        return f"{subject}: " + " ".join(self.rng.choice(vocabulary, self.words))

    def _message(self, role: str, text: str) -> str:
        identity = _sha(role + text)
        self.messages[identity] = (role, text)
        return identity


def _experiment(
    arms: Mapping[str, FakeArm], world: _World, repeats: int, compare: Mapping[str, Any] | None, horizons: Sequence[int]
) -> dict[str, Any]:
    playing = {name: arm for name, arm in arms.items() if not arm.rule}
    return {
        "name": "synthetic",
        "tickers": world.tickers,
        "dates": [str(date) for date in world.dates],
        "repeats": repeats,
        "models": {name: {"provider": arm.provider, "model": arm.model} for name, arm in playing.items()},
        "arms": {name: {"rule": arm.rule} if arm.rule else {"all": name} for name, arm in arms.items()},
        "compare": dict(
            compare
            or {
                "baseline": next(iter(arms)),
                "metrics": {
                    "same_rating": {"margin": 0.10},
                    "usable": {"margin": 0.10},
                    "cost": {},
                    "excess_return_5": {"margin": 0.002},
                },
            }
        ),
        "outcomes": {"horizons": list(horizons), "benchmark": "SPY"},
    }


def _spot(call: Mapping[str, Any]) -> str:
    return f"{call['role']}/{call['round']}" if call["round"] else str(call["role"])


def _total(calls: Sequence[Mapping[str, Any]], column: str) -> Any:
    values = [call[column] for call in calls]
    return None if not values or None in values else sum(values)


def _busday(date: dt.date, count: int) -> dt.date:
    moved = np.busday_offset(np.datetime64(date), count, roll="forward")
    return dt.date.fromisoformat(str(moved))


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write(folder: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(list(rows), schema=tables.TABLES[name]), folder / f"{name}.parquet")
