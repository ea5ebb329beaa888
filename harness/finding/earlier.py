"""What earlier commands have decided: what may still change in a search, and whether another one has begun on its answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.errors import InvalidInput, Problem
from harness.finding.design import make
from harness.storage import run_folder
from harness.storage.folder import open_folder
from reports.finding import FILE, Finding, SearchDesign

if TYPE_CHECKING:
    import datetime as dt

    from harness.cells import Cell
    from harness.experiment.spec import Experiment
    from harness.runs.session import RunOptions
    from harness.storage.folder import Folder
    from harness.storage.run_folder import RunFolder

PURPOSE = "find"
"""Of the run folders of searches, which no other command continues."""


def take_up(
    experiment: Experiment, wanted: SearchDesign, cells: Sequence[Cell], digests: Mapping[str, str | None], options: RunOptions
) -> tuple[RunFolder, Finding]:
    """The folder of this search and what it has decided so far; `cells`: the whole matrix.

    Raises InvalidInput if an earlier command fixed what is now asked for differently."""
    results, needed = open_folder(options.results), of_design(cells, wanted)
    run = run_folder.resolve(results, experiment.name, needed, digests, fresh=options.fresh, purpose=PURPOSE)
    if not run.is_new or options.fresh:
        return run, settle(wanted, recorded(run))
    if looked_at := with_other_blocks(results, experiment, cells, digests, options.clock()):
        return looked_at, settle(wanted, recorded(looked_at))
    return run, Finding(wanted, earlier=searches_of_same_answers(results, experiment.name, needed, wanted))


def recorded(run: RunFolder) -> Finding | None:
    """What a search has written down; None before its design was fixed."""
    text = run.store.folder.read_if_there(FILE)
    return None if text is None else Finding.of(text.decode())


def settle(wanted: SearchDesign, finding: Finding | None) -> Finding:
    """The finding to go on with. Raises InvalidInput if the design was changed after a look.

    Before the first look nothing was compared, so margins and blocks may move; blocks that a time limit chose stay."""
    if finding is None:
        return Finding(wanted)
    differences, design = _differences(finding.design, wanted), finding.design
    if not finding.looks:
        blocks_moved = differences.pop(_BLOCKS, None)
        differences.pop(_MARGINS, None)
        design = replace(wanted if blocks_moved else design, gate=wanted.gate)
    if differences:
        raise InvalidInput([_changed(finding, differences)])
    return replace(finding, design=design, stopped_by="")


def with_other_blocks(
    results: Folder, experiment: Experiment, cells: Sequence[Cell], digests: Mapping[str, str | None], now: dt.datetime
) -> RunFolder | None:
    """The newest search that has looked at the same question in other blocks; `cells`: the whole matrix.

    Another number of blocks may leave other dates over, so the cells alone would make it a new search."""
    for run, finding in _searches_with_looks(results, experiment.name):
        before = finding.design
        looks = before.declared[0] if before.declared else before.looks
        blocks = experiment.find.model_copy(update={"blocks": looks})
        try:
            design = make(experiment.model_copy(update={"find": blocks}), None, now)
        except InvalidInput:  # fewer dates than that search had
            continue
        if run_folder.asked_of(of_design(cells, design), digests, PURPOSE) == run.store.manifest().get("asked"):
            return run
    return None


def searches_of_same_answers(results: Folder, experiment: str, cells: Sequence[Cell], design: SearchDesign) -> tuple[str, ...]:
    """Ids of the searches that have looked at answers of candidates which this one will compare as well."""
    dates = design.dates_until(design.looks)
    keys = {cell.cell_key for cell in cells if cell.arm in design.candidates and cell.date.isoformat() in dates}
    return tuple(
        run.run_id
        for run, _ in _searches_with_looks(results, experiment)
        if any(row["cell_key"] in keys for row in run.store.columns_of("cells", ["cell_key"]))
    )


def of_design(cells: Sequence[Cell], design: SearchDesign) -> list[Cell]:
    """The cells that a search may ask for: the screen's by the baseline, the blocks' by baseline and candidates."""
    dates, arms = design.dates_until(design.looks), {design.baseline, *design.candidates}
    return [
        cell
        for cell in cells
        if (cell.arm in arms and cell.date.isoformat() in dates)
        or (cell.arm == design.baseline and cell.case_id in design.screen_cases)
    ]


def _searches_with_looks(results: Folder, experiment: str) -> Iterator[tuple[RunFolder, Finding]]:
    """The newest first."""
    for run in run_folder.runs(results, experiment):
        finding = recorded(run)
        if finding is not None and finding.looks:
            yield run, finding


_MARGINS, _BLOCKS = "the margins", "the blocks"


def _differences(before: SearchDesign, after: SearchDesign) -> dict[str, tuple[str, str]]:
    described, wanted = _described(before), _described(after)
    return {name: (text, wanted[name]) for name, text in described.items() if text != wanted[name]}


def _described(design: SearchDesign) -> dict[str, str]:
    margins = zip(design.gate.metrics, design.gate.margins, strict=True)
    return {
        _MARGINS: ",".join(f"{name}={margin * 100:g}pp" for name, margin in margins),
        _BLOCKS: "{} of {} dates".format(*(design.declared or (design.looks, len(design.blocks[0])))),
        "the candidates": ", ".join(design.candidates),
        "the baseline": design.baseline,
    }


def _changed(finding: Finding, differences: Mapping[str, tuple[str, str]]) -> Problem:
    """What was changed, and how to undo it."""
    changed = "; ".join(f"{name} were {before}, now {after}" for name, (before, after) in differences.items())
    looks = len(finding.looks)
    seen = f"after {looks} look{'s' * (looks > 1)}" if looks else "after its design was fixed"
    back = {_MARGINS: f"--margin {differences.get(_MARGINS, ('',))[0]}", _BLOCKS: f"find: {{blocks: {_blocks(finding)}}}"}
    undo = [words for name, words in back.items() if name in differences]
    way = f"go on with what was fixed ({'; '.join(undo)})" if undo else "go on with what was fixed"
    fix = f"{way}, or start again with --fresh, which asks and pays for everything again"
    return Problem("find", f"this search cannot change {seen}: {changed}", fix)


def _blocks(finding: Finding) -> int:
    return finding.design.declared[0] if finding.design.declared else finding.design.looks
