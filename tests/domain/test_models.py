"""The table of models: found by any name that people write, unknown for every other model, and each fact with its source."""

from __future__ import annotations

import datetime as dt

import pytest

from domain import models
from domain.models import CERTAINTY, FAMILIES, family_of
from domain.shutdowns import Shutdown, is_vendor_address, shutdown_of

TODAY = dt.date(2026, 11, 27)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("gpt-5-2025-08-07", "gpt-5"),
        ("gpt-5-mini", "gpt-5-mini"),
        ("openai/gpt-6-luna", "gpt-6-luna"),
        ("openrouter/openai/gpt-6.1-sol:batch", "gpt-6.1-sol"),
        ("GPT-5.4-mini-2026-03-17", "gpt-5.4-mini"),
        ("llama3.1:8b", "llama3.1"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama3.1"),
        ("Meta-Llama-3.1-8B-Instruct-GGUF:Q4_K_M", "llama3.1"),
        ("gpt-oss:20b", "gpt-oss"),
        ("gemma-3-270m-it", "gemma3"),
        ("gemma3:27b", "gemma3-27b"),
        ("google/gemma-4-E4B-it", "gemma4-e4b"),
        ("qwen3:8b", "qwen3"),
        ("Qwen/Qwen3.5-9B", "qwen3.5"),
        ("zai-org/GLM-4.7-Flash", "glm-4.7-flash"),
        ("gpt-5-codex", None),
        ("gpt-5.99", None),
        ("glm-4.5v", None),
        ("qwen9:4b", None),
        ("o3x", None),
        ("mystery", None),
        ("", None),
    ],
)
def test_a_model_is_found_by_its_family_and_never_by_another_version(name: str, family: str | None) -> None:
    found = family_of(name)
    assert (found.name if found else None) == family


def test_every_entry_is_found_by_its_own_name_and_names_its_sources() -> None:
    for name, family in FAMILIES.items():
        assert family_of(name) is family
        assert family.source
        assert family.cutoff is None or (family.cutoff.certainty in CERTAINTY and family.cutoff.source)
        assert family.cutoff is None or family.cutoff.cutoff <= models.READ_ON
        assert family.default_effort is None or not family.efforts or family.default_effort in family.efforts


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("gpt-5", {"reasoning_effort": "medium", "verbosity": "medium"}),
        ("gpt-5.4-mini-2026-03-17", {"reasoning_effort": "medium", "verbosity": "medium"}),
        ("gpt-6.1-sol", {"reasoning_effort": "medium", "verbosity": "medium"}),
        ("o1", {"reasoning_effort": "medium"}),
        ("o3-mini", {"reasoning_effort": "medium"}),
        ("o4-mini", {"reasoning_effort": "medium"}),
        ("o3mini-of-a-deployment", {"reasoning_effort": "medium"}),
        ("gpt-4o", {}),
        ("gpt-4.1", {}),
        ("openai/gpt-5", {}),
        ("GPT-5", {}),
        ("hosted-1", {}),
    ],
)
def test_the_parameters_that_are_always_sent_stay_as_they_were_since_cell_ids_hold_them(
    name: str, parameters: dict[str, str]
) -> None:
    assert list(models.openai_defaults(name).items()) == list(parameters.items())


def test_a_shutdown_names_the_date_the_days_left_and_the_replacement() -> None:
    known = shutdown_of("openai/gpt-5-mini-2025-08-07")
    assert known is not None
    assert known.source
    assert known.sentence(TODAY) == (
        "openai/gpt-5-mini-2025-08-07 is shut down by OpenAI on 2026-12-11, 14 days left; "
        "OpenAI names gpt-6.1-terra as its replacement"
    )
    assert "1 day left" in known.sentence(dt.date(2026, 12, 10))
    assert "today (2026-12-11, UTC) and may stop answering at any hour" in known.sentence(dt.date(2026, 12, 11))
    assert "was shut down by OpenAI on 2026-12-11" in known.sentence(dt.date(2026, 12, 12))


def test_a_shutdown_without_a_named_replacement_says_so() -> None:
    assert Shutdown("m", TODAY, None, "").sentence(TODAY).endswith("its replacement is not known")


@pytest.mark.parametrize("name", ["gpt-6.1-sol", "gpt-5.4", "gpt-5-codex", "gpt-50", "llama3.1:8b", "mystery"])
def test_a_model_without_an_announced_shutdown_has_none(name: str) -> None:
    assert shutdown_of(name) is None


def test_a_snapshot_with_a_date_of_its_own_does_not_follow_its_model() -> None:
    dates = {name: known.date for name in ("gpt-4o", "gpt-4o-2024-05-13", "gpt-4o-2024-11-20") if (known := shutdown_of(name))}
    assert [str(date) for date in dates.values()] == ["2027-01-14", "2026-10-23", "2027-01-14"]


@pytest.mark.parametrize(
    ("url", "is_vendor"),
    [
        (None, True),
        ("https://api.openai.com/v1", True),
        ("https://eu.api.openai.com/v1", True),
        ("http://127.0.0.1:8000/v1", False),
        ("https://openrouter.ai/api/v1", False),
        ("https://api.openai.com.example.org/v1", False),
    ],
)
def test_only_openai_s_own_hosts_are_the_vendor(url: str | None, is_vendor: bool) -> None:
    assert is_vendor_address(url) is is_vendor
