"""What is known of the calls of attached programs before a run: from `check`, and from earlier runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from harness.storage.folder import Folder

if TYPE_CHECKING:
    import pandas as pd

CHECKS = "checks.jsonl"
"""In the results folder: a line for each program that was checked."""


@dataclass(frozen=True)
class ProgramCall:
    """One request of a typical case."""

    role: str
    model: str
    """The program's own name of the model."""
    input_tokens: float
    handed_tokens: float
    """Those of its input that earlier answers wrote; part of `input_tokens`."""
    output_tokens: float


@dataclass(frozen=True)
class ProgramCalls:
    """The requests of a typical case, and where they are known from."""

    calls: tuple[ProgramCall, ...]
    is_measured: bool
    """By an earlier run; else by `check`, whose answers are canned."""

    @property
    def basis(self) -> str:
        count = len(self.calls)
        if self.is_measured:
            return f"an attached program: {count} calls a case, as in earlier runs"
        return f"an attached program: {count} calls a case, as `check` counted; its tools may be asked more often in a run"


def keep(results: Folder, fingerprint: str, calls: Iterable[ProgramCall]) -> None:
    """Remember what `check` found about a program; replaces what an earlier check found."""
    lines = [line for line in _lines(results) if line.get("fingerprint") != fingerprint]
    lines.append({"fingerprint": fingerprint, "calls": [asdict(call) for call in calls]})
    results.write(CHECKS, "".join(json.dumps(line) + "\n" for line in lines).encode())


def checked(results: Folder) -> dict[str, ProgramCalls]:
    """Fingerprint of a pipeline -> what `check` found."""
    known: dict[str, ProgramCalls] = {}
    for line in _lines(results):
        try:
            calls = tuple(ProgramCall(**call) for call in line["calls"])
        except (KeyError, TypeError):
            continue
        known[str(line.get("fingerprint"))] = ProgramCalls(calls, is_measured=False)
    return known


def measured(calls: pd.DataFrame) -> dict[str, ProgramCalls]:
    """Fingerprint of a pipeline -> what the answered calls of earlier runs show; `asked_model`: the program's own name."""
    asked = calls[calls["asked_model"].notna() & calls["outcome"].eq("answered")]
    return {str(key): ProgramCalls(tuple(_typical(group)), is_measured=True) for key, group in asked.groupby("fingerprint")}


def _typical(calls: pd.DataFrame) -> Iterable[ProgramCall]:
    cells = calls["cell_id"].nunique()
    for (role, model), group in calls.groupby(["role", "asked_model"], sort=False):
        means = group[["input_tokens", "output_tokens"]].mean().fillna(0)
        call = ProgramCall(str(role), str(model), float(means["input_tokens"]), 0.0, float(means["output_tokens"]))
        yield from [call] * max(1, round(len(group) / cells))


def asked_model(program: Any) -> str | None:
    """The program's own name of the model, from the column `program` of a call."""
    try:
        return str(json.loads(program)["model"])
    except (TypeError, ValueError, KeyError):
        return None


def _lines(results: Folder) -> list[Mapping[str, Any]]:
    lines: list[Mapping[str, Any]] = []
    for text in (results.read_if_there(CHECKS) or b"").decode("utf-8", "replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines
