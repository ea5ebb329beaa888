"""The terms of a comparison: what is measured, what it may cost, how long it may take, what must hold at the end."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from domain.defaults import HARD_LIMIT_S, HORIZONS, SOFT_LIMIT_S
from harness.experiment.base import Count, Part, Seconds, Share, Texts, Usd, Whole


class Endpoint(Part):
    """One question of the comparison, declared before the run."""

    margin: Share | None = None
    """Difference that does not matter (2pp, 5%, 20bp): below it two arms count as equivalent."""


class Compare(Part):
    """What is compared with what; changing it re-computes the report and runs nothing."""

    baseline: str | None = None
    """Arm that the others are held against; the first arm where this is not said."""
    endpoints: dict[str, Endpoint] = Field(default_factory=dict)
    """Endpoints that the verdict is about; multiple testing is corrected over exactly these."""


class Outcomes(Part):
    """What happened after each decision."""

    horizons: tuple[Whole, ...] = HORIZONS
    """Sessions held, from the open after the decision."""
    benchmark: str = "SPY"
    """What an excess return is measured against; the equal-weight universe where the source lacks it."""


class Budget(Part):
    """Caps in US dollars of hosted models' bills; a call that could break one is not sent."""

    run_usd: Usd | None = None
    """Most that a run may cost; at the cap nothing starts, and a higher cap continues."""
    cell_usd: Usd | None = None
    """Most that one cell may cost."""
    call_usd: Usd | None = None
    """Most that one call may cost at worst."""
    model_usd: dict[str, Usd] = Field(default_factory=dict)
    """Most that one model (by its name under `models`) may cost in a run."""


class CellLimit(Part):
    """Time limits of one cell; waiting for a server's slot or after a 429 does not count."""

    soft: Seconds = SOFT_LIMIT_S
    """Time of service after which the cell ends as `timeout` with the calls it made."""
    hard: Seconds = HARD_LIMIT_S
    """Time after which its process is not trusted any more and killed alone."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.soft >= self.hard:
            raise ValueError(f"soft ({self.soft:g} s) must be shorter than hard ({self.hard:g} s)")
        return self


class Gates(Part):
    """What must hold for exit code 0 after a finished run; else it is 4."""

    max_usd_per_usable_decision: Usd | None = None
    """Most that a usable decision may cost, in each arm."""
    min_usable_share: Share | None = None
    """Least share of cells that end in a usable decision, in each arm."""
    min_similarity: Share | None = None
    """Least agreement with the baseline, in each other arm."""
    max_p95_service_s: Seconds | None = None
    """Longest 95th percentile of a cell's time of service, in each arm."""
    max_run_usd: Usd | None = None
    """Most that the whole run may have cost."""


class LocalCost(Part):
    """What a second of local hardware costs, where servers.yaml does not say it; without it local cost is unknown."""

    usd_per_gpu_hour: Usd | None = None
    """Price of one hour of the GPU, rented or as you reckon it."""
    usd_per_cpu_hour: Usd | None = None
    """Price of one hour of all the machine's cores, for servers without a GPU."""
    watts: Usd | None = None
    """Power above idle while computing, where no meter measures it."""
    usd_per_kwh: Usd | None = None
    """Price of electricity."""
    purchase_usd: Usd | None = None
    """What the hardware cost."""
    lifetime_years: Usd | None = Field(default=None, gt=0)
    """Years over which the purchase is spread."""
    utilisation: Share | None = Field(default=None, gt=0, le=1)
    """Share of its lifetime that the hardware computes; the measured one of the run where this is not said."""


class Replay(Part):
    """Recorded inputs of one arm, asked again of other models, role by role."""

    from_: str = Field(alias="from")
    """Arm whose recorded messages are replayed."""
    to: Texts = Field(min_length=1)
    """Models that are asked the same."""
    roles: Texts = ()
    """Roles to replay; all where this is not said."""
    limit: Whole | None = None
    """Most cases to replay."""
    noise_floor: Count = 3
    """Cases that the arm's own models answer again, so that what differs by chance alone is known; 0 for none."""


class Judge(Part):
    """Pairwise judgement of replayed answers; off unless this is said, and paid like any call."""

    models: Texts = Field(min_length=1)
    """Models that judge, each pair in both orders; who wrote which answer is hidden from them."""
    limit: Whole | None = None
    """Most cases of which the answers are judged."""
