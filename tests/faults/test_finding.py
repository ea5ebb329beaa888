"""A search that is killed at any step: it goes on, pays nothing twice, and decides what the rule says about its answers."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from domain.ratings import RATINGS
from reports.finding import Finding
from reports.stats import sequential
from reports.stats.sequential import NotWorseTest
from tests.faults.stage import Stage
from tests.harness.finding_lab import DATES, TICKERS, assert_follows_the_rule

MARGINS = {"same_rating": 0.5, "usable": 0.5, "grounding": 0.5}
USD = {"twin": 0.01, "near": 1.0, "far": 100.0, "gpt-5": 1000.0}
"""Per million tokens, so far apart that requests lost in a death do not change which candidate is the cheapest."""
ARMS = ("twin", "near", "far")


def test_a_search_killed_at_random_steps_pays_each_answer_once_and_decides_by_the_rule(on_stage: Stage, chance: Random) -> None:
    _describe(on_stage, seed=chance.randint(1, 10**6))
    for _ in range(3):
        answered = on_stage.models.ledger()["answered"]
        search = on_stage.start_find("--yes")
        on_stage.answered(answered + chance.randint(5, 60))
        on_stage.kill_all()
        search.wait()
        on_stage.until(lambda: not on_stage.processes(), "an empty stage")
    on_stage.end(on_stage.start_find("--yes"))

    calls = pd.DataFrame(on_stage.table("calls"))
    answers = calls[calls["outcome"] == "answered"]
    places = answers[["cell_id", "role", "round", "kind", "index"]]
    assert not places.duplicated().any(), "an answered call was paid again"
    cut_off = on_stage.models.ledger()["answered"] - len(answers)
    assert cut_off <= 3 * 40, "more answers were lost than requests could have been in flight at three deaths"
    _check_decisions(on_stage.run, pd.DataFrame(on_stage.table("cells")))


def _describe(stage: Stage, seed: int) -> None:
    names = ("gpt-5", *ARMS)
    models = {"gpt": stage.model()} | {name: {"provider": "openai", "server": "cloud", "model": name} for name in ARMS}
    prices = [{"model": name, "input": usd, "output": usd} for name, usd in USD.items()]
    (stage.folder / "prices.yaml").write_text(yaml.safe_dump({"version": "stage", "prices": prices}))
    stage.describe(
        tickers=TICKERS,
        models=models,
        repeats=3,
        pipeline={"depth": "single_call"},
        compare={"baseline": "gpt", "metrics": {name: {"margin": margin} for name, margin in MARGINS.items()}},
        find={"blocks": 2},
        prices="prices.yaml",
        budget={"run_usd": 1000.0},
    )
    described = yaml.safe_load((stage.folder / "fault.yaml").read_text())
    (stage.folder / "fault.yaml").write_text(yaml.safe_dump(described | {"dates": DATES[:6]}, sort_keys=False))
    views = {"gpt-5": 0.0, "twin": 0.0, "near": 0.2, "far": 1.0}
    rules = [
        {"model": name, "do": {"view": f"{seed}/{name}", "strays": views[name], "wavers": 0.2, "latency_s": 0.02}}
        for name in names
    ]
    stage.models.control(models=list(names), rules=rules)


def _check_decisions(run: Path, cells: pd.DataFrame) -> None:
    """The estimates from the answers by code of this test, and the flags and drops from the recorded p by the rule."""
    found = json.loads((run / "find.json").read_text())
    gate = NotWorseTest(**{key: tuple(values) for key, values in found["design"]["gate"].items()})
    assert gate.margins == tuple(MARGINS.values())
    started = [arm for arm in ARMS if not (found["screened"][arm] and _is_dropped(found["screened"][arm]))]
    looks, live = len(found["design"]["blocks"]), list(started)
    standing = sequential.before_any_look((len(started),), gate)
    for number, look in enumerate(found["looks"], start=1):
        dates = [date for block in found["design"]["blocks"][:number] for date in block]
        for arm in live:
            assert look["arms"][arm]["estimates"][0] == pytest.approx(_same_rating(cells, arm, dates)), (number, arm)
        p, seen = (np.array([look["arms"][arm][part] for arm in started]) for part in ("p", "estimates"))
        standing = sequential.after_look(standing, gate, p, seen, np.array([arm in live for arm in started]), number, looks)
        for place, arm in enumerate(started):
            assert look["arms"][arm]["flags"] == standing.flags[place].tolist(), (number, arm)
            assert look["arms"][arm]["is_dropped"] == standing.is_dropped[place], (number, arm)
        live = [arm for arm in started if look["arms"][arm]["goes_on"]]
    assert_follows_the_rule(Finding.of((run / "find.json").read_text()), cells, list(ARMS))
    pipeline = cells[cells["kind"] == "pipeline"]
    assert set(pipeline["arm"]) <= {"gpt", *started}


def _is_dropped(screened: dict[str, Any]) -> bool:
    return bool(screened["floor"] - screened["alike"] > 0.15 or screened["readable"] < 0.9 or screened["unreadable_roles"])


def _same_rating(cells: pd.DataFrame, arm: str, dates: list[str]) -> float:
    """Agreement over all pairs of repeats less the floor, averaged over cases and then over dates."""
    tested = cells[cells["date"].astype(str).isin(dates) & (cells["kind"] == "pipeline")]
    base, other = (_counts(tested[tested["arm"] == name]) for name in ("gpt", arm))
    repeats = base.sum(axis=1)
    floor = (base * (base - 1)).sum(axis=1) / (repeats * (repeats - 1))
    apart = (base * other).sum(axis=1) / (repeats * other.sum(axis=1)) - floor
    by_date = apart.groupby([str(case).partition("@")[2] for case in apart.index]).mean()
    return float(by_date.mean())


def _counts(cells: pd.DataFrame) -> pd.DataFrame:
    counted = cells.groupby(["case_id", "rating"]).size().unstack("rating").reindex(columns=list(RATINGS)).fillna(0)
    return counted.sort_index()
