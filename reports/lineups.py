"""Who plays in an arm, read from the resolved experiment: arm names, rules, and the models behind each arm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def arm_names(experiment: Mapping[str, Any]) -> tuple[str, ...]:
    """Arms in the order of the file; without `arms` each model is one."""
    return tuple(experiment.get("arms") or experiment.get("models") or ())


def rule_arms(experiment: Mapping[str, Any]) -> frozenset[str]:
    """Arms that decide by a rule, without a model."""
    arms = experiment.get("arms") or {}
    return frozenset(name for name, arm in arms.items() if isinstance(arm, Mapping) and arm.get("rule"))


def models_of(experiment: Mapping[str, Any], arm: str) -> tuple[str, ...]:
    """Names of the models (as the provider knows them) that play in an arm; none for a rule."""
    models = experiment.get("models") or {}
    lineup = (experiment.get("arms") or {}).get(arm, {"all": arm})
    aliases = dict.fromkeys(alias for alias in lineup.values() if isinstance(alias, str) and alias in models)
    return tuple(str(models[alias].get("model") or alias) for alias in aliases)
