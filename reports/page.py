"""What the page's sections read: the run in the order of a reader, computed when a section first asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from reports import (
    answer,
    bars,
    breakdown,
    breakeven,
    charts,
    economics,
    forecasts,
    grid,
    lineups,
    provenance,
    shown,
    strategy,
    wording,
)
from reports.bars import Bar
from reports.breakdown import Spend, Total, Waste
from reports.figures import known
from reports.findings import find
from reports.grid import Agreement, Row
from reports.visible import slug

if TYPE_CHECKING:
    import pandas as pd

    from reports.breakeven import BreakEven
    from reports.economics import ArmCost, LocalUse
    from reports.findings import Comparison, Findings
    from reports.findings import Row as EndpointRow
    from reports.forecasts import Forecast
    from reports.load import Run
    from reports.placebos import Placebo
    from reports.registry import Metric
    from reports.sentinel import Certificate
    from reports.strategy import Strategy


MOST_CALLS_CHECKED = 20_000
"""Runs with more calls are not searched for values of the future while a page is made; it would take minutes."""


@dataclass(frozen=True)
class Arm:
    """One arm as its card shows it."""

    name: str
    slot: int
    """Position in the experiment: its colour and its shape everywhere."""
    is_baseline: bool
    rule: bool
    models: tuple[str, ...]
    cells: int
    usable: int
    """Cells with a usable decision."""
    cost: Total
    """Sum of the cells' costs over all attempts."""
    why_no_cost: str
    service_p50_s: float | None
    service_p95_s: float | None
    statuses: Mapping[str, int]
    """decision status (or the cell's, when it did not end ok) -> cells."""

    @property
    def no_cost_because(self) -> str:
        """Why there is no cost per usable decision."""
        return self.why_no_cost or ("no decision was usable" if not self.usable else "some cells have no cost")

    @property
    def cost_per_decision(self) -> float | None:
        return self.cost.per(self.cells)

    @property
    def cost_per_usable(self) -> float | None:
        return self.cost.per(self.usable)

    @property
    def usable_share(self) -> float | None:
        return self.usable / self.cells if self.cells else None


@dataclass(frozen=True)
class ShortVerdict:
    """One line on an arm's card."""

    endpoint: str
    title: str
    pill: Markup
    needs: str
    """What would settle it, where nothing can be told."""


@dataclass(frozen=True)
class Interim:
    """How far an unfinished run is."""

    ended: int
    expected: int | None
    whole_cases: int
    cases: int


class Page:
    """One run as sections ask for it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.case_ids: frozenset[str] | None = None
        """Cases that have a page of their own; None: all."""

    @cached_property
    def arms(self) -> tuple[Arm, ...]:
        return tuple(self._arm(slot, name) for slot, name in enumerate(self.run.arms))

    @cached_property
    def baseline(self) -> str | None:
        return self.run.declared.baseline

    @cached_property
    def name(self) -> str:
        return str(self.run.experiment.get("name") or self.run.manifest.get("experiment") or self.run.run_id)

    @cached_property
    def question(self) -> str:
        others = [arm.name for arm in self.arms if arm.name != self.baseline and not arm.rule]
        if not self.baseline or not others:
            return f"What does {self.run.arms[0]} decide, and what does it cost?" if self.run.arms else "Nothing was asked."
        whom = " and ".join(others) if len(others) < 3 else "the other arms"
        return f"Is there much of a difference between {self.baseline} and {whom}?"

    @cached_property
    def period(self) -> str:
        """First to last day on which cells ended."""
        days = self.run.cells["finished_at"].dropna()
        if days.empty:
            return ""
        first, last = days.min().date().isoformat(), days.max().date().isoformat()
        return first if first == last else f"{first} to {last}"

    @cached_property
    def interim(self) -> Interim | None:
        if not self.run.is_interim:
            return None
        expected = self.run.manifest.get("cells")
        cells = self.run.cells
        whole = len(self.run.whole_cases)
        return Interim(len(cells), expected if isinstance(expected, int) else None, whole, cells["case_id"].nunique())

    @cached_property
    def rows(self) -> list[Row]:
        return grid.rows(self.run)

    @cached_property
    def tickers(self) -> list[str]:
        return sorted({row.ticker for row in self.rows})

    @cached_property
    def dates(self) -> list[str]:
        return sorted({row.date.isoformat() for row in self.rows})

    @cached_property
    def words_shown(self) -> list[str]:
        """Everything that stands in the grid: ratings from Buy to Sell, then the rest."""
        words = {mark.word for row in self.rows for marks in row.marks.values() for mark in marks}
        return [word for word in grid.RATINGS if word in words] + sorted(words - set(grid.RATINGS))

    @cached_property
    def token_bars(self) -> list[Bar]:
        return bars.tokens(self.spends, self._slots)

    @cached_property
    def time_bars(self) -> list[Bar]:
        return bars.times(self.spends, self._slots)

    @cached_property
    def rating_bars(self) -> list[Bar]:
        return bars.ratings({arm: self.distribution(arm) for arm in self.run.arms}, self._slots)

    @cached_property
    def horizon(self) -> int | None:
        return grid.horizon(self.run)

    @cached_property
    def repeats(self) -> int:
        return int(self.run.cells["repeat"].max()) + 1 if len(self.run.cells) else 0

    @cached_property
    def spends(self) -> dict[str, Spend]:
        return breakdown.by_arm(self.run)

    @cached_property
    def roles(self) -> dict[str, dict[str, Spend]]:
        return breakdown.by_role(self.run)

    @cached_property
    def wasted(self) -> list[Waste]:
        return breakdown.wasted(self.run)

    @cached_property
    def failures(self) -> list[tuple[str, str, int, str]]:
        return breakdown.failures(self.run)

    @cached_property
    def agreement(self) -> list[list[Agreement]]:
        return grid.agreement(self.rows, self.run.arms)

    @cached_property
    def waterfalls(self) -> list[Waterfall]:
        chosen = breakdown.typical_cells(self.run, self.run.arms)
        return [self._waterfall(arm, cell_id) for arm, cell_id in chosen.items()]

    @cached_property
    def findings(self) -> Findings | None:
        """Numbers, verdicts and takeaways; None when no cell has ended."""
        return find(self.run) if len(self.run.judged) else None

    @cached_property
    def chart(self) -> answer.Chart:
        assert self.findings is not None
        return answer.chart(self.findings, self._slots)

    def saving(self, arm: str) -> Comparison | None:
        return answer.saving(self.findings, arm) if self.findings else None

    def verdicts(self, arm: str) -> list[ShortVerdict]:
        """What the experiment declared to ask, and what came out for this arm."""
        if self.findings is None or self.interim or arm == self.baseline:
            return []
        rows = [(row, row.comparisons.get(arm)) for row in answer.declared(self.findings)]
        return [
            ShortVerdict(row.metric.name, row.metric.title, shown.pill(v, row.metric, found.scale), wording.more_cases(v))
            for row, found in rows
            if found is not None and (v := found.verdict) is not None
        ]

    @staticmethod
    def notes(row: EndpointRow) -> list[tuple[str, list[str]]]:
        """Note -> arms whose comparison carries it, unless the verdict says it already."""
        found: dict[str, list[str]] = {}
        for one in row.comparisons.values():
            if one.note and not (one.verdict and one.verdict.reason == one.note):
                found.setdefault(one.note, []).append(one.arm)
        return list(found.items())

    @property
    def cost_metric(self) -> Metric:
        assert self.findings is not None
        return self.findings.row(answer.COST).metric

    @cached_property
    def costs(self) -> dict[str, ArmCost]:
        return economics.by_arm(self.run)

    @cached_property
    def local_use(self) -> list[LocalUse]:
        return economics.local_use(self.run)

    @cached_property
    def break_even(self) -> list[BreakEven]:
        return breakeven.table(self.run)

    @cached_property
    def forecasts(self) -> list[Forecast]:
        """Forecasts of arms that hosted models bill, or that are not settled; others have nothing to compare."""
        return [one for one in forecasts.read(self.run) if one.high or one.paid]

    @cached_property
    def has_caching(self) -> bool:
        """Whether some price would have been another one without caches."""
        return any(cost.saved_by_caching for cost in self.costs.values())

    @property
    def has_economics(self) -> bool:
        return bool(self.has_caching or self.local_use or self.forecasts)

    @staticmethod
    def per_usable(total: float | None, use: LocalUse) -> float | None:
        return total / use.usable if total is not None and use.usable else None

    @cached_property
    def has_outcomes(self) -> bool:
        """Whether anything is known about what happened after the decisions."""
        return bool((self.run.outcomes["status"] == "known").any())

    @cached_property
    def outcome_rows(self) -> list[tuple[int, list[EndpointRow]]]:
        """Horizon -> endpoints about what came after it."""
        found = [row for row in (self.findings.rows if self.findings else ()) if row.metric.horizon is not None]
        horizons = sorted({int(row.metric.horizon or 0) for row in found})
        return [(horizon, [row for row in found if row.metric.horizon == horizon]) for horizon in horizons]

    def placebos(self, horizon: int) -> list[tuple[str, dict[str, Placebo]]]:
        """Placebo -> arm -> what it earned on that arm's cases."""
        found = [one for one in (self.findings.placebos if self.findings else ()) if one.horizon == horizon]
        return [(name, {one.arm: one for one in found if one.name == name}) for name in dict.fromkeys(o.name for o in found)]

    @staticmethod
    def has_stratum(row: EndpointRow, stratum: str) -> bool:
        return any(stratum in of_arm for of_arm in row.by_stratum.values())

    @cached_property
    def strategies(self) -> tuple[Strategy, ...]:
        return strategy.strategies(self.run)

    @cached_property
    def strategy_chart(self) -> Markup:
        days = [str(day)[:10] for day in self.strategies[0].value.index]
        series = [(one.name, self.slot(one.name), one.value.tolist()) for one in self.strategies]
        said = "Value of one dollar that follows each arm: " + ", ".join(f"{n} {v[-1]:.3f}" for n, _, v in series)
        return charts.lines(series, (days[0], days[-1]), said)

    @property
    def strategy_conventions(self) -> Mapping[str, str]:
        return strategy.CONVENTIONS

    @property
    def provenance(self) -> ModuleType:
        """What made the run, as functions of it."""
        return provenance

    @cached_property
    def sentinel(self) -> Certificate:
        """Whether any prompt held a value from after its date."""
        from reports import sentinel

        if len(self.run.calls) > MOST_CALLS_CHECKED:
            return sentinel.Certificate("not_checked", f"Not checked for this page: more than {MOST_CALLS_CHECKED:,} requests.")
        try:
            return sentinel.inspect(self.run)
        except (ValueError, KeyError, TypeError) as error:
            return sentinel.Certificate("not_checked", f"Not checked: a snapshot cannot be read ({type(error).__name__}).")

    def slot(self, arm: str) -> int:
        return self.run.arms.index(arm) if arm in self.run.arms else len(self.run.arms)

    def distribution(self, arm: str) -> Mapping[str, int]:
        return grid.distribution(self.rows, arm)

    def flips(self, arm: str) -> tuple[int, int]:
        return grid.flips(self.rows, arm)

    def case_link(self, case_id: str) -> str | None:
        """Where the case's page lies, beside report.html; None when it has none."""
        is_there = self.case_ids is None or case_id in self.case_ids
        return f"cases/{slug(case_id)}.html" if is_there else None

    @staticmethod
    def heat(share: float | None) -> str:
        """CSS class of a share: darker means more."""
        return "h0" if share is None else f"h{min(int(share * 6), 5)}"

    def has_data(self, name: str) -> bool:
        """Whether a table of the run has rows."""
        return bool(len(getattr(self.run, name)))

    @cached_property
    def _slots(self) -> dict[str, int]:
        return {arm: slot for slot, arm in enumerate(self.run.arms)}

    def _arm(self, slot: int, name: str) -> Arm:
        run = self.run
        mine = run.judged[run.judged["arm"] == name]
        is_rule = name in lineups.rule_arms(run.experiment)
        calls = run.calls[run.calls["arm"] == name]
        return Arm(
            name=name,
            slot=slot,
            is_baseline=name == self.baseline,
            rule=is_rule,
            models=() if is_rule else lineups.models_of(run.experiment, name),
            cells=len(mine),
            usable=int(mine["rating"].notna().sum()),
            cost=breakdown.total(mine["cost_usd"]),
            why_no_cost=breakdown.why_no_cost(calls),
            service_p50_s=_quantile(mine["service_s"], 0.5),
            service_p95_s=_quantile(mine["service_s"], 0.95),
            statuses=_statuses(mine),
        )

    def _waterfall(self, arm: str, cell_id: str) -> Waterfall:
        run = self.run
        cell = run.cells[run.cells["cell_id"] == cell_id].iloc[0]
        calls = run.calls[(run.calls["cell_id"] == cell_id) & (run.calls["cell_attempt"] == cell["attempts"])]
        return Waterfall(arm, self.slot(arm), str(cell["case_id"]), int(cell["repeat"]), calls.sort_values("started_at"))


@dataclass(frozen=True)
class Waterfall:
    """The calls of one cell."""

    arm: str
    slot: int
    case_id: str
    repeat: int
    calls: pd.DataFrame

    @cached_property
    def tracks(self) -> Sequence[Any]:
        from reports.charts import Track

        begin = (self.calls["started_at"] - _delta(self.calls["queued_s"].fillna(0) + self.calls["backoff_s"].fillna(0))).min()
        return [Track(*_track(call, begin)) for call in self.calls.to_dict("records")]


def _delta(seconds: pd.Series) -> pd.Series:
    import pandas as pd

    return pd.to_timedelta(seconds, unit="s")


def _track(call: Mapping[Any, Any], begin: Any) -> tuple[Any, ...]:
    from reports.charts import Piece

    told = {name: float(call[name]) if known(call[name]) else 0.0 for name in breakdown.TIMES}
    sent = (call["started_at"] - begin).total_seconds()
    at = sent - told["queued_s"] - told["backoff_s"]
    failed = call["outcome"] != "answered"
    pieces = []
    for kind, size in breakdown.split_time(told):
        pieces.append(Piece("failed" if failed and kind in ("first", "rest") else kind, size, at))
        at += size
    name = str(call["role"]).replace("_", " ") + (f" {call['round']}" if call["round"] else "")
    name += "" if call["kind"] == "primary" else f" ({str(call['kind']).replace('_', ' ')})"
    note = str(call["outcome"]) if failed else ""
    return name, tuple(pieces), sent + told["duration_s"], note, failed


def _quantile(column: pd.Series, share: float) -> float | None:
    value = column.quantile(share)
    return float(value) if known(value) else None


def _statuses(cells: pd.DataFrame) -> dict[str, int]:
    words = cells["decision_status"].where(cells["status"] == "ok", cells["status"]).fillna("missing")
    return {str(word): int(n) for word, n in words.value_counts().items()}
