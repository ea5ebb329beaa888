"""Hardware cards: measured speed, energy and cost of one model on one machine, as files in `hardware/` beside an experiment.

`python -m benchmarks.gpu` writes them. A card is used for the model that it names and for no other.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError

from harness.errors import InvalidInput, Problem
from harness.experiment import yaml_file
from harness.experiment.terms import ConfigModel, Number, Whole

FOLDER = "hardware"
AGREE_WITHIN = 0.2
"""Largest relative difference at which two cards of one model count as the same measurement."""
_REQUEST_IN, _REQUEST_OUT = 1000, 200
"""Tokens of the request by which the speed of cards is compared: a prompt of the pipeline and its answer."""
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]


class CardModel(ConfigModel):
    """The model that was measured."""

    name: str = Field(min_length=1)
    """Name as its server knows it."""
    digest: str | None = None
    """Digest of its weights, as the server reports it."""
    quantisation: str | None = None
    """Quantisation of its weights, such as Q4_K_M."""


class CardSetting(ConfigModel):
    """What was measured with one number of slots."""

    slots: Whole
    """Requests at a time."""
    prefill_tokens_per_s: Positive
    """Prompt tokens read per second, of one request."""
    decode_tokens_per_s: Positive
    """Output tokens written per second, of one request."""
    input_tokens_per_s: Positive | None = None
    """Prompt tokens per second of all requests together, those read from a cache included."""
    output_tokens_per_s: Positive
    """Output tokens per second of all requests together."""
    first_token_s: NotNegative | None = None
    """Median time from sending a request to its first token, without the wait for a slot."""
    queued_s: NotNegative | None = None
    """Mean time that a request waited for its slot."""
    server_queue_s: NotNegative | None = None
    """Mean time that a request waited inside the server, where the server reports enough to tell."""
    slots_busy: Annotated[Number, Field(ge=0, le=1)]
    """Share of the slots that had a request, over the whole measurement."""
    loads: int = Field(ge=0)
    """How often a request waited for the server to load the model; 0: it stayed loaded."""
    memory_gib: NotNegative | None = None
    """Most memory of the machine's GPUs in use meanwhile, by any process."""
    decisions: Whole | None = None
    """Decisions of the demo pipeline that were measured."""
    input_tokens_per_decision: NotNegative | None = None
    """Prompt tokens of one of them."""
    output_tokens_per_decision: NotNegative | None = None
    """Output tokens of one of them."""
    seconds_per_decision: Positive
    """Machine time of one of them; the time counts once, however many requests share it."""
    watts: NotNegative | None = None
    """Mean power while it computed, idle power included."""
    joules_per_decision: NotNegative | None = None
    """Energy of one decision by our accounting, idle power included."""
    counter_joules_per_decision: NotNegative | None = None
    """The same by the GPU's own energy counter."""
    usd_per_decision: NotNegative | None = None
    """Cost of one decision at the rental price that was given."""

    @property
    def request_s(self) -> float:
        """Time of a request of the usual size, by which cards are compared."""
        return _REQUEST_IN / self.prefill_tokens_per_s + _REQUEST_OUT / self.decode_tokens_per_s


class HardwareCard(ConfigModel):
    """One model on one machine."""

    machine: str = Field(min_length=1)
    """GPU, or CPU and its cores."""
    provider: str = Field(min_length=1)
    """API of the server."""
    server: str = Field(min_length=1)
    """Name and version of the server."""
    model: CardModel
    """The model that was measured."""
    settings: tuple[CardSetting, ...] = Field(min_length=1)
    """One entry for each number of slots."""
    load_s: NotNegative | None = None
    """Time to load the model; of llama-server and vLLM, from their start to their first answer."""
    gpu_share: Annotated[Number, Field(ge=0, le=1)] | None = None
    """Share of the model that computes on the GPU, if the server reports it."""
    idle_watts: NotNegative | None = None
    """Power without any request."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Driver, harness and other versions."""
    measured: dt.date
    """Day of the measurement."""
    by: str = ""
    """Who measured."""

    @property
    def subject(self) -> tuple[str, ...]:
        """What was measured; only cards of one subject are merged."""
        return (self.machine, self.provider, self.server, *(str(value) for _, value in self.model))

    def at(self, slots: int) -> CardSetting:
        """The setting whose number of slots is nearest, by ratio."""
        return min(self.settings, key=lambda setting: (abs(math.log(setting.slots / slots)), setting.slots))

    def watts_above_idle(self, slots: int) -> float | None:
        watts = self.at(slots).watts
        return None if watts is None or self.idle_watts is None else max(0.0, watts - self.idle_watts)

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True)


@dataclass(frozen=True)
class NamedCard:
    """A card with the name of its file."""

    name: str
    card: HardwareCard

    def contradicts(self, model: str, digest: str | None, quantisation: str | None = None) -> bool:
        """Whether it measured other weights under the same name: by digest, else by quantisation."""
        measured = self.card.model
        if measured.name != model:
            return False
        if digest is not None and measured.digest is not None:
            return _bare(digest) != _bare(measured.digest)
        return None not in (quantisation, measured.quantisation) and quantisation != measured.quantisation


def _bare(digest: str) -> str:
    return digest.removeprefix("sha256:")


@dataclass(frozen=True)
class CardFigures:
    """What the cards of a server say about one model; the slowest one counts where they disagree."""

    cards: tuple[NamedCard, ...]
    slots: int

    @property
    def slowest(self) -> NamedCard:
        return max(self.cards, key=lambda named: named.card.at(self.slots).request_s)

    @property
    def setting(self) -> CardSetting:
        return self.slowest.card.at(self.slots)

    @property
    def watts_above_idle(self) -> float | None:
        return self.slowest.card.watts_above_idle(self.slots)

    @property
    def disagree(self) -> bool:
        seconds = [named.card.at(self.slots).request_s for named in self.cards]
        watts = [value for named in self.cards if (value := named.card.watts_above_idle(self.slots)) is not None]
        return any(max(values) > min(values) * (1 + AGREE_WITHIN) for values in (seconds, watts) if values)

    def describe(self) -> str:
        """Model, speed and power, and from which card; every card where they disagree."""
        shown = self.cards if self.disagree else (self.slowest,)
        text = "; ".join(self._line(named) for named in shown)
        return f"{text}: the cards disagree, the slowest is used" if self.disagree else text

    def _line(self, named: NamedCard) -> str:
        card, setting = named.card, named.card.at(self.slots)
        watts = card.watts_above_idle(self.slots)
        parts = [f"{setting.decode_tokens_per_s:,.0f} tokens/s out, {setting.prefill_tokens_per_s:,.0f} in"]
        parts += [f"{watts:,.0f} W above idle"] if watts is not None else []
        slots = f"{setting.slots} slot{'s' if setting.slots > 1 else ''}"
        quantised = f" {card.model.quantisation}" if card.model.quantisation else ""
        return f"{card.model.name}{quantised}: {', '.join(parts)} (card {named.name}, {slots}, {card.measured})"


def figures_of(cards: Sequence[NamedCard], model: str, slots: int) -> CardFigures | None:
    """What the cards say about a model; None if none of them names it."""
    matching = tuple(named for named in cards if named.card.model.name == model)
    return CardFigures(matching, slots) if matching else None


def load(names: Iterable[str], folders: Sequence[Path]) -> tuple[NamedCard, ...]:
    """Read cards by name from `hardware/` in the first of these folders that has them. Raises InvalidInput."""
    return tuple(NamedCard(name, _load(name, [folder / FOLDER for folder in folders])) for name in names)


def _load(name: str, folders: Sequence[Path]) -> HardwareCard:
    path = next((path for folder in folders if (path := folder / f"{name}.yaml").is_file()), None)
    if path is None:
        known = ", ".join(sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})) or "none"
        where = " or ".join(dict.fromkeys(str(folder / f"{name}.yaml") for folder in folders))
        problem = Problem(f"card {name}", f"there is no {where}; known: {known}", "make one: python -m benchmarks.gpu")
        raise InvalidInput([problem])
    return parse(yaml_file.load(path))


def parse(document: yaml_file.Document) -> HardwareCard:
    try:
        return HardwareCard.model_validate(document.value)
    except ValidationError as error:
        raise InvalidInput(yaml_file.problems(error, document)) from error


def merged(old: HardwareCard, new: HardwareCard) -> HardwareCard:
    """A card of the same subject, measured again: new settings replace old ones with the same number of slots."""
    settings: dict[int, Any] = {setting.slots: setting for setting in (*old.settings, *new.settings)}
    return new.model_copy(update={"settings": tuple(settings[slots] for slots in sorted(settings))})
