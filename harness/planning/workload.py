"""The calls and tokens of planned cells, from rendered prompts, experience and priors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

import agents
from agents import Model, Pipeline, Sharing
from domain import models
from harness.cells import Cell
from harness.experiment.attached import played_by
from harness.planning.cascades import Escalation, key_of_rule
from harness.planning.experience import Experience, key_of
from harness.planning.programs import ProgramCalls
from harness.planning.rendering import Prompt, Renderer

REASONING_TOKENS: Mapping[str, float] = {
    "none": 0.0,
    "minimal": 50.0,
    "low": 300.0,
    "medium": 900.0,
    "high": 2500.0,
    "xhigh": 5000.0,
    "max": 8000.0,
}
"""Hidden tokens of one answer by effort (or level of thinking), in the middle."""
OUTPUT_SPREAD = 0.55
"""Standard deviation of the log of a model's true output over these priors: 80 % within a factor of 2."""
UNKNOWN_OUTPUT_SPREAD = 0.85
"""The same for a model that the table of models does not know: whether it reasons is open, 80 % within a factor of 3."""
INPUT_SPREADS: Mapping[str, float] = {"tokenizer": 0.05, "calibrated ratio": 0.07, "declared ratio": 0.12, "assumed": 0.30}
"""The same for what is known of a prompt beforehand, by how it was counted; what roles hand on varies with their output."""
SPEED_SPREAD = 0.5
"""The same for seconds of a call."""
EXTRA_CALLS = 0.05
"""Repairs and repeated requests as a share of the planned calls."""
EXTRA_WEIGHT = 10.0
"""How many measured calls of a role that assumption is worth."""
TOOL_ROUNDS = 2.0
"""Tool rounds of one analyst where inputs are tools."""
MARKED_HIT = (0.8, 1.0)
"""The same for a cache that keeps marked prefixes; what it does not find is written again."""
CACHE_HIT = (0.0, 0.9)
"""Share of the cacheable prefix that a hosted model really finds in its cache, lowest and highest; also of marked prefixes
in a deferred lane, where requests may start together or hours apart."""
MEASURED_SPREAD = 0.05
"""What stays open of a model's mean however often it was measured: other cases, another day."""
CELL_SPREAD = 0.27
"""Standard deviation of the log of one cell's cost around its arm's mean."""


def reasoning_tokens(model: Model) -> float:
    """Hidden output of one answer, from the effort or the level of thinking that is configured."""
    effort = model.params.get("reasoning_effort")
    if effort is not None:
        return REASONING_TOKENS.get(str(effort), REASONING_TOKENS["medium"])
    think = model.params.get("think", models.reasons_by_default(model.name))
    return 0.0 if not think else REASONING_TOKENS.get(str(think), REASONING_TOKENS["medium"])


def output_spread(model: Model) -> float:
    return OUTPUT_SPREAD if models.family_of(model.name) else UNKNOWN_OUTPUT_SPREAD


def output_cap(model: Model, pipeline_cap: int | None) -> int | None:
    return pipeline_cap or model.params.get("max_output_tokens")


def output_tokens(model: Model, asked_tokens: int, cap: int | None) -> float:
    """Output of one answer: what the role is asked to write, and the hidden tokens of its model, within the cap."""
    wanted = asked_tokens + reasoning_tokens(model)
    return min(wanted, cap) if cap else wanted


ASSUMED = "assumed"
NOT_CHECKED = (
    "NOT known: this attached program was not checked and never run; as many calls as the built-in roles make are assumed. "
    "`python -m harness check EXPERIMENT` counts its calls, and costs nothing"
)
NOT_RENDERED = "no frozen snapshot yet: token budgets and priors"


@dataclass(frozen=True)
class Counted:
    """One way to count, as it was used for one model."""

    how: str
    """measured | tokenizer | calibrated ratio | declared ratio | assumed."""
    vocabulary: str
    """Of the tokenizer; empty where there is none."""
    ratio: float
    """Factor on the count: reported by servers / counted locally; 1 while unknown."""
    spread: float
    """Standard deviation of the log of what stays open."""

    def to_plain(self) -> dict[str, Any]:
        return {"input_tokens_from": self.how, "tokenizer": self.vocabulary or None, "ratio": round(self.ratio, 4)}


def count_of_model(model: Model, experience: Experience, *, is_measured: bool, is_rendered: bool) -> Counted:
    """The best way there is: measured with these very prompts, else by tokenizer, else by a ratio."""
    if is_measured:
        return Counted("measured", "", 1.0, MEASURED_SPREAD)
    if not is_rendered:
        return Counted(ASSUMED, "", 1.0, INPUT_SPREADS[ASSUMED])
    counter, ratio = agents.counter_of(model), experience.ratio(model)
    how = "tokenizer" if counter.is_tokenizer else "declared ratio" if ratio is None else "calibrated ratio"
    return Counted(how, counter.name if counter.is_tokenizer else "", ratio or 1.0, INPUT_SPREADS[how])


def rendered_counts(cases: int) -> str:
    return f"real prompts of {cases} frozen case{'s' if cases > 1 else ''}"


@dataclass(frozen=True)
class PlannedCall:
    """One request of a typical cell."""

    role: str
    model: Model
    input_tokens: float
    cacheable_tokens: float
    """Part of the input that an earlier request of the cell sent too, where it is long enough to be cached; what a cache
    really gave, where the input is measured."""
    cache_write_tokens: float
    """Part of the input that is written to a cache which charges for it."""
    output_tokens: float
    output_cap: int | None
    seconds: float
    busy_s: float
    """Seconds that a local server reports as computed."""
    is_measured: bool
    """Whether earlier runs measured output and seconds; else they are priors."""
    counted: Counted
    """How its input tokens were counted."""
    handed_share: float
    """Part of its input that earlier roles will have written: as sure as their output."""
    is_marked: bool = False
    """Whether its cache keeps marked prefixes, so that reads and writes are known beforehand."""
    is_second: bool = False
    """Whether only escalated cases of a cascade ask it."""


@dataclass(frozen=True)
class Workload:
    """The requests of one typical cell of an arm."""

    calls: tuple[PlannedCall, ...]
    basis: str
    """Where the input tokens come from, in words."""
    escalation: Escalation | None = None
    """Of a cascade: how many cases ask the second model."""

    @property
    def models(self) -> dict[str, Model]:
        """key -> model, of all that play."""
        return {key_of(call.model.provider, call.model.name, call.model.params): call.model for call in self.calls}

    @property
    def counted(self) -> dict[str, Counted]:
        """alias -> how its prompts were counted; the least sure way, where its roles differ."""
        counts: dict[str, Counted] = {}
        for call in sorted(self.calls, key=lambda call: call.counted.spread):
            counts[call.model.alias] = call.counted
        return counts


def of_arm(cell: Cell, renderer: Renderer, experience: Experience, cells: Sequence[Cell] = ()) -> Workload:
    """What a typical cell of this cell's arm asks; empty for a rule. `cells`: those of the arm that are to run."""
    if not cell.lineup:
        return Workload((), "a rule asks no model")
    first, then = cell.lineups
    if then:
        return _of_cascade(replace(cell, lineup=first), replace(cell, lineup=then), renderer, experience)
    if cell.is_attached:
        return _of_program(cell, renderer, experience)
    by_role = {role: renderer.prompts(cell.pipeline, agents.counter_of(model)) for role, model in cell.lineup.items()}
    prompts = next(iter(by_role.values()))
    if prompts is None:
        return _assumed(cell, renderer, experience, cells)
    marked = {role for role, model in cell.lineup.items() if renderer.takes_marks(model)}
    shares = renderer.cached_shares(cell, _sharings(cells or [cell])) if marked else [(0.0, 0.0)] * len(prompts.each)
    calls = tuple(
        call(
            cell,
            (by_role.get(planned.role) or prompts).each[place],
            experience,
            cached=shares[place] if planned.role in marked else None,
        )
        for place, planned in enumerate(prompts.each)
    )
    return Workload(_with_tools(calls, cell.pipeline), rendered_counts(prompts.cases))


def _of_cascade(first: Cell, then: Cell, renderer: Renderer, experience: Experience) -> Workload:
    """Both lineups: the first one as often as its repeats, the second one in escalated cases."""
    rule = first.extra["cascade"]
    of_first, of_then = (of_arm(cell, renderer, experience) for cell in (first, then))
    deciding = {key_of(model.provider, model.name, model.params) for model in first.lineup.values()}
    key = key_of_rule(first.fingerprint, deciding, rule)
    second = tuple(replace(call, is_second=True) for call in of_then.calls)
    calls = (*of_first.calls * int(rule.get("repeats_disagree", 1)), *second)
    return Workload(calls, of_first.basis, experience.escalations.get(key, Escalation(key)))


def _sharings(cells: Sequence[Cell]) -> list[tuple[Sharing, int]]:
    """What the cells share with others, and how many cells do."""
    by_content = {repr(cell.sharing): cell.sharing for cell in cells}
    counts = Counter(repr(cell.sharing) for cell in cells)
    return [(by_content[content], count) for content, count in counts.items()]


def call(
    cell: Cell,
    prompt: Prompt,
    experience: Experience,
    *,
    is_rendered: bool = True,
    cached: tuple[float, float] | None = None,
) -> PlannedCall:
    """One request of a role: measured in earlier runs, else assumed.

    `cached`: shares of the prompt that a cache with marks reads and writes; None for other caches."""
    model, role = cell.lineup[prompt.role], prompt.role
    cap = output_cap(model, prompt.output_cap)
    measured, read = experience.of(model, role), experience.input_of(cell.fingerprint, model, role)
    how = count_of_model(model, experience, is_measured=read is not None, is_rendered=is_rendered)
    tokens = prompt.input_tokens * how.ratio
    reads, writes = (cached[0] * tokens, cached[1] * tokens) if cached else (prompt.cacheable_tokens * how.ratio, 0.0)
    input_tokens, shared, written = read or (tokens, reads, writes)
    output = measured.output_tokens if measured else output_tokens(model, prompt.asked_tokens, cap)
    speed = experience.speed(model)
    assumed_s = speed.overhead_s + input_tokens / speed.prefill + output / speed.decode
    seconds = measured.duration_s if measured and measured.duration_s is not None else assumed_s
    busy = measured.busy_s if measured and measured.busy_s is not None else seconds
    return PlannedCall(
        role=role,
        model=model,
        input_tokens=input_tokens,
        cacheable_tokens=shared,
        cache_write_tokens=written,
        output_tokens=output,
        output_cap=cap,
        seconds=seconds,
        busy_s=busy,
        is_measured=measured is not None,
        counted=how,
        handed_share=prompt.handed_share,
        is_marked=cached is not None,
    )


def _with_tools(calls: tuple[PlannedCall, ...], pipeline: Pipeline) -> tuple[PlannedCall, ...]:
    """Analysts that call tools ask again after each round, with what the tools gave in the prompt."""
    if pipeline.inputs != "tools":
        return calls
    rounds = int(min(TOOL_ROUNDS, pipeline.tool_rounds))
    more = [call for call in calls if call.role in agents.analyst_roles() for _ in range(rounds)]
    return (*calls, *more)


_HANDED = 0.4
"""Share of a later role's prompt that earlier ones wrote, as rendered prompts have it."""
USUAL_MATERIAL = 2_000.0
"""Tokens of one kind of material, below its token budget: 1,450 to 1,920 over six cases of an archive with news and filings."""
_SOURCES: Mapping[str, tuple[str, ...]] = {
    "market": ("prices",),
    "sentiment": ("social",),
    "news": ("news", "insiders", "macro"),
    "fundamentals": ("filings",),
}
"""Analyst -> kinds of data that fill its material; without any, a sentence says that there is none."""
_INSTRUCTIONS = 600.0


def _assumed(cell: Cell, renderer: Renderer, experience: Experience, cells: Sequence[Cell]) -> Workload:
    """Without a frozen snapshot: material of the usual size, in the flow and with the marks of the reference case."""
    prompts, caching = renderer.of_reference(cell, _sharings(cells or [cell]))
    calls = []
    for prompt, cached in zip(prompts or _usual_prompts(cell), caching or repeat(None), strict=False):
        reads_material = not prompt.handed_share
        sized = replace(prompt, input_tokens=_material(cell, prompt.role) + _INSTRUCTIONS) if reads_material else prompt
        calls.append(call(cell, replace(sized, cacheable_tokens=0.0), experience, is_rendered=False, cached=cached))
    return Workload(_with_tools(tuple(calls), cell.pipeline), NOT_RENDERED)


def _usual_prompts(cell: Cell) -> list[Prompt]:
    """The requests of a flow that cannot be rendered: each role's turns."""
    turns, analysts = agents.role_turns(cell.pipeline), agents.analyst_roles()
    later = Prompt("", 3_500.0 + min(cell.pipeline.history_tokens, 2_500), 0.0, 350, None, _HANDED)
    reading = replace(later, handed_share=0.0)
    each = {role: reading if role in analysts or role == "single_call" else later for role in cell.lineup}
    return [replace(prompt, role=role) for role, prompt in each.items() for _ in range(turns.get(role, 1))]


def _material(cell: Cell, role: str) -> float:
    """Tokens that a role reads: the material of all analysts, which they share; with tools only what its own tools give."""
    own = dict(zip(agents.analyst_roles(), agents.analyst_names(), strict=True)).get(role)
    names = [own] if own and cell.pipeline.inputs == "tools" else cell.pipeline.analysts
    return sum(_usual_tokens(cell, name) for name in names)


def _usual_tokens(cell: Cell, analyst: str) -> float:
    if cell.data and analyst in _SOURCES and not any(cell.data.get(kind) for kind in _SOURCES[analyst]):
        return 0.0
    return min(USUAL_MATERIAL, float(cell.pipeline.budget_tokens.get(analyst, USUAL_MATERIAL)))


def _of_program(cell: Cell, renderer: Renderer, experience: Experience) -> Workload:
    """The calls that `check` or a run counted; before that as many as our own roles ask, with tools."""
    known = experience.programs.get(cell.fingerprint)
    if known is not None:
        return Workload(tuple(_program_calls(cell, known, experience)), known.basis)
    tiers = {role: "deep" if role in agents.deep_roles() else "quick" for role in agents.role_names()}
    lineup = {role: cell.lineup.get(role) or cell.lineup[tier] for role, tier in tiers.items()}
    alike = replace(cell, lineup=lineup, pipeline=replace(cell.pipeline, inputs="tools"))
    return replace(_assumed(alike, renderer, experience, ()), basis=NOT_CHECKED)


def _program_calls(cell: Cell, known: ProgramCalls, experience: Experience) -> Iterator[PlannedCall]:
    targets = cell.extra["attached"]["models"]
    for asked in known.calls:
        target = targets.get(asked.model) or targets.get("*")
        model = played_by(cell.lineup, target, asked.role) if target else None
        if model is not None:
            handed_share = asked.handed_tokens / asked.input_tokens if asked.input_tokens else 0.0
            cap = cell.pipeline.output_cap(asked.role, model)
            prompt = Prompt(asked.role, asked.input_tokens, 0.0, round(asked.output_tokens), cap, handed_share)
            yield call(replace(cell, lineup={asked.role: model}), prompt, experience, is_rendered=False)
