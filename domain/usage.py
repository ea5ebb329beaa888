"""Token usage of one request."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Usage:
    """Tokens as the server reported them; None where it did not."""

    input_tokens: int | None = None
    """Includes cache reads and writes."""
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    output_tokens: int | None = None
    """Includes reasoning."""
    reasoning_tokens: int | None = None


USAGE_FIELDS: tuple[str, ...] = tuple(field.name for field in fields(Usage))
"""Also the names of these columns in every result table."""
