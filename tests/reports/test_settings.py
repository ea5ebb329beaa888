"""The typed view of a run's experiment and manifest: one place for defaults, whatever version made the run."""

from __future__ import annotations

import datetime as dt

from domain.defaults import HORIZONS
from reports.settings import Record, Settings

MODELS = {"big": {"provider": "openai", "model": "gpt-5"}, "small": {"provider": "ollama", "model": "llama3.1:8b"}}


def test_without_arms_each_model_is_one_and_the_first_is_the_baseline() -> None:
    settings = Settings.of({"models": MODELS})
    assert tuple(settings.arms) == ("big", "small")
    assert settings.baseline == "big"
    assert [model.name for model in settings.models_of("small")] == ["llama3.1:8b"]


def test_what_is_not_declared_has_its_default() -> None:
    settings = Settings.of({})
    assert (settings.name, settings.baseline, settings.horizons, settings.margins) == (None, None, HORIZONS, {})
    assert (settings.gates, settings.benchmark, settings.rule_arms) == ({}, None, frozenset())


def test_a_run_of_version_0_1_0_declares_its_metrics_under_their_former_name() -> None:
    terms = {"usable": {"margin": "2pp"}, "cost": None}
    former = Settings.of({"models": MODELS, "compare": {"endpoints": terms}})
    assert former == Settings.of({"models": MODELS, "compare": {"metrics": terms}})
    assert former.margins == {"usable": 0.02, "cost": None}


def test_rules_have_no_model_and_hybrids_name_each_model_once() -> None:
    arms = {"rule": {"rule": "macd"}, "hybrid": {"deep": "big", "quick": "small", "trader": "big", "pipeline": {"depth": 2}}}
    settings = Settings.of({"models": MODELS, "arms": arms})
    assert settings.rule_arms == {"rule"}
    assert settings.models_of("rule") == ()
    assert settings.arm("hybrid").aliases == ("big", "small")
    assert settings.arm("hybrid").has_own_pipeline


def test_a_gate_that_is_switched_off_is_not_checked() -> None:
    assert Settings.of({"gates": {"max_run_usd": 5, "min_similarity": None}}).gates == {"max_run_usd": 5.0}


def test_a_manifest_without_an_entry_leaves_it_unknown_and_not_empty() -> None:
    record = Record.of({})
    assert (record.hardware, record.shutdowns, record.expected_cells, record.started_on) == (None, None, None, None)
    assert record.is_finished, "a run that recorded no state is not interim"


def test_a_manifest_is_read_into_days_machines_and_states() -> None:
    manifest = {"state": "stopped", "cells": 4, "started_at": "2026-11-27T09:00:00+00:00", "hardware": {"box": {"watts": 90}}}
    record = Record.of(manifest | {"shutdowns": {"m": "broken"}})
    assert (record.expected_cells, record.started_on, record.is_finished) == (4, dt.date(2026, 11, 27), False)
    assert record.hardware is not None
    assert record.hardware["box"].watts == 90
    assert record.shutdowns == ()
