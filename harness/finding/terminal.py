"""What a `find` prints: its design, the screen, each look, and the answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from harness.finding.design import ENOUGH_DATES
from reports.finding import Finding
from reports.page import finding_wording as wording

if TYPE_CHECKING:
    from harness.storage.run_folder import RunFolder


def headline(finding: Finding, run: RunFolder) -> str:
    design = finding.design
    pairs = zip(design.gate.metrics, design.gate.margins, strict=True)
    margins = ", ".join(f"{wording.title(name)} -{margin * 100:g}" for name, margin in pairs)
    verb = "new search" if run.is_new else "continuing"
    dates = len(design.dates_until(design.looks))
    chosen = (
        "" if not design.declared else " (chosen by the time limit; the experiment has {} of {} dates)".format(*design.declared)
    )
    warning = "" if dates >= ENOUGH_DATES else f" {dates} tested dates are few: below {ENOUGH_DATES} the test errs more often."
    if finding.earlier:
        warning += f" Note: {wording.earlier_looks(finding)}."
    return (
        f"{verb} {run.experiment}/{run.run_id}: which of {len(design.candidates)} candidates is the cheapest that is not worse "
        f"than {design.baseline} (margins in points: {margins})? Screen: {len(design.screen_cases)} cases; then {design.looks} "
        f"blocks of {design.cases_of_block} cases{chosen}.{warning}"
    )


def of_screen(finding: Finding) -> Iterator[str]:
    for arm in finding.design.candidates:
        yield f"  {arm}: {wording.screening(finding, arm)}"


def of_look(finding: Finding) -> Iterator[str]:
    """The arms that were looked at."""
    look = finding.looks[-1]
    yield f"look {look.number} of {finding.design.looks}:"
    for arm in finding.compared_at(look.number):
        shown = look.arms[arm]
        yield f"  {arm}: {wording.standing(shown)}; {'; '.join(wording.bounds(finding, shown))}"


def summary(finding: Finding, recommended: str | None) -> Iterator[str]:
    """The answer, what is not settled, and what was not paid."""
    yield f"answer: {wording.answer(finding)}"
    if finding.pick is None:
        yield from (f"  {sentence}" for sentence in wording.unsettled(finding))
    cells, fixed = finding.cells_used, finding.design.fixed_cells
    if finding.looks:
        yield f"cells of the comparison: {cells} of the {fixed} of the whole matrix ({cells / fixed * 100:.0f} %)"
    if recommended:
        yield f"recommended experiment: {recommended}; a run of it finds its cells paid"
    if finding.stopped_by:
        yield f"stopped: {finding.stopped_by}; the same command continues it, without paying twice"
