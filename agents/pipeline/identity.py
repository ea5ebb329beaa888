"""Fingerprints by content: what is sent to models and how their answers are read, never the text of our source code.

A fingerprint hashes role files, form schemas and every request that a pipeline makes over a small reference snapshot whose
answers are canned. What these requests do not show is covered by version numbers that a developer raises.
"""

from __future__ import annotations

import json
from collections.abc import Coroutine, Mapping
from dataclasses import asdict, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from agents.decisions.forms import FORMS, Form
from agents.inputs.snapshot import Snapshot
from agents.pipeline import custom, flow, judge, prompts, roles, rules
from agents.pipeline.context import Context
from agents.pipeline.judge import Contest, Contestant, Hidden
from agents.types import Answer, CallSite, Model, Part, Pipeline, Request, ToolCall

if TYPE_CHECKING:
    from agents.llms import Clients
    from agents.pipeline.flow import TurnResult

PROMPT_VERSION = 1
"""Raise it if requests change and no fingerprint shows it. All cells become new and are paid for again."""
PARSER_VERSION = 2
"""Raise it when the same answers are read differently. Cells are new, but their recorded answers are used again: only what
the new parser asks in addition (a repair) is paid for."""
RULES_VERSION = 1
"""Raise it when a rule decides differently and no fingerprint shows it."""

_REFERENCE = Path(__file__).parents[1] / "inputs" / "reference"
_REPORT = "The figures support this view only in part, and the next filing decides. "
_REPORT_SENTENCES, _ARGUMENT_SENTENCES = 60, 30
"""Enough for long debates to exceed the default budget of a debate's history."""


def fingerprint(pipeline: Pipeline | None = None, parser_version: int | None = None) -> str:
    """Hash of what this pipeline sends and of how it reads answers; without a pipeline, of every depth and input mode.

    Only `analysts`, `depth`, `inputs`, `rule` and `entry` count: the other settings of a pipeline are part of a cell's key.
    """
    parser = PARSER_VERSION if parser_version is None else parser_version
    if pipeline is None:
        variants = [Pipeline(depth=depth, inputs=inputs) for depth in flow.DEPTHS for inputs in flow.INPUTS]
        return _digest("everything", *(fingerprint(variant, parser) for variant in variants))
    if pipeline.rule:
        return _digest("rule", RULES_VERSION, pipeline.rule, _ratings(pipeline.rule))
    if pipeline.entry:
        shared = _digest(_schemas(), prompts.repair(next(iter(FORMS.values())), "a problem").text, _material(Pipeline()))
        return _digest("entry", PROMPT_VERSION, parser, pipeline.entry, custom.source_hash(pipeline.entry), shared)
    return _digest("flow", PROMPT_VERSION, parser, _sent(pipeline.analysts, pipeline.depth, pipeline.inputs))


def earlier_fingerprints(pipeline: Pipeline) -> tuple[str, ...]:
    """Fingerprints of the same pipeline under earlier parsers, the newest first: it sent the same requests."""
    return () if pipeline.rule else tuple(fingerprint(pipeline, version) for version in range(PARSER_VERSION - 1, 0, -1))


def earlier_judge_fingerprints() -> tuple[str, ...]:
    """Fingerprints of judges under earlier parsers, the newest first: they were asked the same."""
    return tuple(judge_fingerprint(version) for version in range(PARSER_VERSION - 1, 0, -1))


@cache
def judge_fingerprint(parser_version: int | None = None) -> str:
    """Hash of a judge's prompts and of how its verdict is read."""
    parser = PARSER_VERSION if parser_version is None else parser_version
    texts = roles.source_hash({"_judge", "_judge_desk"})
    return _digest("judge", PROMPT_VERSION, parser, texts, judge.FORM.schema(), _questions())


@cache
def _sent(analysts: tuple[str, ...], depth: str, inputs: str) -> str:
    pipeline = Pipeline(analysts=analysts, depth=depth, inputs=inputs)
    files = {turn.role.file for turn in flow.turns(pipeline)} | {"_desk", "_repair"}
    return _digest(roles.source_hash(files), _schemas(), _requests(pipeline), _material(pipeline), _notes())


def _schemas() -> dict[str, Any]:
    return {name: form.schema() for name, form in FORMS.items()}


def _notes() -> Mapping[str, str]:
    from agents.pipeline.turn import NOTES

    return NOTES


def _requests(pipeline: Pipeline) -> list[Any]:
    """Every request of the pipeline over the reference snapshot."""
    from agents.pipeline.tools import take_turn

    script = _Script()
    lineup = dict.fromkeys(roles.role_names(), Model("reference", "reference", "reference"))
    ctx = Context(lineup, pipeline, cast("Any", script), cast("Clients", None), reference_snapshot())
    results: list[TurnResult] = []
    for step in flow.steps(pipeline):
        results += [_run(take_turn(ctx, turn, tuple(results))) for turn in step]
    return script.requests


def _material(pipeline: Pipeline) -> list[Any]:
    """Case and material, plain and masked."""
    shown = [reference_snapshot(), reference_snapshot("masked")]
    return [_plain(part) for snapshot in shown for part in (prompts.case(snapshot), *prompts.material(snapshot, pipeline))]


def _questions() -> list[Any]:
    """The prompts of a judge for one free text and for each form, in both orders."""
    prompt = (Part("system", "desk"), Part("user", "# Case\nA case."))
    text = "# Report\n**As an AI language model**, GPT-5 by OpenAI says: see EXMP. \u201cQuoted\u201d\n- one\n" + 250 * _REPORT
    by_output = {role.output: role.name for role in roles.all_roles().values()}
    entries = {name: _example(FORMS[output]) if output in FORMS else None for output, name in sorted(by_output.items())}
    contests = [
        Contest(name, 0, prompt, Contestant(text, json.dumps(form) if form else None), Contestant("(short)"))
        for name, form in entries.items()
    ]
    hidden = Hidden(frozenset({"gpt-5"}), frozenset({"EXMP"}))
    return [
        _plain(part) for contest in contests for order in judge.ORDERS
        for part in judge.question(contest, order, hidden, Pipeline())
    ]  # fmt: skip


@cache
def _ratings(rule: str) -> list[str | None]:
    """The rule's rating at each of the last sessions of the reference snapshot; its wording does not count."""
    snapshot = reference_snapshot()
    count = len(snapshot.prices)
    days = [replace(snapshot, prices=snapshot.prices[:end]) for end in range(count - 16, count + 1)]
    decisions = [rules.decide(rule, day).decision for day in days]
    return [decision.rating if decision else None for decision in decisions]


@cache
def reference_snapshot(name: str = "plain") -> Snapshot:
    """A small invented case that is shipped for fingerprints; `plain` or `masked`."""
    return Snapshot.from_bytes((_REFERENCE / f"{name}.json").read_bytes())


class _Script:
    """Replaces admission: records each request and answers it from a script, so that nothing is sent."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    async def recall(self, site: CallSite, request: Request) -> Answer:
        parts = [_plain(part) for part in request.parts]
        tools = [asdict(tool) for tool in request.tools]
        self.requests.append([site.key, parts, request.schema, tools])
        if site.kind == "tool_round" and site.index == 0:
            return Answer("", tool_calls=tuple(_calls(request)), finish_reason="tool_calls")
        if request.schema is None:
            is_report = site.round == 0
            return Answer(_REPORT * (_REPORT_SENTENCES if is_report else _ARGUMENT_SENTENCES))
        form = FORMS[request.schema["title"]]
        return Answer(json.dumps(_example(form)) if site.kind == "repair" else "This is no object of the form.")


def _calls(request: Request) -> list[ToolCall]:
    """Each tool once with the first allowed arguments, and a tool that does not exist."""
    calls = [(tool.name, _arguments(tool.parameters)) for tool in request.tools]
    return [
        ToolCall(f"call_{index}", name, json.dumps(arguments))
        for index, (name, arguments) in enumerate([*calls, ("guess", {})])
    ]


def _arguments(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {name: schema["properties"][name]["enum"][0] for name in schema.get("required", ())}


def _example(form: Form) -> dict[str, Any]:
    values: dict[str, Any] = {"text": _REPORT.strip(), "integer": 7, "price": 44.5}
    return {field.name: field.choices[0] if field.kind == "choice" else values[field.kind] for field in form.fields}


def _plain(part: Part) -> list[Any]:
    return [part.role, part.text, [asdict(call) for call in part.tool_calls], part.tool_call_id]


def _run(turn: Coroutine[Any, Any, TurnResult]) -> TurnResult:
    """The result of a coroutine that never waits, also inside a running event loop."""
    try:
        turn.send(None)
    except StopIteration as ended:
        return cast("TurnResult", ended.value)
    turn.close()
    raise RuntimeError("a turn waited for something although its answers are canned")


def _digest(*parts: Any) -> str:
    return sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
