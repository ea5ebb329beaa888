"""The journal of unfinished cells: every finished call, kept in Redis until its cell's receipt stands."""

from __future__ import annotations

import base64
import datetime as dt
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from agents import Answer, Request, Timing, ToolCall
from domain.usage import USAGE_FIELDS, Usage
from harness.gate.keys import Keys
from harness.storage.rows import Row

if TYPE_CHECKING:
    from redis import Redis

KILLED = b"K"
"""First byte of a request of which nobody heard the end: then worst case, model and entry."""

_LONG = 4096
"""Bytes. Shorter texts cost more time than they would save room, which they take only until their cell has ended."""


@dataclass(frozen=True)
class Entry:
    """One finished call: its row of the calls table, and the hash of the request that it answers."""

    row: Row
    request_hash: str

    @property
    def place_key(self) -> str:
        return "{role}/{round}/{kind}/{index}".format_map(self.row)

    def answer(self) -> Answer:
        """The answer as it was given, rebuilt from the row."""
        row = self.row
        timing = Timing(row["started_at"].timestamp(), *(row[f"{name}_s"] for name in _SPANS))
        return Answer(
            text=row["response"] or "",
            reasoning=row["reasoning"],
            tool_calls=tuple(ToolCall(**one) for one in json.loads(row["tool_calls"] or "[]")),
            usage=Usage(*(row[name] for name in USAGE_FIELDS)),
            timing=timing,
            truncated=bool(row["truncated"]),
            **{name: row[name] for name in _SAME},
        )

    def encode(self) -> bytes:
        """Compact bytes: JSON without what is unknown, compressed where it is long."""
        known = {key: value for key, value in self.row.items() if value is not None}
        known["started_at"] = self.row["started_at"].timestamp() if self.row["started_at"] else 0.0
        text = json.dumps([self.request_hash, known], separators=(",", ":"), ensure_ascii=False).encode()
        return text if len(text) < _LONG else zlib.compress(text, 1)

    @classmethod
    def decode(cls, raw: bytes, columns: Iterable[str]) -> Entry:
        """An entry as the journal holds it; a killed request is told by its first byte."""
        body = raw.split(b"|", 2)[2] if raw.startswith(KILLED) else raw
        request_hash, known = json.loads(body if body.startswith(b"[") else zlib.decompress(body))
        known["started_at"] = dt.datetime.fromtimestamp(known["started_at"], dt.UTC)
        return cls(dict.fromkeys(columns) | known, request_hash)


_SPANS = ("ttft", "duration", "load", "prefill", "decode")
_SAME = ("finish_reason", "model_returned", "model_digest", "context_window", "service_tier", "request_id")


def request_hash(request: Request) -> str:
    """What is asked of whom: another prompt, model, schema, tool or cap is another request."""
    asked = [
        request.model.identity(),
        request.message_ids,
        [[asdict(call) for call in part.tool_calls] + [part.tool_call_id] for part in request.parts if _has_tools(part)],
        request.schema,
        [asdict(tool) for tool in request.tools],
        request.max_output_tokens,
    ]
    return sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _has_tools(part: Any) -> bool:
    return bool(part.tool_calls or part.tool_call_id)


def unfinished(client: Redis, run_id: str) -> Iterator[str]:
    """Cell ids of which the journal holds calls."""
    prefix = Keys(run_id).journal("")
    for key in client.scan_iter(match=f"{prefix}*", count=1000):
        yield key.decode().removeprefix(prefix)


def export(client: Redis, run_id: str) -> bytes:
    """All journals of a run as JSON lines (cell id, call id, entry), for another Redis or another run."""
    lines = []
    for cell_id in unfinished(client, run_id):
        entries: Any = client.hgetall(Keys(run_id).journal(cell_id))
        lines += [json.dumps([cell_id, key.decode(), base64.b64encode(raw).decode()]) for key, raw in entries.items()]
    return "\n".join(lines).encode()


def load(client: Redis, run_id: str, exported: bytes) -> int:
    """Take over journals of cells that are also this run's; returns how many calls. What is known here already stays."""
    lines = exported.splitlines()
    with client.pipeline(transaction=False) as pipe:
        for line in lines:
            cell_id, call_id, raw = json.loads(line)
            pipe.hsetnx(Keys(run_id).journal(cell_id), call_id, base64.b64decode(raw))
        return sum(pipe.execute())


def drop(client: Redis, run_id: str, cell_ids: Iterable[str]) -> None:
    """Forget cells whose receipt stands, or that are not part of the run any more."""
    keys = Keys(run_id)
    names = [name for cell_id in cell_ids for name in (keys.journal(cell_id), keys.cell(cell_id))]
    for at in range(0, len(names), 1000):
        client.unlink(*names[at : at + 1000])


def rows_of(entries: Mapping[bytes, bytes], columns: Iterable[str]) -> dict[str, Entry]:
    """call_id -> entry, in the order in which the requests left."""
    names = tuple(columns)
    found = {key.decode(): Entry.decode(raw, names) for key, raw in entries.items()}
    return dict(sorted(found.items(), key=lambda item: item[1].row["started_at"]))
