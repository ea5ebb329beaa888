"""Which models play which roles of an arm, in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.settings import ArmSettings, Settings

MANAGERS = ("deep", "quick")
"""The two groups of roles of a lineup that TradingAgents knows."""


def lineup_text(settings: Settings, arm: str) -> str:
    """For example `all roles, gpt-5.4-mini`; the rule and the two managers have words of their own."""
    declared = settings.arm(arm)
    if declared.is_rule:
        return "one rule, no model"
    names = dict(declared.lineup)
    models = {alias: model.name for alias, model in settings.models.items()}
    if set(names) == set(MANAGERS):
        return f"two managers {_model(names['deep'], models)}, rest {_model(names['quick'], models)}"
    if len(set(names.values())) <= 1:
        return _one_model(declared, arm, models)
    named = {role.replace("_", " "): _model(alias, models) for role, alias in names.items() if role != "all"}
    several = [f"{len(named)} roles on {' and '.join(sorted(set(named.values())))}"]
    shown = [f"{role} {model}" for role, model in named.items()] if len(named) <= 2 else several
    return ", ".join([*shown, *([f"rest {_model(names['all'], models)}"] if "all" in names else [])])


def _one_model(declared: ArmSettings, arm: str, models: Mapping[str, str]) -> str:
    alias = next(iter(declared.lineup.values()), arm)
    model = _model(alias, models)
    whose = "its own pipeline" if declared.has_own_pipeline else "all roles"
    return whose if model == arm else f"{whose}, {model}"


def _model(alias: str, models: Mapping[str, str]) -> str:
    return models.get(alias, alias)
