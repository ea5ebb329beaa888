"""The forms that deciding roles fill in: flat objects, as a JSON schema, as text for the prompt, and as values read back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from agents.types import RATINGS

Value = Mapping[str, Any]

_CHARS_PER_TOKEN = 2
"""Low enough that even a rambling small model closes its strings before its output cap."""
_LARGEST = 1e12
"""Larger numbers are invalid, and so is NaN, which compares with nothing."""
_NUMBER = re.compile(r"(?P<currency>\$?)\s?(?P<number>[+-]?(?:\d{1,3}(?:,\d{3})+|\d{1,15})(?:\.\d{1,10})?)\s?(?P<percent>%?)")
_FRAME_TOKENS = 70
"""Tokens of a form's keys, numbers and braces."""


@dataclass(frozen=True)
class Field:
    """One key of a form."""

    name: str
    kind: Literal["text", "choice", "integer", "price"]
    about: str
    choices: tuple[str, ...] = ()
    low: int = 0
    high: int = 100
    most: int = 0
    """Limit on the characters of a text."""


@dataclass(frozen=True)
class Form:
    """A flat object with one deciding key."""

    name: str
    fields: tuple[Field, ...]
    key: str
    """The field with the rating, action or band."""
    labels: tuple[str, ...] = ()
    """Words that label the key's value in prose; without labels, prose is never read."""

    @property
    def scale(self) -> tuple[str, ...]:
        return next(field.choices for field in self.fields if field.name == self.key)

    def schema(self, max_output_tokens: int | None = None) -> dict[str, Any]:
        """JSON schema. String limits shrink with the output cap, so that an answer bound by a grammar can end."""
        share = self._share(max_output_tokens)
        return {
            "title": self.name,
            "type": "object",
            "properties": {field.name: _property(field, share) for field in self.fields},
            "required": [field.name for field in self.fields],
            "additionalProperties": False,
        }

    def say(self) -> str:
        """The form as text for the prompt."""
        lines = [f'- "{field.name}": {_say(field)}' for field in self.fields]
        return "\n".join(["Answer with one JSON object and nothing else. Its keys, all required:", *lines])

    def read(self, raw: Any) -> tuple[Value | None, str]:
        """The value of a decoded object, or None and the problem. Unknown keys are dropped, long texts kept."""
        if not isinstance(raw, Mapping):
            return None, "it is no JSON object"
        for field in self.fields:
            if problem := _problem(field, raw):
                return None, problem
        return {field.name: raw[field.name] for field in self.fields}, ""

    def salvage(self, raw: Mapping[str, Any], choice: str) -> Value:
        """The valid fields of a broken object whose key was read as `choice`; every invalid field is None."""
        values = {field.name: _as_number(field, raw[field.name]) for field in self.fields if field.name in raw}
        valid = {field.name: None if _problem(field, values) else values[field.name] for field in self.fields}
        return valid | {self.key: choice}

    def show(self, value: Value) -> str:
        """The value as text for people and later prompts; an empty field reads `left open`."""
        return "\n".join(f"{_title(field.name)}: {_shown(field, value.get(field.name))}" for field in self.fields)

    def _share(self, cap: int | None) -> float:
        longest = sum(field.most for field in self.fields)
        available = (cap - _FRAME_TOKENS) * _CHARS_PER_TOKEN if cap else longest
        return max(0.02, min(1.0, available / longest))


def _property(field: Field, share: float) -> dict[str, Any]:
    if field.kind == "text":
        return {"type": "string", "description": field.about, "maxLength": max(20, int(field.most * share))}
    if field.kind == "choice":
        return {"type": "string", "description": field.about, "enum": list(field.choices)}
    if field.kind == "integer":
        return {"type": "integer", "description": field.about, "minimum": field.low, "maximum": field.high}
    return {"type": ["number", "null"], "description": field.about}


def _say(field: Field) -> str:
    if field.kind == "choice":
        return f"{field.about}; exactly one of {', '.join(field.choices)}"
    if field.kind == "integer":
        return f"{field.about}; a whole number from {field.low} to {field.high}"
    return f"{field.about}; a number above 0, or null" if field.kind == "price" else f"{field.about}; a text"


def _problem(field: Field, raw: Mapping[str, Any]) -> str:
    if field.name not in raw:
        return f'the key "{field.name}" is missing'
    value = raw[field.name]
    right = {"text": _is_text, "choice": _is_choice, "integer": _is_integer, "price": _is_price}[field.kind](field, value)
    return "" if right else f'"{field.name}" must be: {_say(field)}'


def _is_text(field: Field, value: Any) -> bool:
    return isinstance(value, str)


def _is_choice(field: Field, value: Any) -> bool:
    return isinstance(value, str) and value in field.choices


def _is_integer(field: Field, value: Any) -> bool:
    return _is_number(value) and value == int(value) and field.low <= value <= field.high


def _is_price(field: Field, value: Any) -> bool:
    return value is None or (_is_number(value) and value > 0)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def _as_number(field: Field, value: Any) -> Any:
    """The number that a string spells (`1,200.50`, `62%`, `$95`) if the field is one; else the value."""
    spelled = _NUMBER.fullmatch(value.strip()) if field.kind in ("integer", "price") and isinstance(value, str) else None
    if spelled is None or (field.kind == "price" and spelled["percent"]) or (field.kind == "integer" and spelled["currency"]):
        return value
    number = float(spelled["number"].replace(",", ""))
    return int(number) if field.kind == "integer" and number == int(number) else number


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _shown(field: Field, value: Any) -> str:
    if value is None:
        return "left open"
    return f"{value} of {field.high}" if field.kind == "integer" and field.low == 0 else str(value)


_CONFIDENCE = Field("confidence", "integer", "how sure you are, in percent")

SENTIMENT = Form(
    "sentiment",
    (
        Field("narrative", "text", "the mood, how it moved and what it rests on", most=1600),
        Field("band", "choice", "the mood", choices=("very negative", "negative", "neutral", "positive", "very positive")),
        Field("score", "integer", "the mood as a number, 0 is neutral", low=-10, high=10),
        _CONFIDENCE,
    ),
    key="band",
)
PLAN = Form(
    "plan",
    (
        Field("rationale", "text", "which evidence decides and what stays open", most=1400),
        Field("plan", "text", "what the trader should do, and what would change the view", most=700),
        Field("rating", "choice", "the rating", choices=RATINGS),
    ),
    key="rating",
    labels=("rating", "recommendation", "decision", "verdict"),
)
PROPOSAL = Form(
    "proposal",
    (
        Field("reasoning", "text", "why this trade, at these prices and this size", most=900),
        Field("action", "choice", "what to do at the next open", choices=("Buy", "Hold", "Sell")),
        Field("entry", "price", "entry price"),
        Field("stop", "price", "stop price"),
        Field("size", "integer", "size in percent of the portfolio"),
    ),
    key="action",
    labels=("action", "decision", "proposal", "recommendation"),
)
DECISION = Form(
    "decision",
    (
        Field("summary", "text", "the decision in one or two sentences", most=400),
        Field("thesis", "text", "the reasons, and what would prove them wrong", most=1400),
        Field("rating", "choice", "the rating", choices=RATINGS),
        _CONFIDENCE,
        Field("target_price", "price", "where the price should stand at the horizon"),
        Field("horizon", "text", "how long until the thesis should show, for example 6 weeks", most=40),
    ),
    key="rating",
    labels=("rating", "recommendation", "decision", "verdict", "proposal"),
)
FORMS: Mapping[str, Form] = {form.name: form for form in (SENTIMENT, PLAN, PROPOSAL, DECISION)}
"""output of a role -> its form; `report` and `argument` have none."""
