"""The result tables: their pyarrow schemas, and one sentence for every column.

The harness writes to these schemas and the reports read from them; a column is added here first. Unknown is NULL, never 0.
"""

from __future__ import annotations

import pyarrow as pa

STATUSES = ("ok", "failed", "timeout", "over_budget")
OUTCOMES = ("answered", "failed", "killed")

ARROW = " > "
ITSELF = "itself"
"""Target of a replay in which each role's own model answers again, for arms with several models."""
JUDGES = " judges "

_TEXT = pa.string()
_INT = pa.int64()
_REAL = pa.float64()
_TIME = pa.timestamp("us", tz="UTC")
_TEXTS = pa.list_(_TEXT)
_TEXT_MAP = pa.map_(_TEXT, _TEXT)
_INT_MAP = pa.map_(_TEXT, _INT)

_Column = tuple[str, pa.DataType, str]

_CELLS: tuple[_Column, ...] = (
    ("run_id", _TEXT, "Run that executed (and paid for) this cell."),
    ("cell_id", _TEXT, "hash(cell_key, snapshot_sha256, model digests): the cell's identity."),
    ("cell_key", _TEXT, "Identity known offline: case, lineup with parameters, data settings, prompts, repeat."),
    ("case_id", _TEXT, "TICKER@DATE: the question."),
    ("arm", _TEXT, "Name of the lineup; of a replay SOURCE_ARM > MODEL, of a judgement JUDGE judges SOURCE_ARM > MODEL."),
    (
        "kind",
        _TEXT,
        "pipeline | replay (recorded prompts of another arm, asked again) | judge (both answers put before a judge).",
    ),
    ("ticker", _TEXT, "Ticker of the case."),
    ("date", pa.date32(), "Decision date of the case."),
    ("repeat", pa.int32(), "Repeat within case and arm, from 0."),
    ("status", _TEXT, "ok | failed | timeout | over_budget."),
    ("decision_status", _TEXT, "typed | repaired | recovered | unparsed | truncated | refused | missing | rule."),
    ("rating", _TEXT, "Buy | Overweight | Hold | Underweight | Sell; NULL when no usable decision came."),
    ("action", _TEXT, "BUY | HOLD | SELL; NULL when no usable decision came."),
    ("score", pa.int32(), "+2 (Buy) to -2 (Sell); NULL when no usable decision came."),
    ("confidence", _REAL, "0 to 1, as stated by the model."),
    ("escalated", pa.bool_(), "Whether a cascade asked its second model, whose decision counts then; NULL in other arms."),
    (
        "rating_probability",
        _REAL,
        "Probability that the model gave to its rating, over the five ratings; NULL unless asked for and returned.",
    ),
    ("target_price", _REAL, "Price target as stated by the model, in the prices of the snapshot."),
    ("horizon", _TEXT, "Horizon as stated by the model."),
    ("rationale", _TEXT, "The decision's own reasoning."),
    ("reports", _TEXT_MAP, "Text of each role, in the order of the flow (role, or role/round in debates)."),
    ("stage_ratings", _TEXT_MAP, "Rating of each role that decides, the portfolio manager's last."),
    ("tool_skill", _INT_MAP, "calls, valid, unknown_tool, bad_arguments, capped_rounds, written_calls of a cell with tools."),
    (
        "program",
        _TEXT,
        "JSON of an attached program's run: its own decision, exit code, calls and how many had a named role, source of the "
        "decision, end of its output; NULL for other pipelines.",
    ),
    ("masked", pa.bool_(), "Whether ticker, names and dates were masked and prices rescaled."),
    ("cost_usd", _REAL, "Sum of its calls' cost_usd over all attempts; NULL when one of them is NULL."),
    (
        "api_cost_usd",
        _REAL,
        "What hosted models billed, over all attempts; NULL when a hosted call's cost is NULL.",
    ),
    (
        "reused_usd",
        _REAL,
        "Part of cost_usd that earlier runs paid; NULL when it is unknown. This run paid cost_usd - reused_usd.",
    ),
    ("reused_api_usd", _REAL, "Part of api_cost_usd that earlier runs paid; NULL when it is unknown."),
    ("cost_basis", _TEXT, "The calls' common basis, else mixed."),
    ("llm_calls", _INT, "Requests sent, failed ones included."),
    ("input_tokens", _INT, "Sum over calls, cache reads and writes included; NULL when one is not reported."),
    ("cached_tokens", _INT, "Part of input_tokens read from a cache; NULL when not reported."),
    ("cache_write_tokens", _INT, "Part of input_tokens written to a cache; NULL when not reported."),
    ("output_tokens", _INT, "Sum over calls, reasoning included; NULL when one is not reported."),
    ("reasoning_tokens", _INT, "Part of output_tokens; NULL when not reported."),
    ("queued_s", _REAL, "Seconds that its calls waited for a slot."),
    (
        "service_s",
        _REAL,
        "Seconds of service: wall_s without the time spent only waiting for a slot or a back-off.",
    ),
    (
        "cache_wait_s",
        _REAL,
        "Part of service_s that one analyst went first for the prompt cache; service_s - cache_wait_s is without that wait.",
    ),
    ("wall_s", _REAL, "Seconds from start to end of the last attempt."),
    ("attempts", pa.int32(), "Executions of this cell, the last one included."),
    ("error_type", _TEXT, "Class or cause of what ended the cell, NULL when status is ok."),
    ("error", _TEXT, "One sentence on what ended the cell."),
    ("snapshot_sha256", _TEXT, "Hash of the frozen inputs."),
    ("pipeline_fingerprint", _TEXT, "Hash of roles, prompts and flow."),
    ("worker", _TEXT, "Host and process that wrote the receipt."),
    ("started_at", _TIME, "Start of the last attempt."),
    ("finished_at", _TIME, "End of the last attempt."),
)

_CALLS: tuple[_Column, ...] = (
    ("run_id", _TEXT, "Run that sent this request."),
    ("cell_id", _TEXT, "Cell it belongs to."),
    ("call_id", _TEXT, "Unique id of this request."),
    ("arm", _TEXT, "Name of the lineup."),
    ("role", _TEXT, "Role that asked."),
    ("round", pa.int32(), "Round of a debate, from 1; 0 outside debates."),
    ("kind", _TEXT, "primary | repair | tool_round | judge | replay."),
    (
        "index",
        pa.int32(),
        "Position among requests of the same role, round and kind, from 0; of a judge: 0 shows the source first, 1 last; of a "
        "cascade: from 10,000 on it is the second model's, and each repeat of the first adds 100 "
        "(1,000 with an attached program).",
    ),
    ("cell_attempt", pa.int32(), "Execution of the cell that sent it, from 1."),
    ("outcome", _TEXT, "answered | failed | killed."),
    ("provider", _TEXT, "openai | ollama | llamacpp ..."),
    ("server", _TEXT, "Server name from servers.yaml."),
    ("model_requested", _TEXT, "Model name as requested."),
    ("model_returned", _TEXT, "Model name as the server reported it."),
    ("request_hash", _TEXT, "Hash of what was asked of which model; NULL in runs of version 0.1.0."),
    ("model_digest", _TEXT, "Digest of the weights, if the server reports it."),
    ("message_ids", _TEXTS, "Ordered ids of the prompt's parts; adjacent parts of one role join with a blank line."),
    ("response", _TEXT, "The answer's text, whole."),
    ("reasoning", _TEXT, "Reasoning text or summary, if the server returns one."),
    ("tool_calls", _TEXT, "JSON list of {id, name, arguments} as the model wrote them; NULL when there are none."),
    ("parsed", _TEXT, "JSON of the typed object read from the response; NULL when none was."),
    ("finish_reason", _TEXT, "stop | length | tool_calls | refused | content_filter | repeated | unknown."),
    ("input_tokens", _INT, "Includes cache reads and writes; NULL when not reported."),
    ("cached_tokens", _INT, "Part of input_tokens read from a cache; NULL when not reported."),
    ("cache_write_tokens", _INT, "Part of input_tokens written to a cache; NULL when not reported."),
    ("output_tokens", _INT, "Includes reasoning; NULL when not reported."),
    ("reasoning_tokens", _INT, "Part of output_tokens; NULL when not reported."),
    (
        "rating_probability",
        _REAL,
        "Probability that the model gave to the rating in this answer, over the five; NULL unless asked for and returned.",
    ),
    ("context_window", _INT, "Effective context of the model in tokens, where known."),
    ("server_version", _TEXT, "Version that the server reported when it loaded the model; NULL when it reports none."),
    ("truncated", pa.bool_(), "The prompt or the answer was cut."),
    ("params", _TEXT, "JSON of the parameters really sent."),
    (
        "not_sent",
        _TEXT,
        "JSON of requested options (tool choice, sampling) that the server was not sent: its API, its model or the model's "
        "parameters rule them out; NULL if there are none.",
    ),
    (
        "program",
        _TEXT,
        "JSON of how an attached program asked: its model name, wire, tool results that it handed in, what the gateway "
        "changed; NULL for other pipelines.",
    ),
    (
        "recalled_for",
        _TEXTS,
        "Ids of the prompt that this recorded answer was given to, found by its call site because the prompt differs from "
        "message_ids; NULL otherwise.",
    ),
    ("service_tier", _TEXT, "Tier as returned, else as requested."),
    (
        "lane",
        _TEXT,
        "Lane in which it was served: now | fast | flex | background_2h | background_8h | batch; NULL where there are none.",
    ),
    ("started_at", _TIME, "When the request left."),
    ("queued_s", _REAL, "Seconds waited for a slot before it."),
    ("backoff_s", _REAL, "Seconds waited after a failed request before it."),
    (
        "cache_wait_s",
        _REAL,
        "Seconds waited before it for another request's first token, to read what that one wrote to the prompt cache.",
    ),
    ("ttft_s", _REAL, "Seconds to the first token."),
    ("duration_s", _REAL, "Seconds from request to whole answer or failure."),
    ("load_s", _REAL, "Seconds of loading the model, as reported by the server."),
    ("prefill_s", _REAL, "Seconds of reading the prompt, as reported by the server."),
    ("decode_s", _REAL, "Seconds of generating, as reported by the server."),
    (
        "server_queue_s",
        _REAL,
        "Seconds waited inside the server, a part of duration_s: ttft_s (else duration_s - decode_s) - load_s - prefill_s; 0 "
        "below 3 * (load_s + prefill_s) + 2 s, because servers report their own seconds too low; NULL without prefill_s.",
    ),
    ("http_status", pa.int32(), "HTTP status of a failed request."),
    ("error_type", _TEXT, "Cause of the failure, one of agents.CAUSES."),
    ("error", _TEXT, "One sentence on the failure, without secrets."),
    ("cost_usd", _REAL, "Price of this request; NULL when unknown."),
    ("cost_basis", _TEXT, "api_price | provider (the bill in its answer) | gpu_time | cpu_time | energy | estimate | unknown."),
    ("price_version", _TEXT, "Version of the price table used."),
    (
        "cold_usd",
        _REAL,
        "cost_usd as it would be if no cache had been warm; NULL for self-hosted models and unknown prices.",
    ),
    ("request_id", _TEXT, "The provider's id of the request."),
)

_MESSAGES: tuple[_Column, ...] = (
    ("message_id", _TEXT, "sha256(role + text)."),
    ("role", _TEXT, "system | user | assistant | tool."),
    ("text", _TEXT, "The part's text, stored once however often it was sent."),
)

_OUTCOMES: tuple[_Column, ...] = (
    ("case_id", _TEXT, "TICKER@DATE."),
    ("horizon", pa.int32(), "Sessions held."),
    ("entry_at", pa.date32(), "Session of the fill: the next one after the decision."),
    ("entry", _REAL, "Open of entry_at, raw."),
    ("exit_at", pa.date32(), "Session of the exit."),
    ("exit", _REAL, "Open of exit_at, adjusted for splits and dividends between entry and exit."),
    ("return", _REAL, "exit / entry - 1."),
    ("benchmark", _TEXT, "Benchmark of the excess return."),
    ("excess", _REAL, "return minus the benchmark's over the same sessions."),
    ("status", _TEXT, "known | pending | missing."),
)

_DAILY: tuple[_Column, ...] = (
    ("ticker", _TEXT, "Ticker."),
    ("date", pa.date32(), "Session."),
    ("open", _REAL, "Raw open."),
    ("close", _REAL, "Raw close."),
    ("high", _REAL, "Raw high."),
    ("low", _REAL, "Raw low."),
    ("split", _REAL, "New shares for one old share from this session's open on; 1 without a split."),
    ("dividend", _REAL, "Cash per share that goes ex at this session's open; 0 without one."),
    (
        "adjusted",
        _REAL,
        "The vendor's adjusted close, if it has one; it depends on later actions and is used only by the look-ahead check.",
    ),
)


def _schema(columns: tuple[_Column, ...]) -> pa.Schema:
    return pa.schema([pa.field(name, kind, metadata={"doc": doc}) for name, kind, doc in columns])


CELLS = _schema(_CELLS)
CALLS = _schema(_CALLS)
MESSAGES = _schema(_MESSAGES)
OUTCOMES_TABLE = _schema(_OUTCOMES)
DAILY = _schema(_DAILY)

TABLES: dict[str, pa.Schema] = {
    "cells": CELLS,
    "calls": CALLS,
    "messages": MESSAGES,
    "outcomes": OUTCOMES_TABLE,
    "daily": DAILY,
}


def doc(table: str, column: str) -> str:
    """The sentence that defines a column."""
    field = TABLES[table].field(column)
    return str((field.metadata or {})[b"doc"].decode())


def replay_arm(source: str, target: str) -> str:
    """Arm name of a replay."""
    return source + ARROW + target


def judge_arm(judge: str, replay: str) -> str:
    """Arm name of a judge's judgements on a replay."""
    return judge + JUDGES + replay


def judge_of(arm: str) -> tuple[str, str]:
    """Split such a name into (judge, replay)."""
    judge, _, replay = arm.partition(JUDGES)
    return judge, replay
