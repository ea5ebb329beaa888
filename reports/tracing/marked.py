"""Texts with their figures marked by what they rest on; the source stands in the title that a pointer shows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from markupsafe import Markup

from reports.grounding import GROUNDED
from reports.visible import plain, visible

if TYPE_CHECKING:
    from reports.tracing.traced import Traced

Mark = tuple[int, str, str, str]
"""Start of a figure, the figure, its label, its source."""


def marked(text: str, marks: Iterable[Mark]) -> Markup:
    """The text, escaped, with every figure in a span; marks that do not fit the text are left out."""
    pieces, at = [], 0
    for start, figure, label, source in sorted(marks):
        if start < at or text[start : start + len(figure)] != figure:
            continue
        pieces += [_plain(text[at:start]), _span(figure, label, source)]
        at = start + len(figure)
    return Markup("").join([*pieces, _plain(text[at:])])


def of_traced(found: Iterable[Traced]) -> list[Mark]:
    return [(one.quantity.start, one.quantity.text, one.label, one.source) for one in found]


def _span(figure: str, label: str, source: str) -> Markup:
    kind = "fig" if label in GROUNDED else "fig bad-fig"
    said = f"{label}: {source}" if source else label
    return Markup('<span class="{}" title="{}">{}</span>').format(kind, plain(said), _plain(figure))


def _plain(text: str) -> Markup:
    return Markup("{}").format(visible(text))
