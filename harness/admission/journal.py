"""The journal of unfinished cells: every finished call, kept in Redis until the cell has its receipt."""

from __future__ import annotations

import base64
import datetime as dt
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from agents import Answer, Request, Timing, ToolCall
from domain.text import decode_json
from domain.usage import USAGE_FIELDS, Usage
from harness.admission.keys import Keys
from harness.storage import version_0_1_0
from harness.storage.rows import Row

if TYPE_CHECKING:
    from redis import Redis

    from harness.cells import Cell

KILLED = b"K"
"""First byte of a request whose end was never recorded; worst case, model and entry follow."""

_COMPRESS_FROM_BYTES = 4096
"""Shorter texts are not worth the time: they take space only until their cell has ended."""


@dataclass(frozen=True)
class JournalEntry:
    """One finished call: its row of the calls table, and the hash of the request that it answers."""

    row: Row
    request_hash: str
    prompt: tuple[tuple[str, str], ...] = ()
    """Role and text of the prompt's parts, kept for requests with a fingerprint: asked again, their text differs."""

    @cached_property
    def call_site_key(self) -> str:
        return "{role}/{round}/{kind}/{index}".format_map(self.row)

    def answer(self) -> Answer:
        """The recorded answer, rebuilt from the row."""
        row = self.row
        timing = Timing(row["started_at"].timestamp(), *(row[f"{name}_s"] for name in _SPANS))
        return Answer(
            text=row["response"] or "",
            reasoning=row["reasoning"],
            tool_calls=tuple(ToolCall(**tool_call) for tool_call in decode_json(row["tool_calls"] or "[]")),
            usage=Usage(*(row[name] for name in USAGE_FIELDS)),
            timing=timing,
            truncated=bool(row["truncated"]),
            rating_probability=row.get("rating_probability"),
            **{name: row[name] for name in _COPIED},
        )

    @cached_property
    def encoded(self) -> bytes:
        """Compact bytes: JSON without null values, compressed if long."""
        values = {key: value for key, value in self.row.items() if value is not None}
        values["started_at"] = self.row["started_at"].timestamp() if self.row["started_at"] else 0.0
        content = [self.request_hash, values, *([self.prompt] if self.prompt else [])]
        text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
        return text if len(text) < _COMPRESS_FROM_BYTES else zlib.compress(text, 1)

    @classmethod
    def decode(cls, raw: bytes, columns: Iterable[str]) -> JournalEntry:
        """An entry as stored; a killed request starts with KILLED."""
        body = raw.split(b"|", 2)[2] if raw.startswith(KILLED) else raw
        request_hash, values, *prompt = json.loads(body if body.startswith(b"[") else zlib.decompress(body))
        values["started_at"] = dt.datetime.fromtimestamp(values["started_at"], dt.UTC)
        entry = cls(dict.fromkeys(columns) | values, request_hash, tuple((role, text) for role, text in (prompt or [()])[0]))
        # A suspended cell stores its entries again at each stage, unchanged.
        entry.__dict__["encoded"] = body
        return entry


_SPANS = ("ttft", "duration", "load", "prefill", "decode")
_COPIED = ("finish_reason", "model_returned", "model_digest", "server_version", "context_window", "service_tier", "request_id")


def answers(entry: JournalEntry, request: Request) -> bool:
    """Whether this call asked the same. Receipts of version 0.1.0 hold no hash: their calls are compared by model and prompt,
    and the id of their cell covers schema, parameters and digest."""
    if entry.request_hash:
        return entry.request_hash == request_hash(request) or entry.request_hash in version_0_1_0.request_hashes(request)
    row, model = entry.row, request.model
    recorded_request = (row["provider"], row["model_requested"], list(row["message_ids"]))
    return recorded_request == (model.provider, model.name, list(request.message_ids))


def request_hash(request: Request) -> str:
    """Hash of what is sent to which model: another prompt, schema, tool or output limit is another request.

    A request with a fingerprint is identified by that alone."""
    if request.fingerprint:
        return request.fingerprint
    content = [
        request.model.identity(),
        request.message_ids,
        [[asdict(call) for call in part.tool_calls] + [part.tool_call_id] for part in request.parts if _has_tools(part)],
        request.schema,
        [asdict(tool) for tool in request.tools],
        request.max_output_tokens,
    ]
    # Left out while they are at their defaults: requests that were recorded before they existed stay the same.
    if separate := [index for index, part in enumerate(request.parts) if not part.joined]:
        content.append({"separate": separate})
    if request.options:
        content.append({"options": request.options})
    return sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:32]


LEAST_ALIKE = 0.6
"""Share of equal lines from which a prompt at the same call site counts as the recorded one with other live data."""


def likeness(entry: JournalEntry, request: Request) -> float:
    """Share of the request's lines that the recorded prompt has, too; 0 without a recorded prompt."""
    recorded = {line for _, text in entry.prompt for line in text.splitlines()}
    lines = [line for part in request.parts for line in part.text.splitlines()]
    return sum(line in recorded for line in lines) / len(lines) if lines and recorded else 0.0


def _has_tools(part: Any) -> bool:
    return bool(part.tool_calls or part.tool_call_id)


def unfinished(client: Redis, run_id: str) -> Iterator[str]:
    """Ids of the cells with journalled calls."""
    prefix = Keys(run_id).journal("")
    for key in client.scan_iter(match=f"{prefix}*", count=1000):
        yield key.decode().removeprefix(prefix)


def readdressed(raw: bytes, recorded_id: str, cell: Cell) -> bytes:
    """An entry of the cell under another id, as its own; a borrowed entry stays as it is."""
    head = raw.split(b"|", 2)[:2] if raw.startswith(KILLED) else []
    entry = JournalEntry.decode(raw, ())
    if entry.row.get("cell_id") != recorded_id:
        return raw
    entry_here = replace(entry, row=entry.row | {"cell_id": cell.cell_id, "arm": cell.arm})
    return b"|".join([*head, entry_here.encoded])


def borrow(client: Redis, run_id: str, cell_id: str, calls: Iterable[Row]) -> int:
    """Put recorded answers into this cell's journal without a cell's id: they become its calls once it uses them."""
    journal = Keys(run_id).journal(cell_id)
    with client.pipeline(transaction=False) as pipe:
        for call in calls:
            if call["outcome"] == "answered":
                entry = JournalEntry(call | {"cell_id": None}, call.get("request_hash") or "")
                pipe.hsetnx(journal, call["call_id"], entry.encoded)
        return sum(pipe.execute())


def export_entries(client: Redis, run_id: str) -> bytes:
    """All journals of a run as JSON lines (cell id, call id, entry), for another Redis or another run."""
    lines = []
    for cell_id in unfinished(client, run_id):
        entries: Any = client.hgetall(Keys(run_id).journal(cell_id))
        lines += [json.dumps([cell_id, key.decode(), base64.b64encode(raw).decode()]) for key, raw in entries.items()]
    return "\n".join(lines).encode()


def import_entries(client: Redis, run_id: str, exported: bytes) -> int:
    """Add exported calls to the journals of this run; returns how many were new. Existing entries stay."""
    lines = exported.splitlines()
    with client.pipeline(transaction=False) as pipe:
        for line in lines:
            cell_id, call_id, raw = json.loads(line)
            pipe.hsetnx(Keys(run_id).journal(cell_id), call_id, base64.b64decode(raw))
        return sum(pipe.execute())


def decode_entries(entries: Mapping[bytes, bytes], columns: Iterable[str]) -> dict[str, JournalEntry]:
    """call_id -> entry, in the order the requests were sent."""
    names = tuple(columns)
    decoded = {key.decode(): JournalEntry.decode(raw, names) for key, raw in entries.items()}
    return dict(sorted(decoded.items(), key=lambda item: item[1].row["started_at"]))
