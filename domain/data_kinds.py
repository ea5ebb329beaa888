"""The kinds of data that an experiment can name a source for."""

from __future__ import annotations

from collections.abc import Mapping

ABSENT_AS: Mapping[str, str] = {
    "prices": "prices",
    "filings": "company filings",
    "news": "news",
    "social": "social media texts",
    "insiders": "insider transactions",
    "macro": "economic series",
}
"""Kind -> what analysts read where there is none."""

DATA_KINDS: tuple[str, ...] = tuple(ABSENT_AS)
