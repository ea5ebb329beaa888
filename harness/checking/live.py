"""`doctor --live`: two small calls to each model show whether answers, schema, cache, lane and context are as documented."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from agents import (
    Admission,
    AgentsError,
    Answer,
    Caching,
    Call,
    CallSite,
    Clients,
    Model,
    Part,
    Permit,
    Request,
    WorstCase,
    ask,
)
from domain import models
from domain.ratings import RATINGS
from harness.checking.checks import Check, fail, ok, warn
from harness.checking.resolved import ResolvedRun
from harness.experiment.servers import ServerSpec
from harness.money import pricing
from harness.money.pricing import PriceTable, Tokens

MOST_USD = 0.05
"""Most that both calls to one model may cost."""
MOST_OUTPUT_TOKENS, LEAST_OUTPUT_TOKENS = 1_000, 64
PROMPTS = {2_100: 110, 1_300: 68}
"""Tokens of a prompt that is long enough to be cached -> its lines; the shorter one is for expensive models."""
_SCHEMA = {
    "title": "Rating",
    "type": "object",
    "properties": {"rating": {"type": "string", "enum": list(RATINGS)}, "reason": {"type": "string"}},
    "required": ["rating", "reason"],
    "additionalProperties": False,
}
_TASK = 'Which rating fits a share whose price did not move? Answer with a JSON object {"rating": ..., "reason": one sentence}.'


@dataclass
class _RecordingAdmission(Admission):
    """Admits everything and keeps the calls; a failure is final."""

    calls: list[Call] = field(default_factory=list)

    async def recall(self, site: CallSite, request: Request) -> Answer | None:
        return None

    async def admit(self, site: CallSite, request: Request, worst_case: WorstCase) -> Permit:
        return Permit(uuid.uuid4().hex)

    async def record(self, call: Call) -> float | None:
        self.calls.append(call)
        return None

    async def discard(self, site: CallSite, permit: Permit) -> None:
        return None


def asked_models(resolved: ResolvedRun) -> list[Model]:
    """One model per name and server, with the parameters of the experiment."""
    return list({(model.server, model.name): model for model in resolved.models.values()}.values())


def look(resolved: ResolvedRun, chosen: Sequence[Model]) -> list[Check]:
    """Ask each model twice. Costs at most MOST_USD for each hosted one."""
    return asyncio.run(_look(resolved, chosen))


async def _look(resolved: ResolvedRun, chosen: Sequence[Model]) -> list[Check]:
    reached = {name: spec.as_agents_server() for name, spec in resolved.servers.items()}
    async with Clients(reached, "doctor") as clients:
        return [await _model(model, resolved.servers[model.server], resolved.prices, clients) for model in chosen]


async def _model(model: Model, spec: ServerSpec, table: PriceTable, clients: Clients) -> Check:
    caps = {tokens: _output_cap(model, spec, table, tokens) for tokens in PROMPTS}
    size = next((tokens for tokens, cap in caps.items() if cap >= LEAST_OUTPUT_TOKENS), None)
    if size is None:
        return warn(
            f"live {model.alias}", f"{model.name}: its price is unknown, or two calls may cost over ${MOST_USD}: not asked"
        )
    admission, parts = _RecordingAdmission(), _prompt(PROMPTS[size])
    request = Request(
        _small(model, caps[size]), parts, schema=_SCHEMA, cache_key=parts[1].message_id[:32], caching=Caching((2,))
    )
    has_lanes = spec.is_hosted and spec.uses_responses
    for index, lane in enumerate(("now", "flex" if has_lanes else "now")):
        in_lane = replace(request.model, params={**request.model.params, "lane": lane}) if has_lanes else request.model
        try:
            await ask(CallSite("doctor", index=index), replace(request, model=in_lane), admission, clients)
        except AgentsError as error:
            if lane != "flex":
                return _failed(model, spec, admission.calls, error)
    usd = [pricing.price(call, spec, table).cost_usd for call in admission.calls]
    seen = _Seen(model, spec, admission.calls, has_lanes, None if None in usd else sum(cost or 0.0 for cost in usd))
    return _hosted(seen) if spec.is_hosted else await _self_hosted(seen, clients)


@dataclass(frozen=True)
class _Seen:
    """What both calls showed."""

    model: Model
    spec: ServerSpec
    calls: Sequence[Call]
    has_lanes: bool
    usd: float | None

    @property
    def answers(self) -> list[Answer]:
        return [call.answer for call in self.calls if call.answer]

    @property
    def name(self) -> str:
        return f"live {self.model.alias}"


def _hosted(seen: _Seen) -> Check:
    words, reports = ["answers"], []
    schema, problem = _schema(seen.answers)
    words.append(schema)
    reports += [problem] if problem else []
    if seen.has_lanes:
        lane, problem = _flex(seen)
        words.append(lane)
        reports += [problem] if problem else []
    cache, problem = _cache(seen)
    words.append(cache)
    reports += [problem] if problem else []
    words.append(f"tier {seen.answers[0].service_tier or 'not reported'}")
    words.append("cost unknown" if seen.usd is None else f"${seen.usd:.3f}")
    return _check(seen, words, reports)


async def _self_hosted(seen: _Seen, clients: Clients) -> Check:
    words, reports = ["answers"], []
    schema, problem = _schema(seen.answers)
    words.append(schema)
    reports += [problem] if problem else []
    first = seen.answers[0]
    window, wanted = first.context_window, seen.model.params.get("num_ctx")
    if any(answer.truncated and answer.finish_reason != "length" for answer in seen.answers):
        words.append("prompt cut")
        reports.append("the server cut a short prompt: start it with a larger context")
    elif window and wanted and window < wanted:
        words.append(f"context {window:,} instead of {wanted:,}")
        reports.append(f"the server keeps {window:,} of the {wanted:,} tokens of num_ctx")
    else:
        words.append(f"context kept ({first.usage.input_tokens or 'unknown'} prompt tokens)")
    words += [_speed(seen.answers), await _device(seen, clients)]
    return _check(seen, words, reports)


def _check(seen: _Seen, words: Sequence[str], reports: Sequence[str]) -> Check:
    found = f"{seen.model.name}: {', '.join(words)}"
    if not reports:
        return ok(seen.name, found)
    return warn(
        seen.name, found, f"{'; '.join(reports)}. To report it: this line, {_ids(seen.calls)}, and the versions of `doctor`"
    )


def _failed(model: Model, spec: ServerSpec, calls: Sequence[Call], error: Exception) -> Check:
    failure = calls[-1].failure if calls else None
    fixes = {
        "auth": f"the key may not use {model.name}: enable the model for this key, or set another {spec.api_key_env or 'key'}",
        "not_found": f"correct the name of model {model.alias}",
        "quota": "the account has no credit left",
    }
    otherwise = f"to report it: this line, {_ids(calls)}, and the parameters of model {model.alias}"
    return fail(f"live {model.alias}", str(error)[:500], fixes.get(failure.cause if failure else "", otherwise))


def _ids(calls: Sequence[Call]) -> str:
    """Request ids, by which a provider finds the calls."""
    ids = [(call.answer and call.answer.request_id) or (call.failure and call.failure.request_id) for call in calls]
    return f"request ids {', '.join(known)}" if (known := [name for name in ids if name]) else "no request id"


def _schema(answers: Sequence[Answer]) -> tuple[str, str | None]:
    for answer in answers:
        if answer.truncated:
            return "answer cut by the small cap of this check, schema not seen", None
        try:
            read = json.loads(answer.text)
        except ValueError:
            return "schema not followed", f"the answer is no JSON: {answer.text[:80]!r}"
        if not isinstance(read, Mapping) or read.get("rating") not in RATINGS:
            return "schema not followed", f"the answer does not fit the schema: {answer.text[:80]!r}"
    return "schema ok", None


def _flex(seen: _Seen) -> tuple[str, str | None]:
    second = seen.calls[-1]
    if second.answer is None:
        cause = second.failure.cause if second.failure else "unknown"
        busy = cause in ("capacity", "rate_limited", "timeout")
        return ("flex busy now", None) if busy else ("flex refused", f"lane flex is refused ({cause})")
    tier = second.answer.service_tier
    return ("flex ok", None) if tier == "flex" else (f"flex served as {tier}", f"lane flex was served at tier {tier}")


def _cache(seen: _Seen) -> tuple[str, str | None]:
    if len(seen.answers) < 2:
        return "cache not seen", None
    usage = seen.answers[-1].usage
    if usage.cached_tokens is None:
        return "cache not reported", "usage has no cached tokens: costs cannot count what the cache saves"
    read = f"{usage.cached_tokens:,} of {usage.input_tokens or 0:,} tokens read from the cache on the second call"
    if usage.cached_tokens or not seen.spec.takes_marks(seen.model.name):
        return read, None
    refused = seen.calls[-1].not_sent.get("prompt_cache_breakpoint")
    problem = (
        f"the breakpoint was refused: {refused}"
        if refused
        else "a marked prefix was not read at once, by the same lane or another"
    )
    return read, f"{problem}; plan expects it to be: set cache_marks: false for {seen.spec.name} in servers.yaml until it is"


def _speed(answers: Sequence[Answer]) -> str:
    timed = [(answer.usage.output_tokens or 0, answer.timing.decode_s or answer.timing.duration_s or 0.0) for answer in answers]
    tokens, seconds = (sum(each) for each in zip(*timed, strict=True))
    return f"{tokens / seconds:.0f} tokens/s" if seconds else "speed not reported"


async def _device(seen: _Seen, clients: Clients) -> str:
    """Where the model computes, as its server reports while the model is loaded."""
    report = await clients.provider(seen.model).probe([seen.model])
    loaded = report.models.get(seen.model.alias)
    if loaded is None or loaded.size_vram_bytes is None or not loaded.size_bytes:
        return "GPU or CPU not reported"
    share = loaded.size_vram_bytes / loaded.size_bytes
    return "on CPU" if share == 0 else "on GPU" if share >= 0.99 else f"{share:.0%} on GPU, the rest on CPU"


def _prompt(count: int) -> tuple[Part, ...]:
    """Text that no cache holds yet, and the task."""
    lines = [f"Session {number}: open 100.00, close 100.00, volume {1000 + number}." for number in range(1, count + 1)]
    material = "\n".join([f"Check {uuid.uuid4().hex}", *lines])
    return Part("system", "You are an equity analyst."), Part("user", material), Part("user", _TASK)


def _small(model: Model, cap: int) -> Model:
    """The model with a small cap and the least effort that it takes."""
    family = models.family_of(model.name)
    effort = {"reasoning_effort": family.efforts[0]} if family and family.efforts and "reasoning_effort" in model.params else {}
    params = {name: value for name, value in model.params.items() if name not in ("thinking_tokens", "lane")}
    return replace(model, params=params | effort | {"max_output_tokens": cap})


def _output_cap(model: Model, spec: ServerSpec, table: PriceTable, prompt_tokens: int) -> int:
    """The longest answer for which both calls cost at most MOST_USD together; 0 where no price is known."""
    if not spec.is_hosted:
        return MOST_OUTPUT_TOKENS
    now = dt.datetime.now(dt.UTC)
    written = table.usd(model.name, spec, None, Tokens(prompt_tokens, 0, cache_write=prompt_tokens), now)
    output = table.usd(model.name, spec, None, Tokens(0, 1_000), now)
    if written is None or output is None:
        declared = table.most_usd.get(f"{spec.name}/{model.name}")
        return MOST_OUTPUT_TOKENS if declared is not None and 2 * declared <= MOST_USD else 0
    left = MOST_USD - 2 * max(written, table.usd(model.name, spec, None, Tokens(prompt_tokens, 0), now) or 0.0)
    return min(MOST_OUTPUT_TOKENS, int(left / 2 / output * 1_000)) if output else MOST_OUTPUT_TOKENS
