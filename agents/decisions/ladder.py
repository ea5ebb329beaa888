"""The lower rungs of the decision ladder: the choice that a free text itself gives as its answer, or none.

Linear in the text. A quoted, negated, conditional, retracted or contradicted choice is none: wrong is worse than unparsed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.decisions.claims import as_choice, claims, claims_another, is_foreign, is_retracted, stands
from agents.decisions.plain import visible

_MOST_STRAY_BRACES = 8
_STEP = re.compile(r'\\.|["{}]', re.DOTALL)
_WRAPPERS = ("decision", "final_decision", "answer", "result", "response", "output", "plan", "proposal", "sentiment")
_STRANGERS = {"role", "speaker", "source", "analyst", "example", "if", "unless", "when", "condition", "scenario"}
"""Keys that say an object speaks for someone else."""


@dataclass(frozen=True)
class Found:
    """A choice read from a text, with the decoded object that carried it, if one did."""

    choice: str
    """Empty when a choice stands there that must not be taken for the answer."""
    raw: Mapping[str, Any]


def in_json(text: str, key: str, scale: Sequence[str], labels: Sequence[str]) -> Found | None:
    """The choice of the JSON object that the text gives as its answer; objects and prose must agree."""
    seen = visible(text)
    spans = _objects(seen)
    hits = [hit for span in spans if (hit := _in_object(seen, span, key, scale))]
    if len({hit.choice for hit in hits}) != 1 or not hits[0].choice:
        return None
    prose = _without(seen, spans)
    choice = hits[-1].choice
    agrees = all(claim.choice == choice for claim in claims(prose, labels, scale))
    return hits[-1] if agrees and not is_retracted(prose) and not claims_another(prose, choice, scale) else None


def in_label(text: str, scale: Sequence[str], labels: Sequence[str]) -> str | None:
    """The choice that stands behind a label (`Rating: Sell`), or the choice that is the whole text."""
    seen = visible(text)
    if whole := as_choice(seen, scale):
        return whole
    made = claims(seen, labels, scale)
    choice = made[-1].choice if len({claim.choice for claim in made}) == 1 else None
    return choice if choice and stands(choice, seen, made[-1].end, scale) else None


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


def _in_object(text: str, span: tuple[int, int], key: str, scale: Sequence[str]) -> Found | None:
    """The object's choice, an empty one when it must not be taken; None when it carries none."""
    body = text[slice(*span)]
    try:
        raw = _unwrapped(decode(re.sub(r",(\s*\})", r"\1", body), strict=False))
    except ValueError:
        return Found("", {}) if f'"{key}"' in body else None
    values = [raw[name] for name in raw if name.lower().replace(" ", "_") in (key, f"final_{key}")]
    if not values:
        return None
    choice = as_choice(str(values[0]), scale) if len(values) == 1 else None
    doubtful = _STRANGERS & {name.lower() for name in raw} or is_foreign(text, *span)
    return Found("" if doubtful else choice or "", raw)


def _unwrapped(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = next(iter(raw.values())) if len(raw) == 1 else None
    return inner if isinstance(inner, dict) and next(iter(raw)).lower() in _WRAPPERS else raw


def _without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    pieces, at = [], 0
    for start, end in spans:
        pieces.append(text[at:start])
        at = end
    return "\n".join([*pieces, text[at:]])
