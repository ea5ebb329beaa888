"""What is known of the models of an experiment: shutdowns, efforts, unknown facts, and which stay loaded together."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

from agents import Model, ModelReport
from domain.models import Family, family_of
from domain.providers import PROVIDERS
from domain.shutdowns import Shutdown, is_vendor_address, shutdown_of
from harness.checking.checks import Check, fail, ok, warn
from harness.experiment.servers import ServerSpec

SHUTDOWN = "shutdown of"
"""How the names of checks begin that warn of a model's shutdown."""
LOADED = "models of arm"
"""How the names of checks begin that warn of models which may unload each other."""
_GUIDE = "docs/model-retirement.md"


@dataclass(frozen=True)
class KnownModel:
    """A model of the experiment with what its server and our tables know of it."""

    model: Model
    server: ServerSpec
    report: ModelReport | None = None
    """None where the server was not asked."""

    @property
    def shutdown(self) -> Shutdown | None:
        """By the server's own list; else by the table, unless the vendor lists the model without a date."""
        if not PROVIDERS[self.model.provider].has_vendor_names:
            return None
        listed, report = shutdown_of(self.model.name), self.report
        if report and report.shutdown_date:
            return Shutdown(
                self.model.name, report.shutdown_date, listed.replacement if listed else None, "the server's /models"
            )
        is_denied = report is not None and report.lists_shutdowns and is_vendor_address(self.server.url)
        return None if is_denied else listed

    def is_gone(self, today: dt.date) -> bool:
        """Whether the vendor no longer answers; another server may serve the model for longer."""
        shutdown = self.shutdown
        return shutdown is not None and shutdown.days_left(today) < 0 and is_vendor_address(self.server.url)


def checks(models: Iterable[KnownModel], today: dt.date) -> Iterator[Check]:
    """Shutdowns, efforts and unknown facts, model by model."""
    for model in models:
        yield _facts(model.model)
        if (effort := _effort(model.model)) is not None:
            yield effort
        if (shutdown := model.shutdown) is not None:
            yield _shutdown(model, shutdown, today)


def shutdowns(models: Iterable[KnownModel]) -> dict[str, dict[str, Any]]:
    """Model's name in the experiment -> its announced shutdown, as the manifest keeps it."""
    return {model.model.alias: shutdown.to_plain() for model in models if (shutdown := model.shutdown) is not None}


def _shutdown(model: KnownModel, shutdown: Shutdown, today: dt.date) -> Check:
    name, sentence = f"{SHUTDOWN} {model.model.alias}", shutdown.sentence(today)
    if model.is_gone(today):
        other = f"use {shutdown.replacement}" if shutdown.replacement else "use another model"
        return fail(name, sentence, f"{other}; the runs that you have can still be replayed, re-priced and shown ({_GUIDE})")
    if not is_vendor_address(model.server.url):
        return warn(name, sentence, f"{model.server.url} may serve it for longer; ask who runs that server ({_GUIDE})")
    return warn(name, sentence, f"run what you need from it before that day and keep the run folder ({_GUIDE})")


def _effort(model: Model) -> Check | None:
    """None where the effort is taken, or where nothing is known of the model."""
    family, effort = family_of(model.name), model.params.get("reasoning_effort")
    if effort is None or family is None or family.efforts is None or effort in family.efforts:
        return None
    name, where = f"effort of {model.alias}", f"models.{model.alias}.reasoning_effort"
    problem = f"{model.name} takes no reasoning_effort {effort!r} (allowed: {', '.join(family.efforts)})"
    fix = f"set {where} to one of them"
    if not family.efforts:
        problem, fix = f"{model.name} does not reason: it takes no reasoning_effort", f"remove {where}"
    # A gateway may translate an effort into one that the model takes.
    if PROVIDERS[model.provider].is_hosted:
        return fail(name, problem, fix)
    return warn(name, problem, f"{fix}, unless its server translates it")


def _facts(model: Model) -> Check:
    name, family = f"facts of {model.alias}", family_of(model.name)
    if family is None:
        return ok(name, f"{model.name} is an unknown model: cutoff, context and efforts are unknown, so intervals are wider")
    return ok(name, f"{family.name}: {', '.join(_known_facts(family))}")


def _known_facts(family: Family) -> Iterator[str]:
    yield f"knows the world until {family.cutoff.cutoff}" if family.cutoff else "knowledge cutoff unknown"
    yield f"context {family.context_tokens:,} tokens" if family.context_tokens else "context unknown"
    if family.efforts is None:
        yield "efforts unknown"
    elif family.efforts:
        yield f"efforts {' '.join(family.efforts)}"


def stay_loaded(
    lineups: Mapping[str, Mapping[str, Model]],
    models: Iterable[KnownModel],
    environment: Mapping[str, str],
) -> Iterator[Check]:
    """Warn of arms with several models on one Ollama server, which reports neither its limit nor its free memory.

    `lineups`: arm -> role -> model. No warning if the models are loaded together now, or if the variable of a server on
    this machine allows as many.
    """
    known = {model.model.alias: model for model in models if PROVIDERS[model.model.provider].keeps_models}
    for arm, lineup in lineups.items():
        by_server: dict[str, dict[str, KnownModel]] = {}
        for model in lineup.values():
            if model.alias in known:
                by_server.setdefault(model.server, {})[model.name] = known[model.alias]
        for server, asked in by_server.items():
            if len(asked) > 1 and not _are_loaded_together(asked.values()) and _limit(asked.values(), environment) < len(asked):
                problem = (
                    f"its roles ask {' and '.join(sorted(asked))} on server {server}, which may load one at each change of role"
                )
                fix = f"start that Ollama with OLLAMA_MAX_LOADED_MODELS of at least {len(asked)}, and memory for all of them"
                yield warn(f"{LOADED} {arm}", problem, fix)


def context_sizes(lineups: Mapping[str, Mapping[str, Model]], models: Iterable[KnownModel]) -> Iterator[Check]:
    """Warn of a model that is asked with several context sizes, which its server loads again at every change.

    `lineups`: arm -> role -> model.
    """
    known = {model.model.alias: model for model in models if PROVIDERS[model.model.provider].loads_weights}
    arms_of: dict[tuple[str, str], dict[int, list[str]]] = {}
    for arm, lineup in lineups.items():
        for model in {model.alias: model for model in lineup.values() if model.alias in known}.values():
            sizes = arms_of.setdefault((known[model.alias].server.name, model.name), {})
            sizes.setdefault(_context_tokens(model), []).append(arm)
    for (server, model_name), sizes in arms_of.items():
        arms = sorted(set(chain.from_iterable(sizes.values())))
        if len(sizes) < 2:
            continue
        shown = ", ".join(f"{size} ({' '.join(sorted(set(sizes[size])))})" for size in sorted(sizes))
        inside = any(sum(arm in users for users in sizes.values()) > 1 for arm in arms)
        when = "every change of role" if inside else "every change of arm"
        problem = f"{model_name} on server {server} is asked with num_ctx {shown}, so the server loads it again at {when}"
        fix = f"write the same num_ctx for it everywhere, for example {max(sizes)}"
        yield warn(f"{LOADED}{'s' if len(arms) > 1 else ''} {', '.join(arms)}", problem, fix)


def _context_tokens(model: Model) -> int:
    return int(model.params.get("num_ctx") or PROVIDERS[model.provider].implied["num_ctx"])


def _are_loaded_together(models: Iterable[KnownModel]) -> bool:
    return all(model.report is not None and model.report.size_bytes for model in models)


def _limit(models: Iterable[KnownModel], environment: Mapping[str, str]) -> int:
    """OLLAMA_MAX_LOADED_MODELS of a server on this machine as far as our own environment shows it; 0 if unknown."""
    is_here = all(urlsplit(model.server.address).hostname in ("127.0.0.1", "localhost", "::1") for model in models)
    written = environment.get("OLLAMA_MAX_LOADED_MODELS", "")
    return int(written) if is_here and written.isascii() and written.isdecimal() else 0
