"""One figure of a text with its origin."""

from __future__ import annotations

from dataclasses import dataclass

from reports.tracing.quantities import Quantity


@dataclass(frozen=True)
class Traced:
    """One figure of a text with its origin."""

    quantity: Quantity
    label: str
    """One of the labels of reports/grounding.py."""
    source: str = ""
    """The line, the calculation or the earlier role that it comes from; for a contradiction what the inputs say."""
    born: str = ""
    """For an invented figure: the place of the text in which it stood first."""
