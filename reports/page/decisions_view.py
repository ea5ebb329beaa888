"""Data of the arms and of the grid of every decision."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from markupsafe import Markup

from domain.ratings import RATINGS
from reports import grid
from reports.format import slug
from reports.grid import CaseRow
from reports.money import breakdown
from reports.money.breakdown import Total

if TYPE_CHECKING:
    import pandas as pd

    from reports.load import Run


@dataclass(frozen=True)
class ArmCard:
    """The card of one arm."""

    name: str
    slot: int
    """Position in the experiment, which determines its colour and shape."""
    is_baseline: bool
    rule: bool
    models: tuple[str, ...]
    place: str
    """Where its models answered: hosted, local, or hosted and local; empty without a call."""
    cells: int
    usable: int
    """Cells with a usable decision."""
    cost: Total
    """Sum of the cells' costs over all attempts."""
    why_no_cost: str
    statuses: Mapping[str, int]
    """decision status (or the cell's, if it is not ok) -> cells."""

    @property
    def no_cost_because(self) -> str:
        """Why there is no cost per usable decision."""
        return self.why_no_cost or ("no decision was usable" if not self.usable else "some decisions have no known cost")


def arm_cards(run: Run) -> tuple[ArmCard, ...]:
    """Every arm in the order of the experiment."""
    unpriced = run.calls.loc[run.calls["cost_usd"].isna(), ["arm", "cost_usd", "server", "provider", "outcome"]]
    return tuple(_arm_card(run, slot, name, unpriced[unpriced["arm"] == name]) for slot, name in enumerate(run.arms))


def _arm_card(run: Run, slot: int, name: str, unpriced: pd.DataFrame) -> ArmCard:
    mine = run.measured_cells[run.measured_cells["arm"] == name]
    return ArmCard(
        name=name,
        slot=slot,
        is_baseline=name == run.baseline,
        rule=name in run.settings.rule_arms,
        models=tuple(model.name for model in run.settings.models_of(name)),
        place=_place(run, name),
        cells=len(mine),
        usable=int(mine["rating"].notna().sum()),
        cost=breakdown.total(mine["cost_usd"]),
        why_no_cost=breakdown.why_no_cost(run, unpriced),
        statuses=_statuses(mine),
    )


def _place(run: Run, arm: str) -> str:
    """Whether the arm's models answered hosted, local or both."""
    servers = run.calls.loc[run.calls["arm"] == arm, ["server", "provider"]].drop_duplicates()
    is_local = breakdown.self_hosted(run, servers)
    return " and ".join(word for word, there in (("hosted", ~is_local), ("local", is_local)) if there.any())


def _statuses(cells: pd.DataFrame) -> dict[str, int]:
    words = cells["decision_status"].where(cells["status"] == "ok", cells["status"]).fillna("missing")
    return {str(word): int(n) for word, n in words.value_counts().items()}


class DecisionsView:
    """The grid of cases and arms."""

    def __init__(self, run: Run, slots: Mapping[str, int]) -> None:
        self.run, self._slots = run, slots

    @cached_property
    def rows(self) -> list[CaseRow]:
        return grid.rows(self.run)

    @cached_property
    def tickers(self) -> list[str]:
        return sorted({row.ticker for row in self.rows})

    @cached_property
    def dates(self) -> list[str]:
        return sorted({row.date.isoformat() for row in self.rows})

    @cached_property
    def words(self) -> list[str]:
        """All answers of the grid: ratings, then the reasons why there is none."""
        words = {word for row in self.rows for arm in row.answers for word in row.words(arm)}
        return [word for word in RATINGS if word in words] + sorted(words - set(RATINGS))

    @cached_property
    def horizon(self) -> int | None:
        return grid.horizon(self.run)

    @cached_property
    def repeats(self) -> int:
        return int(self.run.cells["repeat"].max()) + 1 if len(self.run.cells) else 0

    @cached_property
    def repeats_differ(self) -> bool:
        """Whether some arms with a model decided each case more often than others."""
        cells = self.run.cells[self.run.cells["decision_status"] != "rule"]
        return bool(cells.groupby("arm")["repeat"].max().nunique() > 1)

    @cached_property
    def letters(self) -> list[tuple[CaseRow, list[str]]]:
        """(case, letters of each arm), for a page without scripts."""
        coded, _ = grid.compact(self.rows, self.run.arms)
        return [
            (row, ["".join(c if c.isalpha() else "?" for c in of_arm) for of_arm in line]) for row, line in self._zipped(coded)
        ]

    def data(self, case_ids: frozenset[str] | None) -> Markup:
        """The grid as JSON for the script of the page: per case ticker, date, answers, excess return, spread, page.

        The page of a case is 0 (none), 1 (named after ticker and date) or its file name.
        """
        coded, reasons = grid.compact(self.rows, self.run.arms)
        rules = self.run.settings.rule_arms
        rows = [
            [
                row.ticker,
                row.date.isoformat(),
                line,
                None if row.outcome is None else round(row.outcome, 5),
                round(row.spread(rules), 2),
                _page_of(row, case_ids),
            ]
            for row, line in self._zipped(coded)
        ]
        arms = [{"name": arm, "slot": slot, "rule": arm in rules} for arm, slot in self._slots.items()]
        document = {"arms": arms, "base": self._slots.get(self.run.baseline or ""), "reasons": reasons, "rows": rows}
        # Inside a script element only "<" could end it.
        return Markup(json.dumps(document, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c"))

    def _zipped(self, coded: list[list[str]]) -> Iterator[tuple[CaseRow, list[str]]]:
        return zip(self.rows, coded, strict=True)


def _page_of(row: CaseRow, case_ids: frozenset[str] | None) -> int | str:
    if case_ids is not None and row.case_id not in case_ids:
        return 0
    file = slug(row.case_id)
    return 1 if file == f"{row.ticker}@{row.date.isoformat()}" else file
