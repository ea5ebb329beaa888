"""Does another model decide as the recorded one did? One sentence for each model that was asked the same prompts.

Per prompt of a deciding role: how often the model gives the source's rating or action, minus how often the source's own
model gives it when asked again. An identical model differs by 0 on every case, easy or hard, so difficulty adds no noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reports.roles.pairs import Pair, pairs
from reports.roles.replays import is_floor, mean_by_date
from reports.stats import estimate, exact
from reports.stats.estimate import Estimate
from reports.tables import ARROW

if TYPE_CHECKING:
    from reports.load import Run

MARGIN = 0.10
"""Default margin, if the experiment declares none for same_rating."""
SAME, DIFFERENT, UNDECIDED = "same", "different", "undecided"
_DECISIONS = frozenset({"rating", "action"})
"""Form keys of deciding roles; the band of a sentiment role is not one."""

PromptKey = tuple[str, int, str, int]
"""(case_id, repeat, role, round): one prompt."""


@dataclass(frozen=True)
class Likeness:
    """Whether one model decides like the arm whose prompts it was asked."""

    source: str
    target: str
    word: str
    """same | different | undecided."""
    prompts: int
    """Prompts answered by the target and twice by the source's own model."""
    agreement: float
    """How often the target gives the source's decision; NaN without a comparison."""
    self_agreement: float
    """How often the source's own model gives it again."""
    apart: Estimate
    """The first minus the second, with its 95 % interval."""
    margin: float

    @property
    def text(self) -> str:
        """The result in one sentence."""
        did = f"{self.target} decides as {self.source} did"
        if not self.prompts:
            return f"Undecided whether {did}: no deciding prompt was answered by {self.target} and again by {self.source}."
        counted = (
            f"it gives {self.source}'s rating or action on {self.agreement:.0%} of {self.prompts:,} prompts, "
            f"{self.source} asked again on {self.self_agreement:.0%}"
        )
        margin = f"{self.margin * 100:.3g} points"
        if self.word == SAME:
            return f"{did}: {counted}; {_at_most(self.apart)}, within the margin of {margin}."
        if self.word == DIFFERENT:
            opening = f"{self.target} does not decide as {self.source} did"
            return f"{opening}: {counted}; at least {_down(-self.apart.high)} points less often, beyond the margin of {margin}."
        return f"Undecided whether {did}: {counted}; {_between(self.apart)}, and the margin is {margin}."


@dataclass(frozen=True)
class AskedPrompt:
    """One deciding prompt with the decisions of three answers; None if unreadable."""

    case_id: str
    date: Any
    recorded: str | None
    again: str | None
    """Of the source's own model, asked again."""
    target: str | None

    @property
    def agreement(self) -> float:
        """Averaged over both answers of the source's own model, because two draws are less noisy than one."""
        return (_is_same(self.target, self.recorded) + _is_same(self.target, self.again)) / 2

    @property
    def self_agreement(self) -> float:
        return _is_same(self.recorded, self.again)


def likenesses(run: Run) -> list[Likeness]:
    """One for each model that was asked the prompts of another arm."""
    names = [str(name) for name in dict.fromkeys(run.replays["arm"])]
    sides = [(name, *name.split(ARROW, 1)) for name in names]
    floors = {source: _decisions(run, name) for name, source, target in sides if is_floor(run, source, target)}
    margin = run.settings.margins.get("same_rating") or MARGIN
    return [
        of_prompts(source, target, list(_asked(run, name, floors.get(source, {}))), margin)
        for name, source, target in sides
        if not is_floor(run, source, target)
    ]


def of_prompts(source: str, target: str, prompts: Sequence[AskedPrompt], margin: float) -> Likeness:
    if not prompts:
        return Likeness(source, target, UNDECIDED, 0, math.nan, math.nan, estimate.unknown(), margin)
    apart = _widened(mean_by_date((prompt, prompt.agreement - prompt.self_agreement) for prompt in prompts), prompts)
    word = SAME if apart.low > -margin else DIFFERENT if apart.high < -margin else UNDECIDED
    agreement = mean_by_date((prompt, prompt.agreement) for prompt in prompts).value
    self_agreement = mean_by_date((prompt, prompt.self_agreement) for prompt in prompts).value
    return Likeness(source, target, word, len(prompts), agreement, self_agreement, apart, margin)


def _widened(apart: Estimate, prompts: Sequence[AskedPrompt]) -> Estimate:
    """Widen an interval to the exact bound of as many prompts without a difference: t has no width if all agree."""
    by_date: dict[Any, int] = {}
    for prompt in prompts:
        by_date[prompt.date] = by_date.get(prompt.date, 0) + 1
    counts = list(by_date.values())
    effective = exact.share([0.0] * len(counts), counts).effective
    least = float(exact.share_bounds(0.0, effective, estimate.LEVEL)[1])
    reach = [
        max(least, distance) if math.isfinite(distance) else least
        for distance in (apart.value - apart.low, apart.high - apart.value)
    ]
    low, high = max(apart.value - reach[0], -1.0), min(apart.value + reach[1], 1.0)
    return Estimate(apart.value, low, high, apart.cases, apart.dates, apart.missing, apart.method)


def _decisions(run: Run, name: str) -> dict[PromptKey, Pair]:
    """The pairs of a replay in roles that decide."""
    pairs_by_prompt = {_key(pair): pair for pair in pairs(run, name)}
    deciding = {pair.role for pair in pairs_by_prompt.values() if _DECISIONS & set(pair.source.form or ())}
    return {key: pair for key, pair in pairs_by_prompt.items() if pair.role in deciding}


def _asked(run: Run, name: str, floor: Mapping[PromptKey, Pair]) -> Iterator[AskedPrompt]:
    """Prompts that the target was asked; an unanswered one counts as an unreadable decision."""
    cells = run.replays[(run.replays["arm"] == name) & (run.replays["status"] != "over_budget")]
    ended = {(str(case), int(repeat)) for case, repeat in zip(cells["case_id"], cells["repeat"], strict=True)}
    roles = set(run.calls.loc[run.calls["arm"] == name, "role"])
    answered = {_key(pair): pair.target.stance for pair in pairs(run, name)}
    for spot, pair in floor.items():
        if spot[:2] in ended and pair.role in roles:
            yield AskedPrompt(pair.case_id, pair.date, pair.source.stance, pair.target.stance, answered.get(spot))


def _key(pair: Pair) -> PromptKey:
    return pair.case_id, pair.repeat, pair.role, pair.round


def _is_same(first: str | None, second: str | None) -> float:
    return float(first is not None and first == second)


def _at_most(apart: Estimate) -> str:
    return f"at most {_up(-apart.low)} points less often" if apart.low < 0 else "not less often"


def _between(apart: Estimate) -> str:
    if apart.high < 0:
        return f"{_down(-apart.high)} to {_up(-apart.low)} points less often"
    return f"between {_up(-apart.low)} points less and {_up(apart.high)} points more often"


def _up(share: float) -> str:
    """Points, rounded to the conservative side."""
    return f"{math.ceil(share * 1000 - 1e-9) / 10:.3g}"


def _down(share: float) -> str:
    return f"{math.floor(share * 1000 + 1e-9) / 10:.3g}"
