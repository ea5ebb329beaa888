"""An Ollama stream as it is heard: its pieces put together, its counts and times, and whether the prompt was cut on the way."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agents.contract.answer import Answer, Timing
from agents.contract.request import Request, ToolCall
from agents.llms.bodies import clean, count
from agents.llms.messages import join
from agents.llms.ollama_server import Told
from agents.llms.tokens import estimate_request
from domain.usage import Usage


@dataclass
class Heard:
    """A stream as it arrives."""

    started: float = field(default_factory=time.perf_counter)
    ttft_s: float | None = None
    chunks: int = 0
    text: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    tool_calls: list[ToolCall] = field(default_factory=list)
    last: Mapping[str, Any] = field(default_factory=dict)
    """The metadata of the line that says done."""

    @property
    def done(self) -> bool:
        return self.last.get("done") is True

    def add(self, chunk: Any) -> None:
        self.chunks += 1
        text, thought = str(chunk.text), chunk.additional_kwargs.get("reasoning_content") or ""
        if self.ttft_s is None and (text or thought or chunk.tool_calls):
            self.ttft_s = time.perf_counter() - self.started
        self.text.append(text)
        self.thoughts.append(thought)
        self.tool_calls += [
            ToolCall(call["id"] or "", call["name"], json.dumps(call["args"], ensure_ascii=False)) for call in chunk.tool_calls
        ]
        if chunk.response_metadata.get("done"):
            self.last = chunk.response_metadata

    def seconds(self, name: str) -> float | None:
        nanoseconds = self.last.get(name)
        return nanoseconds / 1e9 if isinstance(nanoseconds, (int, float)) else None

    def answer(self, request: Request, window: int, told: Told) -> Answer:
        read = count(self.last.get("prompt_eval_count"))
        finish = _finish(self.last.get("done_reason"), bool(self.tool_calls))
        return Answer(
            text=clean("".join(self.text)),
            reasoning=clean("".join(self.thoughts)) or None,
            tool_calls=tuple(self.tool_calls),
            finish_reason=finish,
            truncated=(finish == "length" and not self._is_whole(request)) or prompt_was_cut(read, window, request),
            usage=Usage(input_tokens=read or None, output_tokens=count(self.last.get("eval_count"))),
            timing=self._timing(),
            model_returned=self.last.get("model") or self.last.get("model_name"),
            model_digest=told.digest,
            context_window=window,
        )

    def _is_whole(self, request: Request) -> bool:
        """Ollama's grammar lets a model write blanks after the last brace up to the cap; nothing is missing then."""
        if request.schema is None:
            return False
        try:
            return isinstance(json.loads("".join(self.text)), dict)
        except ValueError:
            return False

    def _timing(self) -> Timing:
        return Timing(
            ttft_s=self.ttft_s,
            load_s=self.seconds("load_duration"),
            prefill_s=self.seconds("prompt_eval_duration"),
            decode_s=self.seconds("eval_duration"),
        )


def prompt_was_cut(read: int | None, window: int, request: Request) -> bool:
    """Whether the count of prompt tokens is one that only a cut leaves behind: half the context and two or three more,
    or the whole of it (older servers); or whole messages are missing from it. A count that our own estimate explains is
    a coincidence."""
    if not read:
        return False
    if read >= window - 1:
        return True
    estimated = estimate_request(request)
    if read in (window // 2 + 2, window // 2 + 3):
        return not read / 1.4 < estimated < read * 1.4
    return len(join(request.parts)) > 2 and estimated > read * 2.5


def _finish(reason: Any, has_tool_calls: bool) -> str:
    if has_tool_calls and reason in ("stop", None, ""):
        return "tool_calls"
    return reason if reason in ("stop", "length") else "unknown"
