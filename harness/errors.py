"""The errors of the harness: one class for each way the command line reacts.

HarnessError
├── InvalidInput      the experiment, the arguments or the environment must be fixed: exit code 2, all problems at once
├── Stopped           stopped early and resumable (budget, interrupt): exit code 3
└── StoreError        the results folder cannot be read or written; the message names the path and the fix
agents.errors.Halt    raised through the pipeline by our gate
├── OverBudget        a cap binds: the call, and with it the cell, is not started
├── LeaseLost         another holder has this cell: stop before the next call
├── Deferred          a long back-off: give the worker slot back, the journal keeps what was answered
├── BrokerGone        Redis is away for too long: leave the cell unfinished
└── Draining          the run was stopped: leave the cell unfinished, its journal stays
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agents import Halt


class HarnessError(Exception):
    """Base of everything the harness raises on purpose."""

    exit_code = 1


@dataclass(frozen=True)
class Problem:
    """One thing that must be fixed before this can run."""

    where: str
    """File and line, key, or part of the environment."""
    what: str
    """What is wrong and what is allowed."""
    fix: str = ""
    """What to do."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f"\n    fix: {self.fix}" if self.fix else "")


class InvalidInput(HarnessError):
    """The experiment, the arguments or the environment must be fixed; holds every problem at once."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


class Stopped(HarnessError):
    """Stopped early; the same command continues."""

    exit_code = 3


class StoreError(HarnessError):
    """Results cannot be read or written."""

    exit_code = 2


class OverBudget(Halt):
    """A cap binds; the message names it."""

    def __init__(self, message: str, *, scope: str) -> None:
        super().__init__(message)
        self.scope = scope
        """call | cell | model | run."""


class LeaseLost(Halt):
    """Another holder has this cell."""


class Deferred(Halt):
    """Come back in `delay_s` seconds; what was answered is in the journal."""

    def __init__(self, message: str, *, delay_s: float) -> None:
        super().__init__(message)
        self.delay_s = delay_s


class BrokerGone(Halt):
    """Redis is away for longer than anybody waits; the message says how long."""


class Draining(Halt):
    """The run is being stopped."""
