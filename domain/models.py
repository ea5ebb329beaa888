"""What is known of models by name: knowledge cutoffs, context windows, reasoning efforts and tokenizers, each with its source.

What no source states is None and is shown as unknown. To add a model, add a line to _TABLE, with the source that you read.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

READ_ON = dt.date(2026, 11, 27)
"""When the sources below were read."""
CERTAINTY = {
    "stated": "as its maker says",
    "reported": "as others report, not its maker",
    "bound": "day of its release, since no cutoff was found",
}
"""How sure a cutoff is. A source that names only a month counts with its last day; of several sources the latest counts."""


@dataclass(frozen=True)
class Cutoff:
    """Until when a model may know what happened."""

    model: str
    """Name of the family."""
    cutoff: dt.date
    certainty: str
    """A key of CERTAINTY."""
    source: str

    @property
    def certainty_words(self) -> str:
        return CERTAINTY[self.certainty]


@dataclass(frozen=True)
class Family:
    """A model version with its dated snapshots; for open weights also with its sizes and tags."""

    name: str
    cutoff: Cutoff | None
    context_tokens: int | None
    """Prompt and answer together; None also where it differs by size."""
    efforts: tuple[str, ...] | None
    """Values of `reasoning_effort` that it takes: none at all for a model that does not reason, None where unknown."""
    default_effort: str | None
    """What it does when a request names no effort; `medium` for a model that thinks by itself."""
    source: str
    """Of the context window and the efforts."""
    is_open: bool = False
    """Open weights: whatever follows the name is a size or a tag. `gpt-5-codex` in contrast is another model than gpt-5."""

    @property
    def reasons_by_default(self) -> bool:
        """Whether an answer has hidden tokens when no effort is named; assumed of a model that can reason."""
        return (self.default_effort or ("medium" if self.efforts else "none")) != "none"


@dataclass(frozen=True)
class Line:
    """What all versions of a maker's line have in common."""

    prefix: str
    vocabulary: str | None = None
    """Name of the tokenizer's vocabulary."""
    sends_effort: bool = False
    sends_verbosity: bool = False


_LINES = (
    # Vocabularies as in tiktoken 0.14.0, tiktoken/model.py, which lists none for gpt-6.
    Line("gpt-5", "o200k_base", sends_effort=True, sends_verbosity=True),
    Line("gpt-6", sends_effort=True, sends_verbosity=True),
    Line("o1", "o200k_base", sends_effort=True),
    Line("o3", "o200k_base", sends_effort=True),
    Line("o4", "o200k_base", sends_effort=True),
    Line("gpt-4o", "o200k_base"),
    Line("chatgpt-4o", "o200k_base"),
    Line("gpt-4.1", "o200k_base"),
    Line("gpt-oss", "o200k_harmony"),
)
_DIGIT_BY_DIGIT = ("gemma", "qwen", "smollm", "deepseek", "mistral", "phi")
"""Makers' lines whose tokenizers take numbers apart; those of GPT and Llama 3 take up to three digits at once."""

_DEV = "models.dev (github.com/anomalyco/models.dev, files of July to October 2026)"
_LITE = "litellm 1.110.2, model_prices_and_context_window_backup.json"
_BOTH = f"{_DEV}; {_LITE}"
_BY_SIZE = f"{_DEV}; its context differs by size"
_NOTHING = "no source read"
_OPENAI = "https://developers.openai.com/api/docs/models"
_OXEN = "https://docs.oxen.ai/inference-api/reference/models/gpt-5-6-terra; genai-prices 0.2.3"
_SISTER = f"{_OXEN} (its sister; models.dev: February 2026)"
_SOL_61 = "https://www.w3cschool.cn/openai_api/openai-api-docs-gpt-6-1-sol.html (translation of OpenAI's page); litellm 1.110.2"
_SOL_62 = f"{_OPENAI}/gpt-6.2-sol (it refuses none; its list of efforts was not read)"
_GPT_4O = "https://mentionsapi.com/blog/chatgpt-knowledge-cutoff; models.dev (September 2023)"
_GPT_41 = "https://vercel.com/ai-gateway/models/gpt-4.1/faq (June 2024)"
_GPT_5 = "https://simonwillison.net/2025/Aug/7/gpt-5/; models.dev"
_GPT_54 = "https://developer.box.com/guides/box-ai/ai-models/openai-gpt-5-4-model-card; models.dev"
_HARMONY = "https://github.com/openai/harmony/blob/main/docs/format.md (system message: 2024-06)"
_META = "https://github.com/meta-llama/llama-models/blob/main/models"
_LLAMA_3 = f"{_META}/llama3/MODEL_CARD.md (March 2023 for 8B, December 2023 for 70B)"
_GEMMA_3 = "https://ai.google.dev/gemma/docs/core/model_card_3, read as quoted by others (August 2024)"
_PHI_4 = "https://huggingface.co/ZySec-AI/phi4-abliterated (copy of the maker's model card: June 2024 and earlier)"
_SMOLLM = "https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct"
_MISTRAL = "https://mistral.ai/news/mistral-small-3"
_DEEPSEEK = "https://api-docs.deepseek.com/news/news250120"

_CLASSIC = ("low", "medium", "high")
_MINIMAL = ("minimal", *_CLASSIC)
_NONE_HIGH = ("none", *_CLASSIC)
_NONE_XHIGH = (*_NONE_HIGH, "xhigh")
_NONE_MAX = (*_NONE_XHIGH, "max")
_LOW_MAX = (*_CLASSIC, "xhigh", "max")
_PRO = ("medium", "high", "xhigh")

_Known = tuple[str, str, str]


def _stated(day: str, source: str) -> _Known:
    return day, "stated", source


def _reported(day: str, source: str) -> _Known:
    return day, "reported", source


def _released(day: str, source: str) -> _Known:
    return day, "bound", source


def _hosted(
    name: str, known: _Known, context: int | None, efforts: tuple[str, ...] | None, default: str | None, source: str
) -> Family:
    return Family(name, _cutoff(name, known), context, efforts, default, source)


def _open(
    name: str, known: _Known | None, context: int | None, efforts: tuple[str, ...] | None, default: str | None, source: str
) -> Family:
    return Family(name, _cutoff(name, known) if known else None, context, efforts, default, source, is_open=True)


def _cutoff(name: str, known: _Known) -> Cutoff:
    day, certainty, source = known
    return Cutoff(name, dt.date.fromisoformat(day), certainty, source)


_TABLE = (
    _hosted("gpt-4o", _reported("2023-10-01", _GPT_4O), 128_000, (), "none", _DEV),
    _hosted("gpt-4o-mini", _reported("2023-10-01", _GPT_4O), 128_000, (), "none", _DEV),
    _hosted("gpt-4.1", _reported("2024-06-30", _GPT_41), 1_047_576, (), "none", _DEV),
    _hosted("gpt-4.1-mini", _reported("2024-06-30", _GPT_41), 1_047_576, (), "none", _DEV),
    _hosted("gpt-4.1-nano", _reported("2024-06-30", _GPT_41), 1_047_576, (), "none", _DEV),
    _hosted("o1", _reported("2023-09-30", _DEV), 200_000, _CLASSIC, "medium", _DEV),
    _hosted("o3", _reported("2024-06-01", _DEV), 200_000, _CLASSIC, "medium", _DEV),
    _hosted("o3-mini", _reported("2024-06-01", _DEV), 200_000, _CLASSIC, "medium", _DEV),
    _hosted("o3-pro", _reported("2024-06-01", _DEV), 200_000, None, None, _DEV),
    _hosted("o4-mini", _reported("2024-06-01", _DEV), 200_000, _CLASSIC, "medium", _DEV),
    _hosted("gpt-5", _reported("2024-09-30", _GPT_5), 400_000, _MINIMAL, "medium", _DEV),
    _hosted("gpt-5-mini", _reported("2024-05-31", _GPT_5), 400_000, _MINIMAL, "medium", _DEV),
    _hosted("gpt-5-nano", _reported("2024-05-31", _GPT_5), 400_000, _MINIMAL, "medium", _DEV),
    _hosted("gpt-5-pro", _reported("2024-09-30", _DEV), 400_000, ("high",), "high", _DEV),
    _hosted("gpt-5.1", _reported("2024-09-30", _DEV), 400_000, _NONE_HIGH, "none", _BOTH),
    _hosted("gpt-5.2", _reported("2025-08-31", _DEV), 400_000, _NONE_XHIGH, "none", _BOTH),
    _hosted("gpt-5.2-pro", _reported("2025-08-31", _DEV), 400_000, _PRO, None, _DEV),
    _hosted("gpt-5.4", _reported("2025-08-31", _GPT_54), 1_050_000, _NONE_XHIGH, "none", _BOTH),
    _hosted("gpt-5.4-mini", _reported("2025-08-31", _DEV), 400_000, _NONE_XHIGH, "none", _BOTH),
    _hosted("gpt-5.4-nano", _reported("2025-08-31", _DEV), 400_000, _NONE_XHIGH, "none", _BOTH),
    _hosted("gpt-5.4-pro", _reported("2025-08-31", _DEV), 1_050_000, _PRO, None, _DEV),
    _hosted("gpt-5.5", _reported("2025-12-01", _DEV), 1_050_000, _NONE_XHIGH, None, _BOTH),
    _hosted("gpt-5.5-pro", _reported("2025-12-01", _DEV), 1_050_000, _PRO, None, _DEV),
    _hosted("gpt-5.6-sol", _reported("2026-02-16", _SISTER), 1_050_000, _NONE_MAX, None, _OXEN),
    _hosted("gpt-5.6-terra", _reported("2026-02-16", _OXEN), 1_050_000, _NONE_MAX, None, _OXEN),
    _hosted("gpt-5.6-luna", _reported("2026-02-16", _SISTER), 1_050_000, _NONE_MAX, None, _OXEN),
    _hosted("gpt-6-astra", _reported("2026-04-30", _DEV), 1_050_000, _LOW_MAX, None, _BOTH),
    _hosted("gpt-6-sol", _stated("2026-04-20", f"{_OPENAI}/gpt-6-sol"), 1_050_000, _NONE_MAX, "medium", f"{_OPENAI}/gpt-6-sol"),
    _hosted("gpt-6-luna", _stated("2026-05-18", f"{_OPENAI}/gpt-6-luna"), 1_050_000, _NONE_MAX, "medium", _OPENAI),
    _hosted("gpt-6.1-sol", _reported("2026-04-30", _SOL_61), 1_050_000, _LOW_MAX, "medium", _SOL_61),
    _hosted("gpt-6.1-terra", _stated("2026-06-01", f"{_OPENAI}/gpt-6.1-terra"), 1_050_000, _NONE_MAX, "medium", _OPENAI),
    _hosted("gpt-6.2-sol", _stated("2026-06-01", _SOL_62), 1_050_000, None, None, _SOL_62),
    _open("gpt-oss", _stated("2024-06-30", _HARMONY), 131_072, _CLASSIC, "medium", _DEV),
    _open("llama3", _stated("2023-12-31", _LLAMA_3), 8_192, (), "none", _LITE),
    _open("llama3.1", _stated("2023-12-31", f"{_META}/llama3_1/MODEL_CARD.md"), 131_072, (), "none", _BOTH),
    _open("llama3.2", _stated("2023-12-31", f"{_META}/llama3_2/MODEL_CARD.md"), 131_072, (), "none", _LITE),
    _open("llama3.3", _stated("2023-12-31", f"{_META}/llama3_3/MODEL_CARD.md"), 131_072, (), "none", _LITE),
    _open("llama4", _stated("2024-08-31", f"{_META}/llama4/MODEL_CARD.md"), None, (), "none", _BY_SIZE),
    _open("qwen2.5", _released("2024-09-19", "https://qwenlm.github.io/blog/qwen2.5/"), None, None, None, _NOTHING),
    _open("qwen3", _reported("2025-04-30", _DEV), None, None, "medium", _BY_SIZE),
    _open("qwen3-coder", _reported("2025-04-30", _DEV), 262_144, (), "none", _BOTH),
    _open("qwen3.5", _released("2026-02-23", _DEV), 262_144, None, "medium", _BOTH),
    _open("qwen3.6", _released("2026-04-27", _DEV), 262_144, None, "medium", _BOTH),
    _open("gemma3", _reported("2024-08-31", _GEMMA_3), None, (), "none", _BY_SIZE),
    _open("gemma3-4b", _reported("2024-08-31", _GEMMA_3), 131_072, (), "none", _BOTH),
    _open("gemma3-12b", _reported("2024-08-31", _GEMMA_3), 131_072, (), "none", _BOTH),
    _open("gemma3-27b", _reported("2024-08-31", _GEMMA_3), 131_072, (), "none", _BOTH),
    _open("gemma4", _released("2026-04-02", _DEV), None, None, "medium", _BY_SIZE),
    _open("gemma4-e2b", _released("2026-04-02", _DEV), 131_072, None, "medium", _DEV),
    _open("gemma4-e4b", _released("2026-04-02", _DEV), 131_072, None, "medium", _BOTH),
    _open("gemma4-26b", _released("2026-04-02", _DEV), 262_144, None, "medium", _BOTH),
    _open("gemma4-31b", _released("2026-04-02", _DEV), 262_144, None, "medium", _BOTH),
    _open("glm-4.5", _reported("2025-04-30", _DEV), 131_072, None, "medium", _DEV),
    _open("glm-4.6", _reported("2025-04-30", _DEV), 204_800, None, "medium", _DEV),
    _open("glm-4.7", _reported("2025-04-30", _DEV), 204_800, None, "medium", _DEV),
    _open("glm-4.7-flash", _reported("2025-04-30", _DEV), 200_000, None, "medium", _DEV),
    _open("glm-5", _released("2026-03-16", _DEV), None, None, "medium", _BY_SIZE),
    _open("glm-5.1", _released("2026-04-07", _DEV), 200_000, None, "medium", _DEV),
    _open("glm-5.2", _released("2026-06-13", _DEV), 1_000_000, None, "medium", _BOTH),
    _open("glm-5.3", None, 1_000_000, None, None, _LITE),
    _open("phi4", _reported("2024-06-30", _PHI_4), None, None, None, _NOTHING),
    _open("smollm2", _released("2024-11-01", _SMOLLM), None, None, None, _NOTHING),
    _open("mistral-small3", _released("2025-01-30", _MISTRAL), None, None, None, _NOTHING),
    _open("deepseek-r1", _released("2025-01-20", _DEEPSEEK), None, None, None, _NOTHING),
)
FAMILIES: Mapping[str, Family] = {family.name: family for family in _TABLE}
SNAPSHOT = r"(?:-\d{4}-?\d{2}-?\d{2})?(?:[:@].*)?$"
"""What may follow the name of a hosted model: the date of a snapshot, and a gateway's suffix such as `:free`."""


def plain_name(name: str) -> str:
    """A model's name in lower case, without the publisher or gateway before it."""
    return name.strip().lower().rpartition("/")[2]


def family_of(name: str) -> Family | None:
    """The entry with the longest name that this model's name starts with; None for a model that is not in the table.

    Publishers (`openai/gpt-6-luna`), tags (`llama3.1:8b`), dated snapshots and the sign between the words do not matter."""
    plain = plain_name(name)
    matching = [family for family in _TABLE if _pattern(family.name, family.is_open).match(plain)]
    return max(matching, key=lambda family: len(family.name), default=None)


@cache
def line_of(name: str) -> Line | None:
    """The maker's line, such as gpt-5 for `openai/gpt-5.4-mini`; None where it is not known."""
    plain = plain_name(name)
    matching = [line for line in _LINES if re.match(rf"{re.escape(line.prefix)}(?![a-z0-9])", plain)]
    return max(matching, key=lambda line: len(line.prefix), default=None)


def openai_defaults(name: str) -> dict[str, str]:
    """Parameters that are always sent to a model at OpenAI's API, whose own defaults differ by model.

    They are part of a cell's id, so what this returns for a name must never change."""
    sends_effort = any(line.sends_effort and name.startswith(line.prefix) for line in _LINES)
    sends_verbosity = any(line.sends_verbosity and name.startswith(line.prefix) for line in _LINES)
    effort = {"reasoning_effort": "medium"} if sends_effort else {}
    return effort | ({"verbosity": "medium"} if sends_verbosity else {})


def calls_tools_by_responses_only(name: str) -> bool:
    """Whether OpenAI refuses tools for this model on Chat Completions."""
    return re.match(r"gpt-6\.1-(sol|terra)" + SNAPSHOT, plain_name(name)) is not None


def has_marked_cache(name: str) -> bool:
    """Whether OpenAI keeps prefixes of its prompts only at breakpoints, and charges for writes: GPT-5.6 and later."""
    version = re.match(r"gpt-(\d+)(?:\.(\d+))?(?=$|[-:@])", plain_name(name))
    return version is not None and (int(version[1]), int(version[2] or 0)) >= (5, 6)


def reasons_by_default(name: str) -> bool:
    """Whether its answers have hidden tokens when nothing is asked for; assumed of every model in a line that takes efforts."""
    family, line = family_of(name), line_of(name)
    return family.reasons_by_default if family else line is not None and line.sends_effort


def digits_per_token(name: str) -> int:
    """How many digits of a number one token holds."""
    return 1 if any(line in name.lower() for line in _DIGIT_BY_DIGIT) else 3


@cache
def _pattern(name: str, is_open: bool) -> re.Pattern[str]:
    """The name, however its words and its version are joined, and not as the head of another version."""
    words = re.findall(r"[a-z]+|[\d.]+", name)
    end = r"(?=$|[-_:@ ])" if is_open else SNAPSHOT
    return re.compile(r"(?:meta-)?" + r"[-_: ]?".join(map(re.escape, words)) + end)
