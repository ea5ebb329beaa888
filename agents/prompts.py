"""What a model is told: the parts of every prompt, in an order that lets servers reuse what they read before.

desk -> instrument -> material (analysts) or reports (everybody after them) -> what was said since -> the role's instruction.
Each part but the last is byte for byte the same for all roles that read it, and stands at the same place: a call's prompt
continues an earlier one's up to its last part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from hashlib import sha256
from typing import Any

from agents import roles
from agents.contract.pipeline import Pipeline
from agents.contract.request import Part
from agents.decisions.forms import FORMS, Form
from agents.errors import PipelineError
from agents.flow import Seat
from agents.inputs.budget import Block, fit
from agents.inputs.sheets import last_session
from agents.inputs.snapshot import Snapshot
from agents.inputs.views import VIEWS, instrument
from agents.llms.tokens import estimate_tokens
from agents.statement import Statement

_WORDS_PER_TOKEN = 0.6
_KEPT_SHARE = 0.6
"""Of a debate's budget, what stays filled when it overflows."""
_DATA_ORDER = ("market", "news", "sentiment", "fundamentals")
_PLACES = {"debate": "debate", "risk": "risk debate"}


def prompt(snapshot: Snapshot, pipeline: Pipeline, seat: Seat, said: Sequence[Statement], cap: int | None) -> tuple[Part, ...]:
    """All parts of a seat's prompt, given what was said before; `cap` is its output cap in tokens."""
    read = [part for name in seat.role.reads for part in _READERS[name](snapshot, pipeline, said)]
    return (desk(), case(snapshot), *read, instruction(seat, cap))


def cache_key(parts: Sequence[Part]) -> str:
    """Equal for prompts of one desk, case and first shared block: they share a prefix."""
    return sha256("\0".join(part.text for part in parts[:3]).encode()).hexdigest()[:32]


@cache
def desk() -> Part:
    """What every role is told first."""
    return Part("system", roles.snippet("_desk"))


@lru_cache(maxsize=1024)
def instruction(seat: Seat, cap: int | None) -> Part:
    """The role's own prompt, which stands last."""
    form = FORMS.get(seat.role.output)
    words = min(seat.role.words, max(20, int(cap * _WORDS_PER_TOKEN))) if cap else seat.role.words
    values = {
        "words": words,
        "round": seat.round,
        "rounds": seat.rounds,
        "opens": seat.opens,
        "form": form.say() if form else "",
    }
    return _user("Your task", _render(seat.role.prompt, values, f"{seat.role.file}.md"))


def repair(form: Form, problem: str) -> Part:
    """Asks once more for the form, saying what was wrong."""
    return Part("user", _render(roles.snippet("_repair"), {"problem": problem, "form": form.say()}, "_repair.md"))


def verdict(form: Form) -> Part:
    """Asks a judge which of two answers is better."""
    return Part("user", _render(roles.snippet("_judge"), {"form": form.say()}, "_judge.md"))


def material(snapshot: Snapshot, pipeline: Pipeline) -> tuple[Part, ...]:
    """The snapshot as the selected analysts share it: a block that two of them need stands once."""
    key = ("material", pipeline.analysts, tuple(sorted(pipeline.budget_tokens.items())))
    if key not in snapshot.shown:
        snapshot.shown[key] = tuple(_material_parts(snapshot, pipeline))
    parts: tuple[Part, ...] = snapshot.shown[key]
    return parts


def _material_parts(snapshot: Snapshot, pipeline: Pipeline) -> Iterator[Part]:
    shown = {_face(last_session(snapshot))}
    for name in _fields(pipeline):
        blocks = [block for block in VIEWS[name](snapshot) if _face(block) not in shown]
        shown.update(map(_face, blocks))
        yield _user(f"Material: {name}", fit(blocks, pipeline.budget_tokens.get(name)) or "(see above)")


def _face(block: Block) -> tuple[str, tuple[str, ...]]:
    return block.title, block.lines


def _fields(pipeline: Pipeline) -> tuple[str, ...]:
    wanted = {name for analyst in pipeline.analysts for name in roles.analyst(analyst).data}
    if unknown := sorted(wanted - set(VIEWS)):
        raise PipelineError(f"no view of the snapshot for data {unknown[0]!r}; known: {', '.join(VIEWS)}")
    return tuple(sorted(wanted, key=lambda name: (_DATA_ORDER.index(name) if name in _DATA_ORDER else 9, name)))


def case(snapshot: Snapshot) -> Part:
    """The instrument, the decision time, and the last prices: levels are argued about by everybody."""
    if "case" not in snapshot.shown:
        snapshot.shown["case"] = _user("Case", f"{instrument(snapshot)}\n\n{fit([last_session(snapshot)], None)}")
    part: Part = snapshot.shown["case"]
    return part


def _material(snapshot: Snapshot, pipeline: Pipeline, said: Sequence[Statement]) -> list[Part]:
    return list(material(snapshot, pipeline))


def _reports(snapshot: Snapshot, pipeline: Pipeline, said: Sequence[Statement]) -> list[Part]:
    return [_spoken(one, pipeline.report_tokens) for one in said if one.seat.role.stage == "analysis"]


def _single(stage: str) -> Callable[[Snapshot, Pipeline, Sequence[Statement]], list[Part]]:
    def read(snapshot: Snapshot, pipeline: Pipeline, said: Sequence[Statement]) -> list[Part]:
        return [_spoken(one, pipeline.report_tokens) for one in said if one.seat.role.stage == stage]

    return read


def _debate(stage: str) -> Callable[[Snapshot, Pipeline, Sequence[Statement]], list[Part]]:
    def read(snapshot: Snapshot, pipeline: Pipeline, said: Sequence[Statement]) -> list[Part]:
        spoken = [
            _spoken(one, min(pipeline.report_tokens, pipeline.history_tokens)) for one in said if one.seat.role.stage == stage
        ]
        return history(spoken, _PLACES[stage], pipeline.history_tokens)

    return read


_READERS: Mapping[str, Callable[[Snapshot, Pipeline, Sequence[Statement]], list[Part]]] = {
    "snapshot": _material,
    "reports": _reports,
    "debate": _debate("debate"),
    "plan": _single("plan"),
    "proposal": _single("trade"),
    "risk": _debate("risk"),
}


def history(spoken: Sequence[Part], place: str, budget: int) -> list[Part]:
    """The newest statements, in their order and within the budget; what is left out is announced, and so is an empty debate."""
    if not spoken:
        return [Part("user", f"# The {place}\nNobody has spoken yet.")]
    gone = _forgotten([estimate_tokens(part.text) for part in spoken], budget)
    note = [Part("user", f"# The {place}\nThe first {gone} statements are left out here to keep it short.")] if gone else []
    return [*note, *spoken[gone:]]


def _forgotten(sizes: Sequence[int], budget: int) -> int:
    """How many of the oldest statements are gone. When they pass the budget, so many go at once that a part of it is free
    again: dropping one each turn would change the beginning of every prompt, and no cache could serve it."""
    gone = 0
    for end in range(1, len(sizes) + 1):
        if sum(sizes[gone:end]) > budget:
            while gone < end - 1 and sum(sizes[gone:end]) > _KEPT_SHARE * budget:
                gone += 1
    return gone


def _spoken(statement: Statement, budget: int) -> Part:
    """One statement as later prompts carry it."""
    seat = statement.seat
    title = f"{seat.role.title}, round {seat.round}" if seat.round else seat.role.title
    return _told(title, statement.text, statement.note, budget)


@lru_cache(maxsize=1024)
def _told(title: str, said: str, note: str, budget: int) -> Part:
    """The same part for every role that reads it: it is hashed and measured once."""
    text = shorten(said, budget) or "(nothing)"
    return _user(title, f"{text}\n\n[{note}]" if note else text)


def shorten(text: str, budget: int) -> str:
    """The text, cut to about `budget` tokens with an announcement."""
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
