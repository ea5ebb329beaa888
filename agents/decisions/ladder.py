"""The later steps of the decision ladder: the choice that a free text gives as its answer, or None.

Linear in the length of the text. A quoted, negated, conditional, retracted or contradicted choice does not count: a wrong
decision is worse than an unparsed one.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.decisions import loose_json
from agents.decisions.claims import as_choice, casts_doubt, claims, claims_another, is_foreign, is_kept, is_retracted
from domain.text import decode_json

_MOST_STRAY_BRACES = 8
_STEP = re.compile(r'\\.|["{}]', re.DOTALL)
_WRAPPERS = ("decision", "final_decision", "answer", "result", "response", "output", "plan", "proposal", "sentiment")
_FOREIGN_KEYS = {"role", "speaker", "source", "analyst", "example", "if", "unless", "when", "condition", "scenario"}
"""Keys that mark an object as another speaker's, an example or a condition."""


@dataclass(frozen=True)
class TextChoice:
    """A choice read from a text, with the decoded object that contained it, if any."""

    choice: str
    """Empty for a choice that must not be taken as the answer."""
    raw: Mapping[str, Any]


def in_json(text: str, key: str, scale: Sequence[str], labels: Sequence[str]) -> TextChoice | None:
    """The choice of the JSON object that the text gives as its answer; objects and prose must agree."""
    shown = visible(text)
    spans = _objects(shown)
    choices = [read for span in spans if (read := _in_object(shown, span, key, scale))]
    if len({read.choice for read in choices}) != 1 or not choices[0].choice:
        return None
    prose = _without(shown, spans)
    choice = choices[-1].choice
    agrees = all(claim.choice == choice for claim in claims(prose, labels, scale))
    return choices[-1] if agrees and not is_retracted(prose) and not claims_another(prose, choice, scale) else None


def in_label(text: str, scale: Sequence[str], labels: Sequence[str]) -> str | None:
    """The choice after a label (`Rating: Sell`), or the choice that is the whole text."""
    shown = visible(text)
    if choice_alone := as_choice(shown, scale):
        return choice_alone
    labelled = claims(shown, labels, scale)
    choice = labelled[-1].choice if len({claim.choice for claim in labelled}) == 1 else None
    return choice if choice and is_kept(choice, shown, labelled[-1].end, scale) else None


def decode(text: str, *, strict: bool = True) -> Any:
    """A JSON value; NaN and Infinity raise if strict, else they become None. Raises ValueError, also for a duplicate key."""
    return decode_json(text, object_pairs_hook=_without_duplicates, parse_constant=_refuse if strict else lambda _: None)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON number")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError("a key is given twice")
    return dict(pairs)


def _objects(text: str) -> list[tuple[int, int]]:
    """Spans of the outermost balanced braces; a few stray opening braces are skipped."""
    spans: list[tuple[int, int]] = []
    at = 0
    for _ in range(_MOST_STRAY_BRACES):
        more, stray = _balanced(text, at)
        spans += more
        if stray is None:
            break
        at = stray + 1
    return spans


def _balanced(text: str, at: int) -> tuple[list[tuple[int, int]], int | None]:
    """Balanced spans from `at` on, and the position of a brace that never closes."""
    spans: list[tuple[int, int]] = []
    depth, start, quoted = 0, 0, False
    for step in _STEP.finditer(text, at):
        token = step[0]
        if token == '"':
            quoted = not quoted and depth > 0
        elif token == "{" and not quoted:
            start = start if depth else step.start()
            depth += 1
        elif token == "}" and not quoted and depth:
            depth -= 1
            if not depth:
                spans.append((start, step.end()))
    return spans, start if depth else None


def _in_object(text: str, span: tuple[int, int], key: str, scale: Sequence[str]) -> TextChoice | None:
    """The object's choice, empty if it must not be taken as the answer; None if the object has none."""
    body = text[slice(*span)]
    try:
        whole, comments = _decoded(body)
    except ValueError:
        return TextChoice("", {}) if re.search(rf"""["']{key}["']""", body) else None
    raw = loose_json.without_schema(_unwrapped(whole), key)
    values = [raw[name] for name in raw if name.lower().replace(" ", "_") in (key, f"final_{key}")]
    if not values:
        return None
    choice = as_choice(str(values[0]), scale) if len(values) == 1 else None
    names = {name.lower() for name in (*whole, *raw)}
    doubtful = _FOREIGN_KEYS & names or is_foreign(text, *span) or _is_doubted(comments, key, choice or "", scale)
    return TextChoice("" if doubtful else choice or "", raw)


def _decoded(body: str) -> tuple[Mapping[str, Any], list[loose_json.Comment]]:
    """An object and its comments, also in the loose spellings of small models. Raises ValueError."""
    try:
        return decode(re.sub(r",(\s*\})", r"\1", body), strict=False), []
    except ValueError:
        respelled, comments = loose_json.to_json(body)
        return decode_json(
            respelled, object_pairs_hook=_without_duplicates, parse_constant=lambda _: None, strict=False
        ), comments


def _is_doubted(comments: Sequence[loose_json.Comment], key: str, choice: str, scale: Sequence[str]) -> bool:
    """Whether a comment in the object casts doubt on its choice."""
    return any(casts_doubt(comment.text, choice, scale, is_beside=key in comment.line.lower()) for comment in comments)


def _unwrapped(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = next(iter(raw.values())) if len(raw) == 1 else None
    return inner if isinstance(inner, dict) and next(iter(raw)).lower() in _WRAPPERS else raw


def _without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    pieces, at = [], 0
    for start, end in spans:
        pieces.append(text[at:start])
        at = end
    return "\n".join([*pieces, text[at:]])


_THOUGHTS = ("think", "thinking", "thought", "reasoning", "scratchpad", "analysis")
_FINAL_CHANNEL = "<|channel|>final<|message|>"


def visible(text: str) -> str:
    """The text as a reader sees it, without thoughts, markup and comments.

    Struck-through words keep a mark; quotations are on lines of their own.
    """
    return html.unescape(_without_tags(_without_thoughts(text)))


def _without_thoughts(text: str) -> str:
    """The text after the last closed thought; an unclosed thought hides the rest."""
    text = text.rpartition(_FINAL_CHANNEL)[2]
    for tag in _THOUGHTS:
        text = text.rpartition(f"</{tag}>")[2]
        text = text.partition(f"<{tag}>")[0]
    return text


def _without_tags(text: str) -> str:
    for start, end in (("<!--", "-->"), ("<script", "</script>"), ("<style", "</style>")):
        text = "".join(_outside(text, start, end))
    text = re.sub(r"</?(?:del|s|strike)(?:\s[^<>]{0,200})?>", "~~", text)
    text = re.sub(r"<(?:/?(?:p|div|li|ul|ol|tr|table|h[1-6])|br)\b[^<>]{0,200}>", "\n", text)
    text = re.sub(r"</t[dh]>", " | ", text)
    text = re.sub(r"</?(?:blockquote|q)\b[^<>]{0,200}>", "\n> ", text)
    return re.sub(r"</?[a-zA-Z][^<>]{0,300}>", "", text)


def _outside(text: str, start: str, end: str) -> Iterator[str]:
    at = 0
    while (opening := text.find(start, at)) >= 0:
        yield text[at:opening]
        closing = text.find(end, opening)
        if closing < 0:
            return
        at = closing + len(end)
    yield text[at:]
