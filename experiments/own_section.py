"""A section of your own, for `sections: [own_section.py]` in an experiment; see docs/your-code.md."""

from __future__ import annotations

import pandas as pd

from reports.metrics.facts import Facts
from reports.page.own_sections import section


@section("Decisions by weekday")
def by_weekday(facts: Facts) -> list[str | pd.DataFrame]:
    """How often each arm says Buy or Overweight, by the day of the week."""
    days = pd.to_datetime(facts.cells["date"]).dt.day_name()
    is_long = facts.cells["rating"].isin(["Buy", "Overweight"])
    counts = is_long.groupby([facts.cells["arm"], days]).sum().unstack(fill_value=0)
    return [f"**{is_long.sum()}** of {len(is_long)} decisions are long.", counts]
