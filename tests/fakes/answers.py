"""What the fake models say: deterministic from the prompt, and a valid instance wherever a JSON schema is given."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

_TEXT = (
    "the company reported revenue growth and margin pressure while the price stayed above its average and volume fell "
    "which leaves risk and reward in balance for the coming sessions as investors weigh guidance against valuation"
)
_WORDS = tuple(_TEXT.split(" "))


def tokens(text: str) -> int:
    """The fake's tokenizer: four characters to a token."""
    return (len(text) + 3) // 4


def prompt_tokens(text: str) -> int:
    """Length of a prompt: as real tokenizers count figures and tables, about three characters to a token."""
    return (len(text) + 2) // 3


def prompt_hash(messages: list[tuple[str, str]]) -> str:
    """sha256 over role and text of each message."""
    return sha256("\x1e".join(f"{role}\x1f{text}" for role, text in messages).encode()).hexdigest()


def chance(seed: str) -> random.Random:
    return random.Random(seed)


def prose(seed: str, length: int) -> str:
    """About `length` tokens of text."""
    dice = chance(seed)
    words: list[str] = []
    size = 0
    while size < length * 4:
        words.append(dice.choice(_WORDS))
        size += len(words[-1]) + 1
    return (" ".join(words)[: length * 4].strip() or "hold").capitalize()


def instance(schema: Mapping[str, Any], seed: str, opinion: float | None = None) -> str:
    """A JSON text that the schema accepts; `opinion`: where on each scale its choices lie, 0 to 1, default: by chance. With
    an opinion, its texts have a figure."""
    value = _value(schema, chance(seed), schema)
    if opinion is not None:
        scales = {name: part["enum"] for name, part in schema.get("properties", {}).items() if "enum" in part}
        value |= {name: scale[int(opinion * len(scale))] for name, scale in scales.items()}
        texts = {name for name, part in schema["properties"].items() if part.get("type") == "string" and name not in scales}
        value |= {name: f"987654.321 {value[name]}"[: schema["properties"][name].get("maxLength", 200)] for name in texts}
    return json.dumps(value)


def _value(schema: Mapping[str, Any], dice: random.Random, root: Mapping[str, Any]) -> Any:
    if "$ref" in schema:
        return _value(_resolve(schema["$ref"], root), dice, root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return dice.choice(schema["enum"])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return _value(schema[several][0], dice, root)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    return _MAKERS.get(kind, _text)(schema, dice, root)


def _resolve(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = root
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return dict(found)


def _object(schema: Mapping[str, Any], dice: random.Random, root: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value(part, dice, root) for name, part in schema.get("properties", {}).items()}


def _array(schema: Mapping[str, Any], dice: random.Random, root: Mapping[str, Any]) -> list[Any]:
    length = max(schema.get("minItems", 0), min(schema.get("maxItems", 2), 2))
    return [_value(schema.get("items", {}), dice, root) for _ in range(length)]


def _text(schema: Mapping[str, Any], dice: random.Random, root: Mapping[str, Any]) -> str:
    text = " ".join(dice.choice(_WORDS) for _ in range(dice.randint(4, 12)))
    return text[: schema.get("maxLength", 200)].ljust(schema.get("minLength", 0), "x")


def _integer(schema: Mapping[str, Any], dice: random.Random, root: Mapping[str, Any]) -> int:
    low = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
    return dice.randint(int(low), int(schema.get("maximum", low + 100)))


def _number(schema: Mapping[str, Any], dice: random.Random, root: Mapping[str, Any]) -> float:
    low = float(schema.get("minimum", schema.get("exclusiveMinimum", 0)))
    # Above the bound: a price of 0 is no price, and a repair would make a cell longer than its twelve calls.
    return max(round(dice.uniform(low, schema.get("maximum", low + 1)), 2), low + 0.01)


_MAKERS: dict[str, Any] = {
    "object": _object,
    "array": _array,
    "string": _text,
    "integer": _integer,
    "number": _number,
    "boolean": lambda schema, dice, root: dice.random() < 0.5,
    "null": lambda schema, dice, root: None,
}
