"""When vendors turn models off and what they recommend instead, for lists of models that carry no dates."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from domain.hosting import reaches
from domain.models import SNAPSHOT, plain_name

SOURCE = (
    "openai 3.54.0, openai/types/shared/chat_model.py, and developers.openai.com/api/docs/deprecations, both read on 2026-11-27"
)
VENDOR = "OpenAI"
_VENDOR_URL = "https://api.openai.com"
_SHUTDOWNS: Mapping[str, tuple[str, str | None]] = {
    "gpt-5": ("2026-12-11", "gpt-6.1-sol"),
    "gpt-5-mini": ("2026-12-11", "gpt-6.1-terra"),
    "gpt-5-nano": ("2026-12-11", "gpt-6-luna"),
    "gpt-5-pro": ("2026-12-11", "gpt-6.1-sol (reasoning.mode: pro)"),
    "o3": ("2026-12-11", "gpt-6.1-sol"),
    "o3-pro": ("2026-12-11", "gpt-6.1-sol (reasoning.mode: pro)"),
    "gpt-4o": ("2027-01-14", "gpt-6-luna"),
    "gpt-4o-mini": ("2027-01-14", "gpt-6-luna"),
    "gpt-4.1": ("2027-01-14", "gpt-6-luna"),
    "gpt-4.1-mini": ("2027-01-14", "gpt-6-luna"),
    "gpt-5.1": ("2027-04-01", None),
    "gpt-5.4-nano": ("2027-04-01", None),
    "gpt-4.1-nano": ("2026-10-23", "gpt-5.6-luna"),
    "gpt-4o-2024-05-13": ("2026-10-23", "gpt-5.6-sol"),
    "o4-mini": ("2026-10-23", "gpt-5.6-terra"),
    "o3-mini": ("2026-10-23", "gpt-5.6-sol"),
    "o1": ("2026-10-23", "gpt-5.6-sol"),
    "gpt-5-chat-latest": ("2026-07-23", None),
    "gpt-5.1-chat-latest": ("2026-07-23", None),
    "gpt-5.2-chat-latest": ("2026-08-10", None),
    "gpt-5.3-chat-latest": ("2026-08-10", None),
}
"""Model -> date and recommended replacement, None where none was read. Dated snapshots follow their model."""


@dataclass(frozen=True)
class Shutdown:
    """One model's last day."""

    model: str
    date: dt.date
    """OpenAI: "you can still use it until its shutdown date". On that day it may fail at any hour; afterwards it is gone."""
    replacement: str | None
    source: str

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Self | None:
        """As `to_plain` wrote it; None for anything else."""
        try:
            day = dt.date.fromisoformat(str(plain["date"]))
            return cls(str(plain["model"]), day, plain["replacement"], str(plain["source"]))
        except (KeyError, TypeError, ValueError):
            return None

    def to_plain(self) -> dict[str, Any]:
        return {"model": self.model, "date": self.date.isoformat(), "replacement": self.replacement, "source": self.source}

    def days_left(self, today: dt.date) -> int:
        """0 on the day itself, negative afterwards."""
        return (self.date - today).days

    def sentence(self, today: dt.date) -> str:
        """The model, its date, the days left and the replacement."""
        days = self.days_left(today)
        if days < 0:
            when = f"was shut down by {VENDOR} on {self.date}"
        elif days == 0:
            when = f"is shut down by {VENDOR} today ({self.date}, UTC) and may stop answering at any hour"
        else:
            when = f"is shut down by {VENDOR} on {self.date}, {days} day{'s' if days > 1 else ''} left"
        return f"{self.model} {when}; {self.named()}"

    def named(self) -> str:
        """What the vendor recommends instead, in words."""
        return f"{VENDOR} names {self.replacement} as its replacement" if self.replacement else "its replacement is not known"


def shutdown_of(name: str) -> Shutdown | None:
    """The shutdown that is known without asking the vendor; None where no date is known."""
    plain = plain_name(name)
    matching = [known for known in _SHUTDOWNS if re.match(re.escape(known) + SNAPSHOT, plain)]
    if not matching:
        return None
    date, replacement = _SHUTDOWNS[max(matching, key=len)]
    return Shutdown(name, dt.date.fromisoformat(date), replacement, SOURCE)


def is_vendor_address(url: str | None) -> bool:
    """Whether requests to this address reach the vendor itself; None is the client's own default."""
    return url is None or reaches(url, _VENDOR_URL)
