"""The errors of the pipeline: one class for each way a caller reacts.

AgentsError
├── ModelCallError       one request to a model failed; `cause` says how, admission decides about another attempt
├── PromptTooLong        the prompt cannot fit the model's context; nothing was sent
├── Unsupported          the model or server cannot do what the lineup asks (tools, thinking, schema); the message names the fix
├── PipelineError        the pipeline is described incorrectly (unknown role, bad prompt file, bad entry)
├── SnapshotError        the frozen inputs cannot be made or read
│   ├── LookAhead        a row was not public at the decision time
│   ├── BadArchive       the source's files break the documented format
│   ├── BadSource        a source of the user raised an error or returned something else; the message names file and line
│   ├── NoSuchCase       the source has no such ticker, or no session on that date
│   └── SourceFailed     the look-up failed (network, rate limit, empty answer without a reason): try again later
└── Halt                 the cell must not continue (budget, lost lease, stop); raised by the harness, never caught here
    └── Suspended        an answer comes later: the cell is run again from its start; never caught here
"""

from __future__ import annotations


class AgentsError(Exception):
    """Base class of the errors of this package."""


class ModelCallError(AgentsError):
    """One request to a model failed."""

    def __init__(
        self,
        message: str,
        *,
        cause: str,
        http_status: int | None = None,
        retry_after_s: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.cause = cause
        """One of agents.CAUSES."""
        self.http_status = http_status
        self.retry_after_s = retry_after_s
        self.request_id = request_id


class PromptTooLong(AgentsError):
    """The prompt and its answer cannot fit the model's context window; nothing was sent."""


class Unsupported(AgentsError):
    """The model or its server cannot do what was requested; the message names the fix."""


class PipelineError(AgentsError):
    """The pipeline is described incorrectly."""


class SnapshotError(AgentsError):
    """The frozen inputs of a case cannot be made or read."""


class LookAhead(SnapshotError):
    """A row became public after the decision time."""


class BadArchive(SnapshotError):
    """The files of a source break the documented format."""


class BadSource(SnapshotError):
    """A user's data source raised an error, or returned something else than data; the message names file and line."""


class NoSuchCase(SnapshotError):
    """The source does not know this ticker, or the date is not a session."""


class SourceFailed(SnapshotError):
    """The look-up failed: whether there is data is unknown."""


class Halt(AgentsError):
    """The cell must not continue and ends as the harness decides."""


class Suspended(Halt):
    """The answer of a call comes later: the cell gives its place back and is run again from its start.

    Answered calls are recalled then, so nothing is paid for twice.
    """

    def __init__(self, message: str, *, delay_s: float = 30.0) -> None:
        super().__init__(message)
        self.delay_s = delay_s
        """Seconds until the cell is run again."""
