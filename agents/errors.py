"""The errors of the pipeline: one class for each way a caller reacts.

AgentsError
├── ModelCallError       one request to a model failed; `cause` says how, the gate decides whether to ask again
├── PromptTooLong        the prompt cannot fit the model's context; nothing was sent
├── Unsupported          the model or server cannot do what the lineup asks (tools, thinking, schema); the message says the mend
├── PipelineError        the pipeline itself is wrongly described (unknown role, bad prompt file, bad entry)
├── SnapshotError        the frozen inputs cannot be made or read
│   ├── LookAhead        a datum was not knowable at the decision time
│   ├── BadArchive       the source's files break the documented format
│   ├── NoSuchCase       the source has no such ticker, or no session on that date
│   └── SourceFailed     looking failed (network, rate limit, empty answer without proof): try again later
└── Halt                 the gate refuses to go on (budget, lost lease, stop); raised by the harness, never caught here
"""

from __future__ import annotations


class AgentsError(Exception):
    """Base of everything this package raises on purpose."""


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
    """The model or its server cannot do what was asked; the message says the mend."""


class PipelineError(AgentsError):
    """The pipeline is wrongly described."""


class SnapshotError(AgentsError):
    """The frozen inputs of a case cannot be made or read."""


class LookAhead(SnapshotError):
    """A datum became available after the decision time."""


class BadArchive(SnapshotError):
    """The files of a source break the documented format."""


class NoSuchCase(SnapshotError):
    """The source does not know this ticker, or the date is no session."""


class SourceFailed(SnapshotError):
    """Looking failed: nothing is known about whether there is data."""


class Halt(AgentsError):
    """The gate refuses to go on; the cell must end as the harness says."""
