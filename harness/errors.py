"""The errors of the harness: one class for each way the command line reacts.

HarnessError
├── InvalidInput      the experiment, the arguments or the environment must be fixed: exit code 2, all problems at once
├── Stopped           stopped early and resumable (budget, interrupt): exit code 3
├── ProgramFailed     an attached program's case cannot count: its cell ends as failed
├── BrokenFile        a result file is damaged: exit code 2; its cell fails
└── StoreError        the results folder cannot be read or written; the message names the path and the fix
agents.errors.Halt    raised by admission, through the pipeline
├── OverBudget        a budget is used up: the call is not sent, and its cell ends
├── LeaseLost         another worker holds this cell: stop before the next call
├── agents.Suspended  an answer comes later: the cell is queued again, its journal stays
│   ├── Deferred      a long back-off, or another worker holds the cell
│   └── AnsweredLater the cell waits for deferred calls: the runner queues it again when they are answered
├── Unserved          a server does not answer, or lacks the model: the cell is left for a later command
├── BrokerGone        Redis is away for too long: leave the cell unfinished
└── Draining          the run or worker is stopping: leave the cell unfinished, its journal stays
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agents import Halt, Suspended


class HarnessError(Exception):
    """Base class of the errors of the harness."""

    exit_code = 1
    code = "internal_error"
    """Its name in the output of `--json`."""


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
    code = "invalid_input"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


class Stopped(HarnessError):
    """Stopped early; the same command continues."""

    exit_code = 3
    code = "stopped"


class ProgramFailed(HarnessError):
    """An attached program ended, and its result cannot count: it asked nothing, lost an answer, or failed itself."""

    code = "program_failed"


class StoreError(HarnessError):
    """Results cannot be read or written."""

    exit_code = 2
    code = "store_error"


class BrokenFile(HarnessError):
    """A result file is damaged."""

    exit_code = 2
    code = "broken_file"


class OverBudget(Halt):
    """A budget is used up; the message names it."""

    def __init__(self, message: str, *, scope: str) -> None:
        super().__init__(message)
        self.scope = scope
        """call | cell | model | run | month."""


class Unserved(Halt):
    """A server does not answer, refuses the account, or does not have the model (any more)."""

    def __init__(self, server: str, kind: str, text: str, model: str = "") -> None:
        super().__init__(f"server {server}: {text}")
        self.server, self.kind, self.text, self.model = server, kind, text, model
        """kind: silent | refused | model; `model`: its name on that server, for that kind."""

    def as_plain(self) -> dict[str, str]:
        return {"server": self.server, "kind": self.kind, "text": self.text, "model": self.model}


class LeaseLost(Halt):
    """Another worker holds this cell."""


class Deferred(Suspended):
    """Run again in `delay_s` seconds, after a long back-off or when the cell's holder may have died."""


class AnsweredLater(Suspended):
    """Run again when the deferred calls of the cell are answered."""


class BrokerGone(Halt):
    """Redis has not answered for too long."""


class Draining(Halt):
    """The run or the worker is stopping."""
