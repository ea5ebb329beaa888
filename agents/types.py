"""The values that cross the border of `agents`: what a caller hands in, what comes back, and the door's contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any, Literal, Protocol

RATINGS: tuple[str, ...] = ("Buy", "Overweight", "Hold", "Underweight", "Sell")
SCORES: Mapping[str, int] = {"Buy": 2, "Overweight": 1, "Hold": 0, "Underweight": -1, "Sell": -2}
ACTIONS: Mapping[str, str] = {
    "Buy": "BUY",
    "Overweight": "BUY",
    "Hold": "HOLD",
    "Underweight": "SELL",
    "Sell": "SELL",
}
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
)
"""What can go wrong with a request. `capacity` is flex's own 429; `quota` an exhausted account (never mended by waiting);
`bad_answer` an HTTP 200 whose body is not the documented format."""

Kind = Literal["primary", "repair", "tool_round", "judge", "replay"]


@dataclass(frozen=True)
class Server:
    """Where models answer, as this process reaches it; never part of an identity."""

    name: str
    provider: str
    url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    slots: int = 1
    timeout_s: float = 600.0
    """The longest that one request may take."""
    idle_timeout_s: float = 300.0
    """The longest silence within a stream, its load and prefill included."""
    api: Literal["responses", "chat"] | None = None
    """Which of OpenAI's APIs the address speaks; None: Responses at the real endpoint, Chat Completions elsewhere."""


@dataclass(frozen=True)
class Model:
    """One configured model. Its identity is provider, name, digest and params; alias and server are only labels."""

    alias: str
    provider: str
    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    """Effective parameters: reasoning_effort, verbosity, service_tier, max_output_tokens, temperature, top_p, seed,
    num_ctx, think ..."""
    server: str = ""
    digest: str | None = None

    def identity(self) -> dict[str, Any]:
        return {"provider": self.provider, "name": self.name, "digest": self.digest, "params": dict(self.params)}


Lineup = Mapping[str, Model]
"""role name -> the model that plays it."""


@dataclass(frozen=True)
class Pipeline:
    """How a case is argued; every field is part of a cell's identity."""

    analysts: tuple[str, ...] = ("market", "sentiment", "news", "fundamentals")
    depth: str = "shallow"
    """shallow | medium | deep (1, 3, 5 rounds of both debates) or single_call (one prompt, no debate)."""
    inputs: str = "prefetch"
    """prefetch (the snapshot stands in the prompt) or tools (analysts call tools over the same snapshot)."""
    budget_tokens: Mapping[str, int] = field(default_factory=dict)
    """analyst -> most tokens of snapshot text it is shown; a cut is announced in the text."""
    max_output_tokens: Mapping[str, int] = field(default_factory=dict)
    """role, or `all` -> cap on one answer; the model's own max_output_tokens counts where this says nothing."""
    history_tokens: int = 1500
    """Most tokens of a debate's history that a speaker's prompt carries; the tables keep it whole."""
    report_tokens: int = 3000
    """Most tokens of one report, plan or statement that a later prompt carries; a cut is announced in the text."""
    tool_rounds: int = 6
    entry: str | None = None
    """module:function of a user's own pipeline."""
    rule: str | None = None
    """always_hold | macd | kdj_rsi | zmr | sma: decides without a model."""

    def output_cap(self, role: str, model: Model | None = None) -> int | None:
        """Most output tokens of one answer of a role: its own cap, that of `all`, its model's; None where nobody says."""
        said = self.max_output_tokens.get(role) or self.max_output_tokens.get("all")
        cap: int | None = said or (model.params.get("max_output_tokens") if model else None)
        return cap


@dataclass(frozen=True)
class Place:
    """Where in a cell a request stands; unique within the cell."""

    role: str
    round: int = 0
    kind: Kind = "primary"
    index: int = 0

    @property
    def key(self) -> str:
        return f"{self.role}/{self.round}/{self.kind}/{self.index}"


@dataclass(frozen=True)
class ToolCall:
    id: str
    name: str
    arguments: str
    """The JSON text exactly as the model wrote it."""


@dataclass(frozen=True)
class ToolSpec:
    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON schema of the arguments."""


@dataclass(frozen=True)
class Part:
    """A piece of a prompt. Adjacent parts of one role join with a blank line into one message, exactly as sent."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    @cached_property
    def message_id(self) -> str:
        return sha256((self.role + self.text).encode()).hexdigest()


@dataclass(frozen=True)
class Request:
    """One question to one model."""

    model: Model
    parts: tuple[Part, ...]
    schema: Mapping[str, Any] | None = None
    """JSON schema that the answer must follow; said in the prompt too."""
    tools: tuple[ToolSpec, ...] = ()
    max_output_tokens: int | None = None
    cache_key: str = ""
    """Stable among requests that share a prompt prefix (OpenAI's prompt_cache_key)."""

    @cached_property
    def message_ids(self) -> tuple[str, ...]:
        return tuple(part.message_id for part in self.parts)


@dataclass(frozen=True)
class Usage:
    """Tokens as the server told them; None where it did not tell."""

    input_tokens: int | None = None
    """Includes cache reads and writes."""
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    output_tokens: int | None = None
    """Includes reasoning."""
    reasoning_tokens: int | None = None


@dataclass(frozen=True)
class Timing:
    """Seconds, as measured here (ttft, duration) or told by the server (load, prefill, decode)."""

    started_at: float = 0.0
    """Unix time when the request left."""
    ttft_s: float | None = None
    duration_s: float | None = None
    load_s: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None


@dataclass(frozen=True)
class Answer:
    """What a model answered, whole; also an unusable answer is one, and billed."""

    text: str
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = "stop"
    """stop | length | tool_calls | refused | content_filter | unknown."""
    truncated: bool = False
    """The prompt or the answer was cut: never a valid decision."""
    usage: Usage = Usage()
    timing: Timing = Timing()
    model_returned: str | None = None
    model_digest: str | None = None
    context_window: int | None = None
    service_tier: str | None = None
    request_id: str | None = None


@dataclass(frozen=True)
class Failure:
    """Why a request brought no answer."""

    cause: str
    """One of CAUSES."""
    message: str
    error_type: str
    http_status: int | None = None
    retry_after_s: float | None = None
    request_id: str | None = None


@dataclass(frozen=True)
class WorstCase:
    """The most one request can use, for the money ledger."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Permit:
    """Leave to send one request now; the gate may put its own hold on a slot and on money behind it."""

    call_id: str
    queued_s: float = 0.0
    backoff_s: float = 0.0


@dataclass(frozen=True)
class Call:
    """One request as it was sent, with its answer or its failure."""

    call_id: str
    place: Place
    request: Request
    timing: Timing
    answer: Answer | None = None
    failure: Failure | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    """What was really sent (a parameter the provider drops is not in it)."""
    queued_s: float = 0.0
    backoff_s: float = 0.0


class Gate(Protocol):
    """What the caller of the pipeline decides about each request; the harness implements it."""

    async def recall(self, place: Place, request: Request) -> Answer | None:
        """The answer that this place of this cell already paid for, if there is one."""

    async def admit(self, place: Place, request: Request, worst_case: WorstCase) -> Permit:
        """Wait for a slot and for money. Raises Halt when the cell must not go on."""

    async def record(self, call: Call) -> float | None:
        """Keep the call, free its slot, settle its money. After a failure: seconds to wait before the place may be asked
        again, or None when it must not be; after an answer always None."""

    async def discard(self, place: Place, permit: Permit) -> None:
        """The request of this permit was abandoned in flight (cancelled, or its process is going): it may still be billed."""


@dataclass(frozen=True)
class Decision:
    """The portfolio manager's typed decision."""

    rating: str
    """One of RATINGS."""
    rationale: str = ""
    confidence: float | None = None
    """0 to 1, as the model said it."""
    target_price: float | None = None
    horizon: str | None = None

    @property
    def action(self) -> str:
        return ACTIONS[self.rating]

    @property
    def score(self) -> int:
        return SCORES[self.rating]


@dataclass(frozen=True)
class ToolSkill:
    """How an arm used its tools, counted over a cell; all zero with prefetched inputs."""

    calls: int = 0
    valid: int = 0
    unknown_tool: int = 0
    bad_arguments: int = 0
    capped_rounds: int = 0


@dataclass(frozen=True)
class Result:
    """What a pipeline made of one case."""

    decision: Decision | None
    decision_status: str
    """One of DECISION_STATUSES."""
    reports: Mapping[str, str] = field(default_factory=dict)
    """place key without kind (role, or role/round in debates) -> text, in the order of the flow."""
    stage_ratings: Mapping[str, str | None] = field(default_factory=dict)
    """deciding role (research_manager, trader, portfolio_manager) -> rating after it, None where none could be read."""
    parsed: Mapping[str, str] = field(default_factory=dict)
    """Place.key of a call -> JSON of the typed object read from its answer (for the column calls.parsed)."""
    tool_skill: ToolSkill = ToolSkill()
    error: Exception | None = None
    """Why the cell could not be finished (a call failed for good); the reports made until then are kept."""
