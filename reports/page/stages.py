"""The stages of a case: role by role what each arm was asked and answered, with figures marked by their origin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from reports.format import known
from reports.page.prose import FigureMark, prose

if TYPE_CHECKING:
    from reports.run_roles import RunRoles

CellMarks = Mapping[tuple[str, str], Sequence[FigureMark]]
"""(cell_id, call site) -> marks of its figures."""


@dataclass(frozen=True)
class PromptPart:
    """One part of a prompt."""

    id: str
    role: str
    text: str
    is_first: bool
    """Whether it is shown here in full; later occurrences link to it."""

    @property
    def title(self) -> str:
        """Its first words, as a heading."""
        line = next((line.strip(" #*") for line in self.text.splitlines() if line.strip(" #*")), "empty")
        return line if len(line) <= 90 else line[:88] + " ..."

    @property
    def words(self) -> int:
        return len(self.text.split())


@dataclass(frozen=True)
class Pane:
    """One arm's side of a stage."""

    arm: str
    slot: int
    repeat: int
    text: str | None
    why_none: str
    reasoning: str | None
    calls: tuple[Mapping[str, Any], ...]
    own_parts: tuple[PromptPart, ...]
    """Parts of the prompt that only this arm got."""
    prose: Markup
    """The text as light Markdown, with its figures marked."""


@dataclass(frozen=True)
class Stage:
    """One role, in one round of its debate."""

    key: str
    role: str
    round: int
    shared: tuple[PromptPart, ...]
    """Parts of the prompt that all arms with this role got."""
    panes: tuple[Pane, ...]


def stages(
    cells: Sequence[Mapping[Any, Any]],
    by_cell: Mapping[str, list[Any]],
    texts: Mapping[str, tuple[str, str]],
    order: Mapping[str, int],
    marks: CellMarks,
    roles: RunRoles,
) -> Iterator[Stage]:
    printed: set[str] = set()
    reports = {cell["cell_id"]: dict(cell["reports"]) if is_there(cell["reports"]) else {} for cell in cells}
    playing = [cell for cell in cells if by_cell.get(cell["cell_id"]) or reports[cell["cell_id"]]]
    for key in roles.in_turn_order(_keys(playing, by_cell, reports)):
        role, _, round_ = key.partition("/")
        sent = {cell["cell_id"]: [c for c in by_cell.get(cell["cell_id"], []) if _key(c) == key] for cell in playing}
        prompts = {cell: _prompt(calls) for cell, calls in sent.items() if calls}
        common = _common(prompts.values())
        shared = _parts(common, texts, printed)
        panes = []
        for cell in playing:
            own_ids = [i for i in prompts.get(cell["cell_id"], []) if i not in common]
            parts = _parts(own_ids, texts, printed)
            pane = _pane(cell, order, reports[cell["cell_id"]].get(key), sent[cell["cell_id"]], parts)
            panes.append(replace(pane, prose=prose(pane.text or "", marks.get((cell["cell_id"], key), ()))))
        yield Stage(key.replace("/", "-"), role, int(round_ or 0), shared, tuple(panes))


def _pane(
    cell: Mapping[Any, Any],
    order: Mapping[str, int],
    report: Any,
    calls: Sequence[Mapping[str, Any]],
    own_parts: tuple[PromptPart, ...],
) -> Pane:
    answered = [call for call in calls if call["outcome"] == "answered"]
    last = answered[-1] if answered else None
    text = (
        report if isinstance(report, str) else (last["response"] if last is not None and is_there(last["response"]) else None)
    )
    reasoning = last["reasoning"] if last is not None and is_there(last["reasoning"]) else None
    slot = order.get(cell["arm"], 99)
    return Pane(
        str(cell["arm"]), slot, int(cell["repeat"]), text, _why_none(cell, calls), reasoning, tuple(calls), own_parts, Markup()
    )


def _why_none(cell: Mapping[Any, Any], calls: Sequence[Mapping[str, Any]]) -> str:
    if not calls:
        ended = f" ({cell['error']})" if is_there(cell["error"]) else ""
        return f"It ended before this role was asked{ended}." if cell["status"] != "ok" else "This arm has no such role."
    if all(call["outcome"] != "answered" for call in calls):
        return "No request was answered."
    return "The answer holds no text."


def _keys(cells: Sequence[Mapping[Any, Any]], by_cell: Mapping[str, list[Any]], reports: Mapping[str, Any]) -> list[str]:
    """Every turn that was asked or left a text, as role or role/round."""
    keys: dict[str, None] = {}
    for cell in cells:
        for call in by_cell.get(cell["cell_id"], []):
            keys.setdefault(_key(call))
        for key in reports[cell["cell_id"]]:
            keys.setdefault(str(key))
    return list(keys)


def _key(call: Mapping[str, Any]) -> str:
    return f"{call['role']}/{int(call['round'])}" if known(call["round"]) and call["round"] else str(call["role"])


def _prompt(calls: Sequence[Mapping[str, Any]]) -> list[str]:
    primary = [call for call in calls if call["kind"] in ("primary", "replay")] or list(calls)
    ids = primary[0]["message_ids"]
    return [] if ids is None else [str(i) for i in ids]


def _common(prompts: Iterable[Sequence[str]]) -> list[str]:
    """Parts common to all prompts, in order; empty prompts are ignored."""
    there = [prompt for prompt in prompts if prompt]
    return [i for i in there[0] if all(i in other for other in there)] if there else []


def _parts(ids: Sequence[str], texts: Mapping[str, tuple[str, str]], printed: set[str]) -> tuple[PromptPart, ...]:
    parts = []
    for i in ids:
        role, text = texts.get(i, ("user", "(this part of the prompt is not in messages.parquet)"))
        parts.append(PromptPart(i[:16], role, text, i not in printed))
        printed.add(i)
    return tuple(parts)


def is_there(value: Any) -> bool:
    """Whether a value of a frame is not NULL."""
    return value is not None and not (isinstance(value, float) and value != value)
