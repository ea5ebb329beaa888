"""The public data types: models, requests, answers, and the result of a case."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any, Literal

from agents.errors import PipelineError
from domain.lanes import Lane, lane_of
from domain.ratings import ACTIONS, SCORES
from domain.ratings import RATINGS as RATINGS
from domain.text import valid_utf8, without_surrogates
from domain.usage import Usage


@dataclass(frozen=True)
class Server:
    """A server of models as this process reaches it; never part of an identity."""

    name: str
    provider: str
    url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    slots: int = 1
    timeout_s: float = 600.0
    """The longest that one request may take."""
    idle_timeout_s: float = 300.0
    """The longest pause within a stream, including load and prefill."""
    api: Literal["responses", "chat"] | None = None
    """Which of OpenAI's APIs to use; default: Responses at api.openai.com, Chat Completions elsewhere."""
    cache_marks: bool | None = None
    """Whether its prompt cache takes breakpoints; default: the provider's own address does, for the models that know them."""


@dataclass(frozen=True)
class Model:
    """One configured model. Its identity is provider, name, digest and params; alias, server and lane are not in it."""

    alias: str
    provider: str
    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    """Effective parameters: reasoning_effort, verbosity, lane, max_output_tokens, temperature, top_p, seed, num_ctx,
    think ..."""
    server: str = ""
    digest: str | None = None

    @property
    def lane(self) -> Lane:
        return lane_of(self.params)

    def identity(self) -> dict[str, Any]:
        params = {key: value for key, value in self.params.items() if key not in NOT_IN_IDENTITY}
        return {"provider": self.provider, "name": self.name, "digest": self.digest, "params": params}


NOT_IN_IDENTITY = frozenset({"lane", "rating_probability"})
"""Parameters that change price, speed or what is recorded, never an answer."""

Lineup = Mapping[str, Model]
"""role name -> the model that plays it."""


Kind = Literal["primary", "repair", "tool_round", "judge", "replay"]


@dataclass(frozen=True)
class CallSite:
    """The position of a request in its cell; unique within the cell."""

    role: str
    round: int = 0
    kind: Kind = "primary"
    index: int = 0

    @property
    def key(self) -> str:
        return f"{self.role}/{self.round}/{self.kind}/{self.index}"


@dataclass(frozen=True)
class ToolCall:
    """A model's call of a tool; all text is valid UTF-8."""

    id: str
    name: str
    arguments: str
    """The JSON text exactly as the model wrote it."""

    def __post_init__(self) -> None:
        _clean(self, "id", "name", "arguments")


@dataclass(frozen=True)
class ToolSpec:
    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON schema of the arguments."""


@dataclass(frozen=True)
class Part:
    """A piece of a prompt, valid UTF-8. Adjacent parts of one role are joined by a blank line into one message."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    joined: bool = True
    """False: a message of its own, never joined with its neighbours."""
    shared: bool = False
    """Whether it belongs to a prefix that several prompts share; it decides only which requests have the same cache key."""

    def __post_init__(self) -> None:
        _clean(self, "text", "tool_call_id")

    @cached_property
    def message_id(self) -> str:
        return sha256((self.role + self.text).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Caching:
    """How a request uses a prompt cache; changes its price, never what is asked, and is part of no identity."""

    marks: tuple[int, ...] = ()
    """Numbers of leading parts after which the cache is read or written, ascending; at most four."""
    is_long: bool = False
    """Whether the prefixes are read again hours later."""
    first_token: asyncio.Event | None = field(default=None, repr=False)
    """Set at the first token of the answer, for requests that wait to read what this one writes."""
    waited_s: float = 0.0
    """Seconds that this request waited for another's first token."""


SAMPLING = ("temperature", "top_p", "top_k", "seed")
"""What a single request may ask for; a model's parameters are set in the experiment."""


@dataclass(frozen=True)
class Request:
    """One request to one model."""

    model: Model
    parts: tuple[Part, ...]
    schema: Mapping[str, Any] | None = None
    """JSON schema of the answer; the prompt describes it too."""
    tools: tuple[ToolSpec, ...] = ()
    max_output_tokens: int | None = None
    cache_key: str = ""
    """Equal for requests that share a prompt prefix (OpenAI's prompt_cache_key)."""
    tool_choice: str | None = None
    """auto | none | required | the name of an offered tool; default: the server's."""
    parallel_tool_calls: bool | None = None
    """Whether one answer may call several tools; default: the server's."""
    sampling: Mapping[str, float] = field(default_factory=dict)
    """Requested temperature, top_p, top_k or seed; the model's own parameters take precedence."""
    caching: Caching | None = field(default=None, compare=False)
    """Default: nothing is marked."""
    fingerprint: str = ""
    """Identifies a request whose text differs each time it is asked (see agents.request_fingerprint); default: its content."""
    dropped: Mapping[str, Any] = field(default_factory=dict)
    """What an attached program asked for and no server is sent; only recorded."""
    program: Mapping[str, Any] = field(default_factory=dict)
    """How an attached program asked (its model name, wire, changes to its request); only recorded."""

    def __post_init__(self) -> None:
        if unknown := set(self.sampling) - set(SAMPLING):
            raise PipelineError(f"unknown sampling {', '.join(sorted(unknown))}; known: {', '.join(SAMPLING)}")
        choices = ("auto", "none", "required", *(tool.name for tool in self.tools))
        if self.tool_choice is not None and (self.tool_choice not in choices or not self.tools):
            offered = f"known: {', '.join(choices)}" if self.tools else "the request offers no tools"
            raise PipelineError(f"tool_choice {self.tool_choice!r}: {offered}")

    @cached_property
    def options(self) -> Mapping[str, Any]:
        """The requested tool choice and sampling, without defaults."""
        choices = {"tool_choice": self.tool_choice, "parallel_tool_calls": self.parallel_tool_calls}
        return {name: value for name, value in choices.items() if value is not None} | dict(self.sampling)

    @cached_property
    def message_ids(self) -> tuple[str, ...]:
        return tuple(part.message_id for part in self.parts)


CAUSES: tuple[str, ...] = (
    "rate_limited",
    "capacity",
    "quota",
    "server_error",
    "timeout",
    "connection",
    "cut_stream",
    "bad_answer",
    "bad_request",
    "too_long",
    "auth",
    "not_found",
    "unsupported",
    "expired",
    "cancelled",
    "uncertain",
)
"""Why a request fails. `capacity` is the 429 of the flex tier; `quota` is an exhausted account (waiting does not help);
`bad_answer` is an HTTP 200 whose body does not follow the documented format. Of deferred calls: `expired` within the
provider's window, `cancelled` by us, `uncertain` where the handle of a request was lost."""


@dataclass(frozen=True)
class Timing:
    """Seconds, measured here (ttft, duration) or reported by the server (load, prefill, decode)."""

    started_at: float = 0.0
    """Unix time at which the request was sent."""
    ttft_s: float | None = None
    duration_s: float | None = None
    load_s: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None

    @property
    def server_queue_s(self) -> float | None:
        """Seconds that the request probably waited inside its server; None where the server does not report its prefill.

        What load and prefill leave unexplained of the time to first token, or of the duration without decoding. It counts only
        from three times their sum plus two seconds on: Ollama 0.17 leaves out the start of the prompt, so that the first token
        may take twice what it reports.
        """
        first_s = self.ttft_s
        if first_s is None and self.duration_s is not None and self.decode_s is not None:
            first_s = self.duration_s - self.decode_s
        if first_s is None or self.prefill_s is None:
            return None
        explained_s = (self.load_s or 0.0) + self.prefill_s
        return first_s - explained_s if first_s >= 3 * explained_s + 2 else 0.0


@dataclass(frozen=True)
class Answer:
    """A model's complete answer, valid UTF-8; an unusable answer is one too, and is billed."""

    text: str
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = "stop"
    """stop | length | tool_calls | refused | content_filter | repeated (its server stopped a loop) | unknown."""
    truncated: bool = False
    """Whether the prompt or the answer was cut; a cut answer is never a valid decision."""
    usage: Usage = field(default_factory=Usage)
    timing: Timing = Timing()
    model_returned: str | None = None
    model_digest: str | None = None
    server_version: str | None = None
    context_window: int | None = None
    service_tier: str | None = None
    request_id: str | None = None
    rating_probability: float | None = None
    """Probability that the model gave to the rating in this answer, if asked for and returned."""
    billed_usd: float | None = None
    """What the provider reports that it bills for this request."""

    def __post_init__(self) -> None:
        _clean(self, "text", "reasoning", "model_returned", "server_version", "service_tier", "request_id")


@dataclass(frozen=True)
class Failure:
    """Why a request has no answer; all text is valid UTF-8."""

    cause: str
    """One of CAUSES."""
    message: str
    error_type: str
    http_status: int | None = None
    retry_after_s: float | None = None
    request_id: str | None = None

    def __post_init__(self) -> None:
        _clean(self, "message", "error_type", "request_id")


@dataclass(frozen=True)
class Pipeline:
    """How a case is decided; every field is part of a cell's identity."""

    analysts: tuple[str, ...] = ("market", "sentiment", "news", "fundamentals")
    depth: str = "shallow"
    """shallow | medium | deep (1, 3, 5 rounds of both debates) or single_call (one prompt, no debate)."""
    inputs: str = "prefetch"
    """prefetch (the prompt contains the snapshot) or tools (analysts call tools over the same snapshot)."""
    budget_tokens: Mapping[str, int] = field(default_factory=dict)
    """analyst -> limit on the tokens of snapshot text in its prompt; a cut is announced in the text."""
    max_output_tokens: Mapping[str, int] = field(default_factory=dict)
    """role, or `all` -> cap on one answer in tokens; default: the model's max_output_tokens."""
    history_tokens: int = 1500
    """Limit on the tokens of a debate's history in a prompt; the result tables keep all of it."""
    report_tokens: int = 3000
    """Limit on the tokens of one report, plan or statement in a later prompt; a cut is announced in the text."""
    tool_rounds: int = 6
    entry: str | None = None
    """module:function of a custom pipeline."""
    rule: str | None = None
    """always_hold | macd | kdj_rsi | zmr | sma: decides without a model."""

    def output_cap(self, role: str, model: Model | None = None) -> int | None:
        """Limit on the output tokens of one answer: the role's cap, else that of `all`, else its model's; None for no limit."""
        role_cap = self.max_output_tokens.get(role) or self.max_output_tokens.get("all")
        cap: int | None = role_cap or (model.params.get("max_output_tokens") if model else None)
        return cap


DECISION_STATUSES: tuple[str, ...] = (
    "typed",
    "repaired",
    "recovered",
    "unparsed",
    "truncated",
    "refused",
    "missing",
    "rule",
)


@dataclass(frozen=True)
class Decision:
    """The portfolio manager's typed decision; all text is valid UTF-8."""

    rating: str
    """One of RATINGS."""
    rationale: str = ""
    confidence: float | None = None
    """0 to 1, as stated by the model."""
    target_price: float | None = None
    horizon: str | None = None

    def __post_init__(self) -> None:
        _clean(self, "rationale", "horizon")

    @property
    def action(self) -> str:
        return ACTIONS[self.rating]

    @property
    def score(self) -> int:
        return SCORES[self.rating]


@dataclass(frozen=True)
class ToolSkill:
    """How a cell used its tools; all counts are zero with prefetched inputs."""

    calls: int = 0
    valid: int = 0
    unknown_tool: int = 0
    bad_arguments: int = 0
    capped_rounds: int = 0
    written_calls: int = 0
    """Calls written as text, which nothing runs; part of `calls`."""

    def __add__(self, other: ToolSkill) -> ToolSkill:
        return ToolSkill(
            calls=self.calls + other.calls,
            valid=self.valid + other.valid,
            unknown_tool=self.unknown_tool + other.unknown_tool,
            bad_arguments=self.bad_arguments + other.bad_arguments,
            capped_rounds=self.capped_rounds + other.capped_rounds,
            written_calls=self.written_calls + other.written_calls,
        )


@dataclass(frozen=True)
class Result:
    """The result of one case; all text is valid UTF-8."""

    decision: Decision | None
    decision_status: str
    """One of DECISION_STATUSES."""
    reports: Mapping[str, str] = field(default_factory=dict)
    """role, or role/round in debates -> text, in the order of the flow."""
    stage_ratings: Mapping[str, str | None] = field(default_factory=dict)
    """role that decides (by its output: plan, proposal or decision) -> its rating, None if it could not be read."""
    parsed: Mapping[str, str] = field(default_factory=dict)
    """CallSite.key of a call -> JSON of the object read from its answer (column calls.parsed)."""
    tool_skill: ToolSkill = ToolSkill()
    error: Exception | None = None
    """Why the cell could not be completed (a call failed for good); earlier reports are kept."""
    program: Mapping[str, Any] = field(default_factory=dict)
    """What is known of an attached program's run; empty for other pipelines."""

    def __post_init__(self) -> None:
        for name in ("reports", "parsed"):
            object.__setattr__(self, name, without_surrogates(dict(getattr(self, name))))


def _clean(instance: Any, *names: str) -> None:
    """Replace half surrogate pairs, which no receipt, hash or request can hold; whatever decoded the text."""
    for name in names:
        text = getattr(instance, name)
        if isinstance(text, str) and not text.isascii():
            object.__setattr__(instance, name, valid_utf8(text))
