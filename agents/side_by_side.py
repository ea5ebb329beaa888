"""Requests of one cell that need nothing of each other: asked at the same time, with one error that names who failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from agents.errors import AgentsError, Halt, PromptTooLong

T = TypeVar("T")


async def gather(asked: Sequence[tuple[str, Awaitable[T]]]) -> tuple[list[T], Exception | None]:
    """What was answered, in order, and what must be said of the rest by the name of its role. Raises Halt."""
    ended = await asyncio.gather(*(one for _, one in asked), return_exceptions=True)
    for end in ended:
        if isinstance(end, BaseException) and (isinstance(end, Halt) or not isinstance(end, Exception)):
            raise end
    failed = [(name, end) for (name, _), end in zip(asked, ended, strict=True) if isinstance(end, Exception)]
    return [end for end in ended if not isinstance(end, BaseException)], _error(failed)


def _error(failed: Sequence[tuple[str, Exception]]) -> Exception | None:
    if not failed:
        return None
    first = failed[0][1]
    if len(failed) == 1 and not isinstance(first, PromptTooLong):
        return first
    said = "; ".join(dict.fromkeys(f"{name}: {error}" for name, error in failed))
    return PromptTooLong(said) if isinstance(first, PromptTooLong) else AgentsError(said)
