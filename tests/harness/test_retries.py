"""The table of causes: complete, bounded, jittered, and told in the docs as it stands."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from agents import CAUSES, Failure
from harness.admission.retries import DEFER_OVER_S, RETRIES, pause_s

DOCS = Path(__file__).resolve().parents[2] / "docs" / "faults.md"


def _failure(cause: str, retry_after_s: float | None = None) -> Failure:
    return Failure(cause, "said", "Error", retry_after_s=retry_after_s)


def test_every_cause_stands_in_the_table() -> None:
    assert set(RETRIES) == set(CAUSES)


@pytest.mark.parametrize("cause", sorted(RETRIES))
def test_a_place_is_asked_as_often_as_the_table_says(cause: str) -> None:
    tries = 1
    while pause_s(_failure(cause), Counter({cause: tries})) is not None:
        tries += 1
    assert tries == RETRIES[cause].tries


def test_back_off_doubles_with_jitter_and_keeps_its_longest() -> None:
    waits = [pause_s(_failure("server_error"), Counter(server_error=count), draw=1.0) for count in range(1, 8)]
    assert waits == [0.5, 1, 2, 4, 8, 16, 32]
    assert pause_s(_failure("server_error"), Counter(server_error=3), draw=0.0) == 1.0


def test_retry_after_is_honoured() -> None:
    assert pause_s(_failure("rate_limited", 42.0), Counter(rate_limited=1)) == 42.0


def test_failures_of_all_causes_together_are_bounded() -> None:
    many = Counter(rate_limited=8, server_error=7, connection=5)
    assert pause_s(_failure("connection"), many) is None


def test_the_docs_tell_the_table_as_it_is() -> None:
    text = DOCS.read_text()
    for cause, retry in RETRIES.items():
        waits = f"{retry.first_s:g} s to {retry.longest_s:g} s" if retry.tries > 1 else "-"
        bill = "estimate" if retry.billed else "nothing"
        assert f"| `{cause}` | {retry.tries} | {waits} | {retry.lesson or '-'} | {bill} |" in text
    assert f"{DEFER_OVER_S:g} s" in text
