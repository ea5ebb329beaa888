"""What a judge is shown: pairs of a recorded answer and a replayed one, and what must stay hidden of both."""

from __future__ import annotations

import agents
from agents import Contest, Entry, Hidden
from harness.cells import Cell
from harness.storage.rows import Row
from harness.storage.store import Store
from harness.workers import replaying


def contests(store: Store, cell: Cell) -> list[Contest]:
    """The pairs of a judgement in which both said something. Raises PipelineError when there are none."""
    if cell.extra["judging"] != agents.judge_fingerprint():
        raise agents.PipelineError("this worker's version asks judges otherwise than the runner's; install the same version")
    first, again = str(cell.extra["source_cell"]), str(cell.extra["replay_cell"])
    sources, targets = replaying.answers(store, first, "primary"), replaying.answers(store, again, "replay")
    found = [
        Contest(one.role, one.round, one.parts, _entry(sources[place]), _entry(targets[place]))
        for one in replaying.recorded(store, cell)
        if (place := (one.role, one.round)) in targets and _says_something(sources[place], targets[place])
    ]
    if not found:
        raise agents.PipelineError(f"replay {again[:12]} left no answer that could be judged")
    return found


def hidden(cell: Cell) -> Hidden:
    return Hidden(frozenset(cell.extra["names"]), frozenset({cell.ticker}))


def _entry(row: Row) -> Entry:
    return Entry(row["response"] or "", row["parsed"])


def _says_something(*rows: Row) -> bool:
    return all((row["response"] or "").strip() for row in rows)
