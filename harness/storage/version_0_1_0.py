"""Ids that version 0.1.0 gave to cells and requests that are the same today, so that nothing it recorded is paid for again.

Its ids held the service tier, and fingerprints of source text (`agents/version_0_1_0.py`). Delete both modules to drop the
support of its run folders.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, asdict, fields, replace
from functools import cache
from hashlib import sha256
from typing import Any

import agents
from agents import Model, Pipeline, Request
from harness.cells import Cell, digest_of

_TIERS = (None, "default", "flex", "priority")
_TIER_OF_LANE = {"now": "default", "flex": "flex", "fast": "priority"}
_DATA = ("prices", "filings", "news", "macro", "social", "insiders", "mask", "decision_time")
_PIPELINE = (
    *("analysts", "depth", "inputs", "budget_tokens", "max_output_tokens", "history_tokens", "report_tokens"),
    *("tool_rounds", "entry", "rule"),
)
"""Settings that 0.1.0 knew; a later one must be at its default for a cell to be one of 0.1.0."""


def made(manifest: Mapping[str, Any]) -> bool:
    """Whether the ids of this run are those of 0.1.0."""
    return bool(manifest) and "identity" not in manifest


def recorded(cell: Cell) -> Iterator[Cell]:
    """The cell under each id that 0.1.0 may have given it: first with its service tiers as they are today, then with others.

    Nothing when it asks or decides differently today. Answers may be read differently: see agents.is_read_as_0_1_0."""
    fingerprint = agents.fingerprint_0_1_0(cell.pipeline)
    extra = _extra(cell)
    if fingerprint is None or extra is None or not _is_known(cell):
        return
    old = replace(cell, fingerprint=fingerprint, extra=extra, recorded_key="")
    known = set()
    for key in _keys(old):
        if key not in known:
            known.add(key)
            yield replace(old, recorded_key=key)


def renamed(cells: Iterable[Cell]) -> list[Cell]:
    """The cells with their ids of 0.1.0, service tiers as they are today; none when one of them is another cell today."""
    old = [next(recorded(cell), None) for cell in cells] if agents.is_read_as_0_1_0() else []
    return [cell for cell in old if cell] if None not in old else []


def request_hashes(request: Request) -> Iterator[str]:
    """What 0.1.0 called this request in its journal, for each service tier."""
    for tier in ("", *_TIERS):
        model = request.model
        identity = model.identity() | {"params": _own_params(model) if tier == "" else _params(model, tier)}
        yield _hash(request, identity)


def _keys(cell: Cell) -> Iterator[str]:
    yield _key(cell, {role: _plain(model) for role, model in cell.lineup.items()})
    if any(model.provider == "openai" for model in cell.lineup.values()):
        for tier in _TIERS:
            yield _key(cell, {role: _plain(model) | {"params": _params(model, tier)} for role, model in cell.lineup.items()})


def _key(cell: Cell, lineup: Mapping[str, Any]) -> str:
    pipeline = asdict(cell.pipeline)
    return digest_of(
        {
            "case": cell.case_id,
            "lineup": lineup,
            "pipeline": {name: pipeline[name] for name in _PIPELINE},
            "data": {name: cell.data[name] for name in _DATA if name in cell.data},
            "fingerprint": cell.fingerprint,
            "repeat": cell.repeat,
            "kind": cell.kind,
            "extra": dict(cell.extra),
        }
    )


def _extra(cell: Cell) -> dict[str, Any] | None:
    if "judging" not in cell.extra:
        return dict(cell.extra)
    judging = agents.judge_fingerprint_0_1_0()
    return None if judging is None else {**cell.extra, "judging": judging}


def _is_known(cell: Cell) -> bool:
    later = [cell.data[name] for name in cell.data if name not in _DATA]
    defaults = _later_defaults()
    return not any(later) and all(getattr(cell.pipeline, name) == value for name, value in defaults.items())


@cache
def _later_defaults() -> dict[str, Any]:
    later = [field for field in fields(Pipeline) if field.name not in _PIPELINE]
    return {field.name: field.default_factory() if field.default_factory is not MISSING else field.default for field in later}


def _plain(model: Model) -> dict[str, Any]:
    return {"provider": model.provider, "name": model.name, "params": _own_params(model)}


def _own_params(model: Model) -> dict[str, Any]:
    """With the tier that its lane was called; 0.1.0 had no deferred lane."""
    return _params(model, _TIER_OF_LANE.get(str(model.params.get("lane"))))


def _params(model: Model, tier: str | None) -> dict[str, Any]:
    without = {name: value for name, value in model.params.items() if name != "lane"}
    return without | ({"service_tier": tier} if tier and model.provider == "openai" else {})


def _hash(request: Request, identity: Mapping[str, Any]) -> str:
    tools = [part for part in request.parts if part.tool_calls or part.tool_call_id]
    asked = [
        identity,
        request.message_ids,
        [[asdict(call) for call in part.tool_calls] + [part.tool_call_id] for part in tools],
        request.schema,
        [asdict(tool) for tool in request.tools],
        request.max_output_tokens,
    ]
    return sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:32]
