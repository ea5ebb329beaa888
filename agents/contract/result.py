"""What a pipeline makes of a case: the decision on its scale, the reports, and how tools were used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from domain.ratings import ACTIONS, SCORES
from domain.ratings import RATINGS as RATINGS

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
