"""Worlds for `find`: a hosted baseline and candidates of known quality, played by the fake model server."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import yaml

from benchmarks.sequential import Course, Design, by_rule
from benchmarks.worlds import Measured
from domain.ratings import RATINGS
from reports.finding import Finding
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


def offer_background_lanes(lab: Lab) -> None:
    """Ask the hosted server by the Responses API, which has the lanes `background_2h` and `background_8h`."""
    path = lab.folder / "servers.yaml"
    servers = yaml.safe_load(path.read_text())
    servers["cloud"]["api"] = "responses"
    path.write_text(yaml.safe_dump(servers))


def find(lab: Lab, *arguments: str, expect: int | None = 0) -> str:
    return lab.harness("find", "lab.yaml", "--yes", *arguments, expect=expect)


def assert_follows_the_rule(found: Finding, cells: pd.DataFrame, arms: list[str]) -> None:
    """The search did what the simulated rule does with the same answers; `arms`: the candidates, the cheapest first."""
    course, looks, last = simulated(cells, found, arms), found.design.looks, found.looks[-1].arms
    assert [found.looks_of(arm) / looks for arm in arms] == course.shares[0].tolist()
    assert len(found.looks) / looks == course.baseline_share[0]
    assert [arm in last and last[arm].is_good for arm in arms] == course.is_good[0].tolist()
    assert found.pick == (arms[course.pick[0]] if course.pick[0] >= 0 else None)


def simulated(cells: pd.DataFrame, found: Finding, arms: list[str]) -> Course:
    """The rule of the benchmark over the recorded answers, counted here; grounding is the baseline's."""
    design = found.design
    dates = [date for block in design.blocks for date in block]
    cells = cells[cells["kind"] == "pipeline"].assign(day=cells["date"].astype(str))
    differences = np.zeros((1, len(arms), len(dates), len(design.tickers)))
    usable = np.zeros(differences.shape)
    for place, arm in enumerate(arms):
        for day, date in enumerate(dates):
            for number, ticker in enumerate(design.tickers):
                case = cells[(cells["day"] == date) & (cells["ticker"] == ticker)]
                own, base = (list(case[case["arm"] == name]["rating"]) for name in (arm, design.baseline))
                if own:
                    differences[0, place, day, number] = agreement(own, base)
                    usable[0, place, day, number] = share_usable(own) - share_usable(base)
    measured = Measured(
        same=differences.mean(axis=-1),
        ahead=np.maximum(differences, 0).sum(axis=-1),
        behind=np.maximum(-differences, 0).sum(axis=-1),
        gains=np.maximum(usable, 0).sum(axis=-1),
        losses=np.maximum(-usable, 0).sum(axis=-1),
        grounding=np.zeros(usable.shape[:-1]),
    )
    rule = Design(len(dates), len(design.tickers), design.looks, design.gate, 0.0)
    return by_rule(measured, rule, np.array([[arm in found.started for arm in arms]]), to_the_pick=True)


def agreement(own: list[Any], base: list[Any]) -> float:
    """Over all pairs of usable repeats, less that of the baseline with itself."""
    given, usual = ([rating for rating in ratings if rating in RATINGS] for ratings in (own, base))
    pairs = [mine == theirs for mine in given for theirs in usual]
    floor = [first == second for place, first in enumerate(usual) for second in usual[place + 1 :]]
    return float(np.mean(pairs) - np.mean(floor))


def share_usable(ratings: list[Any]) -> float:
    return sum(rating in RATINGS for rating in ratings) / len(ratings)
