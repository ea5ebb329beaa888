"""What to do: the recommended lineup as YAML and as a TradingAgents configuration, and a lineup worth trying."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from domain.providers import OPENAI, PROVIDERS
from reports.answer.table import PER, points, usd
from reports.format import known
from reports.money import breakdown
from reports.roles.hybrid import MOVE

if TYPE_CHECKING:
    from reports.answer.findings import Findings
    from reports.load import Run
    from reports.roles.hybrid import Hybrid

MANAGER_STAGES = ("plan", "decision")
"""Stages whose roles TradingAgents gives to its deep-thinking model; all others think quickly."""


@dataclass(frozen=True)
class Lineup:
    """A lineup to adopt or to try."""

    name: str
    models: Mapping[str, str]
    """Role -> alias of its model."""
    yaml: str
    usd: float | None
    """Per usable decision: measured, or estimated if the lineup was not run."""
    was_run: bool
    config: str
    """Lines for a TradingAgents configuration; empty if two tiers cannot express it."""
    config_note: str
    """What to know of the configuration, or why there is none."""


class Advice:
    """What the evidence recommends."""

    def __init__(self, run: Run, findings: Findings, hybrids: Sequence[Hybrid]) -> None:
        self.run, self.findings, self.hybrids = run, findings, hybrids

    @cached_property
    def sentence(self) -> tuple[str, str]:
        """(what to do, what it saves and costs)."""
        pick = self.findings.pick.arm if self.findings.pick else None
        if pick is not None:
            return self._adopt(pick)
        if self._moving is not None:
            return self._move(self._moving)
        if not self.findings.good_enough:
            return "", ""
        if not self._has_usable(str(self.findings.baseline)):
            return f"No decision of {self.findings.baseline} could be used:", "find out why its runs failed before you compare."
        good = [arm for arm, one in self.findings.good_enough.items() if one.word == "good enough"]
        if good:
            return (
                f"{good[0]} is good enough taken alone;",
                f"as a choice among {len(self.findings.good_enough)} arms the evidence is still too thin: add cases.",
            )
        return f"Keep {self.findings.baseline} for now:", "no other arm is shown to be good enough."

    @cached_property
    def lineups(self) -> list[Lineup]:
        """The lineup to adopt, if there is one, then one to try that was not run."""
        pick = self.findings.pick.arm if self.findings.pick else None
        adopted = [self._of_arm(pick)] if pick else []
        tried = self._recommended() or (self._split() if not pick else None)
        return [one for one in (*adopted, tried) if one is not None]

    @cached_property
    def _moving(self) -> Hybrid | None:
        return next((made for made in self.hybrids if made.moved), None)

    def _adopt(self, arm: str) -> tuple[str, str]:
        comparison = self.findings.row("cost").comparisons.get(arm)
        verdict = self.findings.good_enough[arm].verdicts["same_rating"]
        loss = f"at most {verdict.loss * 100:.1f} points" if verdict.loss else "no"
        lost = f"gives up {loss} of same rating" if verdict.loss else "gives up no same rating"
        lead = f"Replace {self.findings.baseline} by {arm}:"
        if comparison is None or not (known(comparison.own.value) and known(comparison.base.value)):
            return lead, f"what it saves is not known; it {lost}."
        saved = (comparison.base.value - comparison.own.value) * PER
        money = f"saves {usd(saved)}" if saved >= 0 else f"costs {usd(-saved)} more"
        return lead, f"it {money} per {PER:,} decisions and {lost}."

    def _move(self, made: Hybrid) -> tuple[str, str]:
        """One sentence on the roles that may move."""
        saved = (made.cost_now.value - made.cost.value) * PER
        roles = self._role_words(made.moved)
        money = f"saves {usd(saved)} per {PER:,} decisions" if known(saved) and saved >= 0 else "saves an unknown amount"
        return f"Moving {roles} to {made.target} {money};", f"{_grounding_change(made)}."

    def _role_words(self, moved: Sequence[str]) -> str:
        analysts = [role.name for role in self.run.roles.roles if self.run.roles.is_analyst(role.name)]
        words = [role.replace("_", " ") for role in moved if role not in analysts or not set(analysts) <= set(moved)]
        if analysts and set(analysts) <= set(moved):
            words.insert(0, f"the {_number_word(len(analysts))} analysts")
        if len(words) > 4:
            return f"{len(moved)} roles"
        return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"

    def _of_arm(self, arm: str) -> Lineup:
        models = self._roles_of(arm)
        usd_per = self.findings.row("cost").values[arm].value
        return self._lineup(arm, models, usd_per if known(usd_per) else None, was_run=True)

    def _recommended(self) -> Lineup | None:
        """The lineup that swaps and replays recommend, unless an arm has run it."""
        made = self._moving
        if made is None:
            return None
        models = dict(self._roles_of(made.arm)) | dict.fromkeys(made.moved, made.target)
        if any(self._roles_of(arm) == models for arm in self.run.settings.arms):
            return None
        usd_per = made.cost.value if known(made.cost.value) else None
        return replace(self._lineup("recommended", models, usd_per, was_run=False), yaml=made.yaml)

    def _split(self) -> Lineup | None:
        """The managers on the baseline's model and the rest on that of the closest arm, if that is new and saves money."""
        base = self.run.settings.arm(str(self.findings.baseline))
        candidates = [self.run.settings.arm(arm) for arm in self.findings.good_enough]
        single = [arm for arm in candidates if len(arm.aliases) == 1 and not arm.has_own_pipeline]
        closest = min(single, key=lambda arm: self._loss(arm.name), default=None)
        roles = self._roles_of(base.name)
        if closest is None or len(base.aliases) != 1 or base.has_own_pipeline or closest.aliases == base.aliases:
            return None
        if not (self._has_usable(base.name) and self._has_usable(closest.name)):
            return None
        managers = self._managers(roles)
        models = {role: base.aliases[0] if role in managers else closest.aliases[0] for role in roles}
        if not managers or any(self._roles_of(arm) == models for arm in self.run.settings.arms):
            return None
        parts = breakdown.by_role(self.run)
        costs = [
            spends[arm].cost.per(self.findings.counts[arm].ended)
            for role, spends in parts.items()
            if (arm := base.name if role in managers else closest.name) in spends
        ]
        estimate = None if None in costs else sum(cost or 0.0 for cost in costs)
        base_usd = self.findings.row("cost").values[base.name].value
        if estimate is not None and known(base_usd) and estimate >= base_usd:
            return None
        return self._lineup("managers_stay", models, estimate, was_run=False)

    def _has_usable(self, arm: str) -> bool:
        return self.findings.counts[arm].usable > 0

    def _loss(self, arm: str) -> float:
        verdict = self.findings.good_enough[arm].verdicts.get("same_rating")
        return verdict.loss if verdict and known(verdict.loss) else 1.0

    def _roles_of(self, arm: str) -> dict[str, str]:
        """Role -> alias, for every role that the arm's calls name."""
        lineup = self.run.settings.arm(arm).lineup
        calls = self.run.pipeline_calls
        roles = self.run.roles.in_order(map(str, calls.loc[calls["arm"] == arm, "role"].unique()))
        managers = self._managers(roles)
        default = lineup.get("all", arm)
        tiers = {role: lineup.get("deep" if role in managers else "quick", default) for role in roles}
        return {role: lineup.get(role, alias) for role, alias in tiers.items()}

    def _managers(self, roles: Sequence[str] | Mapping[str, str]) -> frozenset[str]:
        stages = {role.name: role.stage for role in self.run.roles.roles}
        return frozenset(role for role in roles if stages.get(role) in MANAGER_STAGES)

    def _lineup(self, name: str, models: Mapping[str, str], usd_per: float | None, *, was_run: bool) -> Lineup:
        config, note = self._config(models)
        return Lineup(name, models, self._yaml(name, models), usd_per, was_run, config, note)

    def _yaml(self, name: str, models: Mapping[str, str]) -> str:
        """The lineup to paste under `arms`, in the shortest form."""
        deep, quick = self._tiers(models)
        if len(set(models.values())) <= 1:
            return f"{name}: {{all: {next(iter(models.values()), name)}}}"
        if deep and quick:
            return f"{name}: {{deep: {deep}, quick: {quick}}}"
        most = max(set(models.values()), key=list(models.values()).count)
        moved = [f"  {role}: {alias}" for role, alias in models.items() if alias != most]
        return "\n".join([f"{name}:", f"  all: {most}", *moved])

    def _tiers(self, models: Mapping[str, str]) -> tuple[str, str]:
        """(deep, quick) model, each empty if its roles do not share one."""
        managers = self._managers(models)
        deep = {alias for role, alias in models.items() if role in managers}
        quick = {alias for role, alias in models.items() if role not in managers}
        return (next(iter(deep)) if len(deep) == 1 else "", next(iter(quick)) if len(quick) == 1 else "")

    def _config(self, models: Mapping[str, str]) -> tuple[str, str]:
        deep, quick = self._tiers(models)
        declared = self.run.settings.models
        if not (deep in declared and quick in declared):
            return "", "A TradingAgents configuration has two tiers and cannot express this lineup."
        lines = [f'config["deep_think_llm"] = "{declared[deep].name}"', f'config["quick_think_llm"] = "{declared[quick].name}"']
        providers = dict.fromkeys(declared[alias].provider for alias in (deep, quick))
        if len(providers) > 1:
            address = f'config["llm_provider"] = "{OPENAI.name}"\nconfig["backend_url"] = "http://127.0.0.1:8400/v1"'
            note = "Both models must answer at one address: use the URL of a proxy that knows both names."
            return "\n".join([address, *lines]), note
        provider = next(iter(providers))
        record = PROVIDERS.get(provider)
        if record and record.is_embedded:
            return "", "A TradingAgents configuration needs a server; these models run inside the harness only."
        url = f"{record.url}{record.openai_path}" if record and record.url else "http://HOST:PORT/v1"
        return "\n".join([f'config["llm_provider"] = "{provider}"', f'config["backend_url"] = "{url}"', *lines]), ""


def _grounding_change(made: Hybrid) -> str:
    """How much the grounding of the moved roles falls, as a range over roles."""
    changes = []
    for advice in made.advices:
        if advice.verdict != MOVE:
            continue
        aspect = advice.replay.aspect("grounded") if advice.replay else None
        effect = advice.effect.by_metric.get("grounding") if advice.effect else None
        change = effect or (aspect.apart if aspect else None)
        if change is not None and known(change.value):
            changes.append(change.value)
    if not changes:
        return "what it does to grounding (the share of figures that rest on the inputs) was not measured"
    low, high = min(changes), max(changes)
    if high <= 0:
        ends = dict.fromkeys(f"{abs(end) * 100:.0f}" for end in (high, low))
        return f"grounding (the share of figures that rest on the inputs) falls by {' to '.join(ends)} points"
    return f"grounding (the share of figures that rest on the inputs) changes by {points(low)} to {points(high)} points"


def _number_word(number: int) -> str:
    return {2: "two", 3: "three", 4: "four", 5: "five"}.get(number, str(number))
