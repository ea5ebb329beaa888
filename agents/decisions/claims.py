"""Labelled choices that a text makes in its own voice, and whether quotes, conditions or retractions invalidate them.

Everything is linear in the length of the text. In doubt a choice is rejected.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

_LONGEST_SENTENCE = 400
"""A labelled answer is short; longer sentences are prose."""

_HEDGE = re.compile(
    r"\b(?:not|no|never|cannot|can't|don't|won't|isn't|if|unless|until|or|either|when|once|would|could|might|maybe|perhaps"
    r"|possibly|was|were|previous\w*|prior|former\w*|earlier|instead|pending|assuming|provided|but|though|although|however|should"
    r"|example|e\.g\.|hypothe\w*|scenario|consensus|only|upgrad\w*|downgrad\w*|both|between|versus|vs|satir\w*|jok(?:e|ing)|(?:19|20)\d\d)\b"
    r"|[?/]|->|→|n't\b",
    re.IGNORECASE,
)
_ATTRIBUTION = re.compile(
    r"\b(?:bulls?|bears?|analysts?|traders?|say|says|said|wrote|writes|reads?|claim\w*|argue\w*|according|quot\w*|repl(?:y|ies|ied)"
    r"|answer(?:s|ed)|examples?|samples?|templates?|illustrat\w*|hypothe\w*|drafts?|formats?|follow(?:s|ing)|notes?|history|past"
    r"|colleagues?|voices?|their|his|her|they|he|she|consensus|street|brokers?)\b",
    re.IGNORECASE,
)
_INTRODUCTION = re.compile(
    r"\b(?:said|says|wrote|writes|reads|as follows|the following|examples?|samples?|templates?|illustrat\w*|hypothe\w*|drafts?"
    r"|formats?|quot\w*|replied|answered|colleagues?|suppose|imagine|assuming|(?:best|worst|base|bull|bear) case|scenario"
    r"|always|answer|output|instruct\w*|asked|told)\b",
    re.IGNORECASE,
)
_CONDITION = re.compile(
    r"\b(?:bullish|bearish|sell-side|buy-side|schema|instruction\w*|scenario|if|unless|otherwise|suppose|assum\w*|would|could|might"
    r"|previous\w*|prior|earlier|last (?:week|month|quarter|year|time)|old|former\w*|yesterday|prompt|aggressive|conservative"
    r"|neutral|manager'?s?|moody'?s|fitch|goldman|morgan|not|never|wrong|case|rejected|alternativ\w*|options?|choices?|possible"
    r"|allowed|one of|initial\w*|first|others?|e\.g|such as|instead|rather|histor\w*)\b",
    re.IGNORECASE,
)
_RETRACTION = re.compile(
    r"\b(?:actually|on second thought|chang(?:e|ed|ing) my (?:mind|view|rating|answer)|correction|scratch that|disregard|ignore"
    r"|retract|take (?:that|it) back|withdraw|revis(?:e|ed|ing)|wait|oops|sorry|mistake|i meant|strike that|reconsider\w*"
    r"|overrid(?:e|es|ing)|superseded?|not my|just kidding|sarcas\w*|satir\w*|the opposite|reverse that|placeholder|invalid"
    r"|is wrong|disagree|an? (?:example|template|sample|illustration)|illustrat\w*|hypothetical\w*|premature|too early"
    r"|reverse|notch|(?:was|were|been) (?:lowered|raised|cut)|(?:lower(?:ed)?|raise[d]?) (?:it|this|that))\b",
    re.IGNORECASE,
)
_BACKPEDAL = re.compile(
    r"\W*(?:that|this|but|however|yet|no|not|though|although|is|was|would|or|which|unless|if|don't|do not)\b", re.IGNORECASE
)
_DEBATERS = (
    r"(?:aggressive|conservative|neutral|risk|research|market|news|sentiment|fundamentals|bulls?|bears?|bullish|bearish"
    r"|analysts?|traders?|consensus|street|brokers?)"
)
_SAYS = (
    r"(?:say|says|said|argue|argues|argued|claim|claims|claimed|want|wants|wanted|recommend|recommends|recommended"
    r"|call for|calls for)"
)
_QUOTES_ANOTHER = (
    rf"(?:(?<=[.!?;,\n])|^|\b(?:and|while|whereas|but))\s{{0,3}}(?:the\s)?{_DEBATERS}"
    r"(?:\s(?:analysts?|researchers?|debaters?|managers?|side|camp|team))?\s"
)
"""The start of a clause that reports what a debater or the street says."""
_ENDORSEMENT = re.compile(
    r"\b(?:i|we|me|us|my|our|agree\w*|concur\w*|right|correct\w*|true|yes|indeed|exactly|fair|wrong|convinc\w*|persua\w*|prevail\w*"
    r"|w[io]ns?|stronger|better|best|back(?:s|ed)?|support\w*|follow\w*|adopt\w*|accept\w*|endors\w*|side|so|thus|hence|therefore"
    r"|should|must|that|this|which|they|he|she|it|final\w*|conclu\w*|accordingly|deserve\w*|valid|sound)\b",
    re.IGNORECASE,
)
"""Words after a quotation that may take the quoted choice over."""
_OURSELVES = re.compile(r"\bportfolio manager(?:['’]?s)?\b", re.IGNORECASE)
_OWN_VOICE = r"\b(?:i|we|should|recommend\w*|right call|my view|our view|conclusion|conclude|therefore|thus|hence|so)\b"
_QUOTED_LINE = re.compile(
    r"""\s*(?:>|["'“”„«‘’`]\s*(?:i|my|the|we|our|final|rating|recommendation|decision|verdict|action)\b[^:]{0,80}:?)""", re.I
)
_MODIFIERS = r"(?:(?:my|our|the|final|overall|investment|portfolio|trading|trade|transaction|official)\s+){0,4}"
_ITEM = r"(?:\d{1,2}[.)]\s{0,3})?"
_LEAD = rf"[#*_\s|•–-]{{0,20}}{_ITEM}[*_\s]{{0,6}}"
_JOIN = r"[*_\s]{0,6}(?::|：|=|\||—|–|\s-\s|is(?:\s+(?:a|an|to))?\s)[*_\s|:\"'`]{0,8}"
_TAIL_START = re.compile(r"[\s*_\"'`|)\]}]*(?:$|[.,;:!…—–(|]|-\s|with\s|because\s|since\s|given\s)", re.IGNORECASE)


@dataclass(frozen=True)
class LabelledChoice:
    """A labelled choice."""

    end: int
    """End of its sentence in the text."""
    choice: str | None
    """None if it must not be taken as the text's own."""


@dataclass(frozen=True)
class _TextLine:
    start: int
    text: str
    heading: str
    """The last heading or announcement above."""
    last: str
    """The last line above that is not empty."""
    follows_label: bool
    """Whether the line above is a label without its choice."""


def claims(text: str, labels: Sequence[str], scale: Sequence[str]) -> list[LabelledChoice]:
    """Every labelled choice of a text (`Rating: Sell`, or a heading `Rating` above it), in order."""
    if not labels:
        return []
    return [claim for line in _lines(text, tuple(labels)) for claim in _line_claims(line, tuple(labels), scale)]


def is_kept(choice: str, text: str, end: int, scale: Sequence[str]) -> bool:
    """Whether the text does not withdraw or contradict the choice that it made before `end`."""
    after = text[end:]
    own_words = _without_quotes(after, scale)
    is_taken_over = own_words != after and _ENDORSEMENT.search(own_words)
    backs_off = _BACKPEDAL.match(after) or _names_another(own_words, choice, scale)
    return not (backs_off or is_taken_over or is_retracted(text) or claims_another(text[:end] + own_words, choice, scale))


def casts_doubt(comment: str, choice: str, scale: Sequence[str], *, is_beside: bool) -> bool:
    """Whether a comment in an object invalidates its choice; an echo of the whole scale does not.

    A comment next to the choice must not hedge at all.
    """
    named = {word.lower() for word in re.findall(rf"\b(?:{_any(scale)})\b", comment, re.IGNORECASE)}
    is_scale = len(named) == len(scale)
    hedged = is_beside and not is_scale and bool(_HEDGE.search(comment.removeprefix("//")) or _ATTRIBUTION.search(comment))
    return is_retracted(comment) or hedged or bool(named - {choice.lower()} and not is_scale)


def is_retracted(text: str) -> bool:
    return _RETRACTION.search(text) is not None


def claims_another(text: str, choice: str, scale: Sequence[str]) -> bool:
    """Whether the text argues for another choice in its own voice."""
    claim = rf"{_OWN_VOICE}[^.\n]{{0,60}}?\b(?:{_others(choice, scale)})\b(?!-\w)"
    return re.search(claim, text, re.IGNORECASE) is not None


def is_foreign(text: str, start: int, end: int) -> bool:
    """Whether the words around a span attribute it to someone else, to an example or to a condition."""
    before = text[max(0, start - 600) : start].replace("```json", "").replace("```", "").strip().splitlines()
    lead = before[-1][-300:].rstrip() if before else ""
    rest = text[end : end + 300].lstrip("\n` ").partition("\n")[0]
    quoted = lead.endswith(("“", '"', "'", "`", ">"))
    return quoted or _is_attributed(lead) or bool(_ATTRIBUTION.search(rest) or _BACKPEDAL.match(rest))


def as_choice(text: str, scale: Sequence[str]) -> str | None:
    """The choice that this text consists of, ignoring markup and case."""
    bare = text.strip(" \t\r\n*_`\"'.!#|") if len(text) < 100 else ""
    return next((word for word in scale if word.lower() == bare.lower()), None)


def _line_claims(line: _TextLine, labels: tuple[str, ...], scale: Sequence[str]) -> Iterator[LabelledChoice]:
    before = line.last[-_LONGEST_SENTENCE:]
    if line.follows_label and (choice := as_choice(line.text, scale)):
        attributed = _is_attributed(line.heading) or _INTRODUCTION.search(before)
        yield LabelledChoice(line.start + len(line.text), None if attributed else choice)
    for at, sentence in _sentences(line.text):
        if match := _pattern(labels, tuple(scale)).match(sentence):
            attributed = _is_attributed(line.heading) or _INTRODUCTION.search(before) or _QUOTED_LINE.match(sentence)
            is_own = not attributed and _is_clean(sentence[match.end(1) :], scale)
            yield LabelledChoice(line.start + at + len(sentence), as_choice(match[1], scale) if is_own else None)
        before = sentence


def _lines(text: str, labels: tuple[str, ...]) -> Iterator[_TextLine]:
    at, heading, last, follows_label = 0, "", "", False
    for raw in text.splitlines(keepends=True):
        bare = raw.strip(" \t\r\n#*_|:：-")
        if bare:
            yield _TextLine(at, raw.rstrip("\r\n"), heading, last, follows_label)
            follows_label = _is_label(bare, labels)
            last = "" if follows_label else bare
            heading = last if _leads(raw) else heading
        at += len(raw)


def _sentences(line: str) -> Iterator[tuple[int, str]]:
    at = 0
    for piece in re.split(r"(?<=[.!?;])(?=\s)", line):
        if len(piece) <= _LONGEST_SENTENCE:
            yield at, piece.strip()
        at += len(piece)


def _leads(line: str) -> bool:
    """Whether the line is a heading or announces what follows."""
    bare = line.strip()
    bold = bare.startswith("**") and bare.endswith("**")
    return bold or bare.startswith("#") or bare.rstrip("*_ ").endswith((":", "："))


def _is_label(bare: str, labels: tuple[str, ...]) -> bool:
    return len(bare) < 80 and re.fullmatch(rf"{_ITEM}{_MODIFIERS}(?:{_any(labels)})", bare, re.IGNORECASE) is not None


@cache
def _pattern(labels: tuple[str, ...], scale: tuple[str, ...]) -> re.Pattern[str]:
    quote = r"[>\"'`“]{0,2}"
    label = rf"{quote}{_LEAD}{quote}{_MODIFIERS}(?:{_any(labels)})[\"'`”]{{0,1}}"
    return re.compile(rf"{label}{_JOIN}({_any(scale)})(?![\w'’&+/-])", re.IGNORECASE)


def _is_clean(tail: str, scale: Sequence[str]) -> bool:
    """Whether the rest of the sentence leaves the choice valid."""
    doubted = _HEDGE.search(tail) or _ATTRIBUTION.search(tail) or _names_another(tail, "", scale)
    return bool(_TAIL_START.match(tail)) and not doubted


def _is_attributed(lead: str) -> bool:
    """Whether a heading or introduction attributes what follows to someone else, an example or a condition."""
    lead = _OURSELVES.sub("", lead)
    return bool(_ATTRIBUTION.search(lead) or _CONDITION.search(lead))


def _names_another(text: str, choice: str, scale: Sequence[str]) -> bool:
    """Whether another choice is named at all, apart from words like `sell-off`."""
    return re.search(rf"\b(?:{_others(choice, scale)})\b(?!-\w)", text, re.IGNORECASE) is not None


def _without_quotes(text: str, scale: Sequence[str]) -> str:
    """The text without the clauses that only report the choice of another (`the bulls say Buy`)."""
    named = rf"(?:an?\s|to\s)?[\"'*_“]{{0,3}}(?:{_any(scale)})\b(?![-+/&’'])[\"'*_”]{{0,3}}"
    ends = r"(?=\s{0,3}(?:[.;,!]|$|\n|and\b|while\b|whereas\b|but\b))"
    quoted = rf"{_QUOTES_ANOTHER}{_SAYS}:?\s{named}{ends}"
    return re.sub(quoted, " ", text, flags=re.IGNORECASE)


def _others(choice: str, scale: Sequence[str]) -> str:
    return _any(word for word in scale if word != choice)


def _any(words: Iterator[str] | Sequence[str]) -> str:
    return "|".join(map(re.escape, words))
