"""What replays and judges are given: prompts and answers that a finished cell recorded."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from typing import Any

import agents
from agents import Contest, Contestant, Hidden, Part, Recorded, ToolCall
from harness.cells import Cell
from harness.errors import InvalidInput, Problem
from harness.experiment.replay_cells import ReplaySource
from harness.storage.rows import Row
from harness.storage.store import Store


def replayable_cells(store: Store, arm: str) -> list[ReplaySource]:
    """Finished cells of an arm. Raises InvalidInput if there are none."""
    rows = [row for row in store.rows_of("cells") if row["arm"] == arm and row["status"] == "ok" and _is_first(row)]
    if not rows:
        raise InvalidInput([Problem("--from", f"arm {arm!r} has no finished cell in this run", "run the experiment first")])
    return [
        ReplaySource(row["cell_id"], row["ticker"], _date(row["date"]), int(row["repeat"]), row["snapshot_sha256"] or "")
        for row in rows
    ]


def is_replayed(store: Store, arm: str, wanted: Iterable[ReplaySource], roles: Iterable[str]) -> bool:
    """Whether this replay has ended for all of these cells and roles; what a budget cut short has not ended."""
    rows = [row for row in store.rows_of("cells") if row["arm"] == arm and row["status"] != "over_budget"]
    replayed_roles = {call["role"] for row in rows for call in store.parts_of(row["cell_id"], "calls")}
    ended = {(row["ticker"], _date(row["date"]), int(row["repeat"])) for row in rows}
    return replayed_roles >= set(roles) and ended >= {(source.ticker, source.date, source.repeat) for source in wanted}


def recorded_prompts(store: Store, cell: Cell) -> list[Recorded]:
    """The first request of each turn of the source cell, in order. Raises PipelineError if it left none.

    Turns of the built-in pipeline that used tools are left out: their prompts contain calls of the model that made them. Of an
    attached program the last request of such a turn is asked again, with the recorded results of the tools.
    """
    source = str(cell.extra["source_cell"])
    texts = {row["message_id"]: row for row in store.parts_of(source, "messages")}
    calls = store.parts_of(source, "calls")
    prompts = {
        turn: Recorded(*turn, parts)
        for turn, row in answers(store, source, "primary").items()
        if row["role"] in cell.lineup and (parts := _prompt(row, calls, texts))
    }
    if not prompts:
        raise agents.PipelineError(f"cell {source[:12]} left no recorded prompts of {', '.join(sorted(cell.lineup))}")
    return list(prompts.values())


def answers(store: Store, cell_id: str, kind: str) -> dict[tuple[str, int], Row]:
    """(role, round) -> the answered request of this kind, in the order they were sent."""
    rows = [row for row in store.parts_of(cell_id, "calls") if _is_of_kind(row, kind) and row["outcome"] == "answered"]
    return {(row["role"], row["round"]): row for row in sorted(rows, key=_order)}


def _is_of_kind(row: Row, kind: str) -> bool:
    """An attached program's report may be the last answer of its tool rounds."""
    is_report = bool(row.get("program")) and row["kind"] == "tool_round" and not row["tool_calls"]
    return row["kind"] == kind or (kind == "primary" and is_report)


def _prompt(row: Row, calls: Iterable[Row], texts: Mapping[str, Row]) -> tuple[Part, ...]:
    if not row.get("program"):
        return _message_parts(row["message_ids"], texts)
    earlier = [call for call in calls if call["role"] == row["role"] and call["tool_calls"] and _order(call) < _order(row)]
    return _program_parts(row, sorted(earlier, key=_order), texts)


def _program_parts(row: Row, earlier: Iterable[Row], texts: Mapping[str, Row]) -> tuple[Part, ...]:
    """The messages of an attached program's request, its tool calls taken from the answers that made them."""
    answered, waiting = iter(earlier), list[ToolCall]()
    parts: list[Part] = []
    for name in row["message_ids"]:
        message = texts.get(name)
        if message is None:
            return ()
        made: tuple[ToolCall, ...] = ()
        if message["role"] == "assistant" and (call := next(answered, None)):
            made = tuple(ToolCall(**each) for each in json.loads(call["tool_calls"]))
            waiting = list(made)
        answers_call = waiting.pop(0).id if message["role"] == "tool" and waiting else None
        if message["role"] == "tool" and answers_call is None:
            return ()
        parts.append(Part(message["role"], message["text"], made, answers_call, joined=False))
    return tuple(parts)


def _is_first(row: Row) -> bool:
    return (row.get("kind") or "pipeline") == "pipeline"


def _date(value: Any) -> dt.date:
    return value if isinstance(value, dt.date) else dt.date.fromisoformat(str(value))


def _order(row: Row) -> tuple[dt.datetime, int]:
    return row["started_at"], row["index"]


def _message_parts(ids: Iterable[str], texts: Mapping[str, Row]) -> tuple[Part, ...]:
    rows = [texts.get(name) for name in ids]
    if any(row is None or row["role"] in ("tool", "assistant") for row in rows):
        return ()
    return tuple(Part(row["role"], row["text"]) for row in rows if row is not None)


def answer_pairs(store: Store, cell: Cell) -> list[Contest]:
    """Pairs of original and replayed answers that a judge compares. Raises PipelineError if there are none."""
    if cell.extra["judging"] not in (agents.judge_fingerprint(), agents.judge_fingerprint_0_1_0()):
        raise agents.PipelineError("this worker asks judges differently from the runner; install the same version on both")
    first, again = str(cell.extra["source_cell"]), str(cell.extra["replay_cell"])
    sources, targets = answers(store, first, "primary"), answers(store, again, "replay")
    pairs = [
        Contest(prompt.role, prompt.round, prompt.parts, _contestant(sources[turn]), _contestant(targets[turn]))
        for prompt in recorded_prompts(store, cell)
        if (turn := (prompt.role, prompt.round)) in targets and _all_have_text(sources[turn], targets[turn])
    ]
    if not pairs:
        raise agents.PipelineError(f"replay {again[:12]} left no answer to judge")
    return pairs


def hidden_names(cell: Cell) -> Hidden:
    return Hidden(frozenset(cell.extra["names"]), frozenset({cell.ticker}))


def _contestant(row: Row) -> Contestant:
    return Contestant(row["response"] or "", row["parsed"])


def _all_have_text(*rows: Row) -> bool:
    return all((row["response"] or "").strip() for row in rows)
