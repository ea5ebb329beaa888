"""How untrusted text is shown: escaped, with every character that could hide or reorder text made visible."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

_HIDDEN = re.compile(
    "["
    "\u0000-\u0008\u000b-\u001f\u007f-\u009f"  # controls except tab and line feed
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e"  # soft hyphen, fillers, Arabic letter mark
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # zero width, bidi, separators, annotations
    "\ud800-\udfff"  # lone surrogates
    "\U000e0000-\U000e0fff"  # tags and variation selectors supplement
    "]"
)


def visible(text: str) -> Markup:
    """HTML of a text in which hidden characters stand as a boxed code point, for example U+202E."""
    return Markup(_HIDDEN.sub(_boxed, str(escape(text.replace("\r\n", "\n")))))


def plain(text: str) -> str:
    """The same without markup, for attributes, file cells and terminals."""
    return _HIDDEN.sub(lambda found: f"[{_code(found)}]", text.replace("\r\n", "\n"))


def slug(text: str) -> str:
    """A file name that only holds letters, digits, dot, dash, underscore and @; never empty, never a path."""
    safe = re.sub(r"[^A-Za-z0-9._@-]", lambda found: f"~{ord(found[0]):x}", text)
    return safe if safe.strip(".") else f"~{safe}"


def _boxed(found: re.Match[str]) -> str:
    return f'<span class="hid">{_code(found)}</span>'


def _code(found: re.Match[str]) -> str:
    return f"U+{ord(found[0]):04X}"
