"""Texts of models as light Markdown: HTML stays text, links and images are not followed, each figure carries its origin."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from reports.format import HIDDEN, plain, visible
from reports.grounding.origins import GROUNDED

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

    from reports.grounding.origins import FigureOrigin

FigureMark = tuple[int, str, str, str]
"""Start of a figure, the figure, its label, its source."""
LONGEST = 60_000
"""Characters; a longer text is shown as it is, since no reader needs it formatted."""
_HIDDEN, _FIGURE, _CLOSE, _END = "\ue000", "\ue001", "\ue002", "\ue003"
_PRIVATE = re.compile(f"{HIDDEN.pattern}|[\ue000-\ue003]")


def prose(text: str, marks: Iterable[FigureMark] = ()) -> Markup:
    """The text as HTML; marks that do not match the text are left out."""
    fitting = list(_fitting(text, marks))
    if len(text) > LONGEST:
        return Markup('<pre class="text">{}</pre>').format(marked(text, fitting))
    # Private characters survive the Markdown parser, which knows nothing of figures and hidden characters.
    html = _parser().render(_with_placeholders(text, fitting))
    html = re.sub(f"{_HIDDEN}([0-9A-F]+){_CLOSE}", r'<span class="hid">U+\1</span>', html)
    html = re.sub(f"{_FIGURE}([0-9]+){_CLOSE}", lambda found: _opening(fitting[int(found[1])]), html)
    return Markup(html.replace(_END, "</span>"))


def marked(text: str, marks: Iterable[FigureMark]) -> Markup:
    """The text without Markdown, escaped, with every figure in a span."""
    pieces, at = [], 0
    for mark in _fitting(text, marks):
        start, figure = mark[:2]
        pieces += [visible(text[at:start]), Markup(_opening(mark)), visible(figure), Markup("</span>")]
        at = start + len(figure)
    return Markup("").join([*pieces, visible(text[at:])])


def marks_of(figure_origins: Iterable[FigureOrigin]) -> list[FigureMark]:
    return [(origin.quantity.start, origin.quantity.text, origin.label, origin.source) for origin in figure_origins]


def _fitting(text: str, marks: Iterable[FigureMark]) -> Iterable[FigureMark]:
    """Marks in order, without overlaps and without those that do not match the text or would cross a line."""
    at = 0
    for mark in sorted(marks):
        start, figure = mark[:2]
        if start >= at and "\n" not in figure and text[start : start + len(figure)] == figure:
            yield mark
            at = start + len(figure)


def _with_placeholders(text: str, marks: Sequence[FigureMark]) -> str:
    pieces, at = [], 0
    for number, (start, figure, _, _) in enumerate(marks):
        pieces += [_shielded(text[at:start]), f"{_FIGURE}{number}{_CLOSE}", _shielded(figure), _END]
        at = start + len(figure)
    return "".join([*pieces, _shielded(text[at:])])


def _shielded(text: str) -> str:
    return _PRIVATE.sub(lambda found: f"{_HIDDEN}{ord(found[0]):04X}{_CLOSE}", text.replace("\r\n", "\n"))


def _opening(mark: FigureMark) -> str:
    _, _, label, source = mark
    kind = "fig" if label in GROUNDED else "fig bad-fig"
    title = f"{label}: {source}" if source else label
    return str(Markup('<span class="{}" title="{}">').format(kind, plain(title)))


@cache
def _parser() -> MarkdownIt:
    """CommonMark and tables, without HTML, links, images, and without an attribute that comes from the text."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable("table")
    parser.disable(["html_block", "html_inline", "link", "image", "autolink", "reference", "entity", "code", "lheading"])
    for rule, write in _RENDERED.items():
        parser.add_render_rule(rule, write)
    return parser


def _fence(_: Any, tokens: Any, at: int, *rest: Any) -> str:
    return str(Markup("<pre><code>{}</code></pre>\n").format(tokens[at].content))


def _bare(_: Any, tokens: Any, at: int, *rest: Any) -> str:
    return f"<{tokens[at].tag}>"


def _as_written(_: Any, tokens: Any, at: int, *rest: Any) -> str:
    """A single star or underscore as it was written: in these texts it more often multiplies than stresses."""
    return str(tokens[at].markup)


def _heading(_: Any, tokens: Any, at: int, *rest: Any) -> str:
    """Bold instead of a heading, which would break the outline of the page."""
    return "<p><b>" if tokens[at].nesting == 1 else "</b></p>\n"


_RENDERED = {
    "fence": _fence,
    "heading_open": _heading,
    "heading_close": _heading,
    "em_open": _as_written,
    "em_close": _as_written,
    "th_open": _bare,
    "td_open": _bare,
}
