"""The page of one run: heading, arms, findings, and the data of each section."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from markupsafe import Markup

from reports.answer import gates
from reports.answer.findings import find
from reports.format import slug, visible
from reports.metrics.facts import Facts
from reports.page import decisions_view, find_view, own_sections
from reports.page.answer_view import AnswerView
from reports.page.bill_view import BillView
from reports.page.cascade_view import CascadeView
from reports.page.decisions_view import ArmCard, DecisionsView
from reports.page.evidence_view import TrustView
from reports.page.find_view import FindView
from reports.page.money_view import EconomicsView, MoneyView
from reports.page.own_sections import KeptSection
from reports.page.ratings_view import RatingsView
from reports.page.returns_view import ReturnsView
from reports.page.roles_view import RolesView
from reports.trust import programs
from reports.trust.programs import RunPrograms

if TYPE_CHECKING:
    from reports.answer.findings import Findings
    from reports.answer.gates import Gate
    from reports.load import Run


@dataclass(frozen=True)
class Interim:
    """Progress of an unfinished run."""

    ended: int
    expected: int | None
    whole_cases: int
    cases: int


class Page:
    """One run, as the section templates read it; everything is computed on first use."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.case_ids: frozenset[str] | None = None
        """Cases with a case page; None: all."""

    @cached_property
    def arms(self) -> tuple[ArmCard, ...]:
        return decisions_view.arm_cards(self.run)

    @cached_property
    def baseline(self) -> str | None:
        return self.run.baseline

    @cached_property
    def name(self) -> str:
        return self.run.name

    @cached_property
    def question(self) -> Markup:
        """The question that the first screen answers; names do not wrap."""
        compared_arms = [_unbroken(arm.name) for arm in self.arms if not arm.rule and not arm.is_baseline]
        if not self.baseline or not compared_arms:
            return Markup("What do the arms decide, and what does it cost?")
        first, *rest = compared_arms if len(compared_arms) < 3 else [Markup("the other arms")]
        named = Markup("{} {}").format(_unbroken(self.baseline, ","), first) if rest else _unbroken(self.baseline)
        return Markup("Is there much of a difference between {} and {}?").format(named, *(rest or [first]))

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
        cells = self.run.cells
        whole_cases = len(self.run.whole_cases)
        return Interim(len(cells), self.run.record.expected_cells, whole_cases, cells["case_id"].nunique())

    @cached_property
    def findings(self) -> Findings | None:
        """Numbers and verdicts; None if no cell has ended."""
        if not len(self.run.measured_cells):
            return None
        return find(self.run, self.facts)

    @cached_property
    def cascades(self) -> CascadeView | None:
        """Data of the section on cascades; None for an unfinished run."""
        return CascadeView(self.facts) if self.findings and not self.interim else None

    @cached_property
    def search(self) -> FindView | None:
        """Data of the section on a search; None if `find` did not make this run."""
        return find_view.of_run(self.run, self.slots)

    @cached_property
    def gates(self) -> list[Gate]:
        """The checked gates of a finished run."""
        if self.interim or not self.findings:
            return []
        return gates.check(self.run, self.findings)

    @cached_property
    def facts(self) -> Facts:
        return Facts(self.run)

    @cached_property
    def ratings(self) -> RatingsView:
        return RatingsView(self.facts, self.decisions.rows, self.slots)

    @cached_property
    def answer(self) -> AnswerView | None:
        """Data of the first screen and the differences; None if no cell has ended."""
        return AnswerView(self.run, self.findings, self.slots) if self.findings else None

    @cached_property
    def bill(self) -> BillView | None:
        """The bill of a month; None if no cell has ended."""
        return BillView(self.run, self.findings) if self.findings else None

    @cached_property
    def money(self) -> MoneyView:
        return MoneyView(self.run, self.slots)

    @cached_property
    def economics(self) -> EconomicsView:
        return EconomicsView(self.run)

    @cached_property
    def decisions(self) -> DecisionsView:
        return DecisionsView(self.run, self.slots)

    @cached_property
    def outcomes(self) -> ReturnsView:
        return ReturnsView(self.run, self.findings, self.slots)

    @cached_property
    def roles(self) -> RolesView:
        return RolesView(self.run, self.slots)

    @cached_property
    def trust(self) -> TrustView:
        return TrustView(self.run)

    @cached_property
    def programs(self) -> RunPrograms | None:
        """What is known of an attached program's cases; None if the run has none."""
        return programs.of_run(self.run)

    @cached_property
    def own_sections(self) -> tuple[KeptSection, ...]:
        """Sections that a user's files wrote when the run ended."""
        return own_sections.read(self.run)

    @cached_property
    def slots(self) -> dict[str, int]:
        """Arm -> its position, which chooses colour and shape."""
        return {arm: slot for slot, arm in enumerate(self.run.arms)}

    def slot(self, arm: str) -> int:
        return self.slots.get(arm, len(self.slots))

    def case_link(self, case_id: str) -> str | None:
        """Relative link to the page of a case; None if it has none."""
        is_there = self.case_ids is None or case_id in self.case_ids
        return f"cases/{slug(case_id)}.html" if is_there else None


def _unbroken(name: str, mark: str = "") -> Markup:
    """A name that does not wrap, with the punctuation mark that follows it."""
    return Markup('<span class="nb">{}{}</span>').format(visible(name), mark)
