"""How a case is argued."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agents.contract.lineup import Model


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
