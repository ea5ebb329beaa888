"""Texts without what tells who wrote them: names of models, talk of being one, and habits of layout. Tickers stay."""

from __future__ import annotations

import re
from collections.abc import Collection

HIDDEN = "[a model]"

_FAMILY = re.compile(r"[A-Za-z]{3,}")
_KNOWN = frozenset(
    {"gpt", "claude", "llama", "gemma", "gemini", "qwen", "mistral", "mixtral", "deepseek", "smollm", "grok", "kimi"}
)
"""Families that are called by their bare name; of others only a name with its version tells."""
_VERSION = r"[-\s.]?\d\w*(?:[.:]\w+)*(?:[-\s](?:mini|nano|pro|turbo|flash|instruct|chat|opus|sonnet|haiku)\b)*"
_MAKERS = r"(?:openai|anthropic|google|deepmind|meta|microsoft|alibaba|mistral(?: ai)?|hugging ?face|xai|nvidia|ibm)"
_MADE = rf"(?:(?: trained| developed| created| made| built)? (?:by|from|of) {_MAKERS})?"
_BEING = r"an? (?:large |artificial |helpful )*(?:ai|llm|language model|artificial intelligence|chatbot|virtual assistant)"
_KIND = rf"{_BEING}(?: language)?(?: model| assistant| system)?{_MADE}"
_CONFESSION = re.compile(rf"\bas {_KIND}\s*, ?|\b(?:i am|i['’]m) (?:only |just )?{_KIND}\s*(?:[.!,]|\band\b) ?", re.IGNORECASE)

_FENCE = re.compile(r"^[ \t]*(?:```|~~~).*$", re.MULTILINE)
_RULER = re.compile(r"^[ \t]*(?:[-*_=][ \t]*){3,}$", re.MULTILINE)
_HEADING = re.compile(r"^[ \t]*(?:#{1,6}|>)[ \t]+", re.MULTILINE)
_BULLET = re.compile(r"^[ \t]*[*•‣▪●-][ \t]+", re.MULTILINE)
_STRESSED = re.compile(r"(\*{1,3}|`{1,3}|(?<!\w)_{1,3})(?=\S)([^*_`\n]{1,400}?)(?<=\S)\1(?!\w)")
_PICTURES = re.compile("[\u2190-\u21ff\u2460-\u27bf\u2b00-\u2bff\ufe0f\U0001f000-\U0001faff]")
_TYPOGRAPHY = {
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e"), '"'),
    **dict.fromkeys(map(ord, "\u2018\u2019"), "'"),
    **dict.fromkeys(map(ord, "\u2013\u2014"), "-"),
    0x2026: "...",
    0xA0: " ",
}
_SPACES = re.compile(r"[ \t]{2,}")
_GAPS = re.compile(r"\n{3,}")


def anonymous(text: str, names: Collection[str] = (), keep: Collection[str] = ()) -> str:
    """The text with its content as it was. `names`: what the models in question are called; `keep`: what stays whatever it
    is called, such as a ticker that is also a model's name."""
    plain = _CONFESSION.sub("", text)
    pattern, kept = _names(names), {word.casefold() for word in keep}
    if pattern:
        plain = pattern.sub(lambda found: found[0] if found[0].casefold() in kept else HIDDEN, plain)
    return _plain(plain)


def _names(names: Collection[str]) -> re.Pattern[str] | None:
    """The names themselves and their families with any version; words of the language are no names of models."""
    told = {name for name in names if _is_telling(name)}
    families = {found[0] for name in told if (found := _FAMILY.match(name))}
    wanted = [re.escape(name) for name in sorted(told, key=len, reverse=True)]
    wanted += [rf"{name}{_VERSION}" for name in sorted(families)]
    wanted += [rf"(?:chat)?{name}" for name in sorted(families) if name.casefold() in _KNOWN]
    return re.compile(rf"(?<![\w-])(?:{'|'.join(wanted)})(?!\w)", re.IGNORECASE) if wanted else None


def _is_telling(name: str) -> bool:
    """`local` or `big` are words, and no model knows that it is called so; `gpt-5` and `gemma3:27b` tell."""
    return any(letter.isdigit() for letter in name) and _FAMILY.match(name) is not None


def _plain(text: str) -> str:
    for tell in (_FENCE, _RULER, _HEADING, _PICTURES):
        text = tell.sub("", text)
    text = _STRESSED.sub(r"\2", _BULLET.sub("- ", text))
    text = _SPACES.sub(" ", text.translate(_TYPOGRAPHY))
    return _GAPS.sub("\n\n", "\n".join(line.strip() for line in text.splitlines())).strip()
