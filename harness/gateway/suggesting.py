"""Rules that would name the unnamed calls of a run, found by how their prompts begin."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.experiment.attached import OTHER
from harness.storage.rows import Row

_LONGEST_CHARS = 60
_SHORTEST_CHARS = 12
_SPEAKER = re.compile(r"^\W*(?:you are|act as|as)\s+(?:an?|the|our)?\s*([\w/ -]{3,40})", re.IGNORECASE)
_STOP_WORDS = frozenset({"who", "that", "with", "for", "tasked", "and", "in", "at", "of", "on", "specialized", "responsible"})


@dataclass(frozen=True)
class Suggestion:
    """One proposed rule."""

    role: str
    where: str
    """system | user."""
    pattern: str
    calls: int


def suggestions(calls: Sequence[Row], messages: Sequence[Row]) -> list[Suggestion]:
    """Rules for the calls without a role: one per beginning that their prompts have in common."""
    texts = {row["message_id"]: row for row in messages}
    starts: dict[tuple[str, str], int] = Counter()
    for call in calls:
        if call["role"] == OTHER and (start := _start(call["message_ids"], texts)):
            starts[start] += 1
    groups: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    for (where, text), count in starts.items():
        groups[where, " ".join(text.split()[:4])].append((text, count))
    return [
        Suggestion(_name(group[0][0]), where, _pattern([text for text, _ in group]), sum(count for _, count in group))
        for (where, _), group in groups.items()
    ]


def as_yaml(proposed: Sequence[Suggestion], calls: Sequence[Row]) -> str:
    """The rules as a file for pipeline.roles."""
    named = sum(call["role"] != OTHER for call in calls)
    head = f"# {named} of {len(calls)} calls are named already.\n"
    if not proposed:
        return head + "# No prompt is unnamed: no rule is needed.\nrules: []\n"
    rules = "".join(
        f"  # {rule.calls} call{'s' if rule.calls > 1 else ''}\n"
        f"  - {{role: {rule.role}, {rule.where}: {_quoted(rule.pattern)}}}\n"
        for rule in proposed
    )
    advice = "# Correct the names; add debates: true to speakers of rounds, decides: true to the last one.\n"
    return f"{head}{advice}rules:\n{rules}"


def _start(ids: Sequence[str], texts: Mapping[str, Row]) -> tuple[str, str] | None:
    """Position of the first text of a prompt, and how it begins."""
    rows = [texts[each] for each in ids if each in texts and texts[each]["text"].strip()]
    row = next((row for role in ("system", "user") for row in rows if row["role"] == role), None)
    return (row["role"], row["text"].strip()[: 4 * _LONGEST_CHARS]) if row else None


def _pattern(beginnings: Sequence[str]) -> str:
    """A regular expression of what they have in common, cut at a word."""
    common = beginnings[0][:_LONGEST_CHARS].splitlines()[0]
    for text in beginnings[1:]:
        while common and not text.startswith(common):
            common = common[:-1]
    if len(common) == _LONGEST_CHARS and " " in common[_SHORTEST_CHARS:]:
        common = common.rpartition(" ")[0]
    return "^" + re.escape(common).replace("\\ ", " ")


def _name(begin: str) -> str:
    match = _SPEAKER.match(begin)
    words = re.findall(r"\w+", match[1] if match else begin)
    kept: list[str] = []
    for word in words[:4]:
        if word.lower() in _STOP_WORDS:
            break
        kept.append(word.lower())
    return "_".join(kept) or "unnamed"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
