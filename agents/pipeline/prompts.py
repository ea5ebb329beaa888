"""The prompts: the parts of each role's prompt, in an order that lets servers reuse a cached prefix.

system prompt -> case -> material (analysts) or reports (all later roles) -> earlier texts -> the role's instruction.
Each part except the last is byte for byte the same for all roles that read it and has the same position, so that a prompt
repeats an earlier prompt of the cell up to its last part.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from itertools import takewhile
from typing import Any

from agents.decisions.forms import FORMS, Form
from agents.errors import PipelineError
from agents.inputs.sheets import last_session
from agents.inputs.snapshot import Snapshot
from agents.inputs.text import Block, fit
from agents.inputs.views import VIEWS, instrument
from agents.llms.prompt_caching import LEAST_TOKENS, token_sums
from agents.llms.tokens import estimate_tokens
from agents.pipeline import flow, roles
from agents.pipeline.flow import Turn, TurnResult
from agents.types import Caching, CallSite, Part, Pipeline

_WORDS_PER_TOKEN = 0.6
_TOKENS_PER_WORD = 1.4
_FORM_TOKENS = 60
_REFILL_SHARE = 0.6
"""Share of a debate's budget that stays filled when the budget overflows."""
_DATA_ORDER = ("market", "news", "sentiment", "fundamentals")
_DEBATE_TITLES = {"debate": "debate", "risk": "risk debate"}
_PLACEHOLDER = "word "
_PLACEHOLDERS = re.compile(f"(?:{_PLACEHOLDER}){{3,}}")


def prompt(
    snapshot: Snapshot, pipeline: Pipeline, turn: Turn, earlier: Sequence[TurnResult], cap: int | None
) -> tuple[Part, ...]:
    """All parts of a turn's prompt, given the earlier results; `cap` is the turn's output cap in tokens."""
    inputs = [part for name in turn.role.reads for part in _READERS[name](snapshot, pipeline, earlier)]
    return (system_prompt(), case(snapshot), *inputs, instruction(turn, cap))


def cache_key(parts: Sequence[Part]) -> str:
    """Equal for prompts that share a prefix: the leading parts marked as shared, else the first three."""
    marked = list(takewhile(lambda part: part.shared, parts))
    return sha256("\0".join(part.text for part in marked or parts[:3]).encode()).hexdigest()[:32]


def shared_prefix(parts: Sequence[Part], model: str) -> Caching:
    """Marks the leading parts that several prompts share, as a user's pipeline declares; nothing where none is."""
    depth = sum(1 for _ in takewhile(lambda part: part.shared, parts))
    is_long_enough = depth > 0 and token_sums(parts[:depth], model)[-1] >= LEAST_TOKENS
    return Caching((depth,) if is_long_enough else ())


@cache
def system_prompt() -> Part:
    """The first part of every role's prompt."""
    return Part("system", roles.snippet("_desk"))


@lru_cache(maxsize=1024)
def instruction(turn: Turn, cap: int | None) -> Part:
    """The role's own prompt, which comes last."""
    form = FORMS.get(turn.role.output)
    words = min(turn.role.words, max(20, int(cap * _WORDS_PER_TOKEN))) if cap else turn.role.words
    values = {
        "words": words,
        "round": turn.round,
        "rounds": turn.rounds,
        "opens": turn.opens,
        "form": form.say() if form else "",
    }
    return _user("Your task", _render(turn.role.prompt, values, f"{turn.role.file}.md"))


def repair(form: Form, problem: str) -> Part:
    """Ask for the form again and state what was wrong."""
    return Part("user", _render(roles.snippet("_repair"), {"problem": problem, "form": form.say()}, "_repair.md"))


def verdict(form: Form) -> Part:
    """Ask a judge which of two answers is better."""
    return Part("user", _render(roles.snippet("_judge"), {"form": form.say()}, "_judge.md"))


def material(snapshot: Snapshot, pipeline: Pipeline) -> tuple[Part, ...]:
    """The snapshot as the selected analysts share it; a block that two of them need occurs once."""
    key = ("material", pipeline.analysts, tuple(sorted(pipeline.budget_tokens.items())))
    if key not in snapshot.shown:
        snapshot.shown[key] = tuple(_material_parts(snapshot, pipeline))
    parts: tuple[Part, ...] = snapshot.shown[key]
    return parts


def _material_parts(snapshot: Snapshot, pipeline: Pipeline) -> Iterator[Part]:
    shown = {_content(last_session(snapshot))}
    for name in _fields(pipeline):
        blocks = [block for block in VIEWS[name](snapshot) if _content(block) not in shown]
        shown.update(map(_content, blocks))
        yield _user(f"Material: {name}", fit(blocks, pipeline.budget_tokens.get(name)) or "(see above)")


def _content(block: Block) -> tuple[str, tuple[str, ...]]:
    return block.title, block.lines


def _fields(pipeline: Pipeline) -> tuple[str, ...]:
    names = {name for analyst in pipeline.analysts for name in roles.analyst(analyst).data}
    if unknown := sorted(names - set(VIEWS)):
        raise PipelineError(f"no view of the snapshot for data {unknown[0]!r}; known: {', '.join(VIEWS)}")
    return tuple(sorted(names, key=lambda name: (_DATA_ORDER.index(name) if name in _DATA_ORDER else 9, name)))


def case(snapshot: Snapshot) -> Part:
    """The instrument, the decision time and the last prices, which every role needs."""
    if "case" not in snapshot.shown:
        snapshot.shown["case"] = _user("Case", f"{instrument(snapshot)}\n\n{fit([last_session(snapshot)], None)}")
    part: Part = snapshot.shown["case"]
    return part


Reader = Callable[[Snapshot, Pipeline, Sequence[TurnResult]], list[Part]]


def _material(snapshot: Snapshot, pipeline: Pipeline, earlier: Sequence[TurnResult]) -> list[Part]:
    return list(material(snapshot, pipeline))


def _texts_of(stage: str) -> Reader:
    def read(snapshot: Snapshot, pipeline: Pipeline, earlier: Sequence[TurnResult]) -> list[Part]:
        return [_quoted(result, pipeline.report_tokens) for result in earlier if result.turn.role.stage == stage]

    return read


def _debate(stage: str) -> Reader:
    def read(snapshot: Snapshot, pipeline: Pipeline, earlier: Sequence[TurnResult]) -> list[Part]:
        budget = min(pipeline.report_tokens, pipeline.history_tokens)
        statements = [_quoted(result, budget) for result in earlier if result.turn.role.stage == stage]
        return history(statements, _DEBATE_TITLES[stage], pipeline.history_tokens)

    return read


_READERS: Mapping[str, Reader] = {
    "snapshot": _material,
    "reports": _texts_of("analysis"),
    "debate": _debate("debate"),
    "plan": _texts_of("plan"),
    "proposal": _texts_of("trade"),
    "risk": _debate("risk"),
}
"""An entry of a role's `reads` -> the parts that it adds to the prompt."""


def history(statements: Sequence[Part], title: str, budget: int) -> list[Part]:
    """The newest statements of a debate within `budget` tokens; omissions and an empty debate are announced."""
    if not statements:
        return [Part("user", f"# The {title}\nNobody has spoken yet.")]
    omitted = _omitted([estimate_tokens(part.text) for part in statements], budget)
    if not omitted:
        return list(statements)
    note = Part("user", f"# The {title}\nThe first {omitted} statements are left out here to keep it short.")
    return [note, *statements[omitted:]]


def _omitted(sizes: Sequence[int], budget: int) -> int:
    """Number of oldest statements to omit.

    When the budget overflows, several are omitted at once: omitting one each turn would change the beginning of every
    prompt, and no cache could serve it.
    """
    omitted = 0
    for end in range(1, len(sizes) + 1):
        if sum(sizes[omitted:end]) > budget:
            while omitted < end - 1 and sum(sizes[omitted:end]) > _REFILL_SHARE * budget:
                omitted += 1
    return omitted


def _quoted(result: TurnResult, budget: int) -> Part:
    """An earlier result as later prompts carry it."""
    turn = result.turn
    title = f"{turn.role.title}, round {turn.round}" if turn.round else turn.role.title
    return _titled(title, result.text, result.note, budget)


@lru_cache(maxsize=1024)
def _titled(title: str, text: str, note: str, budget: int) -> Part:
    """The same object for every role that reads it, so that it is hashed and measured once."""
    shown = shorten(text, budget) or "(nothing)"
    return _user(title, f"{shown}\n\n[{note}]" if note else shown)


def shorten(text: str, budget: int) -> str:
    """The text, cut to about `budget` tokens; a cut is announced."""
    if estimate_tokens(text[: 12 * budget]) <= budget and len(text) <= 12 * budget:
        return text
    keep = min(len(text), 12 * budget)
    while keep > 200 and estimate_tokens(text[:keep]) > budget:
        keep = int(keep * 0.8)
    return f"{text[:keep]}\n[cut here: {len(text) - keep:,} more characters]"


def _user(title: str, text: str) -> Part:
    return Part("user", f"# {title}\n{text}")


def _render(text: str, values: Mapping[str, Any], file: str) -> str:
    import jinja2

    try:
        return str(_template(text).render(values)).strip()
    except jinja2.TemplateError as error:
        raise PipelineError(f"agents/roles/{file}: {error}; known: {', '.join(values)}") from error


@cache
def _template(text: str) -> Any:
    import jinja2

    # Prompts are plain text for a model, never HTML: nothing to escape.
    return jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False).from_string(text)


@dataclass(frozen=True)
class PlannedPrompt:
    """One request of a cell, as far as it is known before the cell runs."""

    site: CallSite
    step: int
    """Requests of one step start together."""
    parts: tuple[Part, ...]
    output_tokens: int
    """Expected length of the answer: what the role is asked for, or its cap if that is lower."""
    output_cap: int | None
    """The pipeline's cap on this answer; None means the model's own."""
    cacheable_parts: int
    """Number of leading parts that an earlier request of the cell also contains."""
    handed_tokens: int
    """Tokens of the placeholders for the texts of earlier roles."""


def prompts_of(snapshot: Snapshot, pipeline: Pipeline) -> tuple[PlannedPrompt, ...]:
    """The requests of one cell without repairs and tool rounds, with placeholders for the texts of earlier roles.

    Empty for a rule, which makes no requests, and for a custom pipeline, whose requests are unknown.
    """
    if pipeline.rule or pipeline.entry:
        return ()
    planned: list[PlannedPrompt] = []
    for step, turn, parts in upcoming(snapshot, pipeline, (), pipeline.output_cap):
        planned.append(_plan(step, turn, parts, pipeline.output_cap(turn.role.name), [other.parts for other in planned]))
    return tuple(planned)


def upcoming(
    snapshot: Snapshot, pipeline: Pipeline, earlier: Sequence[TurnResult], output_cap: Callable[[str], int | None]
) -> Iterator[tuple[int, Turn, tuple[Part, ...]]]:
    """(step, turn, prompt) of each turn that has no result yet, with placeholders for texts that are not written yet.

    Analysts that call tools are left out: what they ask is not known beforehand.
    """
    results, taken = list(earlier), {result.turn.key for result in earlier}
    for number, step in enumerate(flow.steps(pipeline)):
        turns = [turn for turn in step if turn.key not in taken]
        for turn in turns:
            if pipeline.inputs != "tools" or "snapshot" not in turn.role.reads:
                yield number, turn, prompt(snapshot, pipeline, turn, results, output_cap(turn.role.name))
        results += [TurnResult(turn, _PLACEHOLDER * _expected_tokens(turn, output_cap(turn.role.name))) for turn in turns]


def _expected_tokens(turn: Turn, cap: int | None) -> int:
    expected = int(turn.role.words * _TOKENS_PER_WORD) + (_FORM_TOKENS if turn.role.output in FORMS else 0)
    return min(expected, cap or expected)


def _plan(
    step: int, turn: Turn, parts: tuple[Part, ...], cap: int | None, earlier_prompts: Sequence[Sequence[Part]]
) -> PlannedPrompt:
    cacheable = max((_common_prefix(parts, planned) for planned in earlier_prompts), default=0)
    handed = sum(len(match) // len(_PLACEHOLDER) for part in parts for match in _PLACEHOLDERS.findall(part.text))
    site = CallSite(turn.role.name, turn.round)
    return PlannedPrompt(site, step, parts, _expected_tokens(turn, cap), cap, cacheable, handed)


def _common_prefix(parts: Sequence[Part], other_parts: Sequence[Part]) -> int:
    count = 0
    for part, other in zip(parts, other_parts, strict=False):
        if part != other:
            break
        count += 1
    return count
