"""Under which ids earlier runs may have recorded a cell, and what of theirs it can use."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

import agents
from harness.cells import Cell
from harness.storage import version_0_1_0


def same(cell: Cell, manifest: Mapping[str, Any]) -> Iterator[Cell]:
    """The cell under each id that the run of this manifest may have given it; that run's own spelling comes first."""
    if version_0_1_0.made(manifest) and agents.is_read_as_0_1_0():
        yield from version_0_1_0.recorded(cell)
    yield cell


def sent_the_same(cell: Cell, manifest: Mapping[str, Any]) -> Iterator[Cell]:
    """The cell as earlier parsers read it: it sent the same requests, so its answers can be read again."""
    for fingerprint, judging in zip(
        agents.earlier_fingerprints(cell.pipeline), agents.earlier_judge_fingerprints(), strict=False
    ):
        extra = {**cell.extra, "judging": judging} if "judging" in cell.extra else cell.extra
        yield replace(cell, fingerprint=fingerprint, extra=extra)
    if version_0_1_0.made(manifest) and not agents.is_read_as_0_1_0():
        yield from version_0_1_0.recorded(cell)


def settled(cell: Cell, manifest: Mapping[str, Any], ended: Collection[str]) -> Cell:
    """The cell under the id by which this run has its receipt; else under the one that the run would give it."""
    candidates = [*same(cell, manifest), *sent_the_same(cell, manifest)]
    return next((candidate for candidate in candidates if candidate.cell_id in ended), candidates[0])
