"""Checks for pipelines: `assert_deterministic` runs one without a model, and suspends it at each of its calls."""

from __future__ import annotations

import asyncio
import difflib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from agents.errors import Suspended
from agents.inputs.snapshot import Snapshot
from agents.pipeline.context import Context
from agents.pipeline.identity import reference_snapshot
from agents.pipeline.roles import role_names
from agents.types import Answer, CallSite, Model, Pipeline, Request, ToolCall

Decide = Callable[[Context], Awaitable[Any]]
Script = Callable[[CallSite, Request], Answer]


def answer_anything(site: CallSite, request: Request) -> Answer:
    """A valid form, one call of each tool in the first round, or a sentence."""
    if request.schema is not None:
        return Answer(json.dumps(_filled(request.schema)))
    if request.tools and not any(part.role == "tool" for part in request.parts):
        calls = [
            ToolCall(f"call_{index}", tool.name, json.dumps(_filled(tool.parameters)))
            for index, tool in enumerate(request.tools)
        ]
        return Answer("", tool_calls=tuple(calls), finish_reason="tool_calls")
    return Answer(f"{site.role} in round {site.round}: the trend is up, and the close stands at 101.25.")


def assert_deterministic(
    decide: Decide,
    *,
    pipeline: Pipeline | None = None,
    snapshot: Snapshot | None = None,
    answer: Script = answer_anything,
) -> None:
    """Check that a pipeline can be suspended at any call and run again. Raises AssertionError.

    The pipeline runs twice with all answers, and then again and again from its start: each time one more answer is recalled,
    the last requested first, and every other call raises Suspended. Each run must make the same calls with the same requests,
    and reach the same result. `answer` replaces the models; default of `snapshot`: a small invented case.
    """
    asyncio.run(_check(decide, pipeline or Pipeline(), snapshot or reference_snapshot(), answer))


async def _check(decide: Decide, pipeline: Pipeline, snapshot: Snapshot, answer: Script) -> None:
    lineup = dict.fromkeys(role_names(), Model("model", "scripted", "scripted"))
    script = _Recalling(answer)

    async def run() -> tuple[Any, Context]:
        script.start()
        ctx = Context(lineup, pipeline, cast("Any", script), cast("Any", None), snapshot)
        try:
            return await decide(ctx), ctx
        finally:
            assert not script.problem, script.problem

    expected, _ = await run()
    error = getattr(expected, "error", None)
    assert error is None, f"the pipeline failed: {type(error).__name__}: {error}"
    assert script.requests, "the pipeline asked no model: ask with ctx.ask"
    script.expect_same_calls()
    again, _ = await run()
    script.check_calls()
    assert _plain(again) == _plain(expected), f"two runs with equal answers gave two results:\n{expected}\n{again}"

    script.recalled = set()
    for _ in range(len(script.requests) + 1):
        try:
            result, ctx = await run()
        except Suspended:
            script.recalled.add(script.pending[-1])
            continue
        assert ctx.halt is None, f"the pipeline caught Suspended at {script.pending[0]} and went on; do not catch it"
        script.check_calls()
        assert _plain(result) == _plain(expected), f"a run that was suspended gave another result:\n{expected}\n{result}"
        return
    raise AssertionError("the pipeline did not end although all its answers were recalled")


@dataclass
class _Recalling:
    """Admission that recalls scripted answers and suspends every other call."""

    answer: Script
    requests: dict[str, Request] = field(default_factory=dict)
    """CallSite.key -> request of the first run."""
    recalled: set[str] | None = None
    """Calls that are answered; None: all."""
    pending: list[str] = field(default_factory=list)
    """Calls that were suspended in this run, in order."""
    problem: str = ""
    """How a later run differed from the first; kept, because a pipeline may catch the error."""
    _asked: set[str] = field(default_factory=set)
    _is_first: bool = True

    def start(self) -> None:
        self.pending, self._asked = [], set()

    def expect_same_calls(self) -> None:
        self._is_first = False

    def check_calls(self) -> None:
        missing = ", ".join(key for key in self.requests if key not in self._asked)
        assert not missing, f"a run with equal answers did not make the calls {missing}"

    async def recall(self, site: CallSite, request: Request) -> Answer:
        if self._is_first:
            self.requests[site.key] = request
        self._asked.add(site.key)
        self._compare(site, request)
        if self.recalled is not None and site.key not in self.recalled:
            self.pending.append(site.key)
            raise Suspended(f"{site.key} is answered later", delay_s=0.0)
        return self.answer(site, request)

    def _compare(self, site: CallSite, request: Request) -> None:
        first = self.requests.get(site.key)
        if first is None:
            known = ", ".join(self.requests)
            self._fail(f"a run with equal answers made the call {site.key}, which the first did not; the first made: {known}")
        elif _plain(first) != _plain(request):
            difference = _difference(first, request)
            self._fail(f"the request at {site.key} differs between two runs with equal answers:\n{difference}")

    def _fail(self, problem: str) -> None:
        self.problem = self.problem or problem
        raise AssertionError(problem)


def _difference(first: Request, second: Request) -> str:
    before, after = ("\n\n".join(part.text for part in request.parts).splitlines() for request in (first, second))
    lines = list(difflib.unified_diff(before, after, "first run", "later run", lineterm="", n=0))
    return "\n".join(lines[:20]) or "the texts are equal; schema, tools, cap or options differ"


def _plain(value: Any) -> str:
    return repr(value)


def _filled(schema: Mapping[str, Any]) -> Any:
    """A value that fits a JSON schema: the first choice, the lowest number, a short text."""
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "object")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object":
        return {name: _filled(value) for name, value in schema.get("properties", {}).items()}
    plain = {"integer": schema.get("minimum", 1), "number": schema.get("minimum", 1.0), "boolean": True, "array": []}
    return plain.get(kind, "a text")
