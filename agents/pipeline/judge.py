"""Judging: another model compares two answers to one recorded prompt, in both orders and without their authors."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from agents.decisions.forms import FORMS, Field, Form
from agents.decisions.reading import Reading
from agents.pipeline import prompts, roles
from agents.pipeline.context import Context
from agents.pipeline.turn import gather
from agents.types import Part, Pipeline, Result
from domain.text import decode_json

VERDICTS = ("A", "B", "tie")
FORM = Form(
    "judgement",
    (
        Field("reason", "text", "what makes the difference, in one or two sentences", most=400),
        Field("verdict", "choice", "the better answer", choices=VERDICTS),
    ),
    key="verdict",
)
"""Without labels: a verdict is read from a JSON object only, never from prose, where A is also an article."""
ORDERS = (0, 1)
"""Index of a judge's call: 0 shows the source's answer first, 1 the target's."""


@dataclass(frozen=True)
class Contestant:
    """One of the two answers."""

    text: str
    parsed: str | None = None
    """JSON of the form that was read from it, if its role fills in one."""


@dataclass(frozen=True)
class Contest:
    """One prompt and two answers to it."""

    role: str
    round: int
    prompt: tuple[Part, ...]
    """The recorded prompt."""
    source: Contestant
    target: Contestant


@dataclass(frozen=True)
class Hidden:
    """Names that the judge must not see, and words that stay even if they are such a name."""

    names: Collection[str] = ()
    keep: Collection[str] = ()


async def judge(contests: Sequence[Contest], hidden: Hidden, ctx: Context) -> Result:
    """Judge every contest once in each order. Raises Halt; an unreadable verdict is missing, never a tie."""
    calls = [
        (f"{contest.role} ({'AB'[order]} first)", _verdict(contest, order, hidden, ctx))
        for contest in contests
        for order in ORDERS
    ]
    readings, error = await gather(calls)
    parsed = {key: text for reading in readings for key, text in reading.parsed.items()}
    return Result(None, "missing", parsed=parsed, error=error)


async def _verdict(contest: Contest, order: int, hidden: Hidden, ctx: Context) -> Reading:
    parts = tuple(question(contest, order, hidden, ctx.pipeline))
    return await ctx.ask(contest.role, parts, form=FORM, round=contest.round, kind="judge", index=order)


def question(contest: Contest, order: int, hidden: Hidden, pipeline: Pipeline) -> Iterator[Part]:
    """The prompt of a judge: the recorded prompt, both answers, and the question; only the answers depend on the order."""
    yield Part("system", roles.snippet("_judge_desk"))
    yield from (part for part in contest.prompt if part.role == "user")
    contestants = (contest.source, contest.target) if order == 0 else (contest.target, contest.source)
    for letter, contestant in zip(VERDICTS, contestants, strict=False):
        text = anonymous(_text(contest.role, contestant), hidden.names, hidden.keep)
        yield Part("user", f"# Answer {letter}\n{prompts.shorten(text, pipeline.report_tokens) or '(nothing)'}")
    yield prompts.verdict(FORM)


def _text(role_name: str, contestant: Contestant) -> str:
    """A form as later roles read it, so that its raw JSON gives no hint of the model."""
    role = roles.all_roles().get(role_name)
    form = FORMS.get(role.output) if role else None
    return form.show(decode_json(contestant.parsed)) if form and contestant.parsed else contestant.text


REPLACEMENT = "[a model]"

_FAMILY = re.compile(r"[A-Za-z]{3,}")
_BARE_FAMILIES = frozenset(
    {"gpt", "claude", "llama", "gemma", "gemini", "qwen", "mistral", "mixtral", "deepseek", "smollm", "grok", "kimi"}
)
"""Families whose bare name identifies a model; other names identify one only together with a version."""
_VERSION = r"[-\s.]?\d\w*(?:[.:]\w+)*(?:[-\s](?:mini|nano|pro|turbo|flash|instruct|chat|opus|sonnet|haiku)\b)*"
_MAKERS = r"(?:openai|anthropic|google|deepmind|meta|microsoft|alibaba|mistral(?: ai)?|hugging ?face|xai|nvidia|ibm)"
_MADE = rf"(?:(?: trained| developed| created| made| built)? (?:by|from|of) {_MAKERS})?"
_BEING = r"an? (?:large |artificial |helpful )*(?:ai|llm|language model|artificial intelligence|chatbot|virtual assistant)"
_KIND = rf"{_BEING}(?: language)?(?: model| assistant| system)?{_MADE}"
_SELF_DESCRIPTION = re.compile(
    rf"\bas {_KIND}\s*, ?|\b(?:i am|i['’]m) (?:only |just )?{_KIND}\s*(?:[.!,]|\band\b) ?", re.IGNORECASE
)

_FENCE = re.compile(r"^[ \t]*(?:```|~~~).*$", re.MULTILINE)
_RULER = re.compile(r"^[ \t]*(?:[-*_=][ \t]*){3,}$", re.MULTILINE)
_HEADING = re.compile(r"^[ \t]*(?:#{1,6}|>)[ \t]+", re.MULTILINE)
_BULLET = re.compile(r"^[ \t]*[*•‣▪●-][ \t]+", re.MULTILINE)
_EMPHASIS = re.compile(r"(\*{1,3}|`{1,3}|(?<!\w)_{1,3})(?=\S)([^*_`\n]{1,400}?)(?<=\S)\1(?!\w)")
_PICTURES = re.compile("[\u2190-\u21ff\u2460-\u27bf\u2b00-\u2bff\ufe0f\U0001f000-\U0001faff]")
_TYPOGRAPHY = {
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e"), '"'),
    **dict.fromkeys(map(ord, "\u2018\u2019"), "'"),
    **dict.fromkeys(map(ord, "\u2013\u2014"), "-"),
    0x2026: "...",
    0xA0: " ",
}
_SPACES = re.compile(r"[ \t]{2,}")
_BLANK_LINES = re.compile(r"\n{3,}")


def anonymous(text: str, names: Collection[str] = (), keep: Collection[str] = ()) -> str:
    """The text without model names, self-descriptions of a model, and habits of layout; its content stays.

    `names`: names of the models in question; `keep`: words that stay in any case, such as a ticker that is also a
    model's name.
    """
    plain = _SELF_DESCRIPTION.sub("", text)
    pattern, kept_words = _name_pattern(names), {word.casefold() for word in keep}
    if pattern:
        plain = pattern.sub(lambda match: match[0] if match[0].casefold() in kept_words else REPLACEMENT, plain)
    return _without_layout(plain)


def _name_pattern(names: Collection[str]) -> re.Pattern[str] | None:
    """Matches the names and their families with any version; ordinary words are not treated as names."""
    model_names = {name for name in names if _is_identifying(name)}
    families = {match[0] for name in model_names if (match := _FAMILY.match(name))}
    patterns = [re.escape(name) for name in sorted(model_names, key=len, reverse=True)]
    patterns += [rf"{name}{_VERSION}" for name in sorted(families)]
    patterns += [rf"(?:chat)?{name}" for name in sorted(families) if name.casefold() in _BARE_FAMILIES]
    return re.compile(rf"(?<![\w-])(?:{'|'.join(patterns)})(?!\w)", re.IGNORECASE) if patterns else None


def _is_identifying(name: str) -> bool:
    """`local` and `big` are ordinary words that no model uses for itself; `gpt-5` and `gemma3:27b` identify one."""
    return any(letter.isdigit() for letter in name) and _FAMILY.match(name) is not None


def _without_layout(text: str) -> str:
    for pattern in (_FENCE, _RULER, _HEADING, _PICTURES):
        text = pattern.sub("", text)
    text = _EMPHASIS.sub(r"\2", _BULLET.sub("- ", text))
    text = _SPACES.sub(" ", text.translate(_TYPOGRAPHY))
    return _BLANK_LINES.sub("\n\n", "\n".join(line.strip() for line in text.splitlines())).strip()
