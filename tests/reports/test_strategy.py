from __future__ import annotations

import datetime as dt
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reports import __main__, tables
from reports.load import load
from reports.returns import strategy
from tests.reports.synthetic import FakeArm, make_run

ARCHIVE = Path(os.environ.get("DJIA_2025", Path(__file__).parents[3] / "shared/data/djia-2025"))
needs_archive = pytest.mark.skipif(not (ARCHIVE / "prices.parquet").exists(), reason="the djia-2025 archive is not here")


@pytest.fixture(scope="module")
def returns() -> pd.Series[Any]:
    days = pd.bdate_range("2025-01-02", periods=200)
    return pd.Series(np.random.default_rng(4).normal(0.0005, 0.012, 200), index=days)


@pytest.fixture(scope="module")
def oracles() -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import empyrical
        import quantstats.stats

        return empyrical, quantstats.stats


def value_of(returns: pd.Series[Any]) -> pd.Series[Any]:
    start = pd.Series([1.0], index=[returns.index[0] - pd.Timedelta(days=1)])
    value: pd.Series[Any] = pd.concat([start, (1 + returns).cumprod()])
    return value


def test_figures_agree_with_empyrical(returns: pd.Series[Any], oracles: tuple[Any, Any]) -> None:
    empyrical, _ = oracles
    ours = strategy.measure("x", value_of(returns))
    assert ours.total_return == pytest.approx(empyrical.cum_returns_final(returns))
    assert ours.annual_return == pytest.approx(empyrical.annual_return(returns))
    assert ours.sharpe == pytest.approx(empyrical.sharpe_ratio(returns))
    assert ours.sortino == pytest.approx(empyrical.sortino_ratio(returns))
    assert ours.max_drawdown == pytest.approx(empyrical.max_drawdown(value_of(returns).pct_change().fillna(0.0)))


def test_figures_agree_with_quantstats(returns: pd.Series[Any], oracles: tuple[Any, Any]) -> None:
    _, quantstats = oracles
    ours = strategy.measure("x", value_of(returns))
    assert ours.sharpe == pytest.approx(quantstats.sharpe(returns))
    assert ours.sortino == pytest.approx(quantstats.sortino(returns))
    assert ours.total_return == pytest.approx(quantstats.comp(returns))
    assert ours.max_drawdown == pytest.approx(quantstats.max_drawdown(returns))


def test_every_figure_names_its_convention() -> None:
    figures = {"annual_return", "sharpe", "sortino", "sortino_stockbench", "max_drawdown"}
    assert figures <= set(strategy.CONVENTIONS)


def test_a_flat_series_has_no_risk_figures() -> None:
    flat = strategy.measure("cash", pd.Series([1.0, 1.0, 1.0], index=pd.bdate_range("2025-01-02", periods=3)))
    assert (flat.total_return, flat.max_drawdown) == (0.0, 0.0)
    assert math.isnan(flat.sharpe)
    assert math.isnan(flat.sortino)


def test_an_arm_that_always_buys_earns_what_buying_always_earns(tmp_path: Path) -> None:
    run = load(make_run(tmp_path / "r", arms={"bull": FakeArm(rating="Buy"), "bear": FakeArm(rating="Sell")}))
    bull, bear, always = strategy.strategies(run)
    assert bull.total_return == pytest.approx(always.total_return)
    assert bear.total_return == 0.0
    assert (bull.name, always.name) == ("bull", "always buy")


def test_a_decision_is_filled_at_the_next_open_and_a_hold_changes_nothing(tmp_path: Path) -> None:
    monday, tuesday = dt.date(2025, 9, 1), dt.date(2025, 9, 2)
    run = load(make_run(tmp_path / "r", dates=[monday, tuesday], tickers=["A"], arms={"a": FakeArm(rating="Buy")}))
    run.cells.loc[run.cells["date"] == pd.Timestamp(tuesday), "action"] = "HOLD"
    moved = strategy.moves(run)
    held = strategy.positions(run, "a", moved)
    assert moved.index[0] == pd.Timestamp(tuesday), "the first open after the first decision"
    assert held is not None
    assert held["A"].eq(1.0).all()


def test_repeats_share_the_cash_of_their_ticker(tmp_path: Path) -> None:
    run = load(make_run(tmp_path / "r", tickers=["A"], repeats=2, arms={"a": FakeArm(rating="Buy")}))
    run.cells.loc[run.cells["repeat"] == 1, "action"] = "SELL"
    held = strategy.positions(run, "a", strategy.moves(run))
    assert held is not None
    assert held["A"].eq(0.5).all()


def test_a_split_is_no_loss_and_a_dividend_is_a_gain(tmp_path: Path) -> None:
    run = load(make_run(tmp_path / "r", tickers=["A"], arms={"a": FakeArm(rating="Buy")}))
    daily = run.daily.sort_values("date").reset_index(drop=True).assign(open=100.0, split=1.0, dividend=0.0)
    daily.loc[daily.index >= 60, "open"] = 25.0
    daily.loc[60, "split"] = 4.0
    daily.loc[70, "dividend"] = 0.25
    run.daily = daily
    always = strategy.strategies(run)[-1]
    assert always.total_return == pytest.approx(0.01)
    assert always.max_drawdown == 0.0


def test_without_prices_or_decisions_there_is_no_strategy(tmp_path: Path) -> None:
    assert strategy.strategies(load(make_run(tmp_path / "r1", outcomes="absent"))) == ()
    run = load(make_run(tmp_path / "r2", arms={"a": FakeArm(failing=1.0)}))
    assert [one.name for one in strategy.strategies(run)] == ["always buy"]


@needs_archive
def test_the_published_test_vector_is_met_to_the_digit() -> None:
    assert [figure.name for figure in __main__.check_figures(ARCHIVE) if not figure.agrees] == []


@needs_archive
def test_the_vector_agrees_with_empyrical(oracles: tuple[Any, Any]) -> None:
    empyrical, _ = oracles
    prices = __main__._prices(ARCHIVE, "open")
    value = (prices / prices.iloc[0]).mean(axis=1)
    ours = strategy.measure("held", value)
    assert ours.sharpe == pytest.approx(empyrical.sharpe_ratio(value.pct_change().iloc[1:]))


def test_a_folder_without_the_archive_ends_with_code_2_and_names_the_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "reports", "conformance", "--archive", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "prices.parquet: not there" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_random_trades_of_one_arm_enclose_what_its_own_decisions_earn_by_chance(tmp_path: Path) -> None:
    run = load(make_run(tmp_path / "r1", arms={"gpt-5": FakeArm()}, repeats=2, texts=False))
    low, high = strategy.luck(run, "gpt-5")
    assert len(low) == len(high) == len(strategy.moves(run))
    assert low[0] == high[0] == 1.0
    assert all(lower <= upper for lower, upper in zip(low, high, strict=True))
    assert low[-1] < strategy.strategies(run)[0].value.iloc[-1] < high[-1]


def test_random_trades_do_not_depend_on_how_many_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = load(make_run(tmp_path / "r1", arms={"gpt-5": FakeArm()}, repeats=2, texts=False))
    at_once = strategy.luck(run, "gpt-5")
    monkeypatch.setattr(strategy, "DRAWS_AT_A_TIME", 7)
    assert strategy.luck(run, "gpt-5") == at_once


def test_random_trades_of_an_arm_that_always_buys_are_its_own_value(tmp_path: Path) -> None:
    arms = {"gpt-5": FakeArm(rating="Buy", skip=())}
    run = load(make_run(tmp_path / "r1", arms=arms, repeats=2, texts=False))
    low, high = strategy.luck(run, "gpt-5")
    followed = strategy.strategies(run)[0].value.tolist()
    assert low == pytest.approx(followed)
    assert high == pytest.approx(followed)


def test_a_benchmark_with_daily_prices_is_a_line_of_its_own(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "r1", tickers=["AAPL"], arms={"gpt-5": FakeArm()}, texts=False)
    daily = pq.read_table(folder / "daily.parquet").to_pylist()
    doubled = [day | {"ticker": "SPY", "open": 100.0 * (1 + i / len(daily))} for i, day in enumerate(daily)]
    pq.write_table(pa.Table.from_pylist([*daily, *doubled], schema=tables.DAILY), folder / "daily.parquet")
    lines = strategy.strategies(load(folder))
    assert [line.name for line in lines] == ["gpt-5", "always buy", "SPY"]
    assert 0.2 < lines[-1].total_return < 1.0
