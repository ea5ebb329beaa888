"""The cell: one case under one arm and repeat, as it travels in a message."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Any

from agents import Model, Pipeline, Sharing
from domain.case import case_id

IDENTITY = 1
"""How ids of cells are made; recorded in the manifest of a run, except by version 0.1.0: see storage/version_0_1_0.py."""

THEN = "then:"
"""Before the roles of a cascade's second lineup, in `Cell.lineup`."""
THEN_INDEX = 10_000
"""Index of the first call of a role by a cascade's second lineup."""


def digest_of(value: Any) -> str:
    """sha256 of a value's canonical JSON, so that the order of keys never matters."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Cell:
    """Everything a worker needs to run one cell; servers are resolved on the worker's machine."""

    experiment: str
    arm: str
    ticker: str
    date: dt.date
    repeat: int
    lineup: Mapping[str, Model]
    """role -> model; empty for a rule."""
    pipeline: Pipeline
    data: Mapping[str, Any]
    """Resolved data settings of the experiment."""
    fingerprint: str
    """agents.fingerprint of the pipeline: roles, prompts, flow."""
    kind: str = "pipeline"
    """pipeline | replay | judge."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Data of replay and judge cells (whose prompts, whose answers), identity of an attached program; part of the identity."""
    snapshot_sha256: str = ""
    """Filled once the case is frozen."""
    recorded_key: str = ""
    """cell_key under which an earlier version recorded this very cell, where that is another one."""

    sharing: Sharing = field(default_factory=Sharing)
    """Prompts that other cells of the run send too; not part of the identity."""

    @property
    def case_id(self) -> str:
        return case_id(self.ticker, self.date)

    @cached_property
    def cell_key(self) -> str:
        """Identity known offline. The arm's name, servers, service tiers, prices and limits are not in it."""
        return self.recorded_key or digest_of(
            {
                "case": self.case_id,
                "lineup": {role: _offline(model) for role, model in self.lineup.items()},
                "pipeline": asdict(self.pipeline),
                "data": dict(self.data),
                "fingerprint": self.fingerprint,
                "repeat": self.repeat,
                "kind": self.kind,
                "extra": dict(self.extra),
            }
        )

    @cached_property
    def cell_id(self) -> str:
        """cell_key with the snapshot's hash and the models' digests."""
        digests = {role: model.digest for role, model in self.lineup.items()}
        return digest_of({"cell_key": self.cell_key, "snapshot": self.snapshot_sha256, "digests": digests})

    @property
    def is_attached(self) -> bool:
        """Whether a user's own program decides, and asks through the gateway."""
        return "attached" in self.extra

    @property
    def lineups(self) -> tuple[dict[str, Model], dict[str, Model]]:
        """role -> model of the lineup that decides first, and of a cascade's second one (else empty)."""
        first = {role: model for role, model in self.lineup.items() if not role.startswith(THEN)}
        return first, {role.removeprefix(THEN): model for role, model in self.lineup.items() if role.startswith(THEN)}

    @property
    def servers(self) -> frozenset[str]:
        return frozenset(model.server for model in self.lineup.values())

    def frozen(self, snapshot_sha256: str, digests: Mapping[str, str | None]) -> Cell:
        """The cell with its snapshot and the digests reported by the servers (by model alias)."""
        lineup = self.lineup
        # Mostly unchanged: then 10,000 cells go on sharing the lineups of their arms.
        if any(model.digest != digests.get(model.alias) for model in lineup.values()):
            lineup = {role: replace(model, digest=digests.get(model.alias)) for role, model in lineup.items()}
        return replace(self, snapshot_sha256=snapshot_sha256, lineup=lineup)

    def to_json(self) -> str:
        """The message; faster than asdict, which would copy every model of each of 100,000 cells."""
        return json.dumps(_fields(self), default=_plain, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Cell:
        raw = json.loads(text)
        pipeline = raw["pipeline"] | {"analysts": tuple(raw["pipeline"]["analysts"])}
        return cls(
            **raw
            | {
                "date": dt.date.fromisoformat(raw["date"]),
                "lineup": {role: Model(**model) for role, model in raw["lineup"].items()},
                "pipeline": Pipeline(**pipeline),
                "sharing": Sharing(**raw.get("sharing", {})),
            }
        )


def _fields(record: Any) -> dict[str, Any]:
    return {attribute.name: getattr(record, attribute.name) for attribute in fields(record)}


def _plain(value: Any) -> Any:
    """JSON form of models, pipeline and date."""
    if is_dataclass(value):
        return _fields(value)
    return dict(value) if isinstance(value, Mapping) else str(value)


def _offline(model: Model) -> dict[str, Any]:
    return {key: value for key, value in model.identity().items() if key != "digest"}
