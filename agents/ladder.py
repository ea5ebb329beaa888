"""The lower rungs of the decision ladder: a choice found in free text. It would rather find none than a wrong one.

Everything here takes time linear in the text. Each rung returns the one choice that the text itself gives as its own
answer; a quoted, negated, conditional, retracted or contradicted one is none.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

_LONGEST_LINE = 400
"""A labelled answer stands in a short line; longer ones are prose."""
_MOST_STRAY_BRACES = 8

_HEDGE = re.compile(
    r"\b(?:not|no|never|cannot|can't|don't|won't|isn't|if|unless|until|or|either|when|once|would|could|might|maybe|perhaps"
    r"|possibly|was|were|previous\w*|prior|former\w*|earlier|instead|pending|assuming|provided|but|though|although|however|should"
    r"|example|e\.g\.|hypothe\w*|scenario|consensus|only|upgrad\w*|downgrad\w*|both|between|versus|vs)\b|[?/]|->|→|n't\b",
    re.IGNORECASE,
)
_FOREIGN = re.compile(
    r"\b(?:bulls?|bears?|bullish|bearish|analysts?|traders?|consensus|street|broker\w*|sell-side|buy-side|example|sample|format"
    r"|schema|template|instruction\w*|scenario|hypothe\w*|if|unless|otherwise|suppose|assum\w*|would|could|might|previous\w*"
    r"|prior|earlier|last (?:week|month|quarter|year|time)|old|former\w*|yesterday|said|says|say|wrote|writes|argue\w*|claim\w*"
    r"|quote\w*|prompt|aggressive|conservative|neutral|voices?|manager'?s?|moody'?s|fitch|goldman|morgan|not|never|wrong|case"
    r"|rejected|alternativ\w*|options?|choices?|possible|allowed|one of|draft|initial\w*|first|others?|they|he|she|their|his"
    r"|her|e\.g|such as|instead|rather)\b",
    re.IGNORECASE,
)
_RETRACTION = re.compile(
    r"\b(?:actually|on second thought|chang(?:e|ed|ing) my (?:mind|view|rating|answer)|correction|scratch that|disregard|ignore"
    r"|retract|take (?:that|it) back|withdraw|revis(?:e|ed|ing)|wait|oops|sorry|mistake|i meant|strike that|reconsider\w*"
    r"|overrid(?:e|es|ing)|superseded?|not my|just kidding|sarcas\w*|the opposite|reverse that|placeholder|invalid|is wrong)\b",
    re.IGNORECASE,
)
_QUOTED_LINE = re.compile(
    r"""\s*(?:>|["'“”„«‘’`]\s*(?:i|my|the|we|our|final|rating|recommendation|decision|verdict|action)\b[^:]*:?)""", re.I
)
_OWN = r"(?:(?:my|our|the|final|overall|investment|portfolio|trading|trade|transaction|official)\s+){0,4}"
_LEAD = r"[#*_\s|•–-]{0,20}(?:\d{1,2}[.)]\s{0,3})?[*_\s]{0,6}"
_JOIN = r"[*_\s]{0,6}(?::|：|=|\||—|–|\s-\s|is(?:\s+(?:a|an|to))?\s)[*_\s|:\"'`]{0,8}"
_JSON_STEP = re.compile(r'\\.|["{}]', re.DOTALL)
_TAIL_START = re.compile(r"[\s*_\"'`|)\]}]*(?:$|[.,;:!—–(|]|-\s|with\s|because\s|as\s|since\s|given\s|on\s)", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """A choice read from a text, with the decoded object that carried it, if one did."""

    choice: str
    """Empty when a choice stands there that must not be taken for the answer."""
    raw: Mapping[str, Any]


def in_json(text: str, key: str, scale: Sequence[str], labels: Sequence[str]) -> Found | None:
    """The choice of the one JSON object that the text gives as its answer."""
    seen = visible(text)
    found = [_in_object(seen, span, key, scale) for span in _objects(seen)]
    hits = [hit for hit in found if hit is not None]
    if len({hit.choice for hit in hits}) != 1 or not hits[0].choice:
        return None
    prose = _without_objects(seen)
    said = _labelled_lines(prose, labels, scale)
    agrees = all(choice == hits[-1].choice for _, choice in said)
    return hits[-1] if agrees and not _RETRACTION.search(prose) else None


def in_label(text: str, scale: Sequence[str], labels: Sequence[str]) -> str | None:
    """The choice that stands behind a label (`Rating: Sell`), or the choice that is the whole text."""
    seen = visible(text)
    if whole := _choice(seen, scale):
        return whole
    lines = _labelled_lines(seen, labels, scale)
    if len({choice for _, choice in lines}) != 1:
        return None
    end, choice = lines[-1]
    after = seen[end:]
    return None if choice is None or _RETRACTION.search(after) or _names_another(after, choice, scale) else choice


def visible(text: str) -> str:
    """The text without what a reader would not see as the answer: thoughts, markup, comments."""
    return html.unescape(_without_tags(_without_thoughts(text)))


def decode(text: str, *, strict: bool = True) -> Any:
    """A JSON value; strict refuses NaN and Infinity, otherwise they are None. Raises ValueError, also on a key given twice."""
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_refuse if strict else lambda _: None)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError("a key is given twice")
    return dict(pairs)


def _without_thoughts(text: str) -> str:
    """What follows the last closed thought; an unclosed one hides the rest."""
    text = text.rpartition("<|channel|>final<|message|>")[2]
    for tag in ("think", "thinking", "thought", "reasoning", "scratchpad", "analysis"):
        text = text.rpartition(f"</{tag}>")[2]
        text = text.partition(f"<{tag}>")[0]
    return text


def _without_tags(text: str) -> str:
    for start, end in (("<!--", "-->"), ("<script", "</script>"), ("<style", "</style>")):
        text = "".join(_outside(text, start, end))
    text = re.sub(r"</?(?:del|s|strike)(?:\s[^<>]{0,200})?>", "~~", text)
    text = re.sub(r"<(?:/?(?:p|div|li|ul|ol|tr|table|h[1-6])|br)\b[^<>]{0,200}>", "\n", text)
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


def _objects(text: str) -> list[tuple[int, int]]:
    """Spans of the outermost balanced braces; a few stray opening braces are stepped over."""
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
    """Balanced spans from `at` on, and where a brace opens that never closes."""
    spans: list[tuple[int, int]] = []
    depth, start, quoted = 0, 0, False
    for step in _JSON_STEP.finditer(text, at):
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


def _in_object(text: str, span: tuple[int, int], key: str, scale: Sequence[str]) -> Found | None:
    """The object's choice, an empty one when it must not be taken; None when it carries none."""
    try:
        raw = decode(re.sub(r",(\s*\})", r"\1", text[slice(*span)]), strict=False)
    except ValueError:
        return Found("", {}) if f'"{key}"' in text[slice(*span)] else None
    raw = _unwrapped(raw)
    keys = [name for name in raw if name.lower().replace(" ", "_") in (key, f"final_{key}")]
    if not keys:
        return None
    choice = _choice(str(raw[keys[0]]), scale) if len(keys) == 1 else None
    foreign = {"role", "speaker", "source", "analyst", "example"} & {name.lower() for name in raw}
    return Found("" if choice is None or foreign or _is_foreign(text, span[0]) else choice, raw)


def _unwrapped(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = next(iter(raw.values())) if len(raw) == 1 else None
    ours = ("decision", "final_decision", "answer", "result", "response", "output", "plan", "proposal", "sentiment")
    return inner if isinstance(inner, dict) and next(iter(raw)).lower() in ours else raw


def _is_foreign(text: str, at: int) -> bool:
    """Whether the words that lead to this place give what follows to someone else, to an example or to a condition."""
    before = text[max(0, at - 600) : at].replace("```json", "").replace("```", "").strip().splitlines()
    lead = before[-1] if before else ""
    return bool(_FOREIGN.search(lead[-300:])) or lead.rstrip().endswith(("“", '"', "'", "`"))


def _without_objects(text: str) -> str:
    pieces, at = [], 0
    for start, end in _objects(text):
        pieces.append(text[at:start])
        at = end
    return "\n".join([*pieces, text[at:]])


def _labelled_lines(text: str, labels: Sequence[str], scale: Sequence[str]) -> list[tuple[int, str | None]]:
    """(end, choice) of each line that claims to be the answer; a doubtful claim has no choice."""
    if not labels:
        return []
    claim = _claim(tuple(labels), tuple(scale))
    found: list[tuple[int, str | None]] = []
    heading, awaited = "", False
    for start, line in _lines(text):
        bare = line.strip(" \t#*_|:：-")
        if not bare:
            continue
        if awaited and (choice := _choice(line, scale)):
            found.append((start + len(line), None if _FOREIGN.search(heading) else choice))
        awaited = _is_label(bare, tuple(labels))
        for at, sentence in _sentences(line):
            if hit := claim.match(sentence):
                doubtful = (
                    _QUOTED_LINE.match(sentence) or _FOREIGN.search(heading) or not _is_clean(sentence[hit.end(1) :], scale)
                )
                found.append((start + at + len(sentence), None if doubtful else _choice(hit[1], scale)))
        if _leads(line):
            heading = "" if awaited else bare
    return found


@cache
def _claim(labels: tuple[str, ...], scale: tuple[str, ...]) -> re.Pattern[str]:
    words = "|".join(map(re.escape, scale))
    names = "|".join(map(re.escape, labels))
    key = r"[>\"'`“]{0,2}"
    return re.compile(rf"{key}{_LEAD}{key}{_OWN}(?:{names})[\"'`”]{{0,1}}{_JOIN}({words})(?![\w'’&+/-])", re.IGNORECASE)


@cache
def _label(labels: tuple[str, ...]) -> re.Pattern[str]:
    names = "|".join(map(re.escape, labels))
    return re.compile(rf"(?:\d{{1,2}}[.)]\s{{0,3}})?{_OWN}(?:{names})", re.IGNORECASE)


def _is_label(bare: str, labels: tuple[str, ...]) -> bool:
    return len(bare) < 80 and _label(labels).fullmatch(bare) is not None


def _lines(text: str) -> Iterator[tuple[int, str]]:
    at = 0
    for line in text.splitlines(keepends=True):
        yield at, line.rstrip("\r\n")
        at += len(line)


def _sentences(line: str) -> Iterator[tuple[int, str]]:
    at = 0
    for piece in re.split(r"(?<=[.!?;])(?=\s)", line):
        if len(piece) <= _LONGEST_LINE:
            yield at, piece.strip()
        at += len(piece)


def _leads(line: str) -> bool:
    """Whether the line is a heading or announces what follows."""
    stripped = line.strip()
    return (
        stripped.startswith("#")
        or stripped.rstrip("*_ ").endswith((":", "："))
        or (stripped.startswith("**") and stripped.endswith("**"))
    )


def _is_clean(tail: str, scale: Sequence[str]) -> bool:
    """Whether what follows the choice leaves it standing."""
    return bool(_TAIL_START.match(tail)) and not _HEDGE.search(tail) and not _names_another(tail, "", scale, any_case=True)


def _names_another(text: str, choice: str, scale: Sequence[str], *, any_case: bool = False) -> bool:
    others = [word for word in scale if word != choice]
    forms = others if any_case else [form for word in others for form in (word, word.upper())]
    return re.search(rf"\b(?:{'|'.join(map(re.escape, forms))})\b", text, re.IGNORECASE if any_case else 0) is not None


def _choice(text: str, scale: Sequence[str]) -> str | None:
    """The choice that this text is, markup and case aside."""
    bare = text.strip(" \t\r\n*_`\"'.!#|[](){}") if len(text) < 100 else ""
    return next((word for word in scale if word.lower() == bare.lower()), None)
