"""Pairs of a replay: each recorded prompt with the original answer and the answer of the other model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from domain.text import decode_json
from reports.load import among, messages_of
from reports.money.breakdown import AT_ONCE, is_deferred
from reports.tables import ARROW

if TYPE_CHECKING:
    from reports.load import Run

STANCES = ("rating", "action", "band")
"""Form keys that hold what a role decides."""
_REFUSED = frozenset({"refused", "content_filter"})


@dataclass(frozen=True)
class PromptAnswer:
    """One answer of one model to one prompt."""

    text: str
    form: Mapping[str, Any] | None
    """The parsed form."""
    is_refused: bool
    is_cut: bool
    cost_usd: float | None
    seconds: float | None
    """None if it was fetched later, in a deferred lane."""
    lane: str
    prompt: tuple[str, ...]
    """Ids of the prompt's parts."""

    @property
    def stance(self) -> str | None:
        return next((str(self.form[key]) for key in STANCES if self.form.get(key)), None) if self.form else None

    @cached_property
    def words(self) -> tuple[str, ...]:
        return tuple(self.text.lower().split())


@dataclass(frozen=True)
class Pair:
    """One prompt with both answers."""

    case_id: str
    date: Any
    repeat: int
    role: str
    round: int
    prompt_texts: tuple[str, ...]
    """Texts of the prompt's parts, the same for both."""
    source: PromptAnswer
    target: PromptAnswer

    @property
    def is_same_lane(self) -> bool:
        """Whether the times of both answers may be compared."""
        return self.source.lane == self.target.lane


def pairs(run: Run, name: str, case_ids: Sequence[str] | None = None) -> Iterator[Pair]:
    """The prompts of one replay with both answers, in pipeline order."""
    source_arm = name.partition(ARROW)[0]
    replayed = _cells_of_arm(run.replays, name, case_ids)
    sources = _cells_of_arm(run.cells, source_arm, case_ids)
    answers = _answers(run, [*replayed["cell_id"], *sources["cell_id"]])
    messages = messages_of(run, {i for turns in answers.values() for answer in turns.values() for i in answer.prompt})
    cell_of = {(c, int(r)): i for c, r, i in zip(sources["case_id"], sources["repeat"], sources["cell_id"], strict=True)}
    for row in replayed.sort_values(["date", "ticker", "repeat"]).to_dict("records"):
        first = answers.get(cell_of.get((row["case_id"], int(row["repeat"])), ""), {})
        for (role, round_), target in answers.get(row["cell_id"], {}).items():
            source = first.get((role, round_))
            if source is not None and source.prompt == target.prompt:
                prompt_texts = tuple(messages[i][1] for i in target.prompt if i in messages)
                yield Pair(row["case_id"], row["date"], int(row["repeat"]), role, round_, prompt_texts, source, target)


def _cells_of_arm(cells: Any, arm: str, case_ids: Sequence[str] | None) -> Any:
    mine = cells[cells["arm"] == arm]
    return mine if case_ids is None else mine[mine["case_id"].isin(list(case_ids))]


def _answers(run: Run, cell_ids: Sequence[str]) -> dict[str, dict[tuple[str, int], PromptAnswer]]:
    """Return cell_id -> (role, round) -> its first answer."""
    columns = [
        "cell_id", "role", "round", "kind", "index", "outcome", "response", "parsed", "finish_reason", "truncated",
        "cost_usd", "duration_s", "lane", "message_ids", "started_at", "tool_calls", "program",
    ]  # fmt: skip
    calls = run.table("calls", columns, among(list(cell_ids)))
    # An attached program's report may be the last answer of its tool rounds.
    is_report = (calls["kind"] == "tool_round") & calls["program"].notna() & calls["tool_calls"].isna()
    is_answer = calls["kind"].isin(["primary", "replay"]) | is_report
    calls = calls[(calls["outcome"] == "answered") & is_answer].sort_values("started_at")
    answers: dict[str, dict[tuple[str, int], PromptAnswer]] = {}
    for call in calls.to_dict("records"):
        answers.setdefault(call["cell_id"], {}).setdefault((call["role"], int(call["round"] or 0)), _answer(call))
    return answers


def _answer(call: Mapping[Any, Any]) -> PromptAnswer:
    ids, lane = call["message_ids"], call["lane"] if isinstance(call["lane"], str) else AT_ONCE
    return PromptAnswer(
        text=call["response"] or "",
        form=_form(call["parsed"]),
        is_refused=call["finish_reason"] in _REFUSED,
        is_cut=bool(call["truncated"]) or call["finish_reason"] == "length",
        cost_usd=_number_or_none(call["cost_usd"]),
        seconds=None if is_deferred(lane) else _number_or_none(call["duration_s"]),
        lane=lane,
        prompt=() if ids is None else tuple(str(message_id) for message_id in ids),
    )


def _form(raw: Any) -> Mapping[str, Any] | None:
    try:
        form = decode_json(raw) if isinstance(raw, str) else None
    except ValueError:
        return None
    return form if isinstance(form, dict) else None


def _number_or_none(value: Any) -> float | None:
    return None if value is None or value != value else float(value)
