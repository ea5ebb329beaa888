"""The files of a batch: requests as JSON lines, and the answers that come back in any order, perhaps not all of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents import MOST_BYTES, MOST_REQUESTS
from harness.deferred.mailbox import Mailbox, Outcome, Submission, WaitingCall

_CAUSES = {
    "batch_expired": "expired",
    "batch_cancelled": "cancelled",
    "cancelled": "cancelled",
    "rate_limit_exceeded": "rate_limited",
    "insufficient_quota": "quota",
}
"""Error code of a line without an answer -> cause; every other code is a server error."""


@dataclass(frozen=True)
class BatchLimits:
    """What one batch file may hold."""

    requests: int = MOST_REQUESTS
    size_bytes: int = MOST_BYTES


def request_line(call: WaitingCall) -> bytes:
    line = {"custom_id": call.call_id, "method": "POST", "url": call.path, "body": dict(call.body)}
    return json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def write_requests(mailbox: Mailbox, cells_of_calls: Mapping[str, str], target: Path, limits: BatchLimits) -> list[str]:
    """Write as many of these calls as fit into one file, cell by cell; returns their ids in the order of the lines.

    Calls of a cell whose file is gone are left out."""
    written: list[str] = []
    size = 0
    by_cell: dict[str, set[str]] = {}
    for call_id, cell_id in cells_of_calls.items():
        by_cell.setdefault(cell_id, set()).add(call_id)
    with target.open("wb") as stream:
        for cell_id, wanted in by_cell.items():
            cell = mailbox.read_cell(cell_id)
            for call in cell.waiting if cell else ():
                if call.call_id not in wanted:
                    continue
                line = request_line(call)
                if written and (len(written) >= limits.requests or size + len(line) > limits.size_bytes):
                    return written
                stream.write(line)
                written.append(call.call_id)
                size += len(line)
    return written


@dataclass
class AnswerFiles:
    """Output and error file of an ended batch, on this machine's disk."""

    paths: tuple[Path, ...]
    places: dict[str, tuple[Path, int, int]] = field(default_factory=dict)
    """call id -> file, offset and length of its line."""
    total_tokens: int = 0
    """Sum over the lines."""
    broken_lines: int = 0

    def index(self) -> None:
        """Find the line of each call; a line that is cut, or no JSON, counts as broken."""
        for path in self.paths:
            offset = 0
            with path.open("rb") as stream:
                for raw in stream:
                    line = _read_line(raw)
                    if line is not None:
                        self.places[str(line["custom_id"])] = (path, offset, len(raw))
                        self.total_tokens += _tokens(line)
                    elif raw.strip():
                        self.broken_lines += 1
                    offset += len(raw)

    def outcomes(self, submission: Submission, finished_at: float, missing: Outcome) -> Iterator[tuple[str, list[Outcome]]]:
        """Cell by cell what became of its calls; `missing` is the outcome of calls without a line, for each its own id."""
        by_cell: dict[str, list[str]] = {}
        for call_id, (cell_id, _) in submission.calls.items():
            by_cell.setdefault(cell_id, []).append(call_id)
        for cell_id, call_ids in by_cell.items():
            yield cell_id, [self._outcome(call_id, submission.created_at, finished_at, missing) for call_id in call_ids]

    def _outcome(self, call_id: str, sent_at: float, finished_at: float, missing: Outcome) -> Outcome:
        if call_id not in self.places:
            return Outcome(call_id, sent_at, finished_at, cause=missing.cause, message=missing.message)
        path, offset, length = self.places[call_id]
        with path.open("rb") as stream:
            stream.seek(offset)
            line = _read_line(stream.read(length))
        assert line is not None
        return outcome_of_line(line, sent_at, finished_at)


def outcome_of_line(line: Mapping[str, Any], sent_at: float, finished_at: float) -> Outcome:
    """What one line of an output or error file contains."""
    call_id, response, error = str(line["custom_id"]), line.get("response"), line.get("error")
    if isinstance(response, Mapping) and response.get("body") is not None:
        body = json.dumps(response["body"], ensure_ascii=False)
        status = int(response.get("status_code") or 0)
        return Outcome(call_id, sent_at, finished_at, status, body, request_id=response.get("request_id"))
    details = error if isinstance(error, Mapping) else {}
    cause = _CAUSES.get(str(details.get("code")), "server_error")
    return Outcome(
        call_id, sent_at, finished_at, cause=cause, message=str(details.get("message") or details or "no answer")[:500]
    )


def refused_calls(submission: Submission, refusals: Iterable[tuple[int | None, str]]) -> dict[str, str]:
    """call id -> why its line failed the validation, for the lines that the provider names."""
    order = list(submission.calls)
    named = {line: message for line, message in refusals if line is not None and 0 < line <= len(order)}
    return {order[line - 1]: f"line {line} of the batch was refused: {message}" for line, message in named.items()}


def _read_line(raw: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    return line if isinstance(line, dict) and line.get("custom_id") else None


def _tokens(line: Mapping[str, Any]) -> int:
    response = line.get("response")
    body = response.get("body") if isinstance(response, Mapping) else None
    usage = body.get("usage") if isinstance(body, Mapping) else None
    total = usage.get("total_tokens") if isinstance(usage, Mapping) else None
    return int(total) if isinstance(total, (int, float)) else 0
