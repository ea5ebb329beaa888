"""One check of what a run needs: what was found, whether it will do, and the mend."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from harness.errors import Problem, Unmended

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    """What was looked at: python, redis, server openai, model gpt-5 ..."""
    status: Status
    found: str
    """What was found, in one sentence; never a secret."""
    mend: str = ""
    """What to do about it."""

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)


def ok(name: str, found: str) -> Check:
    return Check(name, "ok", found)


def warn(name: str, found: str, mend: str = "") -> Check:
    return Check(name, "warn", found, mend)


def fail(name: str, found: str, mend: str) -> Check:
    return Check(name, "fail", found, mend)


def of_problems(error: Unmended) -> list[Check]:
    """Problems of a file as failed checks."""
    return [fail(problem.where, problem.what, problem.mend) for problem in error.problems]


def require(checks: Iterable[Check]) -> None:
    """Raises Unmended with every failed check."""
    failed = [Problem(check.name, check.found, check.mend) for check in checks if check.status == "fail"]
    if failed:
        raise Unmended(failed)
