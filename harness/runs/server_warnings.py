"""What the calls of a run show about the settings of its self-hosted servers, which no server reports."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.storage.store import Store

_COLUMNS = ("run_id", "server", "arm", "model_requested", "outcome", "server_queue_s", "load_s", "prefill_s", "not_sent")
_FEWEST = 3
_LOAD_S = 0.5
"""Ollama 0.17 reports up to 0.4 s of loading without a load."""

Row = Mapping[str, Any]


def of_run(store: Store, run_id: str) -> list[str]:
    """One sentence per server that queues, and per arm whose models take turns in a server's memory."""
    import pyarrow.compute as pc

    calls = store.table("calls", _COLUMNS)
    if calls is None:
        return []
    is_telling = pc.or_(pc.is_valid(calls["prefill_s"]), pc.is_valid(calls["not_sent"]))
    return of_calls(calls.filter(is_telling).to_pylist(), run_id)


def of_calls(rows: Iterable[Row], run_id: str) -> list[str]:
    """The same, of these calls."""
    timed = [row for row in rows if row["run_id"] == run_id and row["outcome"] == "answered" and row["prefill_s"] is not None]
    return [*_refused_marks([row for row in rows if row["run_id"] == run_id]), *_queueing(timed), *_taking_turns(timed)]


def _refused_marks(rows: Sequence[Row]) -> Iterator[str]:
    for (server, model), calls in _groups(rows, "server", "model_requested"):
        refusals = [
            refusal for call in calls if (refusal := json.loads(call["not_sent"] or "{}").get("prompt_cache_breakpoint"))
        ]
        if refusals:
            yield (
                f"server {server} refuses cache breakpoints for {model}, so {len(refusals)} calls were sent without and may "
                f"have paid for cache writes: {refusals[0]}. Set cache_marks: false for it in servers.yaml"
            )


def _queueing(rows: Sequence[Row]) -> Iterator[str]:
    for (server,), calls in _groups(rows, "server"):
        waits = [call["server_queue_s"] for call in calls if call["server_queue_s"]]
        if len(waits) >= max(_FEWEST, len(calls) / 5):
            yield (
                f"server {server} queues: in {len(waits)} of {len(calls)} calls the first token came {median(waits):.1f} s "
                "(median) later than loading and reading the prompt explain, which counts as latency (calls.server_queue_s). "
                "Set parallel in servers.yaml to what the server answers at once (Ollama: OLLAMA_NUM_PARALLEL, default 1), "
                "and let no other program use it"
            )


def _taking_turns(rows: Sequence[Row]) -> Iterator[str]:
    for (server, arm), calls in _groups(rows, "server", "arm"):
        loads = [call["load_s"] for call in calls if (call["load_s"] or 0.0) > _LOAD_S]
        models = sorted({call["model_requested"] for call in calls})
        if len(models) > 1 and len(loads) >= _FEWEST:
            yield (
                f"arm {arm}: {len(loads)} of {len(calls)} calls loaded a model on server {server} ({sum(loads):.0f} s), "
                f"because {' and '.join(models)} do not stay loaded together. Set OLLAMA_MAX_LOADED_MODELS to at least "
                f"{len(models)}, or use models that fit the memory together"
            )


def _groups(rows: Iterable[Row], *names: str) -> Iterator[tuple[tuple[Any, ...], list[Row]]]:
    def key(row: Row) -> tuple[Any, ...]:
        return tuple(row[name] for name in names)

    return ((values, list(group)) for values, group in groupby(sorted(rows, key=key), key=key))
