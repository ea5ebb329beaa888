"""The last lines of `run`: what failed, what was left and why, and the command that goes on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import agents
from domain.providers import PROVIDERS
from harness.storage.store import RETRIED
from harness.terminal import duration, number_of

if TYPE_CHECKING:
    from harness.errors import Unserved
    from harness.experiment.servers import ServerSpec
    from harness.storage.rows import Row
    from harness.storage.run_folder import RunFolder

_CASES_NAMED = 3
_TEXT = 300


def failure_lines(run: RunFolder, receipts: Iterable[Row], command: str) -> Iterator[str]:
    """What failed, by arm, cause and role, with its cases; then how to run it again."""
    failed = [receipt for receipt in receipts if receipt["status"] in RETRIED]
    if not failed:
        return
    yield f"{number_of(len(failed), 'cell')} failed:"
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for receipt in failed:
        groups.setdefault((receipt["arm"], receipt["error_type"] or receipt["status"], _role(receipt)), []).append(receipt)
    for (arm, cause, role), rows in sorted(groups.items(), key=lambda group: -len(group[1])):
        where = f" in {role}" if role else ""
        yield f"    {arm}: {cause}{where}, {number_of(len(rows), 'cell')} ({_cases(rows)}): {(rows[0]['error'] or '')[:_TEXT]}"
    if run.store.manifest().get("purpose") == "find":
        yield "the search has counted them as unusable; with their cause removed, a new search pays for everything again:"
        yield f"    {command} --fresh"
        return
    yield "to run them again, without paying for an answered call again:"
    yield f"    {retry_command(run)} && {command}"


def skipped_lines(run: RunFolder) -> Iterator[str]:
    """The cases that were left out because they cannot be frozen."""
    if skipped := run.store.manifest().get("skipped_cases"):
        cases = "1 case was" if len(skipped) == 1 else f"{len(skipped)} cases were"
        yield f"{cases} left out (cases.skip_unavailable): {', '.join(skipped)}"


def unserved_lines(unserved: Mapping[Unserved, int], servers: Mapping[str, ServerSpec]) -> Iterator[str]:
    """Why cells were left for a later command, each with its fix."""
    for reason, cells in unserved.items():
        spec = servers.get(reason.server)
        yield f"{_reason(reason, spec)}; {number_of(cells, 'cell')} left for later. fix: {_fix(reason, spec)}"


def retry_command(run: RunFolder) -> str:
    local = run.store.folder.local
    place = run.store.folder.url if local is None else min(str(local), os.path.relpath(local), key=len)
    return f"python -m harness retry {place}"


def _reason(reason: Unserved, spec: ServerSpec | None) -> str:
    name = f"server {reason.server}" + (f" ({spec.address})" if spec else "")
    if reason.kind == "model":
        return f"{name}, model {reason.model}: {reason.text.partition('; ')[0]}"
    if reason.kind == "refused":
        return f"{name} refused the last requests ({reason.text})"
    patience = f" for {duration(spec.unreachable_after_s)}" if spec else ""
    return f"{name} has answered no request{patience} ({reason.text})"


def _fix(reason: Unserved, spec: ServerSpec | None) -> str:
    if reason.kind == "refused":
        return f"check the key{f' {spec.api_key_env}' if spec and spec.api_key_env else ''} and the account"
    if reason.kind == "silent":
        return "start it, or correct its address in servers.yaml"
    _, _, how = reason.text.partition("; ")
    if how:
        return how
    pull = PROVIDERS[spec.provider].pull_command if spec else None
    return f"`{pull.format(model=reason.model)}`" if pull else "name a model that the server has"


def _role(receipt: Row) -> str:
    error = receipt["error"] or ""
    return next((name for name in agents.role_names() if name in error), "")


def _cases(rows: Sequence[Row]) -> str:
    named = list(dict.fromkeys(str(row["case_id"]) for row in rows))
    more = len(named) - _CASES_NAMED
    return ", ".join(named[:_CASES_NAMED]) + (f" and {more} more" if more > 0 else "")
