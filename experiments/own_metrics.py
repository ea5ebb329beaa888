"""Metrics of your own, for `metrics: [own_metrics.py]` in an experiment; see docs/your-code.md."""

from __future__ import annotations

import pandas as pd

from reports.metrics.facts import Facts
from reports.metrics.registry import metric


@metric("bold decisions", group="your own", unit="share", better="lower", kind="share")
def bold(facts: Facts) -> pd.DataFrame:
    """Share of usable decisions that are Buy or Sell, the two ends of the scale."""
    is_bold = facts.cells["rating"].isin(["Buy", "Sell"]).astype(float)
    return facts.by_case(is_bold.where(facts.usable))
