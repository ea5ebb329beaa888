"""A check of something that a run needs: its result, and a fix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from harness.errors import InvalidInput, Problem

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    """What was looked at: python, redis, server openai, model gpt-5 ..."""
    status: Status
    found: str
    """What was found, in one sentence; never a secret."""
    fix: str = ""
    """What to do about it."""

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)


def ok(name: str, detail: str) -> Check:
    return Check(name, "ok", detail)


def warn(name: str, detail: str, fix: str = "") -> Check:
    return Check(name, "warn", detail, fix)


def fail(name: str, detail: str, fix: str) -> Check:
    return Check(name, "fail", detail, fix)


def of_problems(error: InvalidInput) -> list[Check]:
    """Problems of a file as failed checks."""
    return [of_problem(problem) for problem in error.problems]


def of_problem(problem: Problem) -> Check:
    """A problem as a failed check."""
    return fail(problem.where, problem.what, problem.fix)


def require(checks: Iterable[Check]) -> None:
    """Raises InvalidInput with every failed check."""
    failed = [Problem(check.name, check.found, check.fix) for check in checks if check.status == "fail"]
    if failed:
        raise InvalidInput(failed)
