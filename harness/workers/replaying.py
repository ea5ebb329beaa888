"""Replay cells: the recorded prompts of one arm's finished cells, to be asked of another model."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import agents
from agents import Part, Recorded
from harness.cells import Cell
from harness.errors import Problem, Unmended
from harness.experiment import matrix
from harness.experiment.problems import closest
from harness.experiment.spec import Experiment
from harness.storage.rows import Row
from harness.storage.store import Store

KIND = "replay"


@dataclass(frozen=True)
class Wish:
    """What is to be replayed."""

    source: str
    """Arm whose recorded messages are sent again."""
    targets: tuple[str, ...]
    """Models of the experiment that are asked the same."""
    roles: tuple[str, ...] = ()
    """Empty: all."""
    limit: int | None = None
    """Most cases per target."""


def arm_name(source: str, target: str) -> str:
    return f"{source} > {target}"


def cells(experiment: Experiment, store: Store, wish: Wish, digests: Mapping[str, str | None]) -> list[Cell]:
    """One cell per finished cell of the source arm and target. Raises Unmended for names that nobody knows.

    All repeats of the source are replayed: its own models among the targets give the noise floor."""
    _check(experiment, wish)
    sources = [row for row in store.rows_of("cells") if row["arm"] == wish.source and row["status"] == "ok" and _is_first(row)]
    if not sources:
        what = f"arm {wish.source!r} has no finished cell in this run"
        raise Unmended([Problem("--from", what, "run the experiment first")])
    chosen = _limited(sources, wish.limit)
    return [_cell(experiment, wish, target, row, digests) for target in wish.targets for row in chosen]


def _check(experiment: Experiment, wish: Wish) -> None:
    arms = matrix.arms(experiment)
    found = []
    if wish.source not in arms:
        found.append(Problem("--from", f"unknown arm {wish.source!r}; known: {', '.join(arms)}", closest(wish.source, arms)))
    elif arms[wish.source].rule:
        found.append(Problem("--from", f"arm {wish.source!r} is a rule: it asked no model anything", "name another arm"))
    for target in wish.targets:
        if target not in experiment.models:
            known = ", ".join(experiment.models)
            mend = closest(target, experiment.models) or "add it to models in the experiment file and run that first"
            found.append(Problem("--to", f"unknown model {target!r}; known: {known}", mend))
    for role in wish.roles:
        if role not in agents.role_names():
            known = ", ".join(agents.role_names())
            found.append(Problem("--roles", f"unknown role {role!r}; known: {known}", closest(role, agents.role_names())))
    if found:
        raise Unmended(found)


def _is_first(row: Row) -> bool:
    return (row.get("kind") or "pipeline") != KIND


def _limited(rows: Sequence[Row], limit: int | None) -> list[Row]:
    ordered = sorted(rows, key=lambda row: (row["date"], row["ticker"], row["repeat"]))
    cases = list(dict.fromkeys(row["case_id"] for row in ordered))[:limit]
    return [row for row in ordered if row["case_id"] in cases]


def _cell(experiment: Experiment, wish: Wish, target: str, row: Row, digests: Mapping[str, str | None]) -> Cell:
    arm = matrix.arms(experiment)[wish.source]
    repeat, model = int(row["repeat"]), matrix.model(experiment, target, int(row["repeat"]))
    asked = [role for role in matrix.lineup(experiment, arm, repeat) if not wish.roles or role in wish.roles]
    if not asked:
        raise Unmended([Problem("--roles", f"none of {', '.join(wish.roles)} plays in arm {wish.source!r}", "name others")])
    pipeline = matrix.pipeline(experiment, arm)
    return Cell(
        experiment=experiment.name,
        arm=arm_name(wish.source, target),
        ticker=row["ticker"],
        date=row["date"] if isinstance(row["date"], dt.date) else dt.date.fromisoformat(str(row["date"])),
        repeat=repeat,
        lineup=dict.fromkeys(asked, model),
        pipeline=pipeline,
        data=matrix.data_of(experiment),
        fingerprint=agents.fingerprint(pipeline),
        kind=KIND,
        extra={"source_cell": row["cell_id"], "roles": sorted(asked)},
    ).frozen(row["snapshot_sha256"] or "", digests)


def recorded(store: Store, cell: Cell) -> list[Recorded]:
    """What the source cell sent, in its order: the first request of each turn. Raises PipelineError when it left nothing.

    A turn that used tools is left out: its prompt holds calls that only the model that made them can have made."""
    source = str(cell.extra["source_cell"])
    texts = {row["message_id"]: row for row in store.parts_of(source, "messages")}
    turns = [row for row in store.parts_of(source, "calls") if row["kind"] == "primary" and row["role"] in cell.lineup]
    answered = [row for row in sorted(turns, key=_order) if row["outcome"] == "answered"]
    found = {
        (row["role"], row["round"]): Recorded(row["role"], row["round"], parts)
        for row in answered
        if (parts := _parts(row["message_ids"], texts))
    }
    if not found:
        raise agents.PipelineError(f"cell {source[:12]} left no recorded prompts of {', '.join(sorted(cell.lineup))}")
    return list(found.values())


def _order(row: Row) -> tuple[dt.datetime, int]:
    return row["started_at"], row["index"]


def _parts(ids: Iterable[str], texts: Mapping[str, Row]) -> tuple[Part, ...]:
    rows = [texts.get(name) for name in ids]
    if any(row is None or row["role"] in ("tool", "assistant") for row in rows):
        return ()
    return tuple(Part(row["role"], row["text"]) for row in rows if row is not None)


def per_arm(found: Iterable[Cell]) -> Counter[str]:
    return Counter(cell.arm for cell in found)
