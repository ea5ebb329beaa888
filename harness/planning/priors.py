"""What is assumed of a model before anything was measured: declared here, replaced by earlier runs as soon as there are any."""

from __future__ import annotations

import math
from collections.abc import Mapping

from agents import Model
from domain import models

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
EXTRA_CALLS = (0.0, 0.10)
"""Repairs and repeated requests as a share of the planned calls, lowest and highest."""
EXTRA_WEIGHT = 10.0
"""How many measured calls of a role that assumption is worth."""
TOOL_ROUNDS = 2.0
"""Tool rounds of one analyst where inputs are tools."""
CACHE_HIT = (0.0, 0.9)
"""Share of the cacheable prefix that a hosted model really finds in its cache, lowest and highest."""
MEASURED_SPREAD = 0.05
"""What stays open of a model's mean however often it was measured: other cases, another day."""
CELL_SPREAD = 0.27
"""Standard deviation of the log of one cell's cost around its arm's mean."""
CELL_SPREAD_WEIGHT = 3.0
"""How many measured cells that assumption is worth."""


def cell_spread(told: float, cells: int) -> float:
    """Spread between cells: the assumed one and the deviation `told` by measured cells, weighted by how many there are."""
    more = max(0, cells - 1)
    return math.sqrt((CELL_SPREAD_WEIGHT * CELL_SPREAD**2 + more * told**2) / (CELL_SPREAD_WEIGHT + more))


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


def output_tokens(model: Model, asked: int, cap: int | None) -> float:
    """Output of one answer: what the role is asked to write, and the hidden tokens of its model, within the cap."""
    wanted = asked + reasoning_tokens(model)
    return min(wanted, cap) if cap else wanted
