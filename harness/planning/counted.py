"""How the input tokens of a model were counted, and how sure that makes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import agents
from agents import Model
from harness.planning import priors
from harness.planning.experience import Experience

ASSUMED = "assumed"
NOT_RENDERED = "no frozen snapshot yet: token budgets and priors"


@dataclass(frozen=True)
class Counted:
    """One way to count, as it was used for one model."""

    how: str
    """measured | tokenizer | calibrated ratio | declared ratio | assumed."""
    vocabulary: str
    """Of the tokenizer; empty where there is none."""
    ratio: float
    """What the count was multiplied with: as told by servers over as counted here, 1 until one has told."""
    spread: float
    """Standard deviation of the log of what stays open."""

    def to_plain(self) -> dict[str, Any]:
        return {"input_tokens_from": self.how, "tokenizer": self.vocabulary or None, "ratio": round(self.ratio, 4)}


def of_model(model: Model, experience: Experience, *, is_measured: bool, is_rendered: bool) -> Counted:
    """The best way there is: measured with these very prompts, else by tokenizer, else by a ratio."""
    if is_measured:
        return Counted("measured", "", 1.0, priors.MEASURED_SPREAD)
    if not is_rendered:
        return Counted(ASSUMED, "", 1.0, priors.INPUT_SPREADS[ASSUMED])
    counter, ratio = agents.counter_of(model), experience.ratio(model)
    how = "tokenizer" if counter.is_tokenizer else "declared ratio" if ratio is None else "calibrated ratio"
    return Counted(how, counter.name if counter.is_tokenizer else "", ratio or 1.0, priors.INPUT_SPREADS[how])


def rendered(cases: int) -> str:
    return f"real prompts of {cases} frozen case{'s' if cases > 1 else ''}"
