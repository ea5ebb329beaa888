"""Worlds for `find`: a hosted baseline and candidates of known quality, played by the fake model server."""

from __future__ import annotations

from typing import Any

import yaml

from tests.fixtures.runs import HOSTED, Lab

TICKERS = ["AAPL", "IBM", "MSFT", "GOOG"]
DATES = [
    "2012-06-15", "2012-06-18", "2012-06-19", "2012-06-20", "2012-06-21", "2012-06-22", "2012-06-25", "2012-06-26",
    "2012-06-27", "2012-06-28", "2012-06-29", "2012-07-02", "2012-07-03", "2012-07-05", "2012-07-06", "2012-07-09",
]  # fmt: skip
SCREEN_DATES = 2
"""Eight cases of four tickers."""


def search(lab: Lab, seed: int = 1, days: int = 11, **changes: Any) -> None:
    """A baseline that wavers, a candidate with its view, one that strays a little, and one with another view."""
    models = {
        "paid": {"provider": "openai", "model": HOSTED, "server": "cloud", "reasoning_effort": "low"},
        "twin": {"provider": "openai_compatible", "model": "twin", "server": "box"},
        "near": {"provider": "openai_compatible", "model": "near", "server": "box"},
        "far": {"provider": "openai_compatible", "model": "far", "server": "box"},
    }
    plain = {
        "tickers": TICKERS,
        "repeats": 3,
        "models": models,
        "pipeline": {"depth": "single_call"},
        "compare": {"baseline": "paid"},
        "local_cost": {"usd_per_cpu_hour": 0.05},
    }
    given: dict[str, Any] = plain | changes
    days_of_file = given.pop("dates", DATES[:days])
    path = lab.experiment(**given)
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"dates": days_of_file}, sort_keys=False))
    views = {HOSTED: (f"{seed}", 0.0), "twin": (f"{seed}", 0.0), "near": (f"{seed}/near", 0.25), "far": (f"{seed}/far", 1.0)}
    rules = [{"model": name, "do": {"view": view, "strays": strays, "wavers": 0.2}} for name, (view, strays) in views.items()]
    lab.fake.control(models=list(views), rules=rules)


def find(lab: Lab, *arguments: str, expect: int | None = 0) -> str:
    return lab.harness("find", "lab.yaml", "--yes", *arguments, expect=expect)
