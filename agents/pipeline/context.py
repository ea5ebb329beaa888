"""The context of one case: what a pipeline is given, and how it asks models."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, overload

from agents.admission import Admission
from agents.decisions.forms import Form
from agents.decisions.reading import Reading, read, recover
from agents.errors import Halt, PipelineError, PromptTooLong, Suspended
from agents.inputs.snapshot import Snapshot
from agents.inputs.views import instrument, view
from agents.llms import Clients, ask
from agents.pipeline import prompts
from agents.pipeline.cell_cache import CellCache, Sharing
from agents.types import Answer, Caching, CallSite, Kind, Lineup, Model, Part, Pipeline, Request, ToolSpec

_EXCERPT_CHARS = 4000
"""Length of a broken answer's excerpt in the repair request."""

Prompt = str | Part | Sequence[str | Part]
"""The parts of a prompt in order; a string is a part of the user."""
T = TypeVar("T")


@dataclass(eq=False)
class Context:
    """What a pipeline knows of its case, and the only way to ask models.

    A pipeline may be run again from its start, with every recorded answer recalled: given the same answers it must make the
    same calls. `agents.testing.assert_deterministic` checks that.
    """

    lineup: Lineup
    pipeline: Pipeline
    admission: Admission = field(repr=False)
    clients: Clients = field(repr=False)
    case: Snapshot | None = field(default=None, repr=False)
    """None for replays and judges, whose prompts are recorded; pipelines read `snapshot`."""
    sharing: Sharing = field(default_factory=Sharing, repr=False)
    answered: Collection[tuple[str, int]] = ()
    """(role, round) of turns that were answered in an earlier attempt."""
    reports: dict[str, str] = field(default_factory=dict, init=False)
    """role, or role/round -> text of its last answer, in the order of asking."""
    parsed: dict[str, str] = field(default_factory=dict, init=False)
    """CallSite.key -> JSON of the form that was read from that call's answer."""
    halt: Halt | None = field(default=None, init=False)
    """Why the cell must not continue, even if the pipeline has caught it."""
    cache: CellCache = field(init=False, repr=False)
    _sites: set[CallSite] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        self.cache = CellCache(self)

    @property
    def snapshot(self) -> Snapshot:
        """The frozen case. Raises PipelineError in replays and judgements."""
        if self.case is None:
            raise PipelineError("there is no snapshot here: replays and judges see recorded prompts only")
        return self.case

    def instrument(self) -> str:
        """The company and the decision time, as text for a prompt."""
        return instrument(self.snapshot)

    def view(self, name: str) -> str:
        """The case as text, cut to `budget_tokens`; `name`: market, sentiment, news or fundamentals."""
        return view(self.snapshot, name, self.pipeline.budget_tokens.get(name))

    def model(self, role: str) -> Model:
        """The model that plays a role. Raises PipelineError if the lineup names none."""
        if role not in self.lineup:
            raise PipelineError(f"the lineup names no model for role {role!r}; it names: {', '.join(sorted(self.lineup))}")
        return self.lineup[role]

    def output_cap(self, role: str) -> int | None:
        """Most output tokens of one answer of a role."""
        return self.pipeline.output_cap(role, self.model(role))

    @overload
    async def ask(
        self,
        role: str,
        prompt: Prompt,
        *,
        form: Form,
        round: int = ...,
        kind: Kind = ...,
        index: int = ...,
        max_output_tokens: int | None = ...,
        sampling: Mapping[str, float] = ...,
        caching: Caching | None = ...,
    ) -> Reading: ...

    @overload
    async def ask(
        self,
        role: str,
        prompt: Prompt,
        *,
        form: None = ...,
        round: int = ...,
        kind: Kind = ...,
        index: int = ...,
        max_output_tokens: int | None = ...,
        sampling: Mapping[str, float] = ...,
        schema: Mapping[str, Any] | None = ...,
        tools: Sequence[ToolSpec] = ...,
        tool_choice: str | None = ...,
        parallel_tool_calls: bool | None = ...,
        caching: Caching | None = ...,
    ) -> Answer: ...

    async def ask(
        self,
        role: str,
        prompt: Prompt,
        *,
        form: Form | None = None,
        round: int = 0,
        kind: Kind = "primary",
        index: int = 0,
        max_output_tokens: int | None = None,
        **options: Any,
    ) -> Answer | Reading:
        """Ask the model that plays `role`; an answer that was paid for before is recalled.

        With a form the answer is read: a primary request is repaired once if necessary, and a form that cannot be read is a
        Reading without a value, never an error. The prompt must describe the form (`form.say()`).

        `role`, `round`, `kind` and `index` are the call site. Each may be asked once, and must not depend on time, chance or
        the order in which answers arrive. `options`: fields of Request. Default of `max_output_tokens`: the cap of the role.

        Raises Halt and Suspended, which a pipeline must not catch; ModelCallError and PromptTooLong.
        """
        site = CallSite(role, round, kind, index)
        model = self.model(role)
        cap = max_output_tokens or self.pipeline.output_cap("judge" if kind == "judge" else role, model)
        parts = _parts(prompt)
        if form:
            _check_described(form, site, parts)
            options["schema"] = form.schema(cap)
        options = {name: tuple(value) if name == "tools" else value for name, value in options.items()}
        options["caching"] = options.get("caching") or prompts.shared_prefix(parts, model.name)
        request = Request(model, parts, max_output_tokens=cap, cache_key=prompts.cache_key(parts), **options)
        self._reserve(site)
        outcome = await (self._fill_in(form, site, request) if form else self._send(site, request))
        self.reports[_key(site)] = outcome.text
        if isinstance(outcome, Reading):
            self.parsed.update(outcome.parsed)
        return outcome

    async def gather(self, *asks: Awaitable[T]) -> list[T]:
        """Await several asks concurrently; the answers in order.

        All of them end before one error is raised: a failure must not cancel calls that are already paid for.
        """
        outcomes = await asyncio.gather(*asks, return_exceptions=True)
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if errors:
            raise min(errors, key=severity)
        return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]

    def _reserve(self, site: CallSite) -> None:
        if site in self._sites:
            raise PipelineError(
                f"{site.role} was already asked at round {site.round}, index {site.index}; give each call of a role its own "
                "round or index, by which a run that continues finds the recorded answer"
            )
        self._sites.add(site)
        self.reports.setdefault(_key(site), "")

    async def _send(self, site: CallSite, request: Request) -> Answer:
        try:
            return await ask(site, request, self.admission, self.clients)
        except Halt as halt:
            self.halt = min((error for error in (self.halt, halt) if error), key=severity)
            raise

    async def _fill_in(self, form: Form, site: CallSite, request: Request) -> Reading:
        """Ask for a form and repair a primary request once; else read the choice from the answers."""
        first = await self._send(site, request)
        reading = read(site, first, form)
        if reading.status in ("typed", "truncated", "refused"):
            return reading
        if site.kind != "primary":
            return recover([(site, first)], form, reading.problem) if reading.status == "unparsed" else reading
        repair_site = replace(site, kind="repair")
        try:
            second = await self._send(repair_site, _repair_request(request, first, form, reading.problem))
        except PromptTooLong:
            return recover([(site, first)], form, reading.problem)
        repaired = read(repair_site, second, form)
        if repaired.status == "typed":
            return replace(repaired, status="repaired", rung="repair", problem=reading.problem)
        return recover([(repair_site, second), (site, first)], form, reading.problem)


def severity(error: BaseException) -> int:
    """Which of several errors ends a cell: the lowest. A suspended cell comes back and meets the other failures again."""
    if not isinstance(error, Exception):
        return 0
    if isinstance(error, Halt):
        return 2 if isinstance(error, Suspended) else 1
    return 3


def first_halt(outcomes: Iterable[Any]) -> BaseException | None:
    """The error among the outcomes of calls that must not be turned into a result."""
    halts = [outcome for outcome in outcomes if isinstance(outcome, BaseException) and severity(outcome) < 3]
    return min(halts, key=severity, default=None)


def _key(site: CallSite) -> str:
    return f"{site.role}/{site.round}" if site.round else site.role


def _parts(prompt: Prompt) -> tuple[Part, ...]:
    pieces = [prompt] if isinstance(prompt, (str, Part)) else prompt
    return tuple(Part("user", piece) if isinstance(piece, str) else piece for piece in pieces)


def _check_described(form: Form, site: CallSite, parts: Sequence[Part]) -> None:
    """Some servers do not show a schema to their model. Recorded prompts are sent as they are."""
    if site.kind == "primary" and not any(form.key in part.text for part in parts):
        raise PipelineError(f"the prompt of {site.role} does not describe its form; add form.say() to it")


def _repair_request(request: Request, answer: Answer, form: Form, problem: str) -> Request:
    excerpt = (Part("assistant", answer.text[:_EXCERPT_CHARS]),) if answer.text.strip() else ()
    return replace(request, parts=(*request.parts, *excerpt, prompts.repair(form, problem)))
