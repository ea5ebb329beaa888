"""How numbers and untrusted text are written: always with a unit, unknown as `unknown`, hidden characters visible."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from markupsafe import Markup, escape

Number = float | int | None
THIN = "\u202f"
MINUS = "\u2212"


def known(value: Any) -> bool:
    """Return whether a value is a number; None, NaN and NA are not."""
    if value is None or isinstance(value, str):
        return False
    try:
        return not math.isnan(float(value))
    except (TypeError, ValueError):
        return False


def unknown(reason: str = "", word: str = "unknown") -> Markup:
    """Placeholder for an unknown number, with the reason as a title."""
    if not reason:
        return Markup('<span class="unknown">{}</span>').format(word)
    return Markup('<span class="unknown" title="{0}">{1}<span class="sr">: {0}</span></span>').format(reason, word)


def _written(value: Number, write: Callable[[float], str], reason: str) -> Markup:
    if value is None or not known(value):
        return unknown(reason)
    text = write(float(value))
    return escape(f"{MINUS}{text[1:]}" if text.startswith("-") else text)


def significant(value: float, digits: int = 3) -> str:
    """A number with three significant digits and thousands separators, never in exponent form."""
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(places, 10)}f}"


def usd(value: Number, reason: str = "") -> Markup:
    return _written(value, usd_text, reason)


def usd_text(value: float) -> str:
    """US dollars: two decimals from $1, three significant digits below."""
    sign = "-" if value < 0 else ""
    size = abs(value)
    return f"{sign}${size:,.2f}" if size >= 1 or size == 0 else f"{sign}${significant(size)}"


def seconds(value: Number, reason: str = "") -> Markup:
    return _written(value, seconds_text, reason)


def seconds_text(value: float) -> str:
    """A duration in ms, s, min or h."""
    if value < 0.0005:
        return f"0{THIN}s" if value == 0 else f"<1{THIN}ms"
    if value < 1:
        return f"{value * 1000:.0f}{THIN}ms"
    if value < 100:
        return f"{significant(value, 2)}{THIN}s"
    if value < 3600:
        return f"{value // 60:.0f}{THIN}min {value % 60:.0f}{THIN}s"
    return f"{value // 3600:,.0f}{THIN}h {value % 3600 // 60:.0f}{THIN}min"


def percent(value: Number, reason: str = "") -> Markup:
    """A share (0 to 1) in percent."""
    return _written(value, percent_text, reason)


def percent_text(value: float) -> str:
    size = abs(value) * 100
    return f"{value * 100:.{0 if size >= 10 or size == 0 else 1}f}{THIN}%"


def price(value: Number, reason: str = "") -> Markup:
    """A price of the instrument, in its own currency."""
    return _written(value, lambda v: f"{v:,.2f}", reason)


def excess(value: Number, reason: str = "") -> Markup:
    """A signed share in percent with one place."""
    return _written(value, lambda v: f"{v * 100:+.1f}{THIN}%" if abs(v) >= 0.0005 else f"0.0{THIN}%", reason)


def datum(value: object) -> Markup | str:
    """One value of the frozen inputs."""
    if value is None:
        return unknown()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def sort_key(value: Number) -> str:
    """What a table sorts a figure by; empty if it is unknown."""
    return f"{float(value):.9g}" if value is not None and known(value) else ""


def day_month(day: Any) -> str:
    """A day of the year: 4 May."""
    return f"{day.day} {day:%B}"


def count(value: Number, singular: str, plural: str = "", reason: str = "") -> Markup:
    """A whole number with its noun: 1 case, 2 cases."""
    return _written(value, lambda n: f"{n:,.0f} {singular if n == 1 else plural or singular + 's'}", reason)


def number(value: Number, unit: str = "", digits: int = 3, reason: str = "") -> Markup:
    return _written(value, lambda n: significant(n, digits) + (THIN + unit if unit else ""), reason)


def integer(value: Number, reason: str = "") -> Markup:
    """A whole number without a unit, for columns whose heading names it."""
    return _written(value, lambda n: f"{n:,.0f}", reason)


HIDDEN = re.compile(
    "["
    "\u0000-\u0008\u000b-\u001f\u007f-\u009f"  # controls except tab and line feed
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e"  # soft hyphen, fillers, Arabic letter mark
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # zero width, bidi, separators, annotations
    "\ud800-\udfff"  # lone surrogates
    "\U000e0000-\U000e0fff"  # tags and variation selectors supplement
    "]"
)


def visible(text: str) -> Markup:
    """Escaped HTML in which hidden characters are shown as a boxed code point, for example U+202E."""
    return Markup(HIDDEN.sub(_boxed, str(escape(text.replace("\r\n", "\n")))))


def plain(text: str) -> str:
    """The same as plain text, for attributes, files and terminals."""
    return HIDDEN.sub(lambda hidden: f"[{_code(hidden)}]", text.replace("\r\n", "\n"))


def shortened(text: str) -> str:
    """At most 300 characters of a text."""
    return text if len(text) <= 300 else text[:300] + " ..."


def slug(text: str) -> str:
    """A file name of letters, digits, dot, dash, underscore and @; never empty, never a path."""
    safe = re.sub(r"[^A-Za-z0-9._@-]", lambda char: f"~{ord(char[0]):x}", text)
    return safe if safe.strip(".") else f"~{safe}"


def _boxed(hidden: re.Match[str]) -> str:
    return f'<span class="hid">{_code(hidden)}</span>'


def _code(hidden: re.Match[str]) -> str:
    return f"U+{ord(hidden[0]):04X}"
