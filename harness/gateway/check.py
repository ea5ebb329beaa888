"""One case of an attached program against canned answers: what reached the gateway, and what the program made of it."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents import Answer, Call, CallSite, Clients, Permit, Request, Result, ToolCall, Usage, WorstCase, estimate_tokens
from harness.cells import Cell
from harness.experiment.attached import OTHER, Attached
from harness.gateway.attached import AttachedPrograms

RATING = "Overweight"
"""What every canned answer decides; a program that says Hold decides by itself."""
_PROSE = "The trend is up, margins hold and the price is fair; the risk is a weaker quarter. I expect a moderate rise."
_RATED, _PROPOSED = f"\n\nRating: {RATING}", "\n\nFINAL TRANSACTION PROPOSAL: **BUY**"
"""How a text ends: by the scale that the prompt names."""
_ASKS_FOR_JSON = re.compile(r"(answer|output|reply|respond|return)[^.\n]{0,40}\bJSON\b", re.IGNORECASE)
_OBJECT = json.dumps({"signal": "bullish", "action": "BUY", "confidence": 70, "reasoning": _PROSE})
_ARGUMENTS = {"indicator": "rsi", "freq": "quarterly", "frequency": "quarterly", "period": "quarterly"}
_WINDOW_DAYS = 30
_WRITTEN_TOKENS, _CALL_TOKENS = 350, 60
"""What a model is taken to write: a text, or the arguments of a tool."""


@dataclass(frozen=True)
class CheckLine:
    """One line of the check."""

    name: str
    status: str
    """ok | warn | fail."""
    found: str
    fix: str = ""


class CannedAnswers:
    """Implements agents.Admission: every request is answered at once, and nothing is sent."""

    def __init__(self, ticker: str, date: dt.date) -> None:
        """`ticker`, `date`: what tools are called with."""
        self._ticker, self._date = ticker, date
        self.requests: list[tuple[CallSite, Request]] = []

    async def recall(self, site: CallSite, request: Request) -> Answer:
        self.requests.append((site, request))
        tokens = sum(estimate_tokens(part.text) for part in request.parts)
        return canned(request, Usage(input_tokens=tokens, output_tokens=40), self._argument)

    def _argument(self, name: str) -> str:
        """A text that a tool can work with: a program may not survive a date or a symbol that is none."""
        if "date" in name.lower() or "day" in name.lower():
            is_start = "start" in name.lower() or "from" in name.lower()
            return str(self._date - dt.timedelta(days=_WINDOW_DAYS) if is_start else self._date)
        return _ARGUMENTS.get(name.lower(), self._ticker)

    async def admit(self, site: CallSite, request: Request, worst_case: WorstCase) -> Permit:
        raise AssertionError("every request is recalled")

    async def record(self, call: Call) -> float | None:
        raise AssertionError("nothing is sent")

    async def discard(self, site: CallSite, permit: Permit) -> None:
        raise AssertionError("nothing is sent")


def _prose(name: str) -> str:
    return _PROSE


def canned(request: Request, usage: Usage, argument: Callable[[str], str] = _prose) -> Answer:
    """The forced tool's arguments, each tool once in the first round, a form, JSON where the prompt asks for it, or prose.

    `argument`: the text for a parameter of a tool that looks something up."""
    if request.schema is not None:
        return Answer(json.dumps(example(request.schema)), usage=usage)
    forced = [tool for tool in request.tools if tool.name == request.tool_choice]
    is_first = not any(part.role == "tool" for part in request.parts)
    called = forced or (request.tools if is_first else ())
    if called:
        text = _prose if forced else argument
        calls = tuple(
            ToolCall(f"call_{place}", tool.name, json.dumps(example(tool.parameters, text)))
            for place, tool in enumerate(called)
        )
        return Answer("", tool_calls=calls, finish_reason="tool_calls", usage=usage)
    if any(_ASKS_FOR_JSON.search(part.text) for part in request.parts):
        return Answer(_OBJECT, usage=usage)
    knows_scale = any(RATING in part.text for part in request.parts)
    return Answer(_PROSE + (_RATED if knows_scale else _PROPOSED), usage=usage)


def example(
    schema: Mapping[str, Any], text: Callable[[str], str] = _prose, name: str = "", root: Mapping[str, Any] | None = None
) -> Any:
    """A value that a JSON schema accepts; our rating where it is allowed. `text`: name of a property -> its text."""
    root = root or schema
    if "$ref" in schema:
        target: Any = root
        for step in str(schema["$ref"]).removeprefix("#/").split("/"):
            target = target[step]
        return example(target, text, name, root)
    if "default" in schema and schema["default"] is not None:
        return schema["default"]
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return next((word for word in (RATING, "Buy", "BUY", "bullish") if word in schema["enum"]), schema["enum"][0])
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return example(schema[several][0], text, name, root)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {key: example(part, text, key, root) for key, part in schema.get("properties", {}).items()}
    plain = {"array": [], "integer": schema.get("minimum", 7), "number": schema.get("minimum", 0.5), "boolean": True}
    return plain[kind] if kind in plain else text(name)


async def run(program: Attached, cell: Cell) -> tuple[Result, CannedAnswers]:
    """Run the program for one case; asks no model."""
    answers, programs = CannedAnswers(cell.ticker, cell.date), AttachedPrograms()
    try:
        async with Clients({}) as clients:
            return await programs.decide(program, cell, answers, clients, (), _not_stored), answers
    finally:
        await programs.aclose()


def _not_stored(contents: Mapping[str, bytes]) -> str:
    """Files of a check are named and not kept."""
    return ""


def sizes(answers: CannedAnswers) -> Iterator[dict[str, Any]]:
    """Role, model and tokens of each request, as if each earlier text in it had the length that a model writes."""
    for site, request in answers.requests:
        texts = [part.text for part in request.parts] + [f"{tool.description} {tool.parameters}" for tool in request.tools]
        quotes = sum(text.count(_PROSE) for text in texts)
        handed = quotes * _WRITTEN_TOKENS
        is_short = request.schema is not None or bool(canned(request, Usage()).tool_calls)
        yield {
            "role": site.role,
            "model": request.program["model"],
            "input_tokens": sum(map(estimate_tokens, texts)) - quotes * estimate_tokens(_PROSE) + handed,
            "handed_tokens": handed,
            "output_tokens": _CALL_TOKENS if is_short else _WRITTEN_TOKENS,
        }


def findings(result: Result, answers: CannedAnswers) -> Iterator[CheckLine]:
    """What the case shows, most important first."""
    described, requests = result.program, [request for _, request in answers.requests]
    calls = int(described.get("calls", 0))
    is_broken = result.error is not None
    if is_broken:
        yield CheckLine("program", "fail", str(result.error), _fix(calls, str(described.get("stderr", ""))))
    if calls == 0:
        return
    yield CheckLine("calls", "ok", f"{_calls(calls)} reached the gateway ({_counted(described['roles'])})")
    yield _named(described, answers)
    yield CheckLine("wires", "ok", _counted(described["wires"]))
    yield CheckLine("models", "ok", f"the program asks for {_counted(described['asked_models'])}")
    yield from _dropped(requests)
    yield from _changed(requests)
    if not is_broken:
        yield _decision(result)
        yield from _files(described.get("files", {}))


def _calls(count: int) -> str:
    return "1 call" if count == 1 else f"{count} calls"


def _fix(calls: int, stderr: str) -> str:
    if calls:
        return "see the program's output below"
    if "api.openai.com" in stderr or "Connection error" in stderr:
        return "pass the variable BACKEND_URL to the program's configuration (config['backend_url'] in TradingAgents)"
    if "Traceback" in stderr:
        return "see the program's output below: it ended before it asked a model"
    return "let the program read OPENAI_BASE_URL or OLLAMA_HOST, or pass BACKEND_URL to its configuration in a driver"


def _named(described: Mapping[str, Any], answers: CannedAnswers) -> CheckLine:
    calls, named = described["calls"], described["named"]
    found = f"{named} of {calls} calls named"
    if named == calls:
        return CheckLine("roles", "ok", found)
    starts = {_start(request) for site, request in answers.requests if site.role == OTHER}
    quoted = "; ".join(f"{start!r}" for start in sorted(starts)[:5])
    return CheckLine(
        "roles", "warn", f"{found}; unnamed prompts begin {quoted}", "add rules: pipeline.roles, see docs/attach.md"
    )


def _start(request: Request) -> str:
    return request.parts[0].text[:80].replace("\n", " ")


def _dropped(requests: Sequence[Request]) -> Iterator[CheckLine]:
    names = Counter(name for request in requests for name in request.dropped)
    if names:
        fix = "set it on the models of the arms, so that it counts for every call"
        yield CheckLine("parameters", "warn", f"asked and not sent: {_counted(names)}", fix)


def _changed(requests: Sequence[Request]) -> Iterator[CheckLine]:
    changes = Counter(text for request in requests for text in request.program.get("changed", ()))
    if changes:
        yield CheckLine("changes", "warn", "; ".join(f"{text} ({count})" for text, count in changes.items()))


def _decision(result: Result) -> CheckLine:
    described, word = result.program, result.program.get("word")
    reported = f"; the program reported {word!r}" if word else ""
    if result.decision is None:
        fix = "name the deciding role in the role rules (decides: true), or pipeline.result, or print a JSON line"
        return CheckLine("decision", "fail", f"none could be read ({result.decision_status}){reported}", fix)
    return CheckLine("decision", "ok", f"{result.decision.rating}, from the {described['source']}{reported}")


def _files(files: Mapping[str, Any]) -> Iterator[CheckLine]:
    """What `pipeline.keep` would keep of this case."""
    if found := [*files.get("kept", ()), *(f"{name} (too large or too many)" for name in files.get("left_out", ()))]:
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        yield CheckLine("files", "ok", f"pipeline.keep matches {', '.join(found[:5])}{more}")
    if patterns := files.get("unmatched", ()):
        others = files.get("others", ())
        wrote = f"the program wrote {', '.join(others)}" if others else "the program wrote no other file"
        fix = "correct the pattern: ~/... is the private home of a case, any other is below pipeline.folder"
        yield CheckLine("files", "warn", f"no file matches pipeline.keep {', '.join(patterns)}; {wrote}", fix)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" if count > 1 else name for name, count in counts.items())
