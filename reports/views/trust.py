"""What the section on trust reads."""

from __future__ import annotations

from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING

from reports.trust import provenance

if TYPE_CHECKING:
    from reports.load import Run
    from reports.trust.sentinel import Certificate

MOST_CALLS_CHECKED = 20_000
"""Runs with more calls are not searched for values of the future while a page is made; it would take minutes."""


class Trust:
    """What made the run, and whether anything from the future reached a prompt."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @property
    def provenance(self) -> ModuleType:
        """What made the run, as functions of it."""
        return provenance

    @cached_property
    def sentinel(self) -> Certificate:
        """Whether any prompt held a value from after its date."""
        from reports.trust import sentinel

        if len(self.run.calls) > MOST_CALLS_CHECKED:
            return sentinel.Certificate("not_checked", f"Not checked for this page: more than {MOST_CALLS_CHECKED:,} requests.")
        try:
            return sentinel.inspect(self.run)
        except (ValueError, KeyError, TypeError) as error:
            return sentinel.Certificate("not_checked", f"Not checked: a snapshot cannot be read ({type(error).__name__}).")
