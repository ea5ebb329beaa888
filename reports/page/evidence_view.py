"""Data of the section on trust."""

from __future__ import annotations

from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING

from reports.trust import look_ahead, provenance

if TYPE_CHECKING:
    from reports.load import Run
    from reports.trust.look_ahead import LookAheadCheck

MOST_CALLS_CHECKED = 20_000
"""Runs with more calls skip the look-ahead check of the page, which would take minutes."""


class TrustView:
    """How the run was made, and whether anything from the future reached a prompt."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @property
    def provenance(self) -> ModuleType:
        """Functions of the run."""
        return provenance

    @cached_property
    def look_ahead_check(self) -> LookAheadCheck:
        """Whether any prompt contained a value from after its decision."""
        if len(self.run.calls) > MOST_CALLS_CHECKED:
            return look_ahead.LookAheadCheck(
                "not_checked", f"Not checked for this page: more than {MOST_CALLS_CHECKED:,} requests."
            )
        try:
            return look_ahead.check(self.run)
        except (ValueError, KeyError, TypeError) as error:
            return look_ahead.LookAheadCheck("not_checked", f"Not checked: a snapshot cannot be read ({type(error).__name__}).")
