"""OpenAI's files, batches and background responses: requests that are answered later, and their faults."""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from aiohttp import web

Answered = tuple[int, Mapping[str, Any]]
"""HTTP status and body of one request, as if it had been sent alone."""
Answer = Callable[[str, Mapping[str, Any], str], Awaitable[Answered]]
"""(path, body, lane) -> its answer; enters the request into the truth ledger."""
TERMINAL = ("failed", "completed", "expired", "cancelled")


@dataclass
class Later:
    """How files, batches and background responses behave from now on."""

    ready_s: float = 0.2
    """From the creation of a batch or background response to its end; also of those that are open."""
    refuse_line: int | None = None
    """The next batch fails its validation at this line, from 1."""
    refuse_all: bool = False
    """The next batch fails its validation without naming a line."""
    fail_lines: int = 0
    """So many lines of the next batch get a 429 inside."""
    expire_half: bool = False
    """The next batch expires when half of its lines are answered."""
    shuffle: bool = True
    """Output lines come in another order than input lines."""
    refuse_creation: int = 0
    """So many creations (of a batch or background response) are answered with 429."""
    cut_upload: int = 0
    """So many uploads lose their connection in the middle."""
    cut_creation: int = 0
    """So many creations happen, and the connection breaks before their answer."""
    cut_download: int = 0
    """So many downloads end in the middle of a line."""
    forget: int = 0
    """So many look-ups of an id answer 404."""
    refuse_cancel: int = 0
    """So many cancellations are answered with 503."""
    uncounted_tokens: int = 0
    """By so many tokens the total of each batch differs from the sum of its lines."""
    cut_lookups: int = 0
    """So many questions for the state of a batch end without an answer."""
    refuse_files: bool = False
    """The key may not use files: 403."""
    delete_outputs: bool = False
    """Output files are gone when they are asked for."""


@dataclass
class Batch:
    id: str
    file_id: str
    endpoint: str
    metadata: Mapping[str, str]
    created_at: float = field(default_factory=time.time)
    status: str = "validating"
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: {"total": 0, "completed": 0, "failed": 0})
    usage: dict[str, int] = field(default_factory=lambda: {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0})
    uncounted_tokens: int = 0
    is_cancelled: bool = False

    def to_plain(self) -> dict[str, Any]:
        details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            "input_file_id": self.file_id,
            "completion_window": "24h",
            "status": self.status,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "created_at": int(self.created_at),
            "request_counts": self.counts,
            "metadata": dict(self.metadata),
            "usage": self.usage | details | {"total_tokens": self.usage["total_tokens"] + self.uncounted_tokens},
        }


class LaterServer:
    """The routes of files, batches and background responses."""

    def __init__(self, answer: Answer, allowed: Callable[[web.Request], bool]) -> None:
        self._answer = answer
        self._allowed = allowed
        self._files: dict[str, tuple[str, bytes]] = {}
        self._batches: dict[str, Batch] = {}
        self._responses: dict[str, dict[str, Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.created: list[str] = []
        """custom ids of all batch lines that were accepted, and ids of background responses."""
        self.behaviour = Later()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/files", self.upload),
            web.get("/v1/files", self.list_files),
            web.get("/v1/files/{id}/content", self.content),
            web.delete("/v1/files/{id}", self.delete_file),
            web.post("/v1/batches", self.create_batch),
            web.get("/v1/batches", self.list_batches),
            web.get("/v1/batches/{id}", self.get_batch),
            web.post("/v1/batches/{id}/cancel", self.cancel_batch),
            web.get("/v1/responses/{id}", self.get_response),
            web.delete("/v1/responses/{id}", self.delete_response),
            web.post("/v1/responses/{id}/cancel", self.cancel_response),
        ]

    def change(self, told: Mapping[str, Any]) -> None:
        if unknown := set(told) - {one.name for one in fields(Later)}:
            raise ValueError(f"unknown behaviour of later answers {sorted(unknown)}")
        for name, value in told.items():
            setattr(self.behaviour, name, value)

    def summary(self) -> dict[str, Any]:
        return {
            "batches": [batch.to_plain() for batch in self._batches.values()],
            "files": len(self._files),
            "stored_responses": len(self._responses),
            "submitted": len(self.created),
            "submitted_twice": len(self.created) - len(set(self.created)),
        }

    async def upload(self, request: web.Request) -> web.StreamResponse:
        if self.behaviour.cut_upload > 0:
            self.behaviour.cut_upload -= 1
            return _cut(request)
        if not self._allowed(request):
            return _error(401, "Incorrect API key provided.", "invalid_api_key")
        if self.behaviour.refuse_files:
            missing = "You have insufficient permissions for this operation. Missing scopes: api.files.write."
            return _error(403, missing, "missing_scope")
        form = await request.post()
        part: Any = form["file"]
        name, file_id = str(part.filename), f"file-{uuid.uuid4().hex}"
        self._files[file_id] = (name, part.file.read())
        return web.json_response(self._file(file_id))

    async def list_files(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [self._file(name) for name in self._files], "has_more": False})

    async def content(self, request: web.Request) -> web.StreamResponse:
        file_id = request.match_info["id"]
        if file_id not in self._files or self.behaviour.delete_outputs:
            return _missing("file", file_id)
        data = self._files[file_id][1]
        if self.behaviour.cut_download > 0:
            self.behaviour.cut_download -= 1
            data = data[: max(1, len(data) - len(data.splitlines()[-1]) // 2)]
        return web.Response(body=data, content_type="application/octet-stream")

    async def delete_file(self, request: web.Request) -> web.Response:
        file_id = request.match_info["id"]
        self._files.pop(file_id, None)
        return web.json_response({"id": file_id, "object": "file", "deleted": True})

    async def create_batch(self, request: web.Request) -> web.StreamResponse:
        if not self._allowed(request):
            return _error(401, "Incorrect API key provided.", "invalid_api_key")
        if refused := self._refused_creation():
            return refused
        body = await request.json()
        if body["input_file_id"] not in self._files:
            return _error(400, "The input file does not exist.", "invalid_request")
        batch = Batch(f"batch_{uuid.uuid4().hex}", body["input_file_id"], body["endpoint"], body.get("metadata") or {})
        batch.uncounted_tokens = self.behaviour.uncounted_tokens
        self._batches[batch.id] = batch
        self._start(self._run(batch))
        if self.behaviour.cut_creation > 0:
            self.behaviour.cut_creation -= 1
            return _cut(request)
        return web.json_response(batch.to_plain())

    async def list_batches(self, request: web.Request) -> web.Response:
        newest = sorted(self._batches.values(), key=lambda batch: -batch.created_at)
        after, limit = request.query.get("after"), int(request.query.get("limit", "20"))
        ids = [batch.id for batch in newest]
        page = newest[ids.index(after) + 1 if after in ids else 0 :][:limit]
        more = bool(page) and page[-1].id != ids[-1]
        ends = {"first_id": page[0].id if page else None, "last_id": page[-1].id if page else None}
        plain = {"object": "list", "data": [batch.to_plain() for batch in page], "has_more": more}
        return web.json_response(plain | ends)

    async def get_batch(self, request: web.Request) -> web.StreamResponse:
        batch_id = request.match_info["id"]
        if self.behaviour.cut_lookups > 0:
            self.behaviour.cut_lookups -= 1
            return _cut(request)
        if batch_id not in self._batches or self._forgotten():
            return _missing("batch", batch_id)
        return web.json_response(self._batches[batch_id].to_plain())

    async def cancel_batch(self, request: web.Request) -> web.Response:
        if self.behaviour.refuse_cancel > 0:
            self.behaviour.refuse_cancel -= 1
            return _error(503, "The server is overloaded.", "server_error")
        batch = self._batches[request.match_info["id"]]
        if batch.status not in TERMINAL:
            batch.is_cancelled, batch.status = True, "cancelling"
        return web.json_response(batch.to_plain())

    async def start_response(self, request: web.Request, body: Mapping[str, Any]) -> web.StreamResponse:
        """POST /v1/responses with background: true."""
        if refused := self._refused_creation():
            return refused
        window = (body.get("background_options") or {}).get("completion_window", "soonest")
        response_id = f"resp_{uuid.uuid4().hex}"
        started = {"id": response_id, "object": "response", "status": "queued", "background": True, "output": [], "error": None}
        self._responses[response_id] = started | {"model": body["model"], "store": body.get("store", False), "usage": None}
        self.created.append(response_id)
        self._start(self._respond(response_id, body, f"background_{window}"))
        if self.behaviour.cut_creation > 0:
            self.behaviour.cut_creation -= 1
            return _cut(request)
        return web.json_response(self._responses[response_id])

    async def get_response(self, request: web.Request) -> web.Response:
        response_id = request.match_info["id"]
        if response_id not in self._responses or self._forgotten():
            return _missing("response", response_id)
        return web.json_response(self._responses[response_id])

    async def delete_response(self, request: web.Request) -> web.Response:
        response_id = request.match_info["id"]
        if response_id not in self._responses:
            return _missing("response", response_id)
        del self._responses[response_id]
        return web.json_response({"id": response_id, "object": "response", "deleted": True})

    async def cancel_response(self, request: web.Request) -> web.Response:
        response = self._responses[request.match_info["id"]]
        if response["status"] in ("queued", "in_progress"):
            response["status"] = "cancelled"
        return web.json_response(response)

    async def _respond(self, response_id: str, body: Mapping[str, Any], lane: str) -> None:
        await self._until_ready()
        if self._responses.get(response_id, {}).get("status") != "queued":
            return
        status, answer = await self._answer("/v1/responses", body, lane)
        failed = {"status": "failed", "error": {"code": "server_error", "message": "it failed"}}
        ended = dict(answer) if status == 200 else {**self._responses[response_id], **failed}
        self._responses[response_id] = ended | {"id": response_id, "background": True, "store": body.get("store", False)}

    async def _run(self, batch: Batch) -> None:
        raw_lines = self._files[batch.file_id][1].splitlines()
        lines = [json.loads(line) for line in raw_lines]
        batch.counts["total"] = len(lines)
        if self._invalid(batch, lines):
            batch.status = "failed"
            return
        self.created += [line["custom_id"] for line in lines]
        if not batch.is_cancelled:
            batch.status = "in_progress"
        await self._until_ready()
        end = "cancelled" if batch.is_cancelled else "completed"
        wanted = 0 if batch.is_cancelled else len(lines)
        if self.behaviour.expire_half and wanted > 1:
            self.behaviour.expire_half, wanted, end = False, len(lines) // 2, "expired"
        failing, self.behaviour.fail_lines = self.behaviour.fail_lines, 0
        outputs: list[dict[str, Any]] = []
        errors: list[dict[str, Any]] = []
        for number, line in enumerate(lines):
            if number >= wanted:
                code = "batch_expired" if end == "expired" else "batch_cancelled"
                errors.append(_line(line, None, {"code": code, "message": f"This request was not run: {code}."}))
            elif number < failing:
                refusal = {"error": {"message": "Rate limit reached.", "type": "requests", "code": "rate_limit_exceeded"}}
                errors.append(_line(line, (429, refusal), None))
            else:
                answered = await self._answer(line["url"], line["body"], "batch")
                (outputs if answered[0] == 200 else errors).append(_line(line, answered, None))
                self._count(batch, answered)
        if self.behaviour.shuffle:
            random.Random(batch.id).shuffle(outputs)
        batch.counts["completed"], batch.counts["failed"] = len(outputs), len(errors)
        batch.output_file_id, batch.error_file_id = self._store("output", outputs), self._store("error", errors)
        batch.status = end

    async def _until_ready(self) -> None:
        """As long as `ready_s` says now: a test may change it meanwhile."""
        started = time.monotonic()
        while (left_s := started + self.behaviour.ready_s - time.monotonic()) > 0:
            await asyncio.sleep(min(0.05, left_s))

    def _invalid(self, batch: Batch, lines: list[Mapping[str, Any]]) -> bool:
        bad_line, self.behaviour.refuse_line = self.behaviour.refuse_line, None
        if bad_line is not None and bad_line <= len(lines):
            batch.errors = [{"code": "invalid_json_line", "line": bad_line, "message": "The body is invalid.", "param": "body"}]
        if self.behaviour.refuse_all:
            self.behaviour.refuse_all = False
            batch.errors = [{"code": "token_limit_exceeded", "line": None, "message": "Enqueued token limit reached."}]
        if len({line["custom_id"] for line in lines}) < len(lines):
            batch.errors = [{"code": "duplicate_custom_id", "line": None, "message": "A custom_id is used twice."}]
        return bool(batch.errors)

    @staticmethod
    def _count(batch: Batch, answered: Answered) -> None:
        usage = answered[1].get("usage") or {}
        read = usage.get("input_tokens", usage.get("prompt_tokens", 0))
        written = usage.get("output_tokens", usage.get("completion_tokens", 0))
        batch.usage["input_tokens"] += read
        batch.usage["output_tokens"] += written
        batch.usage["total_tokens"] += read + written

    def _store(self, kind: str, lines: list[dict[str, Any]]) -> str | None:
        if not lines:
            return None
        file_id = f"file-{uuid.uuid4().hex}"
        self._files[file_id] = (f"{kind}.jsonl", b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        return file_id

    def _file(self, file_id: str) -> dict[str, Any]:
        name, data = self._files[file_id]
        plain = {"id": file_id, "object": "file", "bytes": len(data), "created_at": int(time.time()), "filename": name}
        return plain | {"purpose": "batch", "status": "processed"}

    def _refused_creation(self) -> web.Response | None:
        if self.behaviour.refuse_creation <= 0:
            return None
        self.behaviour.refuse_creation -= 1
        return _error(429, "Rate limit reached for batches.", "rate_limit_exceeded")

    def _forgotten(self) -> bool:
        self.behaviour.forget -= 1
        return self.behaviour.forget >= 0

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _line(line: Mapping[str, Any], answered: Answered | None, error: Mapping[str, Any] | None) -> dict[str, Any]:
    response = None
    if answered is not None:
        response = {"status_code": answered[0], "request_id": f"req_{uuid.uuid4().hex}", "body": answered[1]}
    return {"id": f"batch_req_{uuid.uuid4().hex}", "custom_id": line["custom_id"], "response": response, "error": error}


def _missing(kind: str, name: str) -> web.Response:
    return _error(404, f"No such {kind}: {name}", "not_found")


def _error(status: int, message: str, code: str) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return web.json_response({"error": error}, status=status)


def _cut(request: web.Request) -> web.Response:
    """The connection ends before anything is answered."""
    if request.transport is not None:
        request.transport.close()
    return web.Response(status=500)
